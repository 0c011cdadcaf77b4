"""The network between simulated nodes: `network/memory_transport.py`, with weather and with an ear at every mouth."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import trio

from ledger.types import NodeKey
from node.network.memory_transport import MemoryNetwork, MemoryTransport
from node.network.transport import Limits
from node.simulation.faults import Faults

Mouth = Callable[[NodeKey, bytes], list[bytes]]
"""(to, message) -> what is really sent: hears everything a node says, and lets a faulty one say something else."""


class Weather:
    """Decides about every message until it is calm."""

    def __init__(self, faults: Faults, rng: Random) -> None:
        self._faults = faults
        self._rng = rng
        self._one_way: set[tuple[NodeKey, NodeKey]] = set()
        self.slow: frozenset[NodeKey] = frozenset()
        self.calm = False
        self.messages = 0

    def fate(self, sender: NodeKey, receiver: NodeKey, _message: bytes) -> float | None:
        """See memory_transport.Fate."""
        self.messages += 1
        faults = self._faults
        delay_ms = self._rng.randint(*faults.delay_ms)
        if self.calm:
            return delay_ms / 1000
        if (sender, receiver) in self._one_way or self._rng.random() < faults.loss:
            return None
        if sender in self.slow or receiver in self.slow:
            delay_ms += self._rng.randint(0, faults.slow_ms)
        return delay_ms / 1000

    def repeats(self) -> bool:
        """Whether a message is said twice."""
        return not self.calm and self._rng.random() < self._faults.duplicates

    def change(self, network: MemoryNetwork, keys: list[NodeKey]) -> None:
        """Another partition, or none; some links in it work one way only."""
        parts = self._rng.choice((1, 2, 2, 3))
        side = {key: self._rng.randrange(parts) for key in keys}
        pairs = [(one, other) for at, one in enumerate(keys) for other in keys[at + 1 :]]
        self._one_way = {
            pair if self._rng.random() < 0.5 else (pair[1], pair[0])
            for pair in pairs
            if self._rng.random() < self._faults.one_way
        }
        for one, other in pairs:
            network.set_cut(one, other, side[one] != side[other])

    def clear(self, network: MemoryNetwork) -> None:
        """Every link works, for good."""
        self.calm = True
        self._one_way.clear()
        network.cut.clear()
        network.look_again()


class SimTransport(MemoryTransport):
    """What its node says goes through `mouth` first."""

    def __init__(
        self, network: MemoryNetwork, key: NodeKey, limits: Limits, nursery: trio.Nursery, mouth: Mouth
    ) -> None:
        super().__init__(network, key, limits, nursery)
        self._mouth = mouth

    def post(self, to: NodeKey, message: bytes) -> bool:
        sent = False
        for each in self._mouth(to, message):
            sent = super().post(to, each)
        return sent


@asynccontextmanager
async def open_sim_transport(network: MemoryNetwork, key: NodeKey, mouth: Mouth) -> AsyncIterator[SimTransport]:
    """Put a node on the network until the block is left."""
    async with trio.open_nursery() as nursery:
        transport = SimTransport(network, key, Limits(), nursery, mouth)
        network.nodes[key] = transport
        nursery.start_soon(transport.feed)
        try:
            yield transport
        finally:
            del network.nodes[key]
            network.look_again()
            nursery.cancel_scope.cancel()
