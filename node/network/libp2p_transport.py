"""The transport over libp2p: members kept connected, messages, requests and channels, strangers held short.

libp2p itself is imported by `libp2p_host.py` and below, in a thread and only when a transport is opened: it takes most
of a second, in which the daemon already answers its owner.
"""

import importlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from ledger.types import NodeKey
from node.network.addresses import Address, parse_address
from node.network.channel import FramedChannel
from node.network.conduct import Conduct
from node.network.incoming import Incoming
from node.network.link import SESSION_BYTES
from node.network.member_link import LINK_PROTOCOL, MemberLink
from node.network.services import Services, ask
from node.network.strangers import StrangerGate, network_of
from node.network.transport import (
    Answer,
    Channel,
    ChannelHandler,
    Fault,
    InvalidAddress,
    PeerStatus,
    PeerUnreachable,
    PeerWatcher,
    RequestTimedOut,
    TransportConfig,
)
from node.network.wire import FrameKind, frame

if TYPE_CHECKING:
    from node.network.libp2p_host import Host
    from node.network.libp2p_stream import Connection, Stream

log = logging.getLogger(__name__)

ASK_PROTOCOL = "/hanse/ask/1"
# Dialled in turn: more would let one member that is away keep us dialling for minutes.
ADDRESSES_PER_MEMBER_MAX = 8


@asynccontextmanager
async def open_transport(config: TransportConfig) -> AsyncIterator["Libp2pTransport"]:
    """Listen and run until the block is left. Raises OSError when a port is taken, InvalidAddress, RuntimeError when
    another libp2p than the repaired one is installed."""
    module = await trio.to_thread.run_sync(importlib.import_module, "node.network.libp2p_host")
    listeners = await module.open_listeners(config.listen)
    async with trio.open_nursery() as nursery:
        transport = Libp2pTransport(config, nursery)
        host = module.Host(
            config.key,
            config.limits,
            nursery,
            transport.admits,
            transport.is_member,
            transport.connections_changed,
            transport.connection_ended,
        )
        transport.start(host, [place for place, _ in listeners])
        host.listen([listener for _, listener in listeners])
        try:
            yield transport
        finally:
            nursery.cancel_scope.cancel()


class Libp2pTransport:
    """See transport.Transport. Made by `open_transport`."""

    def __init__(self, config: TransportConfig, nursery: trio.Nursery) -> None:
        self._config = config
        self._nursery = nursery
        self._incoming = Incoming(config.limits)
        self._conduct = Conduct(config.limits)
        self._services = Services(config.limits, self.blame, self._conduct.paused)
        self._gate = StrangerGate(config.limits, trio.current_time())
        self._links: dict[NodeKey, MemberLink] = {}
        self._watchers: list[PeerWatcher] = []
        self._host: Host
        self._listening: tuple[str, ...] = ()
        self._bootstrap: dict[NodeKey, list[Address]] = {}
        for text in config.bootstrap:
            address = parse_address(text)
            if address.org is None:
                raise InvalidAddress(f"{text!r}: a bootstrap address ends in /p2p/<peer id>")
            self._bootstrap.setdefault(address.org, []).append(address)

    def start(self, host: "Host", places: list[Address]) -> None:
        self._host = host
        host.handle(LINK_PROTOCOL, self._serve_link)
        host.handle(ASK_PROTOCOL, self._serve_ask)
        self._nursery.start_soon(self._incoming.feed)
        self._listening = tuple(str(Address(at.family, at.host, at.port, self.me)) for at in places)

    # What the host asks.

    def is_member(self, org: NodeKey) -> bool:
        return org in self._links

    def admits(self, org: NodeKey, network: str) -> bool:
        if org == self.me:
            return False
        if org in self._links:
            return self._conduct.banned_s(org) <= 0
        if self._conduct.refuses_network(network):
            return False
        strangers = {
            each: network_of(known[0].place.host)
            for each, known in self._host.connections.items()
            if each not in self._links and known
        }
        return self._gate.admit(org, network, strangers, trio.current_time())

    def connections_changed(self, org: NodeKey) -> None:
        link = self._links.get(org)
        if link is not None:
            link.changed()

    def connection_ended(self, connection: "Connection") -> None:
        link = self._links.get(connection.org)
        if link is not None:
            link.count(connection)

    # What the daemon asks: see transport.Transport.

    @property
    def me(self) -> NodeKey:
        return self._config.key.public

    @property
    def listening(self) -> tuple[str, ...]:
        return self._listening

    @property
    def incoming(self) -> trio.MemoryReceiveChannel[tuple[NodeKey, bytes]]:
        return self._incoming.channel

    def set_members(self, members: Mapping[NodeKey, tuple[str, ...]]) -> None:
        for org in [org for org in self._links if org not in members]:
            self._links.pop(org).scope.cancel()
            self._incoming.forget(org)
            self._hang_up(org)
        others = members.keys() - {self.me}
        self._conduct.set_members(others)
        self._incoming.share_among(len(others))
        for org, texts in members.items():
            if org == self.me:
                continue
            addresses = self._addresses(org, texts)
            link = self._links.get(org)
            if link is None:
                link = self._new_link(org)
                link.addresses = addresses
                self._links[org] = link
                for connection in self._host.connections.get(org, []):
                    connection.muxer.unread_bytes_max = self._config.limits.unread_bytes_max
                self._nursery.start_soon(link.keep, self._host)
            elif link.addresses != addresses:
                link.addresses = addresses
                link.changed()

    def _new_link(self, org: NodeKey) -> MemberLink:
        config = self._config
        # Of its own: who is let in again after it was dropped may have kept its end, with the numbers of before.
        session = os.urandom(SESSION_BYTES)
        return MemberLink(org, session, config.chain_id, config.limits, self._incoming, self._tell, self.blame)

    def _hang_up(self, org: NodeKey) -> None:
        for connection in list(self._host.connections.get(org, [])):
            connection.abort()

    def _addresses(self, org: NodeKey, texts: tuple[str, ...]) -> tuple[Address, ...]:
        """Where to dial `org`: what the book says, then the bootstrap addresses of the same organisation."""
        found = []
        for text in texts:
            try:
                address = parse_address(text)
            except InvalidAddress as error:
                # Members announce their own: a wrong one is theirs, and no reason to fail.
                log.warning("an address of %s is left out: %s", org.hex()[:16], error)
                continue
            if address.org in (None, org):
                found.append(address.place)
        found += [address.place for address in self._bootstrap.get(org, [])]
        return tuple(dict.fromkeys(found))[:ADDRESSES_PER_MEMBER_MAX]

    def peers(self) -> list[PeerStatus]:
        conduct = self._conduct
        return [
            replace(
                link.status(self._host.connections.get(org, ())),
                score=round(conduct.score(org), 1),
                faults=conduct.faults(org),
                paused=conduct.paused(org),
                banned_s=round(conduct.banned_s(org), 1),
                held_s=round(self._incoming.held_s(org), 1),
            )
            for org, link in self._links.items()
        ]

    def watch_peers(self, watcher: PeerWatcher) -> None:
        self._watchers.append(watcher)

    def charge(self, org: NodeKey, processor_s: float, gossip: bool = False) -> None:
        self._incoming.charge(org, processor_s, gossip)

    def takes_gossip(self, org: NodeKey) -> bool:
        return self._incoming.takes_gossip(org)

    def blame(self, org: NodeKey, fault: Fault, what: str) -> None:
        link = self._links.get(org)
        if link is not None:
            if self._conduct.blame(org, fault, what):
                link.refused_until = trio.current_time() + self._conduct.banned_s(org)
                self._hang_up(org)
            return
        for network in {network_of(each.place.host) for each in self._host.connections.get(org, [])}:
            if self._conduct.blame_stranger(network, fault, what):
                self._hang_up(org)

    def _tell(self, org: NodeKey, connected: bool) -> None:
        for watcher in self._watchers:
            watcher(org, connected)

    def post(self, to: NodeKey, message: bytes) -> bool:
        link = self._links.get(to)
        return link is not None and link.post(message)

    def broadcast(self, message: bytes) -> None:
        for link in self._links.values():
            link.post(message)

    async def request(self, to: NodeKey, kind: str, body: bytes, timeout_s: float) -> bytes:
        return await self._request(self._connection(to), kind, body, timeout_s)

    async def request_at(self, address: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        place = parse_address(address)
        if place.org is None:
            raise InvalidAddress(f"{address!r}: want /p2p/<peer id> at the end, or anybody could answer")
        org = place.org
        try:
            with trio.fail_after(timeout_s):
                connection = self._host.live(org) or await self._host.dial(place, org)
                return await self._request(connection, kind, body, timeout_s)
        except trio.TooSlowError:
            raise RequestTimedOut(f"{kind} at {place.place}: no answer within {timeout_s} s") from None

    async def _request(self, connection: "Connection", kind: str, body: bytes, timeout_s: float) -> bytes:
        since = trio.current_time()
        try:
            with trio.fail_after(timeout_s):
                async with self._open(connection, timeout_s) as channel:
                    reply = await ask(channel, kind, body)
        except trio.TooSlowError:
            if connection.wire.heard_at <= since:
                connection.abort()
            raise RequestTimedOut(f"{kind} to {connection.org.hex()[:16]}: no answer in {timeout_s} s") from None
        return reply

    @asynccontextmanager
    async def channel(self, to: NodeKey, kind: str, timeout_s: float) -> AsyncIterator[Channel]:
        async with self._open(self._connection(to), timeout_s) as channel:
            await channel.send(kind.encode())
            yield channel

    def _connection(self, to: NodeKey) -> "Connection":
        connection = self._host.live(to) if to in self._links else None
        if connection is None:
            raise PeerUnreachable(f"{to.hex()[:16]} is not connected")
        return connection

    @asynccontextmanager
    async def _open(self, connection: "Connection", timeout_s: float) -> AsyncIterator[FramedChannel]:
        since = trio.current_time()
        try:
            with trio.fail_after(timeout_s):
                stream = await connection.open_stream(ASK_PROTOCOL)
        except trio.TooSlowError:
            if connection.wire.heard_at <= since:
                connection.abort()
            raise RequestTimedOut(f"no stream to {connection.org.hex()[:16]} within {timeout_s} s") from None
        whole = False
        try:
            yield FramedChannel(stream, connection.org, self._config.limits.stall_s)
            whole = True
        finally:
            await stream.finish(whole)

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

    # What peers ask.

    async def _serve_ask(self, stream: "Stream") -> None:
        org = stream.connection.org
        channel = FramedChannel(stream, org, self._config.limits.stall_s)
        await self._services.answer(channel, self.is_member(org))

    async def _serve_link(self, stream: "Stream") -> None:
        org = stream.connection.org
        link = self._links.get(org)
        if link is None:
            await stream.write(frame(FrameKind.REFUSAL, b"stranger: this node does not know you as a member"))
            return
        others = [each for each in self._host.connections[org] if each is not stream.connection]
        await link.receive(stream, stream.connection, others)
