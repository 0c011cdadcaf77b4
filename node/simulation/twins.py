"""Two nodes behind one key and one connection each: the equivocator that needs no lying code (the Twins attack).

Every other member hears one of the two, or both, and is heard by the same; who hears whom changes now and then.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

import trio

from ledger.types import NodeKey
from node.network.memory_transport import MemoryNetwork
from node.network.transport import Answer, Channel, ChannelHandler, Fault, PeerStatus, PeerWatcher
from node.simulation.network import Mouth, SimTransport, open_sim_transport

# Changed about once a view.
SWAP_S = 2.0
# Messages that wait for one twin; past that they are lost, which a faulty member may well do.
QUEUED_MAX = 1024


class TwinTransport:
    """See transport.Transport: the part of one of the two. Requests and blobs are the first one's to answer."""

    def __init__(self, shared: SimTransport, first: bool, rng: Random) -> None:
        self._shared = shared
        self._first = first
        self._rng = rng
        self._hears: dict[NodeKey, bool] = {}
        self.send, self._incoming = trio.open_memory_channel[tuple[NodeKey, bytes]](QUEUED_MAX)

    def swap(self, other: "TwinTransport") -> None:
        for peer in self._shared.peers():
            who = self._rng.choice(((True, False), (False, True), (True, True)))
            self._hears[peer.org], other._hears[peer.org] = who

    def hears(self, peer: NodeKey) -> bool:
        return self._hears.get(peer, self._first)

    @property
    def me(self) -> NodeKey:
        return self._shared.me

    @property
    def listening(self) -> tuple[str, ...]:
        return self._shared.listening

    @property
    def incoming(self) -> trio.MemoryReceiveChannel[tuple[NodeKey, bytes]]:
        return self._incoming

    def set_members(self, members: Mapping[NodeKey, tuple[str, ...]]) -> None:
        self._shared.set_members(members)

    def peers(self) -> list[PeerStatus]:
        return self._shared.peers()

    def watch_peers(self, watcher: PeerWatcher) -> None:
        self._shared.watch_peers(watcher)

    def post(self, to: NodeKey, message: bytes) -> bool:
        return self.hears(to) and self._shared.post(to, message)

    def broadcast(self, message: bytes) -> None:
        for peer in self._shared.peers():
            self.post(peer.org, message)

    def charge(self, org: NodeKey, processor_s: float, gossip: bool = False) -> None:
        """Nothing, as in the memory transport: one seed must replay one run."""

    def takes_gossip(self, org: NodeKey) -> bool:
        return True

    def blame(self, org: NodeKey, fault: Fault, what: str) -> None:
        self._shared.blame(org, fault, what)

    async def request(self, to: NodeKey, kind: str, body: bytes, timeout_s: float) -> bytes:
        return await self._shared.request(to, kind, body, timeout_s)

    async def request_at(self, address: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        return await self._shared.request_at(address, kind, body, timeout_s)

    def channel(self, to: NodeKey, kind: str, timeout_s: float) -> AbstractAsyncContextManager[Channel]:
        return self._shared.channel(to, kind, timeout_s)

    def serve(
        self, kind: str, answer: Answer, *, body_bytes_max: int, concurrent_per_peer: int, strangers: bool = False
    ) -> None:
        if self._first:
            self._shared.serve(
                kind,
                answer,
                body_bytes_max=body_bytes_max,
                concurrent_per_peer=concurrent_per_peer,
                strangers=strangers,
            )

    def serve_channel(
        self, kind: str, handler: ChannelHandler, *, concurrent_per_peer: int, strangers: bool = False
    ) -> None:
        if self._first:
            self._shared.serve_channel(kind, handler, concurrent_per_peer=concurrent_per_peer, strangers=strangers)


@asynccontextmanager
async def open_twin_transports(
    network: MemoryNetwork, key: NodeKey, mouth: Mouth, rng: Random
) -> AsyncIterator[tuple[TwinTransport, TwinTransport]]:
    """Put both on the network as one node until the block is left."""
    async with open_sim_transport(network, key, mouth) as shared, trio.open_nursery() as nursery:
        twins = TwinTransport(shared, True, rng), TwinTransport(shared, False, rng)

        async def hear() -> None:
            async for sender, message in shared.incoming:
                for twin in twins:
                    if twin.hears(sender):
                        try:
                            twin.send.send_nowait((sender, message))
                        except trio.WouldBlock:
                            continue

        async def swap() -> None:
            while True:
                twins[0].swap(twins[1])
                await trio.sleep(SWAP_S)

        nursery.start_soon(hear)
        nursery.start_soon(swap)
        yield twins
        nursery.cancel_scope.cancel()
