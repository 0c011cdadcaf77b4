"""The store of records: closed for good, whole after a crash, loud about a full disk or a damaged file."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ledger.errors import CorruptStore
from ledger.merkle import MerkleTree
from ledger.records import UNLABELLED, SaltedRecord, SensorRecord, ValueType, parse_record
from node.collector import layout_of
from node.record_errors import RecordStoreError, RecordStoreLocked
from node.record_reader import RecordLayout, RecordReader
from node.record_store import NewRecords, RecordStore
from tests.support.factory_records import HOUR_MS, filled_store, new_records, table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records.sqlite"


def test_a_closed_period_is_the_tree_over_its_records(path):
    store, closed = filled_store(path, periods=2, each=13)
    for period in closed:
        leaves = [parse_record(store.record_bytes(period.period, index)).leaf for index in range(13)]
        assert MerkleTree(leaves).root == period.root
        assert store.kept_leaves(period.period) == leaves
        assert store.found_leaves(period.period) == dict(enumerate(leaves))
    assert store.record_bytes(1, 13) is None
    assert store.closed_periods() == tuple(closed)


def test_no_two_periods_and_no_two_stores_have_a_salt_or_a_root_in_common(tmp_path):
    """Else who knows all records of a period but one could guess that one until the root fits."""
    found = []
    for name in ("one", "other"):
        store, closed = filled_store(tmp_path / f"{name}.sqlite", periods=2, each=13)
        salted = [parse_record(store.record_bytes(each.period, index)) for each in closed for index in range(13)]
        assert all(isinstance(record, SaltedRecord) for record in salted)
        found.append((salted, [each.root for each in closed]))
        store.close()
    (ours, our_roots), (theirs, their_roots) = found
    assert [replace(record, salt=bytes(16)) for record in ours] == [
        replace(record, salt=bytes(16)) for record in theirs
    ]
    assert len({record.salt for record in ours + theirs}) == 2 * 2 * 13
    assert len({*our_roots, *their_roots}) == 4


def test_a_period_closed_before_there_were_salts_keeps_its_leaves(path):
    """As format 2 left it: leaves without salt, under roots that the ledger has."""
    store, (first, _) = filled_store(path, periods=2, each=13)
    plain = [SensorRecord(*each) for each in map(unsalted, (store.record_bytes(1, index) for index in range(13)))]
    leaves = [record.leaf for record in plain]
    store.close()
    with sqlite3.connect(path) as file:
        file.execute("DELETE FROM salts WHERE period = 1")
        file.execute("UPDATE leaves SET hashes = ? WHERE period = 1", (b"".join(leaves),))
        file.execute("UPDATE periods SET root = ? WHERE period = 1", (MerkleTree(leaves).root,))
        file.execute("PRAGMA user_version = 2")
    file.close()
    with RecordStore(path) as store:
        assert store.found_leaves(1) == dict(enumerate(leaves)) == dict(enumerate(store.kept_leaves(1)))
        assert [parse_record(store.record_bytes(1, index)) for index in range(13)] == plain
        assert store.closed_period(1).root != first.root
        assert list(store.found_leaves(2).values()) == store.kept_leaves(2)
        closed = store.add_period(3, new_records(table(5)), 3 * HOUR_MS, 4 * HOUR_MS)
        assert isinstance(parse_record(store.record_bytes(3, 0)), SaltedRecord)
        assert MerkleTree(store.kept_leaves(3)).root == closed.root


def unsalted(data):
    record = parse_record(data)
    return (record.period, record.index, record.time, record.values_type, record.shape, record.values, record.label)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_damaged_secret_is_the_owners_fault_and_said_so(path, secret):
    store, _ = filled_store(path)
    store.close()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE salts SET secret = ? WHERE period = 2", (secret,))
    file.close()
    with RecordStore(path) as store, pytest.raises(CorruptStore, match="secret of period 2"):
        store.found_leaves(2)


def test_what_was_closed_is_there_after_reopening(path):
    store, closed = filled_store(path)
    before = store.records([1, 2, 3])
    store.close()
    with RecordStore(path) as store:
        assert store.closed_periods() == tuple(closed)
        assert np.array_equal(store.records([1, 2, 3]).features, before.features)
        assert store.test_count() == 40
    assert path.stat().st_mode & 0o077 == 0


def test_labels_are_counted_over_closed_periods_alone(path):
    with RecordStore(path) as store:
        store.declare(RecordLayout(ValueType.FLOAT32, (2,), ("a", "b", "c")))
        features = np.zeros((6, 2), np.float32)
        labels = np.array([0, 0, 2, UNLABELLED, 2, 0], np.int64)
        store.add_period(1, NewRecords(features, labels, np.arange(6)), 0, 10)
        store.append(2, NewRecords(features, np.ones(6, np.int64), np.arange(6) + 10))
        assert store.label_counts() == {0: 3, 2: 2}
        store.close_period(2, 10, 20)
        assert store.label_counts() == {0: 3, 1: 6, 2: 2}


def test_records_come_back_as_they_went_in_any_type(tmp_path):
    for kind, dtype, shape in [
        (ValueType.FLOAT32, np.float32, (2, 3)),
        (ValueType.UINT8, np.uint8, (1, 4, 4)),
        (ValueType.INT64, np.int64, (5,)),
    ]:
        with RecordStore(tmp_path / f"{kind.name}.sqlite") as store:
            store.declare(RecordLayout(kind, shape, ("a", "b")))
            features = np.arange(7 * int(np.prod(shape))).reshape(7, *shape).astype(dtype)
            labels = np.array([0, 1, 0, 1, 1, 0, 0], np.int64)
            rows = replace(new_records(table(7)), features=features, labels=labels)
            store.append(1, rows)
            store.close_period(1, 0, 10)
            read = store.records([1])
            assert read.features.dtype == dtype
            assert np.array_equal(read.features, features)
            assert np.array_equal(read.labels, labels)


def test_a_closed_period_takes_no_more_records_and_closes_once(path):
    store, closed = filled_store(path)
    with pytest.raises(RecordStoreError, match="want more than 3"):
        store.append(3, new_records(table(1)))
    with pytest.raises(RecordStoreError, match="want more than 3"):
        store.append(2, new_records(table(1)))
    assert store.close_period(3, 5, 6) == closed[2]
    with pytest.raises(RecordStoreError, match="no records"):
        store.close_period(4, 5, 6)
    store.append(5, new_records(table(1)))
    with pytest.raises(RecordStoreError, match="begins < ends"):
        store.close_period(5, 6, 6)
    assert store.open_periods() == (5,)


def test_records_of_another_form_are_refused_and_leave_no_trace(path):
    store, _ = filled_store(path)
    rows = new_records(table(4))
    with pytest.raises(RecordStoreError, match="want float32"):
        store.append(4, replace(rows, features=rows.features.astype(np.float64)))
    with pytest.raises(RecordStoreError, match=r"want float32 \[n, 8\]"):
        store.append(4, replace(rows, features=rows.features[:, :7]))
    with pytest.raises(RecordStoreError, match="labels"):
        store.append(4, replace(rows, labels=rows.labels + 4))
    with pytest.raises(RecordStoreError, match="times"):
        store.append(4, replace(rows, times=rows.times - 100))
    assert store.open_periods() == ()
    with pytest.raises(RecordStoreError, match="a data directory of its own"):
        store.declare(layout_of(table(1, width=9)))


def test_a_failed_close_leaves_neither_records_nor_period(path):
    store, _ = filled_store(path)
    with pytest.raises(RecordStoreError):
        store.add_period(4, new_records(table(4)), 9, 9)
    assert store.open_periods() == ()
    assert store.last_closed() == 3


def test_another_writer_is_named_as_the_reason(path):
    store, _ = filled_store(path)
    store._file.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordStoreLocked, match="another process"):
        store.append(4, new_records(table(1)))
    other.execute("ROLLBACK")
    assert store.append(4, new_records(table(1))) == 1


def test_a_damaged_file_is_said_to_be_damaged(path):
    store, _ = filled_store(path, periods=40)
    store.close()
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 5] = b"\x5a" * (4096 * 2)
    path.write_bytes(data)

    def read_all() -> None:
        with RecordStore(path) as store:
            for period in range(1, 41):
                store.found_leaves(period)
                store.kept_leaves(period)

    with pytest.raises(CorruptStore, match=r"records\.sqlite"):
        read_all()


def test_a_file_that_is_no_store_is_refused(path):
    path.write_bytes(b"time,value\n" * 1000)
    with pytest.raises(CorruptStore):
        RecordStore(path)


def test_a_missing_store_is_an_error_for_a_reader_and_no_new_file(path):
    with pytest.raises(RecordStoreError):
        RecordReader(path)
    assert not path.exists()


def test_a_reader_sees_that_somebody_wrote(path):
    store, _ = filled_store(path)
    reader = RecordReader(path)
    before = reader.version()
    assert reader.version() == before
    store.append(4, new_records(table(2)))
    assert reader.version() != before
    assert len(reader.records([1, 2])) == 26
    reader.close()


FILL = """
import resource, sys
from pathlib import Path
from node.record_errors import RecordStoreFull
from tests.support.factory_records import *
store, _ = filled_store(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
period = 3
try:
    while True:
        store.add_period(period + 1, new_records(table(200)), 0, 1)
        period += 1
except RecordStoreFull as error:
    assert "no room" in str(error), error
    assert store.last_closed() == period
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.add_period(period + 1, new_records(table(200)), 0, 1)
    print(period + 1)
"""


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(path):
    """RLIMIT_FSIZE makes the kernel refuse the write, as a full disk would."""
    script = [sys.executable, "-c", FILL, str(path), str(300_000)]
    run = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    with RecordStore(path) as store:
        assert store.last_closed() == int(run.stdout) > 4
        for closed in store.closed_periods():
            assert MerkleTree(list(store.found_leaves(closed.period).values())).root == closed.root


CLOSE_FOR_EVER = """
import sys
from pathlib import Path
from tests.support.factory_records import *
store, _ = filled_store(Path(sys.argv[1]))
period = 3
while True:
    period += 1
    store.add_period(period, new_records(table(20)), 0, 1)
    print(period, flush=True)
"""


def test_a_killed_process_leaves_whole_periods_only(path):
    child = subprocess.Popen(
        [sys.executable, "-c", CLOSE_FOR_EVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(12)][-1]
    os.kill(child.pid, signal.SIGKILL)
    told = max([told, *(int(line) for line in child.stdout.read().split())])
    child.wait()
    with RecordStore(path) as store:
        assert store.last_closed() >= told
        assert store.open_periods() == ()
        for closed in store.closed_periods():
            leaves = list(store.found_leaves(closed.period).values())
            assert leaves == store.kept_leaves(closed.period)
            assert (len(leaves), MerkleTree(leaves).root) == (closed.record_count, closed.root)
        assert store.closed_periods()[0].begins == HOUR_MS
