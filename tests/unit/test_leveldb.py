"""The store on a disk: what is left after kills, torn logs, damage, a second daemon and a full disk."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.errors import CorruptStore, StoreFull, StoreLocked, StoreUnavailable
from ledger.store import WriteBatch
from node.leveldb import LevelDbStore
from tests.support.stores import head_of, numbered_batch, store_child


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A closed store of 30 batches, all of them in tables."""
    directory = tmp_path / "ledger"
    store = LevelDbStore(directory)
    for number in range(1, 31):
        store.write(numbered_batch(number), sync=False)
    store.compact()
    store.close()
    return directory


def test_what_was_written_is_there_after_reopening(directory):
    store = LevelDbStore(directory)
    assert head_of(store) == 30
    assert store.bytes_used() == sum(path.stat().st_size for path in directory.iterdir())
    store.close()


def test_a_killed_writer_leaves_whole_batches_and_every_acknowledged_one(tmp_path):
    directory = tmp_path / "ledger"
    for kill_after in (1, 7, 20, 33):
        with store_child("write", directory) as child:
            for _ in range(kill_after):
                acknowledged = int(child.stdout.readline())
            # No waiting: the child is somewhere inside its next writes.
            child.kill()
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        store = LevelDbStore(directory)
        assert head_of(store) in (acknowledged, acknowledged + 1)
        store.close()


def test_a_log_torn_at_any_byte_loses_the_torn_batch_only(tmp_path):
    directory = tmp_path / "ledger"
    store = LevelDbStore(directory)
    (log,) = directory.glob("*.log")
    ends = []
    for number in range(1, 5):
        store.write(numbered_batch(number))
        ends.append(log.stat().st_size)
    store.close()
    for length in [
        *range(0, ends[-1], 997),
        *ends,
        *(end - 1 for end in ends),
        *(end + 3 for end in ends[:-1]),
    ]:
        torn = tmp_path / "torn"
        shutil.copytree(directory, torn)
        with open(torn / log.name, "r+b") as file:
            file.truncate(length)
        store = LevelDbStore(torn)
        assert head_of(store) == sum(end <= length for end in ends), f"torn at {length} of {ends}"
        store.close()
        shutil.rmtree(torn)


def flip(path: Path, at: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 0x40
    path.write_bytes(damaged)


def read_all(directory: Path) -> None:
    store = LevelDbStore(directory)
    try:
        head_of(store)
        list(store.scan())
    finally:
        store.close()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a table's bit": lambda d: flip(max(d.glob("*.ldb"), key=lambda p: p.stat().st_size), 100),
    "a table is gone": lambda d: max(d.glob("*.ldb"), key=lambda p: p.stat().st_size).unlink(),
    "a table is cut": lambda d: max(d.glob("*.ldb"), key=lambda p: p.stat().st_size).write_bytes(b"x" * 10),
    "the manifest's bit": lambda d: flip(next(d.glob("MANIFEST-*")), 30),
    "the manifest is gone": lambda d: next(d.glob("MANIFEST-*")).unlink(),
    "CURRENT is gone": lambda d: (d / "CURRENT").unlink(),
    "CURRENT is garbage": lambda d: (d / "CURRENT").write_bytes(b"\x00garbage"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_and_never_passed_over(directory, damage):
    damage(directory)
    with pytest.raises(CorruptStore, match=str(directory)):
        read_all(directory)
    # A second try meets the same: nothing was made new in its place.
    with pytest.raises(CorruptStore):
        read_all(directory)


def test_a_synced_write_syncs_the_logs_of_all_that_was_written_before(tmp_path, monkeypatch):
    # LevelDB turns to a new log every 4 MB and leaves the old one as the system has it: after a power cut rows could be
    # missing under a synced head.
    directory = tmp_path / "ledger"
    store = LevelDbStore(directory)
    synced: set[int] = set()
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.add(os.fstat(file).st_ino), fsync(file)))
    for number in range(6):
        batch = WriteBatch()
        batch.put(b"row %d" % number, os.urandom(1_000_000))
        store.write(batch, sync=False)
    assert not synced
    logs = {path.stat().st_ino for path in directory.glob("*.log")}
    store.write(numbered_batch(1))
    assert synced, "no log was synced"
    assert {path.stat().st_ino for path in directory.glob("*.log")} & logs <= synced
    synced.clear()
    store.write(numbered_batch(2))
    assert not synced, "nothing was unsynced"
    store.close()


def test_a_rotten_bit_inside_the_log_is_named(tmp_path):
    directory = tmp_path / "ledger"
    store = LevelDbStore(directory)
    for number in range(1, 5):
        store.write(numbered_batch(number))
    store.close()
    (log,) = directory.glob("*.log")
    flip(log, 40)
    with pytest.raises(CorruptStore, match=str(directory)):
        LevelDbStore(directory)


def test_a_second_daemon_is_told_that_the_first_one_runs(tmp_path):
    directory = tmp_path / "ledger"
    with store_child("hold", directory) as child:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match=f"{directory} is in use: another daemon"):
            LevelDbStore(directory)
    # The lock dies with its holder, however it died.
    LevelDbStore(directory).close()


def test_the_same_process_cannot_open_it_twice(directory):
    store = LevelDbStore(directory)
    with pytest.raises(StoreLocked):
        LevelDbStore(directory)
    store.close()


def test_a_full_disk_is_named_and_nothing_acknowledged_is_lost(tmp_path):
    directory = tmp_path / "ledger"
    with store_child("fill", directory) as child:
        number, _, message = child.stdout.readline().partition(" ")
    assert f"no room left to write in {directory}" in message
    assert "open the store anew" in message
    store = LevelDbStore(directory)
    assert head_of(store) == int(number) > 3
    assert store.get(b"late") is None
    store.write(numbered_batch(int(number) + 1))
    store.close()
    store = LevelDbStore(directory)
    assert head_of(store) == int(number) + 1
    store.close()


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a directory")
    for path in (file, file / "below"):
        with pytest.raises(StoreUnavailable, match=str(path)) as caught:
            LevelDbStore(path)
        assert not isinstance(caught.value, StoreLocked | StoreFull)


def test_compaction_gives_the_room_of_deleted_rows_back(tmp_path):
    store = LevelDbStore(tmp_path / "ledger")
    # Twice the write buffer, so that tables are made.
    rows = {f"row {at}".encode(): at.to_bytes(2) * 5_000 for at in range(900)}
    store.write(WriteBatch(dict(rows)))
    store.compact()
    full = store.bytes_used()
    store.write(WriteBatch(dict.fromkeys(rows)))
    store.compact()
    assert store.bytes_used() < full / 4
    assert list(store.scan()) == []
    store.close()
