"""Takes what is new in a growing table into the store, and refuses a table whose past is another than was taken in.

How often somebody looks is `collecting.py`'s business. All of it blocks. The store alone says how far the table has
been taken in, so a crash at any point loses nothing and doubles nothing.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.data.growing import GrowingTable
from fl.data.tables import Table
from node.collector import BEGUN_WITH, ROW_INTERVAL_MS, Collector, PeriodRule, layout_of
from node.record_errors import RecordStoreError
from node.record_groups import grouping_of
from node.record_reader import RecordArrays, Values
from node.record_store import ClosedPeriod, RecordStore

DIVISION = "division"


class HistoryChanged(RecordStoreError):
    """The source no longer begins with the records taken from it. They stay as they are; nothing new is taken in."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How many new records a look brought, to train and to test on, and the periods that this closed."""

    trained: int = 0
    tested: int = 0
    closed: tuple[ClosedPeriod, ...] = ()


class Growth:
    """One table's way into one store."""

    def __init__(self, store: RecordStore, rule: PeriodRule) -> None:
        self._store = store
        self._rule = rule
        # What was last found to be in the store: so many records, with this fingerprint.
        self._known: tuple[int, bytes] = (0, b"")

    def take_in(self, seen: GrowingTable, now_ms: int, after_period: int = 0) -> Taken:
        """Store the records that are not there yet, in periods after `after_period`, the last that the ledger holds.

        Raises HistoryChanged naming the first record that differs; RecordStoreError for records of another form, and
        when the disk refuses, with all that was stored before still there.
        """
        records, known = seen.records, self._known[0]
        assert seen.first in (0, known), f"left out are {seen.first} records, {known} are known to be stored"
        begun_with = self._begin(seen)
        if seen.total < max(begun_with, known):
            raise HistoryChanged(_shrunk(seen, max(begun_with, known)))
        tested = seen.division.tested(seen.total, begun_with)
        to_train, to_test = (np.flatnonzero(side[seen.first :]) for side in (~tested, tested))
        if seen.first:
            fresh, fresh_test = to_train, to_test
        elif known and self._known[1] == _fingerprint(records, known):
            tests = int(np.count_nonzero(tested[:known]))
            fresh, fresh_test = to_train[known - tests :], to_test[tests:]
        else:
            trains, tests = self._compare(seen, to_train, to_test)
            fresh, fresh_test = to_train[trains:], to_test[tests:]
        # What a failure leaves in the store is found by looking there.
        self._known = (0, b"")
        if len(fresh_test):
            self._store.append_test(records.features[fresh_test], records.labels[fresh_test])
        times = self._times(seen, fresh, now_ms, (after_period + 1) * self._rule.milliseconds)
        all_names = records.names_of_groups()
        names = None if all_names is None else [all_names[row] for row in fresh]
        closed = Collector(self._store, self._rule, after_period).collect(
            records.features[fresh], records.labels[fresh], times, names
        )
        # Of a part there is no fingerprint of all: a look at all then compares with the store.
        self._known = (seen.total, b"" if seen.first else _fingerprint(records, len(records)))
        return Taken(len(fresh), len(fresh_test), tuple(closed))

    @property
    def known(self) -> int:
        """So many records of the table are known to be stored; 0 when that is to be found out."""
        return self._known[0]

    def close_due(self, now_ms: int) -> list[ClosedPeriod]:
        """Close the periods whose time is over."""
        return Collector(self._store, self._rule).close_due(now_ms)

    def next_due_ms(self) -> int | None:
        """When the first open period is over; None when none is, or when periods end by their number of records."""
        open_periods = () if self._rule.records else self._store.open_periods()
        return (open_periods[0] + 1) * self._rule.milliseconds if open_periods else None

    def _begin(self, seen: GrowingTable) -> int:
        """How many records the table had when the first of it were taken in."""
        division = repr(seen.division)
        begun_with = self._store.note(BEGUN_WITH)
        if begun_with is None:
            if self._store.last_closed() or self._store.open_periods():
                raise RecordStoreError(
                    f"{self._store.path} holds records of a stream: give the table a data directory of its own"
                )
            self._store.declare(layout_of(seen.records))
            begun_with = str(seen.total)
            self._store.set_notes({BEGUN_WITH: begun_with, DIVISION: division})
        else:
            self._store.declare(layout_of(seen.records))
            known = self._store.note(DIVISION)
            if known is None:
                # A table that was read once until now.
                self._store.set_note(DIVISION, division)
            elif known != division:
                raise RecordStoreError(
                    f"{self._store.path}: the records were divided by {known}, the source says {division} now: what "
                    "was trained on would be tested on; set it back, or give the table a data directory of its own"
                )
        self._store.set_grouping(grouping_of(seen.records))
        return int(begun_with)

    def _compare(self, seen: GrowingTable, to_train: NDArray[np.intp], to_test: NDArray[np.intp]) -> tuple[int, int]:
        """How many training and test records are stored; the table begins with the same. Raises HistoryChanged."""
        differing: list[int] = []
        trained = 0
        for period in [*(closed.period for closed in self._store.closed_periods()), *self._store.open_periods()]:
            stored = self._store.records([period])
            differing += self._first_other(seen, stored, to_train[trained : trained + len(stored)])
            trained += len(stored)
        tests = self._store.test_records()
        differing += self._first_other(seen, tests, to_test[: len(tests)])
        if differing:
            first = min(differing)
            where = f"{seen.path}: {seen.place(first)} (record {first + 1})"
            raise HistoryChanged(
                f"{where} is not what was taken in from there: records are anchored as they were; put "
                "the row back, or give the new table a data directory of its own"
            )
        if trained > len(to_train) or len(tests) > len(to_test):
            raise HistoryChanged(_shrunk(seen, trained + len(tests)))
        return trained, len(tests)

    def _first_other(self, seen: GrowingTable, stored: RecordArrays, rows: NDArray[np.intp]) -> list[int]:
        """The first of these rows of the table, if any, that differs from the stored records, bit by bit."""
        if not len(rows):
            return []
        mine = stored.features[: len(rows)]
        other = (_bytes_of(mine) != _bytes_of(seen.records.features[rows])).any(axis=1)
        other |= stored.labels[: len(rows)] != seen.records.labels[rows]
        return [int(rows[np.argmax(other)])] if other.any() else []

    def _times(self, seen: GrowingTable, rows: NDArray[np.intp], now_ms: int, least: int) -> NDArray[np.int64]:
        """When the new records were taken, ascending, not before `least`: what the table says, else now.

        Not later than now, for one mistyped year would drag all that follow into a far period; not before what is
        stored already: a row that was written after its period was closed counts in the next.
        """
        first = self._last_time()
        if seen.times is not None:
            times = np.minimum(seen.times[rows], now_ms)
        elif first is None:
            # The table's past is taken to be a second a record, as of one that is read once.
            times = now_ms - ROW_INTERVAL_MS * np.arange(len(rows), 0, -1, dtype=np.int64)
        else:
            times = np.full(len(rows), now_ms, np.int64)
        return np.maximum.accumulate(np.maximum(times, max(first or 0, least)))

    def _last_time(self) -> int | None:
        """No new record may be earlier; None in an empty store."""
        open_periods = self._store.open_periods()
        if open_periods:
            return self._store.open_times(open_periods[-1])[1]
        closed = self._store.closed_period(self._store.last_closed())
        return None if closed is None else closed.ends


def _shrunk(seen: GrowingTable, taken: int) -> str:
    return (
        f"{seen.path}: there are {seen.total} records, {taken} were taken in before: want a file that grows at "
        "its end; give one that was begun anew a data directory of its own"
    )


def _bytes_of(features: Values) -> NDArray[np.uint8]:
    """uint8 [n, bytes of a record]."""
    return np.ascontiguousarray(features).reshape(len(features), -1).view(np.uint8)


def _fingerprint(records: Table, count: int) -> bytes:
    """SHA-256 over the first `count` records."""
    hasher = hashlib.sha256(layout_of(records).to_text().encode())
    hasher.update(np.ascontiguousarray(records.features[:count]).data)
    hasher.update(np.ascontiguousarray(records.labels[:count], "<i8").data)
    return hasher.digest()
