"""Room on the disk: measured by part, scarce before it is gone, and what follows at each step."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger.errors import InvalidTransaction, StoreFull
from ledger.transactions import JoinRequest, PublishRequest, Transfer
from node.disk_use import DiskUse, DiskWatch, Room, measure
from node.services import NodeServices
from tests.support.league import terms

MB = 2**20


def watching(
    taken: int, free: int, bytes_max: int = 1_000 * MB, free_min: int = 400 * MB
) -> tuple[DiskWatch, list[Room]]:
    seen: list[Room] = []
    use = DiskUse({"ledger": taken - taken // 2, "blobs": taken // 2}, free)
    return DiskWatch(Path("/data"), bytes_max, free_min, seen.append, lambda folder: use), seen


@pytest.mark.trio
@pytest.mark.parametrize(
    ("taken", "free", "bytes_max", "room"),
    [
        (0, 10_000, 1_000, Room.ENOUGH),
        (900, 10_000, 1_000, Room.ENOUGH),
        (901, 10_000, 1_000, Room.SCARCE),
        (1_000, 10_000, 1_000, Room.SCARCE),
        (1_001, 10_000, 1_000, Room.NONE),
        (10**6, 10_000, 0, Room.ENOUGH),
        (0, 800, 1_000, Room.ENOUGH),
        (0, 799, 1_000, Room.SCARCE),
        (0, 400, 1_000, Room.SCARCE),
        (0, 399, 1_000, Room.NONE),
        (0, 100, 0, Room.NONE),
    ],
)
async def test_room_gets_scarce_before_it_is_gone(taken: int, free: int, bytes_max: int, room: Room) -> None:
    watch, seen = watching(taken * MB, free * MB, bytes_max * MB)
    await watch.look()
    assert (watch.room, seen) == (room, [room])
    assert (watch.refusal is not None) == (room is Room.NONE)


@pytest.mark.trio
async def test_a_node_stops_before_a_write_could_fail_half_way() -> None:
    watch, _ = watching(0, 99 * MB)
    with pytest.raises(StoreFull, match="99 MB are free in /data: too little to write safely"):
        await watch.look()


@pytest.mark.trio
async def test_the_reason_says_which_bound_was_passed_and_what_helps() -> None:
    over, _ = watching(1_001 * MB, 10_000 * MB)
    await over.look()
    assert over.refusal == "/data takes 1001 MB, allowed are 1000: raise [storage] bytes_max or keep fewer blocks"
    tight, _ = watching(0, 300 * MB)
    await tight.look()
    assert tight.refusal == "300 MB are free in /data, want 400: free some space"


def test_every_file_of_the_folder_is_counted_under_what_it_is_for(tmp_path: Path) -> None:
    sizes = {
        "ledger/000005.ldb": 3,
        "ledger.joined-0000000000000140/000001.log": 2,
        "ledger.joining/000001.log": 5,
        "snapshots/20/offer": 1,
        "journal": 2,
        "blobs/ab/abcd": 7,
        "records.sqlite": 4,
        "records.sqlite-wal": 1,
        "models/x.safetensors": 6,
        "strategies/y": 1,
        "masking/z.masking": 1,
        "privacy/budget": 3,
        "node.log": 2,
    }
    for name, pages in sizes.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x01" * 4096 * pages)
    use = measure(tmp_path)
    taken = {part: count // 4096 for part, count in use.parts.items()}
    assert taken == {
        "snapshots": 6,
        "ledger": 5,
        "journal": 2,
        "blobs": 7,
        "records": 5,
        "models": 6,
        "strategies": 1,
        "masking": 1,
        "privacy": 3,
        "other": 2,
    }
    assert use.total == sum(sizes.values()) * 4096
    assert use.free > 0


@pytest.mark.trio
async def test_no_request_is_published_or_joined_while_there_is_no_room() -> None:
    watch, _ = watching(0, 300 * MB)
    await watch.look()
    services = NodeServices(None, None, None, None, lambda: None)  # type: ignore[arg-type]
    services.inside = True
    services.keeping = SimpleNamespace(disk=watch)  # type: ignore[assignment]
    for body in (PublishRequest(terms()), JoinRequest(bytes(32), "vibration", 1, ())):
        with pytest.raises(InvalidTransaction, match="300 MB are free") as caught:
            await services.submit_own(body)
        assert caught.value.code == "disk"
    with pytest.raises(InvalidTransaction) as caught:
        await services.submit_own(Transfer(bytes(32), 1, ""))
    assert caught.value.code == "starting", "what takes no room is not refused for lack of it"
