"""The transport without sockets: nodes of one process joined by a `MemoryNetwork` whose links the test may cut or slow.

Messages go through the same fair queue, requests through the same services and frames as over libp2p; only what carries
the bytes differs. Time is trio's, so a test with an autojump clock runs at once.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from ledger.types import NodeKey
from node.network.addresses import parse_address, peer_id
from node.network.channel import FramedChannel
from node.network.conduct import Conduct
from node.network.incoming import Incoming
from node.network.memory_pipe import Pipe
from node.network.services import Services, ask
from node.network.transport import (
    Answer,
    Channel,
    ChannelHandler,
    Direction,
    Fault,
    InvalidAddress,
    Limits,
    PeerStatus,
    PeerUnreachable,
    PeerWatcher,
    RequestTimedOut,
)

Fate = Callable[[NodeKey, NodeKey, bytes], float | None]
"""(from, to, message) -> seconds until it arrives, None to lose it. libp2p links never lose or reorder while they
are up: here it stands for links that broke and came back."""


def _at_once(_from: NodeKey, _to: NodeKey, _message: bytes) -> float | None:
    return 0.0


@dataclass
class MemoryNetwork:
    """All nodes of one test. `fate` decides about every message; `cut` names the pairs that do not reach each other."""

    fate: Fate = _at_once
    nodes: dict[NodeKey, "MemoryTransport"] = field(default_factory=dict)
    cut: set[frozenset[NodeKey]] = field(default_factory=set)
    pipes: set[Pipe] = field(default_factory=set)

    def reachable(self, one: NodeKey, other: NodeKey) -> bool:
        if one not in self.nodes or other not in self.nodes or frozenset((one, other)) in self.cut:
            return False
        return not (self.nodes[one].refuses(other) or self.nodes[other].refuses(one))

    def set_cut(self, one: NodeKey, other: NodeKey, cut: bool) -> None:
        """Cut or heal the link of two nodes; both hear of it."""
        pair = frozenset((one, other))
        (self.cut.add if cut else self.cut.discard)(pair)
        self.look_again()

    def look_again(self) -> None:
        for pipe in list(self.pipes):
            if not self.reachable(*pipe.pair):
                pipe.tear()
        for node in list(self.nodes.values()):
            node.look_again()


class MemoryTransport:
    """See transport.Transport. Made by `open_memory_transport`."""

    def __init__(self, network: MemoryNetwork, org: NodeKey, limits: Limits, nursery: trio.Nursery) -> None:
        self._network = network
        self._org = org
        self._limits = limits
        self._nursery = nursery
        self._incoming = Incoming(limits)
        self._conduct = Conduct(limits)
        self._services = Services(limits, self.blame, self._conduct.paused)
        self._members: dict[NodeKey, _MemoryLink] = {}
        self._watchers: list[PeerWatcher] = []

    @property
    def me(self) -> NodeKey:
        return self._org

    @property
    def listening(self) -> tuple[str, ...]:
        return (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id(self._org)}",)

    @property
    def incoming(self) -> trio.MemoryReceiveChannel[tuple[NodeKey, bytes]]:
        return self._incoming.channel

    def set_members(self, members: Mapping[NodeKey, tuple[str, ...]]) -> None:
        for org in [org for org in self._members if org not in members]:
            link = self._members.pop(org)
            link.scope.cancel()
            self._incoming.forget(org)
            if link.connected:
                self._tell(org, False)
        for org in members:
            if org != self._org and org not in self._members:
                self._members[org] = link = _MemoryLink(self._limits)
                self._nursery.start_soon(self._carry, org, link)
        others = members.keys() - {self._org}
        self._conduct.set_members(others)
        self._incoming.share_among(len(others))
        self._network.look_again()

    def refuses(self, org: NodeKey) -> bool:
        """Whether it is banned here."""
        return self._conduct.banned_s(org) > 0

    def charge(self, org: NodeKey, processor_s: float, gossip: bool = False) -> None:
        """Nothing: a test's time is not the processor's, and one seed must replay one run."""

    def takes_gossip(self, org: NodeKey) -> bool:
        return True

    def blame(self, org: NodeKey, fault: Fault, what: str) -> None:
        if org in self._members and self._conduct.blame(org, fault, what):
            self._network.look_again()
            self._nursery.start_soon(self._forgive, self._conduct.banned_s(org))

    async def _forgive(self, after_s: float) -> None:
        await trio.sleep(after_s)
        self._network.look_again()

    def is_member(self, org: NodeKey) -> bool:
        return org in self._members

    def look_again(self) -> None:
        """Links came or went: tell the watchers. A link is up between members of each other that reach each other."""
        for org, link in list(self._members.items()):
            up = self._network.reachable(self._org, org) and self._network.nodes[org].is_member(self._org)
            if up != link.connected:
                link.connected = up
                link.since = trio.current_time()
                link.work.set()
                self._tell(org, up)

    def _tell(self, org: NodeKey, connected: bool) -> None:
        for watcher in self._watchers:
            watcher(org, connected)

    def peers(self) -> list[PeerStatus]:
        return [
            PeerStatus(
                org=org,
                connected=link.connected,
                direction=Direction.DIALLED if link.connected else None,
                address="memory" if link.connected else None,
                since_s=trio.current_time() - link.since,
                round_trip_s=0.0 if link.connected else None,
                bytes_in=0,
                bytes_out=link.bytes_out,
                messages_queued=len(link.waiting),
                messages_dropped=link.dropped,
                last_error=None,
                score=self._conduct.score(org),
                faults=self._conduct.faults(org),
                paused=self._conduct.paused(org),
                banned_s=self._conduct.banned_s(org),
                held_s=self._incoming.held_s(org),
            )
            for org, link in self._members.items()
        ]

    def watch_peers(self, watcher: PeerWatcher) -> None:
        self._watchers.append(watcher)

    def post(self, to: NodeKey, message: bytes) -> bool:
        if len(message) > self._limits.message_bytes_max:
            raise ValueError(f"a message of {len(message)} bytes, want at most {self._limits.message_bytes_max}")
        link = self._members.get(to)
        return link is not None and link.post(message) and link.connected

    def broadcast(self, message: bytes) -> None:
        for org in self._members:
            self.post(org, message)

    async def _carry(self, org: NodeKey, link: "_MemoryLink") -> None:
        with link.scope:
            while True:
                while link.connected and link.waiting:
                    message = link.take()
                    delay_s = self._network.fate(self._org, org, message)
                    if delay_s == 0:
                        await self._deliver(org, message)
                    elif delay_s is not None:
                        await link.flight.acquire()
                        self._nursery.start_soon(self._deliver_late, org, link, message, delay_s)
                link.work = trio.Event()
                await link.work.wait()

    async def _deliver(self, org: NodeKey, message: bytes) -> None:
        node = self._network.nodes.get(org)
        if node is not None and self._network.reachable(self._org, org) and node.is_member(self._org):
            await node.take_in(self._org, message)

    async def _deliver_late(self, org: NodeKey, link: "_MemoryLink", message: bytes, delay_s: float) -> None:
        await trio.sleep(delay_s)
        await self._deliver(org, message)
        link.flight.release()

    async def take_in(self, org: NodeKey, message: bytes) -> None:
        """Called by the sender's task, which waits while too much of its messages waits here."""
        await self._incoming.put(org, message)

    async def feed(self) -> None:
        await self._incoming.feed()

    async def request(self, to: NodeKey, kind: str, body: bytes, timeout_s: float) -> bytes:
        if to not in self._members:
            raise PeerUnreachable(f"{to.hex()[:16]} is not connected")
        return await self._request(to, kind, body, timeout_s)

    async def request_at(self, address: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        org = parse_address(address).org
        if org is None:
            raise InvalidAddress(f"{address!r}: want /p2p/<peer id> at the end")
        return await self._request(org, kind, body, timeout_s)

    async def _request(self, to: NodeKey, kind: str, body: bytes, timeout_s: float) -> bytes:
        try:
            with trio.fail_after(timeout_s):
                async with self._open(to) as channel:
                    reply = await ask(channel, kind, body)
        except trio.TooSlowError:
            raise RequestTimedOut(f"{kind} to {to.hex()[:16]}: no answer in {timeout_s} s") from None
        return reply

    @asynccontextmanager
    async def channel(self, to: NodeKey, kind: str, timeout_s: float) -> AsyncIterator[Channel]:
        if to not in self._members:
            raise PeerUnreachable(f"{to.hex()[:16]} is not connected")
        async with self._open(to) as channel:
            await channel.send(kind.encode())
            yield channel

    @asynccontextmanager
    async def _open(self, to: NodeKey) -> AsyncIterator[FramedChannel]:
        network = self._network
        if not network.reachable(self._org, to):
            raise PeerUnreachable(f"{to.hex()[:16]} is not connected")
        pipe = Pipe(frozenset((self._org, to)))
        network.pipes.add(pipe)
        network.nodes[to].start_answer(self._org, pipe)
        try:
            yield FramedChannel(pipe.ends[0], to, self._limits.stall_s)
        finally:
            pipe.ends[0].finish()

    def start_answer(self, asker: NodeKey, pipe: Pipe) -> None:
        """Called by the asking node: serve the other end of its pipe in a task of ours."""
        self._nursery.start_soon(self._answer, asker, pipe)

    async def _answer(self, asker: NodeKey, pipe: Pipe) -> None:
        try:
            await self._services.answer(FramedChannel(pipe.ends[1], asker, self._limits.stall_s), self.is_member(asker))
        finally:
            pipe.ends[1].finish()
            self._network.pipes.discard(pipe)

    def serve(
        self,
        kind: str,
        answer: Answer,
        *,
        body_bytes_max: int,
        concurrent_per_peer: int,
        strangers: bool = False,
    ) -> None:
        self._services.add(kind, answer, body_bytes_max, concurrent_per_peer, strangers)

    def serve_channel(
        self, kind: str, handler: ChannelHandler, *, concurrent_per_peer: int, strangers: bool = False
    ) -> None:
        self._services.add_channel(kind, handler, concurrent_per_peer, strangers)


@asynccontextmanager
async def open_memory_transport(
    network: MemoryNetwork, org: NodeKey, limits: Limits | None = None
) -> AsyncIterator[MemoryTransport]:
    """Put a node on `network` until the block is left."""
    async with trio.open_nursery() as nursery:
        transport = MemoryTransport(network, org, limits or Limits(), nursery)
        network.nodes[org] = transport
        nursery.start_soon(transport.feed)
        try:
            yield transport
        finally:
            del network.nodes[org]
            network.look_again()
            nursery.cancel_scope.cancel()


class _MemoryLink:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.waiting: deque[bytes] = deque()
        self.bytes_waiting = 0
        self.bytes_out = 0
        self.dropped = 0
        self.connected = False
        self.since = trio.current_time()
        self.work = trio.Event()
        self.scope = trio.CancelScope()
        self.flight = trio.Semaphore(limits.flight_messages_max)

    def post(self, message: bytes) -> bool:
        self.waiting.append(message)
        self.bytes_waiting += len(message)
        fits = True
        while len(self.waiting) > self._limits.queued_messages_max or (
            self.bytes_waiting > self._limits.queued_bytes_max and len(self.waiting) > 1
        ):
            self.bytes_waiting -= len(self.waiting.popleft())
            self.dropped += 1
            fits = False
        self.work.set()
        return fits

    def take(self) -> bytes:
        message = self.waiting.popleft()
        self.bytes_waiting -= len(message)
        self.bytes_out += len(message)
        return message
