"""What every kind of data of one's own can do, and what is found when somebody looks at it before a training does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fl.data.errors import DataError
from fl.data.growing import Division, GrowingSource
from fl.data.tables import Split, Table


@dataclass(frozen=True, slots=True)
class Found:
    """One feature as it stands in the data, before it is scaled.

    `declared`: what the block says of it ("0 to 100", "L, M, H"). `low` and `high`: the least and the greatest number
    that occurs, None for words. `outside`: so many records lie beyond the declared range and are cut off there.
    """

    name: str
    declared: str
    low: float | None = None
    high: float | None = None
    outside: int = 0


@dataclass(frozen=True, slots=True)
class Survey:
    """`split` as a training would get it; `found` of all records, training and test together; `left_out`: so many rows
    had gaps and are no records, as the block says."""

    split: Split
    found: tuple[Found, ...] = ()
    left_out: int = 0


class Contents(Protocol):
    """Data of one kind. All of these raise DataError for data that is not as declared, naming where it is not."""

    def load(self, division: Division) -> Split: ...

    def survey(self, division: Division) -> Survey: ...

    def growing(self, division: Division) -> GrowingSource: ...


class Kind(Protocol):
    """How a block of one kind is read. `keys`: what it may say beside kind, test_percent, split and seed."""

    @property
    def keys(self) -> frozenset[str]: ...

    @property
    def summary(self) -> str: ...

    def parse(self, table: Mapping[str, Any], folder: Path, where: str) -> Contents: ...


def beside(train: Table, test: Table, where: Path | str) -> Split:
    """Training and test records that lie apart. Raises DataError when one has none, or other classes or shapes."""
    for part, name in ((train, "train"), (test, "test")):
        if not len(part):
            raise DataError.of_file(where, f"has no records to {name} on")
    return Split(train, test)


def grows_not(kind: str, instead: str) -> DataError:
    return DataError(f"data of the kind {kind!r} does not grow: {instead}")
