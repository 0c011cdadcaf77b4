"""Joining by a snapshot over a network: from several members at once, past those that lie, stop or have less."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from ledger.chain import HEAD, Chain
from ledger.codec import decode, encode
from ledger.memory_store import MemoryStore
from ledger.snapshots import Cutter, Snapshot
from ledger.store import Store
from ledger.types import NodeKey
from node import snapshot_store
from node.network.snapshot_exchange import (
    CHANGES,
    CHANGES_PER_PAGE_MAX,
    CHUNK,
    OFFERS,
    Changes,
    ChangesWanted,
    ChunkWanted,
    Offers,
    serve_snapshots,
)
from node.network.transport import RequestRefused
from node.snapshot_store import SnapshotStore
from node.snapshot_sync import JoinFailed, SnapshotFetch
from tests.support.league import League, anchored
from tests.support.leagues import key_of, league

Answer = Callable[[NodeKey, bytes], Awaitable[bytes]]


@pytest.fixture(scope="module")
def lived() -> League:
    """Some dozens of chunks, and a committee that changed."""
    league_ = League(9)
    for period in range(1, 14):
        league_.say(*[(key, anchored(period)) for key in league_.keys[:4]])
    return league_


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_store, "Cutter", lambda tree, sizes, load: Cutter(tree, sizes, load, 800))


def rows_of(store: Store) -> dict[bytes, bytes]:
    return {key: value for prefix in (b"S", b"N", b"K", HEAD) for key, value in store.scan(prefix)}


def changes_of(chain: Chain) -> Any:
    def changes(after: int, up_to: int, limit: int) -> tuple[Any, ...]:
        found = chain.committee_changes(after, min(up_to, chain.height))
        return tuple(each for each, _ in zip(found, range(limit), strict=False))

    return changes


def stored(folder: Path, league_: League) -> SnapshotStore:
    store = SnapshotStore(folder)
    with league_.store.snapshot() as rows:
        store.write(rows)
    return store


def serve(transport: Any, folder: Path, league_: League) -> SnapshotStore:
    store = stored(folder, league_)
    serve_snapshots(transport, store, changes_of(league_.chain))
    return store


def serve_by_hand(transport: Any, offers: Answer, changes: Answer, chunk: Answer) -> None:
    for kind, answer in ((OFFERS, offers), (CHANGES, changes), (CHUNK, chunk)):
        transport.serve(kind, answer, body_bytes_max=1024, concurrent_per_peer=4)


async def fetched(transport: Any, league_: League, peers: list[NodeKey], above: int = 0) -> tuple[Store, SnapshotFetch]:
    store = MemoryStore()
    fetch = SnapshotFetch(transport, league_.genesis, store, above)
    with trio.fail_after(30):
        assert await fetch.run(peers) == league_.chain.height
    return store, fetch


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["memory", "libp2p"])
async def test_a_newcomer_takes_the_chunks_from_several_members(kind: str, tmp_path: Path, lived: League) -> None:
    async with league(kind, "alice", "bob", "new") as (alice, bob, new):
        for node in (alice, bob):
            serve(node, tmp_path / node.me.hex(), lived)
        store, fetch = await fetched(new, lived, [alice.me, bob.me])
        assert rows_of(store) == rows_of(lived.store)
        assert Chain(store, lived.genesis).height == lived.chain.height
        assert fetch.progress.chunks == fetch.progress.chunks_in > 10


class Counting:
    """Answers like an honest member, and counts; `lie` may change what it says."""

    def __init__(self, store: SnapshotStore, chain: Chain) -> None:
        self.store, self.chain = store, chain
        self.chunks = 0

    async def offers(self, peer: NodeKey, body: bytes) -> bytes:
        return encode(Offers(self.store.offers))

    async def changes(self, peer: NodeKey, body: bytes) -> bytes:
        wanted = decode(ChangesWanted, body)
        return encode(Changes(changes_of(self.chain)(wanted.after, wanted.up_to, CHANGES_PER_PAGE_MAX)))

    async def chunk(self, peer: NodeKey, body: bytes) -> bytes:
        self.chunks += 1
        wanted = decode(ChunkWanted, body)
        found = self.store.chunk(wanted.height, wanted.slice)
        if found is None:
            raise RequestRefused("missing", "no such chunk")
        return found

    def at(self, transport: Any) -> "Counting":
        serve_by_hand(transport, self.offers, self.changes, self.chunk)
        return self


class FalseChunks(Counting):
    async def chunk(self, peer: NodeKey, body: bytes) -> bytes:
        good = await super().chunk(peer, body)
        return good[:-1] + bytes([good[-1] ^ 1])


class OtherChunks(Counting):
    async def chunk(self, peer: NodeKey, body: bytes) -> bytes:
        wanted = decode(ChunkWanted, body)
        (offer,) = self.store.offers
        return await super().chunk(peer, encode(replace(wanted, slice=offer.slices[0])))


class NoChunks(Counting):
    async def chunk(self, peer: NodeKey, body: bytes) -> bytes:
        self.chunks += 1
        raise RequestRefused("missing", "gone")


class FalseChanges(Counting):
    async def changes(self, peer: NodeKey, body: bytes) -> bytes:
        headers = decode(Changes, await super().changes(peer, body)).headers
        return encode(Changes(headers[1:]))


class HigherHeader(Counting):
    """Offers a state of its own making, under a header that nobody signed."""

    async def offers(self, peer: NodeKey, body: bytes) -> bytes:
        (offer,) = self.store.offers
        header = replace(offer.final.header, height=offer.final.header.height + 1_000, state_root=bytes(32))
        forged = Snapshot(replace(offer.final, header=header), offer.slices)
        return encode(Offers((forged,)))


class HalfTheState(Counting):
    """A true header, and slices that leave the second half out."""

    async def offers(self, peer: NodeKey, body: bytes) -> bytes:
        (offer,) = self.store.offers
        return encode(Offers((replace(offer, slices=offer.slices[: len(offer.slices) // 2]),)))


class Garbage(Counting):
    async def offers(self, peer: NodeKey, body: bytes) -> bytes:
        return b"\xc1"


class Mute(Counting):
    """Goes silent after a few chunks: its asker cancels at its own deadline."""

    async def chunk(self, peer: NodeKey, body: bytes) -> bytes:
        if self.chunks >= 3:
            await trio.sleep_forever()
        return await super().chunk(peer, body)


@pytest.mark.trio
@pytest.mark.parametrize(
    "liar", [FalseChunks, OtherChunks, NoChunks, FalseChanges, HigherHeader, HalfTheState, Garbage]
)
async def test_a_liar_costs_its_own_answers_only(liar: type[Counting], tmp_path: Path, lived: League) -> None:
    async with league("memory", "mallory", "bob", "new") as (mallory, bob, new):
        store = stored(tmp_path / "mallory", lived)
        evil = liar(store, lived.chain).at(mallory)
        serve(bob, tmp_path / "bob", lived)
        joined, _ = await fetched(new, lived, [mallory.me, bob.me])
        assert rows_of(joined) == rows_of(lived.store)
        # Who lies about the committees only may not have been asked about them, and its chunks are good.
        assert evil.chunks <= 6 or liar is FalseChanges, "it was asked on and on"


@pytest.mark.trio
async def test_who_falls_silent_holds_nobody_up(tmp_path: Path, lived: League, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.network.snapshot_exchange.CHUNK_S", 0.3)
    async with league("memory", "mute", "bob", "new") as (mute, bob, new):
        Mute(stored(tmp_path / "mute", lived), lived.chain).at(mute)
        serve(bob, tmp_path / "bob", lived)
        joined, _ = await fetched(new, lived, [mute.me, bob.me])
        assert rows_of(joined) == rows_of(lived.store)


class Drip(Counting):
    """Says nothing false, and little at a time."""

    async def changes(self, peer: NodeKey, body: bytes) -> bytes:
        headers = decode(Changes, await super().changes(peer, body)).headers
        await trio.sleep(0.1)
        return encode(Changes(headers[:1]))

    async def chunk(self, peer: NodeKey, body: bytes) -> bytes:
        await trio.sleep(0.1)
        return await super().chunk(peer, body)


@pytest.mark.trio
async def test_who_offers_much_and_gives_little_at_a_time_holds_nobody_up(
    tmp_path: Path, lived: League, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two liars have cut their state finer than the rule says, so that they are asked first, and for long."""
    monkeypatch.setattr("node.snapshot_sync.PROGRESS_S", 0.3)
    monkeypatch.setattr("node.snapshot_sync.PROGRESS_BYTES_MIN", 6_000)
    with monkeypatch.context() as finer:
        finer.setattr(snapshot_store, "Cutter", lambda tree, sizes, load: Cutter(tree, sizes, load, 100))
        fine = stored(tmp_path / "fine", lived)
    async with league("memory", "mallory", "mallet", "bob", "new") as (mallory, mallet, bob, new):
        liars = [Drip(fine, lived.chain).at(each) for each in (mallory, mallet)]
        serve(bob, tmp_path / "bob", lived)
        joined, _ = await fetched(new, lived, [mallory.me, mallet.me, bob.me])
        assert rows_of(joined) == rows_of(lived.store)
        chunks = sum(each.chunks for each in liars)
        assert 0 < chunks < len(fine.offers[0].slices) / 2


@pytest.mark.trio
async def test_what_has_arrived_is_not_asked_for_again_after_a_restart(tmp_path: Path, lived: League) -> None:
    async with league("memory", "alice", "new") as (alice, new):
        honest = Counting(stored(tmp_path / "alice", lived), lived.chain).at(alice)
        store = MemoryStore()
        fetch = SnapshotFetch(new, lived.genesis, store, 0)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def crash() -> None:
                    while honest.chunks < 5:
                        await trio.sleep(0)
                    scope.cancel()

                nursery.start_soon(crash)
                nursery.start_soon(fetch.run, [alice.me])
        assert store.get(HEAD) is None
        before, total = honest.chunks, len(honest.store.offers[0].slices)
        assert 0 < before < total
        await SnapshotFetch(new, lived.genesis, store, 0).run([alice.me])
        assert honest.chunks <= total + 4, "only what was on its way is asked for again"
        assert rows_of(store) == rows_of(lived.store)


@pytest.mark.trio
async def test_with_nobody_to_ask_or_nothing_newer_it_fails_and_says_why(tmp_path: Path, lived: League) -> None:
    async with league("memory", "alice", "mallory", "new") as (alice, mallory, new):
        serve(alice, tmp_path / "alice", lived)
        FalseChunks(stored(tmp_path / "mallory", lived), lived.chain).at(mallory)
        for peers, above, why in (
            ([], 0, "0 snapshots above height 0"),
            ([alice.me], lived.chain.height, "0 snapshots above"),
            ([mallory.me], 0, "1 snapshots above height 0 offered: " + mallory.me.hex()[:16]),
            ([key_of("stranger").public], 0, "0 snapshots above height 0 offered: "),
        ):
            store = MemoryStore()
            with pytest.raises(JoinFailed, match=why), trio.fail_after(30):
                await SnapshotFetch(new, lived.genesis, store, above).run(peers)
            assert store.get(HEAD) is None


# --- the folder


def test_snapshots_of_a_folder_outlive_the_process_and_the_oldest_makes_way(tmp_path: Path) -> None:
    league_ = League(4)
    store = SnapshotStore(tmp_path)
    heights = []
    for period in range(1, 5):
        league_.say((league_.keys[0], anchored(period)))
        with league_.store.snapshot() as rows:
            heights.append(store.write(rows).final.header.height)
    assert [each.final.header.height for each in store.offers] == heights[:-3:-1]
    (tmp_path / "7.new").mkdir()
    (tmp_path / "3" / "offer").write_bytes(b"\xc1")
    again = SnapshotStore(tmp_path)
    assert [each.final.header.height for each in again.offers] == heights[-1:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(heights[-1])]
    assert again.chunk(heights[-1], again.offers[0].slices[0]) is not None
    assert again.chunk(3, again.offers[0].slices[0]) is None
    assert again.bytes_used() == sum(path.stat().st_size for path in tmp_path.glob("*/*"))


def test_a_state_too_large_for_the_buffer_is_dealt_out_through_files(
    tmp_path: Path, lived: League, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lived.store.snapshot() as rows:
        in_memory = SnapshotStore(tmp_path / "a").write(rows)
    monkeypatch.setattr(snapshot_store, "BUFFER_BYTES_MAX", 500)
    with lived.store.snapshot() as rows:
        through_files = SnapshotStore(tmp_path / "b").write(rows)
    assert through_files == in_memory
    chunks = [
        sorted((path.name, path.read_bytes()) for path in folder.rglob("*") if path.is_file())
        for folder in (tmp_path / "a", tmp_path / "b")
    ]
    assert chunks[0] == chunks[1]


def test_a_full_disk_leaves_the_snapshots_that_were_there(
    tmp_path: Path, lived: League, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(tmp_path, lived)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot_store, "_write", full)
    with lived.store.snapshot() as rows, pytest.raises(OSError, match="No space"):
        store.write(rows)
    assert len(store.offers) == 1
    assert [path.name for path in tmp_path.iterdir()] == [str(lived.chain.height)]
