"""Old blocks go by policy and never those that a joiner of our snapshots fetches; the disk gets its space back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ledger.chain import Chain
from node.ledger_pruning import BlockPruner
from node.leveldb import LevelDbStore
from node.snapshot_store import SnapshotStore
from node.snapshot_writer import SnapshotWriter
from tests.support.league import League, anchored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LevelDbStore]:
    opened = LevelDbStore(tmp_path / "ledger")
    yield opened
    opened.close()


def grow(league: League, blocks: int) -> None:
    for _ in range(blocks):
        sender = league.keys[league.chain.height % 4]
        league.say((sender, anchored(league.chain.height // 4 + 1)))


def pruner(league: League, store: LevelDbStore, keep: int, floor: int | None = None) -> BlockPruner:
    return BlockPruner(league.chain, store, trio.Lock(), keep, lambda: floor)


@pytest.mark.trio
async def test_as_many_blocks_stay_as_the_operator_wants(store: LevelDbStore, autojump_clock: object) -> None:
    league = League(4, store)
    grow(league, 60)
    await pruner(league, store, keep=25).prune()
    assert league.chain.held.first_block == 36
    assert league.chain.final_block(36) is not None
    assert league.chain.final_header(1) is not None
    await pruner(league, store, keep=25).prune()
    assert league.chain.held.first_block == 36
    assert Chain(store, league.genesis).held == league.chain.held


@pytest.mark.trio
async def test_blocks_after_the_oldest_snapshot_stay(store: LevelDbStore, autojump_clock: object) -> None:
    league = League(4, store)
    grow(league, 60)
    await pruner(league, store, keep=25, floor=11).prune()
    assert league.chain.held.first_block == 11


@pytest.mark.trio
async def test_dropped_blocks_give_their_space_back(store: LevelDbStore, autojump_clock: object) -> None:
    league = League(4, store)
    grow(league, 150)
    store.compact()
    before = store.bytes_used()
    old = pruner(league, store, keep=5)
    await old.prune()
    await old.compact()
    assert store.bytes_used() < before
    assert [league.chain.final_block(height) is not None for height in (145, 146)] == [False, True]


@pytest.mark.trio
@pytest.mark.parametrize("every_ms", [0, 5_000])
async def test_snapshots_are_written_at_heights_that_all_agree_on(
    store: LevelDbStore, tmp_path: Path, every_ms: int, nursery: trio.Nursery
) -> None:
    league = League(4, store)
    snapshots = SnapshotStore(tmp_path / "snapshots")
    writer = SnapshotWriter(league.chain, snapshots, trio.Lock(), every=4, every_ms=every_ms)
    nursery.start_soon(writer.run)
    written: list[int] = []
    for _ in range(25):
        grow(league, 1)
        writer.committed()
        due = league.chain.height % 4 == 0
        before = league.chain.header(league.chain.height - 4) if due else None
        if due and before is not None and every_ms:
            due = league.chain.head_time // every_ms != before.time // every_ms
        if due:
            with trio.fail_after(20):
                while writer.busy:
                    await trio.sleep(0.005)
            written.append(league.chain.height)
    assert written == ([4, 8, 12, 16, 20, 24] if every_ms == 0 else written)
    assert len(written) >= 4
    assert [each.final.header.height for each in snapshots.offers] == written[:-3:-1]


@pytest.mark.trio
async def test_no_snapshot_is_written_while_the_disk_has_no_room(store: LevelDbStore, tmp_path: Path) -> None:
    league = League(4, store)
    snapshots = SnapshotStore(tmp_path / "snapshots")
    writer = SnapshotWriter(league.chain, snapshots, trio.Lock(), every=1, every_ms=0)
    writer.allowed = False
    grow(league, 2)
    writer.committed()
    with trio.move_on_after(0):
        await writer.run()
    assert snapshots.offers == ()
