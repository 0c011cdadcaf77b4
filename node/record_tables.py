"""The tables of the record store, and the values that go in and come out of it. The store itself is `record_store.py`.

Tables: `meta(name, value)`, `records(period, place, time, reading, label)`, `periods(period, record_count, root,
begins, ends)`, `leaves(period, hashes)` (32 bytes a record), `test_records(place, reading, label)`, and since format 2
`group_names(place, name)`, `record_groups(period, place, grouped)`: what the source says a record belongs to. Groups
are no part of what is anchored. Since format 3 `salts(period, secret)`, a row for every period closed since then:
`record_salts.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ledger.errors import CorruptStore
from ledger.merkle import HASH_BYTES
from ledger.types import Hash32
from node.record_reader import Values

FORMAT = 3
# Older stores become one of this format where they lie: records of format 1 bear no groups, and what was closed before
# format 3 has leaves without salt.
UPGRADED = (1, 2)
# Half a billion rows of the smallest kind are some 40 GB: past that, keep another data set.
RECORDS_MAX = 2**29
PERIODS_MAX = 2**40

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    period INTEGER NOT NULL, place INTEGER NOT NULL, time INTEGER NOT NULL, reading BLOB NOT NULL,
    label INTEGER NOT NULL, PRIMARY KEY (period, place)) STRICT;
CREATE TABLE IF NOT EXISTS periods (
    period INTEGER PRIMARY KEY, record_count INTEGER NOT NULL, root BLOB NOT NULL, begins INTEGER NOT NULL,
    ends INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS leaves (period INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS test_records (place INTEGER PRIMARY KEY, reading BLOB NOT NULL, label INTEGER NOT NULL)
    STRICT;
CREATE TABLE IF NOT EXISTS group_names (place INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS record_groups (
    period INTEGER NOT NULL, place INTEGER NOT NULL, grouped INTEGER NOT NULL, PRIMARY KEY (period, place))
    STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS salts (period INTEGER PRIMARY KEY, secret BLOB NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """What a closed period is anchored with. Times in ms since 1970, end excluded."""

    period: int
    record_count: int
    root: Hash32
    begins: int
    ends: int


@dataclass(frozen=True, slots=True, eq=False)
class NewRecords:
    """Records to append: `features` [n, ...], `labels` int64 [n] (-1: none), `times` int64 [n], ms, ascending.

    `groups`: the name of each one's group, where the source has groups.
    """

    features: Values
    labels: NDArray[np.int64]
    times: NDArray[np.int64]
    groups: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def closed_period(path: Path, row: tuple[int, int, bytes, int, int]) -> ClosedPeriod:
    """A row of `periods`. Raises CorruptStore."""
    period, count, root, begins, ends = row
    if type(root) is not bytes or len(root) != HASH_BYTES:
        raise CorruptStore(f"{path}: the root of period {period} is no hash")
    return ClosedPeriod(period, count, Hash32(root), begins, ends)
