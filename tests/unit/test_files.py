"""Files that are appended to: the simulated disk promises what the operating system does, and no more than that."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ledger.errors import StoreFull, StoreUnavailable
from ledger.store import WriteBatch
from node.files import Files, OsFiles
from node.simulation.disk import PowerCut, SimDisk


@pytest.fixture(params=["os", "simulated"])
def files(request: pytest.FixtureRequest) -> Files:
    return OsFiles() if request.param == "os" else SimDisk(Random(1)).files()


def test_what_is_appended_is_read_and_a_cut_shortens(files: Files, tmp_path: Path) -> None:
    file = files.open(tmp_path / "a")
    file.append(b"one")
    file.append(b"two")
    assert (files.read(tmp_path / "a"), file.size) == (b"onetwo", 6)
    file.cut(3)
    file.append(b"!")
    file.sync()
    file.close()
    assert files.read(tmp_path / "a") == b"one!"
    assert files.open(tmp_path / "a").size == 4
    assert files.open(tmp_path / "a", fresh=True).size == 0


def test_names_come_move_and_go(files: Files, tmp_path: Path) -> None:
    assert not files.exists(tmp_path / "a")
    files.publish(tmp_path / "a", b"old")
    files.publish(tmp_path / "a", b"new")
    files.open(tmp_path / "b").append(b"b")
    files.rename(tmp_path / "b", tmp_path / "a")
    files.sync_folder(tmp_path)
    assert files.read(tmp_path / "a") == b"b"
    assert not files.exists(tmp_path / "b")
    files.remove(tmp_path / "a")
    files.remove(tmp_path / "a")
    assert not files.exists(tmp_path / "a")


# --- the simulated one forgets

A, B = Path("/simulated/a"), Path("/simulated/b")


def left_of(write: Callable[[Files], None], end: Callable[[SimDisk], None]) -> set[bytes | None]:
    """What is found under A after the end, over many disks."""
    found: set[bytes | None] = set()
    for seed in range(300):
        disk = SimDisk(Random(seed))
        write(disk.files())
        end(disk)
        files = disk.files()
        found.add(files.read(A) if files.exists(A) else None)
    return found


def append_without_sync(files: Files) -> None:
    file = files.open(A)
    file.append(b"kept")
    file.sync()
    files.sync_folder(A.parent)
    file.append(b"lost")


def test_a_power_cut_tears_what_was_not_synced_and_nothing_else() -> None:
    found = left_of(append_without_sync, SimDisk.cut_power)
    assert all(each is not None and each.startswith(b"kept") for each in found)
    assert {b"kept", b"keptlo", b"keptlost", b"keptl\0\0\0"} <= found


def test_a_killed_process_leaves_all_and_a_later_power_cut_may_take_it_still() -> None:
    assert left_of(append_without_sync, SimDisk.kill) == {b"keptlost"}

    def both(disk: SimDisk) -> None:
        disk.kill()
        disk.cut_power()

    assert b"kept" in left_of(append_without_sync, both)


def test_a_new_name_and_a_rename_are_lost_until_the_folder_is_synced() -> None:
    def unsynced(files: Files) -> None:
        file = files.open(A)
        file.append(b"new")
        file.sync()

    assert left_of(unsynced, SimDisk.cut_power) == {None, b"new"}

    def moved(files: Files) -> None:
        files.publish(A, b"old")
        file = files.open(B)
        file.append(b"new")
        file.sync()
        files.sync_folder(A.parent)
        files.rename(B, A)

    assert left_of(moved, SimDisk.cut_power) == {b"old", b"new"}


def test_a_dead_process_writes_no_more() -> None:
    disk = SimDisk(Random(1))
    file, store = disk.files().open(A), disk.open_store()
    disk.kill()
    with pytest.raises(PowerCut):
        file.append(b"late")
    with pytest.raises(PowerCut):
        store.write(WriteBatch({b"a": b"late"}))
    assert disk.files().read(A) == b""


def test_batches_that_were_not_synced_are_lost_from_some_point_on() -> None:
    found = set()
    for seed in range(60):
        disk = SimDisk(Random(seed))
        store = disk.open_store()
        store.write(WriteBatch({b"a": b"1"}))
        store.write(WriteBatch({b"a": b"2", b"b": b"2"}), sync=False)
        store.write(WriteBatch({b"a": b"3"}), sync=False)
        disk.cut_power()
        after = disk.open_store()
        found.add((after.get(b"a"), after.get(b"b")))
    assert found == {(b"1", None), (b"2", b"2"), (b"3", b"2")}


def test_a_full_disk_refuses_and_after_a_failed_write_a_store_is_opened_anew() -> None:
    disk = SimDisk(Random(1))
    file, store = disk.files().open(A), disk.open_store()
    disk.faults.full = True
    with pytest.raises(OSError, match="No space"):
        file.append(b"much")
    with pytest.raises(StoreFull):
        store.write(WriteBatch({b"a": b"1"}))
    disk.faults.full = False
    with pytest.raises(StoreUnavailable, match="earlier write failed"):
        store.write(WriteBatch({b"a": b"1"}))
    disk.kill()
    disk.open_store().write(WriteBatch({b"a": b"2"}))
