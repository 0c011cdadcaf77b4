"""Connections and streams of libp2p: TCP, multistream-select, Noise XX, Yamux, and nothing else of the library.

Its Swarm and host stay unused: their ten reproduced defects (a handler's exception ends the process, inbound slots
are never given back, plaintext is spoken, dials sleep, retry and blacklist, ...) live there. Here every connection has
its own nursery, nothing a peer does leaves it, and who may connect is asked right after the Noise handshake.
Dials and streams of `Host` know organisations; what flows on streams is `libp2p_transport.py`'s business.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import node.network.libp2p_bare  # noqa: F401 - before anything of libp2p

# isort: split
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.security_multistream import SecurityMultistream
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX

from ledger.keys import KeyPair
from ledger.types import NodeKey
from node.network.addresses import PEER_ID_PREFIX, Address, parse_address
from node.network.bucket import Bucket
from node.network.libp2p_repairs import BoundedYamux
from node.network.libp2p_stream import Connection, Negotiation, Stream
from node.network.strangers import Allowances, network_of
from node.network.transport import Direction, InvalidAddress, Limits, PeerUnreachable
from node.network.wire_socket import WireSocket

log = logging.getLogger(__name__)

StreamHandler = Callable[[Stream], Awaitable[None]]


class NotAdmitted(Exception):
    """The handshake showed a key that may not connect."""


class Host:
    """Listens, dials and keeps the live connections. `admit(org, network)`: may it connect to us now, from there?
    `ended`: told of each connection that is gone, when it is in `connections` no more."""

    def __init__(
        self,
        key: KeyPair,
        limits: Limits,
        nursery: trio.Nursery,
        admit: Callable[[NodeKey, str], bool],
        is_member: Callable[[NodeKey], bool],
        changed: Callable[[NodeKey], None],
        ended: Callable[[Connection], None],
    ) -> None:
        pair = create_new_key_pair(key.seed)
        noise = NoiseTransport(pair, noise_privkey=create_noise_key_pair().private_key)
        self._security = SecurityMultistream({NOISE: noise})
        self._muxers = MuxerMultistream({TProtocol(YAMUX): BoundedYamux})
        self._handlers: dict[TProtocol | None, StreamHandler] = {}
        self._limits = limits
        self._nursery = nursery
        self._admit = admit
        self._is_member = is_member
        self._changed = changed
        self._ended = ended
        self._handshakes: dict[WireSocket, str] = {}
        self._openings = Allowances(limits.handshakes_per_network_per_s, limits.handshakes_per_network_burst)
        self.connections: dict[NodeKey, list[Connection]] = {}

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        self._handlers[TProtocol(protocol)] = handler

    def listen(self, listeners: list[trio.SocketListener]) -> None:
        """Accept on what `open_listeners` opened."""
        self._nursery.start_soon(trio.serve_listeners, self._accept, listeners)

    def live(self, org: NodeKey) -> Connection | None:
        """The newest usable connection to `org`."""
        for connection in reversed(self.connections.get(org, [])):
            if connection.started.is_set() and not connection.wire.aborted:
                return connection
        return None

    async def dial(self, address: Address, org: NodeKey) -> Connection:
        """Connect within `dial_s`; raises PeerUnreachable that says what failed."""
        try:
            with trio.fail_after(self._limits.dial_s):
                stream = await _open_tcp(address)
                wire = WireSocket(stream, self._limits)
                return await self._upgrade(wire, Direction.DIALLED, address, org)
        except trio.TooSlowError:
            raise PeerUnreachable(f"{address.place}: no answer within {self._limits.dial_s} s") from None
        except NotAdmitted as error:
            raise PeerUnreachable(f"{address.place}: {error}") from None
        except Exception as error:
            # OSError of the dial, and whatever the library raises when the other end talks nonsense.
            raise PeerUnreachable(f"{address.place}: {_reason(error)}") from None

    async def _accept(self, stream: trio.SocketStream) -> None:
        wire = WireSocket(stream, self._limits)
        remote = wire.get_remote_address()
        host, port = remote or ("0.0.0.0", 0)
        network = network_of(host)
        if not self._openings.take(network, trio.current_time()):
            wire.abort()
            return
        self._make_room(network)
        self._handshakes[wire] = network
        try:
            with trio.fail_after(self._limits.handshake_s):
                place = Address("ip6" if ":" in host else "ip4", host, port)
                connection = await self._upgrade(wire, Direction.ACCEPTED, place, None)
        except Exception as error:
            log.debug("refused a connection from %s: %s", remote, _reason(error))
            return
        finally:
            self._handshakes.pop(wire, None)
        await connection.ended.wait()

    def _make_room(self, network: str) -> None:
        """End the oldest unfinished handshake when there are too many, of this network or in all."""
        same = [wire for wire, theirs in self._handshakes.items() if theirs == network]
        if len(same) >= self._limits.handshakes_per_network_max:
            oldest = same[0]
        elif len(self._handshakes) >= self._limits.handshakes_max:
            oldest = next(iter(self._handshakes))
        else:
            return
        del self._handshakes[oldest]
        oldest.abort()

    async def _upgrade(
        self, wire: WireSocket, direction: Direction, place: Address, expected: NodeKey | None
    ) -> Connection:
        """Noise, then the question who may, then Yamux; the connection then lives in a task of its own."""
        done = False
        try:
            raw = RawConnection(wire, direction is Direction.DIALLED)
            if expected is None:
                secured = await self._security.secure_inbound(raw)
            else:
                secured = await self._security.secure_outbound(raw, ID(PEER_ID_PREFIX + expected))
            org = _org_of(secured.get_remote_peer())
            if expected is not None and org != expected:
                raise NotAdmitted(f"{org.hex()[:16]} answered, want {expected.hex()[:16]}")
            if expected is None and not self._admit(org, network_of(place.host)):
                raise NotAdmitted(f"{org.hex()[:16]} may not connect now")
            await self._muxers.select_transport(secured)
            wire.handshake_done()
            limits = self._limits
            unread = limits.unread_bytes_max if self._is_member(org) else limits.stranger_unread_bytes_max
            muxer = BoundedYamux(secured, secured.get_remote_peer(), unread)
            connection = Connection(org, direction, place.place, wire, muxer)
            self._nursery.start_soon(self._live, connection)
            await connection.started.wait()
            done = True
        finally:
            if not done:
                wire.abort()
        return connection

    async def _live(self, connection: Connection) -> None:
        """Carry one connection to its end. The one place where a connection is known and forgotten."""
        org = connection.org
        siblings = self.connections.setdefault(org, [])
        # A second one from the same side means that this side has lost the first.
        for older in [each for each in siblings if each.direction is connection.direction]:
            older.abort()
        siblings.append(connection)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.muxer.run)
                if not self._is_member(org):
                    nursery.start_soon(self._expire, connection)
                await connection.muxer.event_started.wait()
                connection.started.set()
                self._changed(org)
                await self._accept_streams(connection, nursery)
                nursery.cancel_scope.cancel()
        finally:
            connection.started.set()
            connection.wire.hang_up()
            connection.ended.set()
            siblings.remove(connection)
            if not siblings and self.connections.get(org) is siblings:
                del self.connections[org]
            self._ended(connection)
            self._changed(org)

    async def _expire(self, connection: Connection) -> None:
        await trio.sleep(self._limits.stranger_lifetime_s)
        if not self._is_member(connection.org):
            connection.abort()

    async def _accept_streams(self, connection: Connection, nursery: trio.Nursery) -> None:
        openings = Bucket(self._limits.streams_per_s, self._limits.streams_burst, trio.current_time())
        while True:
            try:
                muxed = await connection.muxer.accept_stream()
            except Exception:
                return  # the connection ended
            openings.spend(1, trio.current_time())
            await trio.sleep(openings.wait_s(trio.current_time()))
            member = self._is_member(connection.org)
            limits = self._limits
            most = limits.streams_per_member_max if member else limits.streams_per_stranger_max
            stream = Stream(connection, muxed)
            if connection.streams_open >= most:
                await stream.finish(False)
                continue
            connection.streams_open += 1
            nursery.start_soon(self._serve_stream, stream)

    async def _serve_stream(self, stream: Stream) -> None:
        """Negotiate and handle one inbound stream; it is finished whatever happens."""
        whole = False
        try:
            multiselect = Multiselect(dict(self._handlers))
            with trio.fail_after(self._limits.handshake_s):
                negotiation = Negotiation(stream)
                communicator = MultiselectCommunicator(negotiation)
                _, handler = await multiselect.negotiate(communicator, self._limits.handshake_s)
                negotiation.done()
            if handler is not None:
                await handler(stream)
                whole = True
        except* Exception as group:
            # A peer's nonsense, a broken stream, or a bug in a handler: it costs this stream. `except*`, because a
            # handler's nursery may fail while it is cancelled, and that group is no Exception.
            log.debug("a stream of %s ended: %s", stream.connection.org.hex()[:16], _reason(group))
        finally:
            stream.connection.streams_open -= 1
            await stream.finish(whole)


async def open_listeners(addresses: tuple[str, ...]) -> list[tuple[Address, trio.SocketListener]]:
    """Sockets on all of them, with the addresses they got. Raises OSError that names the address, InvalidAddress."""
    opened: list[tuple[Address, trio.SocketListener]] = []
    try:
        for text in addresses:
            address = parse_address(text)
            if address.family not in ("ip4", "ip6"):
                raise InvalidAddress(f"{text!r}: listening wants ip4 or ip6")
            try:
                listeners = await trio.open_tcp_listeners(address.port, host=address.host)
            except OSError as error:
                raise OSError(error.errno, f"cannot listen on {text}: {error.strerror or error}") from error
            for listener in listeners:
                port = listener.socket.getsockname()[1]
                opened.append((Address(address.family, address.host, port), listener))
    except BaseException:
        for _, listener in opened:
            listener.socket.close()
        raise
    return opened


async def _open_tcp(address: Address) -> trio.SocketStream:
    family = {"dns4": trio.socket.AF_INET, "dns6": trio.socket.AF_INET6}.get(address.family)
    if family is None:
        return await trio.open_tcp_stream(address.host, address.port)
    found = await trio.socket.getaddrinfo(address.host, address.port, family, trio.socket.SOCK_STREAM)
    return await trio.open_tcp_stream(str(found[0][4][0]), address.port)


def _org_of(peer: Any) -> NodeKey:
    raw: bytes = peer.to_bytes()
    if len(raw) != len(PEER_ID_PREFIX) + 32 or not raw.startswith(PEER_ID_PREFIX):
        raise NotAdmitted(f"peer id {raw.hex()[:24]} is not of an Ed25519 key")
    return NodeKey(raw[len(PEER_ID_PREFIX) :])


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: the library wraps the true one several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    return f"{type(error).__name__} {error}".strip()[:200]
