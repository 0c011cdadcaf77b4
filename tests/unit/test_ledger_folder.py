"""Which folder is the ledger: when a snapshot took its place, after a crash in the midst of it, while a node runs."""

import shutil
from pathlib import Path

import pytest

from ledger.errors import StoreLocked
from ledger.store import WriteBatch
from node.data_folder import JOINED, JOINING, LEDGER
from node.ledger_folder import open_joining, open_ledger, put_in_place, settle_ledger
from node.leveldb import LevelDbStore


def store_in(folder: Path, mark: bytes) -> None:
    store = LevelDbStore(folder)
    store.write(WriteBatch({b"mark": mark}))
    store.close()


def ledger_says(data_dir: Path) -> bytes | None:
    store = open_ledger(data_dir)
    try:
        return store.get(b"mark")
    finally:
        store.close()


def folders(data_dir: Path) -> list[str]:
    return sorted(path.name for path in data_dir.iterdir())


def test_a_running_node_goes_on_in_what_was_joined_and_the_next_start_finds_it_in_place(tmp_path: Path) -> None:
    store_in(tmp_path / LEDGER, b"old")
    store = open_ledger(tmp_path)
    reader = store.scan(b"mark")
    joining = open_joining(tmp_path)
    joining.write(WriteBatch({b"mark": b"new"}))
    delete_old = put_in_place(store, joining, tmp_path, 140)
    assert store.get(b"mark") == b"new"
    assert list(reader) == [(b"mark", b"old")], "who was reading reads to the end"
    store.write(WriteBatch({b"more": b"1"}))
    delete_old()
    assert folders(tmp_path) == [f"{JOINED}{140:016}"]
    store.close()
    assert ledger_says(tmp_path) == b"new"
    assert folders(tmp_path) == [LEDGER]


def test_a_second_snapshot_in_one_run_takes_the_place_of_the_first(tmp_path: Path) -> None:
    store_in(tmp_path / LEDGER, b"old")
    store = open_ledger(tmp_path)
    for height in (20, 140):
        joining = open_joining(tmp_path)
        joining.write(WriteBatch({b"mark": str(height).encode()}))
        put_in_place(store, joining, tmp_path, height)
    assert store.get(b"mark") == b"140"
    store.close()
    # Nothing was deleted yet, as after a kill: the highest counts.
    assert len(folders(tmp_path)) == 3
    assert ledger_says(tmp_path) == b"140"
    assert folders(tmp_path) == [LEDGER]


@pytest.mark.parametrize("deleted", [(), (LEDGER,), (f"{JOINED}{20:016}",), (LEDGER, f"{JOINED}{20:016}")])
def test_settling_that_was_interrupted_is_gone_on_with(tmp_path: Path, deleted: tuple[str, ...]) -> None:
    store_in(tmp_path / LEDGER, b"old")
    store_in(tmp_path / f"{JOINED}{20:016}", b"20")
    store_in(tmp_path / f"{JOINED}{140:016}", b"140")
    for name in deleted:
        shutil.rmtree(tmp_path / name)
    assert ledger_says(tmp_path) == b"140"
    assert folders(tmp_path) == [LEDGER]


def test_what_is_still_being_joined_counts_for_nothing(tmp_path: Path) -> None:
    store_in(tmp_path / LEDGER, b"old")
    store_in(tmp_path / JOINING, b"half")
    assert ledger_says(tmp_path) == b"old"
    assert folders(tmp_path) == [LEDGER, JOINING]


@pytest.mark.parametrize("held", [LEDGER, f"{JOINED}{140:016}"])
def test_the_folder_of_a_running_node_is_left_alone(tmp_path: Path, held: str) -> None:
    store_in(tmp_path / LEDGER, b"old")
    store_in(tmp_path / f"{JOINED}{140:016}", b"140")
    running = LevelDbStore(tmp_path / held)
    with pytest.raises(StoreLocked):
        settle_ledger(tmp_path)
    assert folders(tmp_path) == [LEDGER, f"{JOINED}{140:016}"]
    running.close()
    assert ledger_says(tmp_path) == b"140"
