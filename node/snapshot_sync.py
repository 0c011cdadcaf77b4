"""Joining by a snapshot: asks members for one, follows the committees to its header, takes its chunks from all who have
it, and lets the ledger go on in what comes out.

Nothing that a peer says is believed: the header needs the signatures of committees that descend from the genesis, a
chunk must have the state root in that header. A peer that lies or stops is not asked again in this attempt. What has
arrived survives a restart. What is checked, and how a chain comes of it, is `ledger/joining.py`'s business.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import trio

from ledger.errors import InvalidBytes, InvalidProof, InvalidSnapshot
from ledger.genesis import Genesis
from ledger.joining import Join, Path
from ledger.snapshots import Slice, Snapshot
from ledger.store import Store
from ledger.types import NodeKey
from node.network.snapshot_exchange import CHANGES_PER_PAGE_MAX, ask_changes, ask_chunk, ask_offers
from node.network.transport import Transport, TransportError

log = logging.getLogger(__name__)

# Chunks on their way from one peer: one travels while the other is checked.
CHUNKS_PER_PEER = 2
# Requests of one peer that may fail on their way before it is left out; a lie is one too many.
FAULTS_MAX = 3
# Entries of a state that have to arrive in so long, a third of what a chunk in time makes of a line. No blocks are
# fetched meanwhile, and who offers a newer state than others, finely cut, could hold a joiner up for days.
PROGRESS_S, PROGRESS_BYTES_MIN = 60.0, 2**20


class JoinFailed(Exception):
    """No snapshot could be had. The text says what each peer answered."""


@dataclass(slots=True)
class Source:
    """A peer, and how often it failed in this attempt."""

    peer: NodeKey
    faults: int = 0
    answer: str = ""

    @property
    def usable(self) -> bool:
        return self.faults < FAULTS_MAX

    def failed(self, error: Exception) -> None:
        lies = isinstance(error, InvalidBytes | InvalidProof | InvalidSnapshot)
        self.faults += FAULTS_MAX if lies else 1
        self.answer = str(error)
        if lies:
            log.warning("%s sent a false part of a snapshot: %s", self.peer.hex()[:16], error)


@dataclass(slots=True)
class Progress:
    """How far an attempt is. `stage`: "offers", "committees" or "chunks"."""

    stage: str = "offers"
    height: int = 0
    chunks: int = 0
    chunks_in: int = 0


@dataclass(slots=True)
class SnapshotFetch:
    """One attempt to build a chain in `store` from what `peers` offer above `above`."""

    transport: Transport
    genesis: Genesis
    store: Store
    above: int
    progress: Progress = field(default_factory=Progress)

    async def run(self, peers: Iterable[NodeKey]) -> int:
        """The height of the chain that is in the store when this returns, synced. Raises JoinFailed.

        OSError, StoreFull of our own disk come through.
        """
        sources = [Source(peer) for peer in peers]
        offered = await self._offers(sources)
        for snapshot, holders in offered:
            try:
                return await self._take(snapshot, holders, sources)
            except (InvalidProof, InvalidSnapshot, JoinFailed) as error:
                log.warning("the snapshot of height %d cannot be used: %s", snapshot.final.header.height, error)
        told = "; ".join(f"{each.peer.hex()[:16]}: {each.answer}" for each in sources if each.answer)
        raise JoinFailed(f"{len(offered)} snapshots above height {self.above} offered: {told or 'no more was said'}")

    async def _offers(self, sources: Sequence[Source]) -> list[tuple[Snapshot, list[Source]]]:
        """What is offered and by whom: the highest first, of one height what most offer."""
        found: dict[bytes, tuple[Snapshot, list[Source]]] = {}

        async def ask(source: Source) -> None:
            try:
                offers = await ask_offers(self.transport, source.peer)
            except (TransportError, InvalidBytes) as error:
                source.failed(error)
                return
            for snapshot in offers:
                if snapshot.final.header.height > self.above:
                    _, holders = found.setdefault(snapshot.id, (snapshot, []))
                    if source not in holders:
                        holders.append(source)

        async with trio.open_nursery() as nursery:
            for source in sources:
                nursery.start_soon(ask, source)
        return sorted(found.values(), key=lambda each: (-each[0].final.header.height, -len(each[1]), each[0].id))

    async def _take(self, snapshot: Snapshot, holders: list[Source], sources: Sequence[Source]) -> int:
        height = snapshot.final.header.height
        self.progress = Progress("committees", height, len(snapshot.slices))
        await self._follow_committees(snapshot, [*holders, *(each for each in sources if each not in holders)])
        self.progress.stage = "chunks"
        joining = await trio.to_thread.run_sync(Join, self.store, self.genesis, snapshot)
        await _Chunks(self.transport, joining, self.progress).fetch(holders)
        await trio.to_thread.run_sync(joining.finish)
        return height

    async def _follow_committees(self, snapshot: Snapshot, sources: Sequence[Source]) -> None:
        """From the genesis to the snapshot's header, page by page, of whoever has the next. Raises InvalidProof."""
        final = snapshot.final
        path = await trio.to_thread.run_sync(Path, self.genesis, self.store, final)
        for source in sources:
            while source.usable:
                reached = path.trusted.height
                try:
                    page = await ask_changes(self.transport, source.peer, reached, final.header.height)
                    await trio.to_thread.run_sync(path.follow, page)
                except (TransportError, InvalidBytes, InvalidProof) as error:
                    source.failed(error)
                    continue
                if len(page) < CHANGES_PER_PAGE_MAX:
                    break  # all that it has, or a liar's way of answering for hours
            try:
                path.arrive()
            except InvalidProof as error:
                source.answer = source.answer or str(error)
            else:
                return
        raise InvalidProof(f"nobody shows how the committee of height {final.header.height} came into office")


class _Chunks:
    """All chunks of one snapshot, from several peers at once."""

    def __init__(self, transport: Transport, joining: Join, progress: Progress) -> None:
        self._transport = transport
        self._joining = joining
        self._progress = progress
        self._waiting: deque[Slice] = deque(joining.missing())
        self._left = len(self._waiting)
        self._changed = trio.Event()
        self._bytes_in = 0
        # One writer at a time; checking is what takes the time, and Python does it one at a time anyway.
        self._adding = trio.CapacityLimiter(1)
        progress.chunks_in = progress.chunks - self._left

    async def fetch(self, sources: Sequence[Source]) -> None:
        """Raises JoinFailed when nobody is left who has what is missing, and when it comes too slowly."""
        async with trio.open_nursery() as watching:
            watching.start_soon(self._stop_when_slow, watching.cancel_scope)
            async with trio.open_nursery() as nursery:
                for source in sources:
                    for _ in range(CHUNKS_PER_PEER):
                        nursery.start_soon(self._work, source)
            watching.cancel_scope.cancel()
        if self._left:
            raise JoinFailed(f"{self._left} of {self._progress.chunks} chunks are to be had of nobody in time")

    async def _stop_when_slow(self, scope: trio.CancelScope) -> None:
        reached = -PROGRESS_BYTES_MIN
        while self._bytes_in - reached >= PROGRESS_BYTES_MIN:
            reached = self._bytes_in
            await trio.sleep(PROGRESS_S)
        scope.cancel()

    async def _work(self, source: Source) -> None:
        while self._left and source.usable:
            if not self._waiting:
                # The last ones are on their way from others, who may still fail.
                await self._changed.wait()
                continue
            part = self._waiting.popleft()
            try:
                chunk = await ask_chunk(self._transport, source.peer, self._joining.height, part)
                await trio.to_thread.run_sync(self._joining.add, part, chunk, limiter=self._adding)
            except (TransportError, InvalidBytes, InvalidSnapshot) as error:
                source.failed(error)
                self._waiting.append(part)
            else:
                self._left -= 1
                self._bytes_in += sum(entry.size for entry in chunk.entries)
                self._progress.chunks_in += 1
            self._changed.set()
            self._changed = trio.Event()
