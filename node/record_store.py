"""A factory's own records in one SQLite file: appended to a period, which is then closed for good and anchored.

A closed period keeps the leaf hash of every record in a table of its own, so that a record changed later is found
*and named* [ANCHOR, dispute resolver]. What is tested on is kept beside and is not anchored: nobody is paid for it.

The tables are in `record_tables.py`. All methods block: call them in a thread when they touch many records. Reading for
training: `record_reader.py`.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ledger.errors import CorruptStore
from ledger.merkle import HASH_BYTES, MerkleTree
from ledger.records import (
    LABEL_MAX,
    PERIOD_RECORDS_MAX,
    UNLABELLED,
    VALUES_BYTES_MAX,
    packed_records,
    record_leaves,
    values_bytes,
)
from ledger.types import AMOUNT_MAX, Hash32
from node.record_errors import RecordStoreError
from node.record_groups import GROUPED_BY, OVERLAP, Grouping, count_groups, grouping_notes, keep_groups, noted_grouping
from node.record_reader import (
    LOCK_WAIT_S,
    RecordArrays,
    RecordLayout,
    Values,
    explained,
    read_layout,
    read_records,
    read_test,
)
from node.record_salts import draw_salts, salts_of
from node.record_tables import (
    FORMAT,
    PERIODS_MAX,
    RECORDS_MAX,
    TABLES,
    UPGRADED,
    ClosedPeriod,
    NewRecords,
    closed_period,
)

__all__ = ["ClosedPeriod", "NewRecords", "RecordStore"]


class RecordStore:
    """Open one with a path, close it, or use it in `with`. Safe to call from several threads, one at a time inside.

    Every method raises RecordStoreFull or RecordStoreLocked when the disk refuses (the change is undone whole),
    CorruptStore when the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with explained(path):
            # Autocommit: transactions are begun by name in `_transaction`, nowhere else.
            self._file = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._file.close()
                raise

    def _prepare(self) -> None:
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in (0, *UPGRADED, FORMAT):
            raise RecordStoreError(f"{self.path}: format {version}, this version reads {FORMAT}")
        if version != FORMAT:
            self._file.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
            self.path.chmod(0o600)

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def __enter__(self) -> "RecordStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what the records are

    def declare(self, layout: RecordLayout) -> None:
        """Say once what records look like. Raises RecordStoreError when the store holds another kind."""
        if values_bytes(layout.values_type, layout.shape) > VALUES_BYTES_MAX or not layout.shape:
            raise RecordStoreError(
                f"records of {layout.dtype} {list(layout.shape)}, want 1 to {VALUES_BYTES_MAX} bytes each"
            )
        with self._transaction():
            known = self._meta("layout")
            if known is None:
                self._set_meta("layout", layout.to_text())
            elif known != layout.to_text():
                raise RecordStoreError(
                    f"{self.path} holds records {known}, these are {layout.to_text()}: want a data directory of its own"
                )

    def layout(self) -> RecordLayout | None:
        """What records look like; None before the first were declared."""
        with self._reading():
            return None if self._meta("layout") is None else read_layout(self._file, self.path)

    def note(self, name: str) -> str | None:
        """A remark that a source left, such as how far it has been read."""
        with self._reading():
            return self._meta(f"note/{name}")

    def set_note(self, name: str, value: str) -> None:
        self.set_notes({name: value})

    def set_notes(self, notes: Mapping[str, str]) -> None:
        """All of them or none."""
        with self._transaction():
            for name, value in notes.items():
                self._set_meta(f"note/{name}", value)

    def set_grouping(self, grouping: Grouping) -> None:
        """Note what the source says of groups. Raises RecordStoreError when the records here are grouped otherwise.

        A source may begin to name groups: its records of before then bear none.
        """
        if grouping == self.grouping() and self.note(GROUPED_BY) is not None:
            # Asked at every look at a source: nothing is written, so that nobody reads the records anew for it.
            return
        with self._transaction():
            known = self._grouping()
            if known.by and known != grouping:
                raise RecordStoreError(
                    f"{self.path}: records here are grouped by {known.by}, the source says "
                    f"{grouping.by or 'no groups'} now: set it back, or give the table a data directory of its own"
                )
            for name, value in grouping_notes(grouping).items():
                self._set_meta(f"note/{name}", value)

    def grouping(self) -> Grouping:
        """What the records' groups are, and whether records overlap."""
        with self._reading():
            return self._grouping()

    def _grouping(self) -> Grouping:
        return noted_grouping({name: self._meta(f"note/{name}") for name in (GROUPED_BY, OVERLAP)})

    def group_count(self, periods: Sequence[int]) -> int:
        """How many groups the records of these periods belong to. Raises RecordStoreError when some bear none."""
        with self._reading():
            return count_groups(self._file, self.path, periods)

    # -- writing

    def append(self, period: int, records: NewRecords) -> int:
        """Add records to a period that is still open; returns how many it holds now.

        Raises RecordStoreError for a period that is closed or lies before a closed one, for records of another form
        than declared, and past PERIOD_RECORDS_MAX or RECORDS_MAX.
        """
        with self._transaction():
            return self._append(period, records)

    def close_period(self, period: int, begins: int, ends: int) -> ClosedPeriod:
        """Fix the period's records: their leaves and their root. On return it is on the disk.

        Closing it again returns what it was closed with. Raises RecordStoreError when it has no records, when a later
        one is closed already, or when the times are out of order.
        """
        with self._transaction(durable=True):
            return self._close_period(period, begins, ends)

    def add_period(self, period: int, records: NewRecords, begins: int, ends: int) -> ClosedPeriod:
        """Append to a period and close it in one step: after a crash it is there whole or not at all."""
        with self._transaction(durable=True):
            self._append(period, records)
            return self._close_period(period, begins, ends)

    def replace_test(self, features: Values, labels: NDArray[np.int64]) -> None:
        """Keep these records for testing, instead of any before them."""
        with self._transaction():
            self._file.execute("DELETE FROM test_records")
            self._append_test(features, labels)

    def append_test(self, features: Values, labels: NDArray[np.int64]) -> None:
        """Keep these records for testing too, after those before them."""
        with self._transaction():
            self._append_test(features, labels)

    def _append_test(self, features: Values, labels: NDArray[np.int64]) -> None:
        (held,) = self._file.execute("SELECT coalesce(max(place) + 1, 0) FROM test_records").fetchone()
        readings = self._readings(features, labels)
        rows = zip(range(held, held + len(labels)), readings, labels.tolist(), strict=True)
        self._file.executemany("INSERT INTO test_records VALUES (?, ?, ?)", rows)

    def _append(self, period: int, records: NewRecords) -> int:
        self._check_open(period)
        times = records.times
        if times.shape != (len(records),) or (
            len(times) and not 0 <= int(times.min()) <= int(times.max()) <= AMOUNT_MAX
        ):
            raise RecordStoreError(f"{times.shape} times for {len(records)} records, want one of 0..2^53 for each")
        readings = self._readings(records.features, records.labels)
        (held,) = self._file.execute(
            "SELECT coalesce(max(place) + 1, 0) FROM records WHERE period = ?", (period,)
        ).fetchone()
        (total,) = self._file.execute("SELECT coalesce(sum(record_count), 0) FROM periods").fetchone()
        if held + len(records) > PERIOD_RECORDS_MAX or total + held + len(records) > RECORDS_MAX:
            raise RecordStoreError(
                f"period {period} has {held} records, {total} lie in closed ones: {len(records)} more exceed "
                f"{PERIOD_RECORDS_MAX} a period or {RECORDS_MAX} in all"
            )
        places = range(held, held + len(records))
        rows = zip(places, times.tolist(), readings, records.labels.tolist(), strict=True)
        self._file.executemany(f"INSERT INTO records VALUES ({int(period)}, ?, ?, ?, ?)", rows)
        if records.groups is not None:
            keep_groups(self._file, period, held, records.groups)
        return int(held) + len(records)

    def _close_period(self, period: int, begins: int, ends: int) -> ClosedPeriod:
        known = self._closed(period)
        if known is not None:
            return known
        self._check_open(period)
        if not 0 <= begins < ends <= AMOUNT_MAX:
            raise RecordStoreError(f"period {period} from {begins} to {ends}, want begins < ends, in ms since 1970")
        rows = self._rows(period)
        if not rows:
            raise RecordStoreError(f"period {period} has no records to close over")
        draw_salts(self._file, period)
        leaves = self._leaves_of(period, rows)
        closed = ClosedPeriod(period, len(leaves), MerkleTree(leaves).root, begins, ends)
        self._file.execute("INSERT INTO leaves VALUES (?, ?)", (period, b"".join(leaves)))
        self._file.execute(
            "INSERT INTO periods VALUES (?, ?, ?, ?, ?)", (period, closed.record_count, closed.root, begins, ends)
        )
        return closed

    def _check_open(self, period: int) -> None:
        (last,) = self._file.execute("SELECT coalesce(max(period), 0) FROM periods").fetchone()
        if not last < period <= PERIODS_MAX:
            raise RecordStoreError(f"period {period}, want more than {last}, the last closed one, up to {PERIODS_MAX}")

    def _readings(self, features: Values, labels: NDArray[np.int64]) -> list[bytes]:
        layout = read_layout(self._file, self.path)
        if features.shape[1:] != layout.shape or features.dtype != layout.dtype or len(features) != len(labels):
            raise RecordStoreError(
                f"{len(labels)} labels for {features.dtype} {list(features.shape)}, "
                f"want {layout.dtype} [n, {', '.join(map(str, layout.shape))}]"
            )
        if len(labels) and not (
            int(labels.min()) >= UNLABELLED and int(labels.max()) < len(layout.classes) <= LABEL_MAX
        ):
            raise RecordStoreError(
                f"labels {labels.min()}..{labels.max()}, want {UNLABELLED}..{len(layout.classes) - 1}"
            )
        whole = np.ascontiguousarray(features, layout.dtype).tobytes()
        each = values_bytes(layout.values_type, layout.shape)
        return [whole[at : at + each] for at in range(0, len(whole), each)]

    # -- reading

    def closed_periods(self) -> tuple[ClosedPeriod, ...]:
        """Every closed period, in order."""
        with self._reading():
            rows = self._file.execute("SELECT * FROM periods ORDER BY period").fetchall()
            return tuple(closed_period(self.path, row) for row in rows)

    def closed_after(self, period: int, most: int) -> list[ClosedPeriod]:
        """The next `most` closed periods after this one, in order."""
        with self._reading():
            rows = self._file.execute("SELECT * FROM periods WHERE period > ? ORDER BY period LIMIT ?", (period, most))
            return [closed_period(self.path, row) for row in rows]

    def closed_period(self, period: int) -> ClosedPeriod | None:
        with self._reading():
            return self._closed(period)

    def last_closed(self) -> int:
        """The newest closed period, 0 when there is none."""
        with self._reading():
            (last,) = self._file.execute("SELECT coalesce(max(period), 0) FROM periods").fetchone()
            return int(last)

    def open_periods(self) -> tuple[int, ...]:
        """Periods that hold records and are not closed yet, in order."""
        with self._reading():
            (last,) = self._file.execute("SELECT coalesce(max(period), 0) FROM periods").fetchone()
            rows = self._file.execute("SELECT DISTINCT period FROM records WHERE period > ? ORDER BY period", (last,))
            return tuple(int(row[0]) for row in rows)

    def open_times(self, period: int) -> tuple[int, int]:
        """Times of the first and last record of an open period, ms. Raises RecordStoreError when it has none."""
        with self._reading():
            first, last = self._file.execute(
                "SELECT min(time), max(time) FROM records WHERE period = ?", (period,)
            ).fetchone()
        if first is None:
            raise RecordStoreError(f"{self.path}: no records of period {period}")
        return int(first), int(last)

    def open_records(self, period: int) -> int:
        """How many records an open period holds."""
        with self._reading():
            (count,) = self._file.execute("SELECT count(*) FROM records WHERE period = ?", (period,)).fetchone()
            return int(count)

    def kept_leaves(self, period: int) -> list[Hash32]:
        """The leaf hashes written down when the period was closed; empty for one that was not."""
        with self._reading():
            row = self._file.execute("SELECT hashes FROM leaves WHERE period = ?", (period,)).fetchone()
        hashes = row[0] if row is not None else b""
        if type(hashes) is not bytes or len(hashes) % HASH_BYTES:
            raise CorruptStore(f"{self.path}: the leaves of period {period} are not whole hashes")
        return [Hash32(hashes[at : at + HASH_BYTES]) for at in range(0, len(hashes), HASH_BYTES)]

    def found_leaves(self, period: int) -> dict[int, Hash32]:
        """Place → leaf hash of every record that lies in the store now, read and hashed anew."""
        with self._reading():
            rows = self._rows(period)
            return dict(zip((row[0] for row in rows), self._leaves_of(period, rows), strict=True))

    def record_bytes(self, period: int, index: int) -> bytes | None:
        """The canonical bytes of one record as it lies in the store now, unchecked: those of its found leaf."""
        with self._reading():
            layout = read_layout(self._file, self.path)
            row = self._file.execute(
                "SELECT place, time, reading, label FROM records WHERE period = ? AND place = ?", (period, index)
            ).fetchone()
            if row is None:
                return None
            salts = salts_of(self._file, self.path, period)
            return next(packed_records(period, layout.values_type, layout.shape, [row], salts))

    def records(self, periods: Sequence[int]) -> RecordArrays:
        """All records of these periods as arrays. Raises RecordStoreError for a period that has none."""
        with self._reading():
            return read_records(self._file, self.path, periods)

    def test_records(self) -> RecordArrays:
        with self._reading():
            return read_test(self._file, self.path)

    def label_counts(self) -> dict[int, int]:
        """How many records of closed periods each class has; what bears no label is not counted."""
        with self._reading():
            rows = self._file.execute(
                "SELECT label, count(*) FROM records WHERE label != ? AND period IN (SELECT period FROM periods)"
                " GROUP BY label",
                (UNLABELLED,),
            )
            return {int(label): int(count) for label, count in rows}

    def test_count(self) -> int:
        with self._reading():
            (count,) = self._file.execute("SELECT count(*) FROM test_records").fetchone()
            return int(count)

    def _closed(self, period: int) -> ClosedPeriod | None:
        row = self._file.execute("SELECT * FROM periods WHERE period = ?", (period,)).fetchone()
        return None if row is None else closed_period(self.path, row)

    def _rows(self, period: int) -> list[tuple[int, int, bytes, int]]:
        return self._file.execute(
            "SELECT place, time, reading, label FROM records WHERE period = ? ORDER BY place", (period,)
        ).fetchall()

    def _leaves_of(self, period: int, rows: list[tuple[int, int, bytes, int]]) -> list[Hash32]:
        if not rows:
            return []
        layout = read_layout(self._file, self.path)
        salts = salts_of(self._file, self.path, period)
        return record_leaves(period, layout.values_type, layout.shape, rows, salts)

    # -- rows and transactions

    def _meta(self, name: str) -> str | None:
        row = self._file.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_meta(self, name: str, value: str) -> None:
        self._file.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, explained(self.path):
            yield

    @contextmanager
    def _transaction(self, durable: bool = False) -> Iterator[None]:
        """All that is written inside, or nothing. `durable`: it, and all before it, is on the disk on leaving."""
        with self._lock, explained(self.path):
            # In WAL mode NORMAL may lose the last appends to a power cut, never tear them; a close must not be lost.
            self._file.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled back by itself already.
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise
