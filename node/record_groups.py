"""Which group each record of the store belongs to: the unit of privacy when a request's is `group:COLUMN`.

A source says what its groups are, and whether its records overlap; both are noted once for all records of a store. The
tables: record_tables.py.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.data.tables import Table
from node.record_errors import RecordStoreError

GROUPED_BY = "grouped_by"
OVERLAP = "overlap"
_RECORDS = "records LEFT JOIN record_groups USING (period, place)"


@dataclass(frozen=True, slots=True)
class Grouping:
    """`by`: what the groups are, empty when there are none. `overlap`: records have measurements in common."""

    by: str
    overlap: bool

    def refusal(self, column: str | None) -> str | None:
        """Why groups by `column`, or single records (None), are no units of privacy here; None when they are."""
        instead = f", want group:{self.by}" if self.by else ""
        if column is None:
            return f"unit record: records here overlap{instead}" if self.overlap else None
        if column != self.by:
            return f"unit group:{column}: records here are grouped by {self.by or 'nothing'}"
        return None


def grouping_of(table: Table) -> Grouping:
    """What a source says of its records."""
    return Grouping(table.grouped_by if table.groups is not None else "", table.overlap)


def grouping_notes(grouping: Grouping) -> dict[str, str]:
    """The notes that say so in a store."""
    return {GROUPED_BY: grouping.by, OVERLAP: "yes" if grouping.overlap else "no"}


def noted_grouping(notes: Mapping[str, str | None]) -> Grouping:
    """What the notes of a store say; a store of before there were groups has none."""
    return Grouping(notes.get(GROUPED_BY) or "", notes.get(OVERLAP) == "yes")


def keep_groups(file: sqlite3.Connection, period: int, first: int, names: Sequence[str]) -> None:
    """Write down the groups of records from the place `first` of a period on; new names are numbered on."""
    known = dict(file.execute("SELECT name, place FROM group_names").fetchall())
    for name in dict.fromkeys(names):
        if name not in known:
            known[name] = len(known)
            file.execute("INSERT INTO group_names VALUES (?, ?)", (known[name], name))
    rows = ((period, first + at, known[name]) for at, name in enumerate(names))
    file.executemany("INSERT INTO record_groups VALUES (?, ?, ?)", rows)


def read_groups(file: sqlite3.Connection, path: Path, periods: Sequence[int]) -> NDArray[np.int64]:
    """int64 [n]: the group of every record of these periods, by period and place.

    Raises RecordStoreError when some bear none: they were stored before their source had groups.
    """
    groups: list[int | None] = []
    for period in periods:
        rows = file.execute(f"SELECT grouped FROM {_RECORDS} WHERE period = ? ORDER BY place", (period,))
        groups += [grouped for (grouped,) in rows]
    if None in groups:
        raise _without(path, groups.count(None))
    return np.array(groups, np.int64)


def count_groups(file: sqlite3.Connection, path: Path, periods: Sequence[int]) -> int:
    """How many different groups the records of these periods belong to. Raises RecordStoreError as `read_groups`."""
    groups: set[int | None] = set()
    for period in periods:
        rows = file.execute(f"SELECT DISTINCT grouped FROM {_RECORDS} WHERE period = ?", (period,))
        groups |= {grouped for (grouped,) in rows}
    if None in groups:
        raise _without(path, 1)
    return len(groups)


def _without(path: Path, count: int) -> RecordStoreError:
    return RecordStoreError(f"{path}: at least {count} records bear no group: they were stored before there were any")
