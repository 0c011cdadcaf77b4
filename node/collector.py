"""Brings records into the store: a whole table once, or a stream as it comes, cut into periods that are closed.

What sources there are is `fl/data`'s business; what becomes of a closed period is `anchoring.py`'s. All of it blocks.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.data.tables import Split, Table
from ledger.records import ValueType
from node.record_errors import RecordStoreError
from node.record_groups import grouping_of
from node.record_reader import DTYPES, RecordLayout, Values
from node.record_store import ClosedPeriod, NewRecords, RecordStore

# Tables carry no times: their rows are taken to be a second apart, the last of them collected just now.
ROW_INTERVAL_MS = 1000
# The store's note of how many records a table had, to train and to test on, when the first of it were taken in.
BEGUN_WITH = "begun_with"

Collected = Callable[[int, int], None]
"""Told (records stored, records in all) after every period, for a progress bar."""


@dataclass(frozen=True, slots=True)
class PeriodRule:
    """When a period ends: after so many records, or (`records` 0) at every full multiple of `milliseconds`."""

    records: int = 250
    milliseconds: int = 0

    def __post_init__(self) -> None:
        if (self.records > 0) == (self.milliseconds > 0) or min(self.records, self.milliseconds) < 0:
            raise ValueError(f"a period of {self.records} records and {self.milliseconds} ms, want one of the two")


def layout_of(table: Table) -> RecordLayout:
    """How the store declares the records of a table."""
    kinds = {dtype: kind for kind, dtype in DTYPES.items()}
    kind: ValueType | None = kinds.get(table.features.dtype)
    if kind is None:
        raise RecordStoreError(f"features are {table.features.dtype}, want float32, uint8 or int64")
    return RecordLayout(kind, table.record_shape, table.classes)


def ingest(
    store: RecordStore,
    split: Split,
    rule: PeriodRule,
    now_ms: int,
    after_period: int = 0,
    progress: Collected | None = None,
) -> int:
    """Store a table once: training rows in closed periods, test rows beside them. Returns how many rows are new.

    Called again, after a crash or at every start, it goes on where it stopped. Periods are numbered on from
    `after_period`, the last that the ledger holds. Raises RecordStoreError when the store holds other records.
    """
    print_ = _fingerprint(split)
    known = store.note("table")
    if known is None:
        if store.last_closed() or store.open_periods():
            raise RecordStoreError(
                f"{store.path} holds records of a stream: give the table a data directory of its own"
            )
        store.declare(layout_of(split.train))
        store.replace_test(split.test.features, split.test.labels)
        store.set_note("first_time", str(max(0, now_ms - len(split.train) * ROW_INTERVAL_MS)))
        store.set_notes({BEGUN_WITH: str(len(split.train) + len(split.test)), "table": print_})
    elif known != print_:
        raise RecordStoreError(
            f"{store.path} holds another table than the configured source gives now: "
            "anchored records stay as they are; a file that grows wants [data] follow_seconds, another table a data "
            "directory of its own"
        )
    # Also for a table that is known: a store of before there were groups hears whether its records overlap.
    store.set_grouping(grouping_of(split.train))
    begin = int(store.note("first_time") or 0)
    done = stored = sum(closed.record_count for closed in store.closed_periods())
    each = rule.records or max(1, rule.milliseconds // ROW_INTERVAL_MS)
    groups = split.train.names_of_groups()
    period = max(store.last_closed(), after_period)
    while stored < len(split.train):
        rows = slice(stored, min(stored + each, len(split.train)))
        times = begin + ROW_INTERVAL_MS * np.arange(rows.start, rows.stop, dtype=np.int64)
        named = None if groups is None else groups[rows]
        records = NewRecords(split.train.features[rows], split.train.labels[rows], times, named)
        period += 1
        store.add_period(period, records, int(times[0]), int(times[-1]) + ROW_INTERVAL_MS)
        stored = rows.stop
        if progress is not None:
            progress(stored, len(split.train))
    return stored - done


class Collector:
    """Takes a stream's records as they come and closes each period when it is full, or over."""

    def __init__(self, store: RecordStore, rule: PeriodRule, after_period: int = 0) -> None:
        self._store = store
        self._rule = rule
        self._after_period = after_period

    def collect(
        self,
        features: Values,
        labels: NDArray[np.int64],
        times: NDArray[np.int64],
        groups: Sequence[str] | None = None,
    ) -> list[ClosedPeriod]:
        """Store records, times ascending and not before those stored already; returns the periods that this closed.

        `groups`: the name of each one's group, where the source has groups.

        Raises RecordStoreError for a record whose period is closed already: it came too late to be anchored.
        """
        closed: list[ClosedPeriod] = []
        for period, rows in self._periods(times):
            named = None if groups is None else groups[rows]
            self._store.append(period, NewRecords(features[rows], labels[rows], times[rows], named))
            if self._rule.records and self._store.open_records(period) >= self._rule.records:
                closed.append(self._close(period))
        if len(times):
            closed += self.close_due(int(times[-1]))
        return closed

    def close_due(self, now_ms: int) -> list[ClosedPeriod]:
        """Close the periods whose time is over; periods by count are closed by `collect` alone."""
        if self._rule.records:
            return []
        return [
            self._close(period)
            for period in self._store.open_periods()
            if (period + 1) * self._rule.milliseconds <= now_ms
        ]

    def _periods(self, times: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
        """Which rows belong to which period, in order."""
        at = 0
        while at < len(times):
            if self._rule.records:
                period = max(self._store.last_closed(), self._after_period) + 1
                # One at least, for a period that was filled under a longer rule and is over with the next record.
                end = at + max(1, self._rule.records - self._store.open_records(period))
            else:
                period = int(times[at]) // self._rule.milliseconds
                end = int(np.searchsorted(times, (period + 1) * self._rule.milliseconds))
            yield period, slice(at, min(end, len(times)))
            at = min(end, len(times))

    def _close(self, period: int) -> ClosedPeriod:
        if self._rule.milliseconds:
            begins, ends = period * self._rule.milliseconds, (period + 1) * self._rule.milliseconds
        else:
            first, last = self._store.open_times(period)
            begins, ends = first, last + 1
        return self._store.close_period(period, begins, ends)


def _fingerprint(split: Split) -> str:
    """SHA-256 over every value and label, so that another table under the same name is noticed."""
    hasher = hashlib.sha256(layout_of(split.train).to_text().encode())
    for table in (split.train, split.test):
        hasher.update(f"{table.features.shape}".encode())
        hasher.update(np.ascontiguousarray(table.features).tobytes())
        hasher.update(np.ascontiguousarray(table.labels, "<i8").tobytes())
    return hasher.hexdigest()
