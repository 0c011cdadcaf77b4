"""A table that grows at its end: all its records in the file's order, and which of them are for testing.

Only what a source says is held here; what becomes of new records is not the business of `fl`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fl.data.tables import Table


@dataclass(frozen=True, slots=True)
class Division:
    """Which records are tested on: `percent` of them, the `last` ones or `random` ones drawn with `seed`."""

    percent: int
    split: Literal["last", "random"] = "last"
    seed: int = 0

    def tested(self, records: int, begun_with: int) -> NDArray[np.bool_]:
        """bool [records], in the order of the file: True for a test record.

        The first `begun_with` are divided as the table was that had no more; of those that came later every so many
        (each 5th at 20 %), for the last ones of a table that grows are other ones every hour, and what was trained on
        must never be tested on. So a record's side does not change, whatever comes after it.
        """
        if begun_with > records:
            raise ValueError(f"{records} records of a table that began with {begun_with}")
        place = np.arange(records, dtype=np.int64)
        tested: NDArray[np.bool_] = (place + 1) * self.percent // 100 > place * self.percent // 100
        order = place[:begun_with]
        if self.split == "random":
            order = np.random.default_rng(self.seed).permutation(begun_with)
        cut = begun_with - begun_with * self.percent // 100
        tested[order[:cut]] = False
        tested[order[cut:]] = True
        return tested


@dataclass(frozen=True, slots=True, eq=False)
class GrowingTable:
    """`records`: all that are in the file now, in its order; `times` int64 [n], ms since 1970, None when it has none.

    With `first` the records of before are left out: so many, the same as they were when they were read. `place(at)` is
    how a person finds the record `records[at]` in the file ("line 12").
    """

    path: Path | str
    records: Table
    times: NDArray[np.int64] | None
    division: Division
    place: Callable[[int], str]
    first: int = 0

    @property
    def total(self) -> int:
        """How many records the file has."""
        return self.first + len(self.records)


class GrowingSource(Protocol):
    """A source to look at again and again. `files`: on these a change shows; with none, only a look tells."""

    @property
    def files(self) -> tuple[Path, ...]: ...

    def read(self, after: int = 0) -> GrowingTable | None:
        """What there is now; without the first `after` records if they are surely those that were given before.

        None when there is nothing yet. Raises DataError as `registry.load` does.
        """
