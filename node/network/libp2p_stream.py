"""One libp2p connection and its streams, with the library's faults turned into ours.

A stream is always finished by whoever holds it; what cannot be finished in time takes its connection along.
"""

from typing import Any

import trio

import node.network.libp2p_bare  # noqa: F401 - before anything of libp2p

# isort: split
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from ledger.types import NodeKey
from node.network.addresses import Address
from node.network.libp2p_repairs import BoundedYamux
from node.network.transport import Direction, PeerUnreachable
from node.network.wire_socket import WireSocket

# Larger reads cost less per byte; Yamux has at most its window to give.
_READ_BYTES = 256 * 1024
# Writing the few bytes that end a stream takes no time unless the peer is stuck.
_FINISH_S = 1.0
# Two protocol names and their lengths.
_NEGOTIATION_BYTES_MAX = 1024


class Connection:
    """One authenticated connection. `started` when streams can be opened (or it failed), `ended` when it is gone."""

    def __init__(
        self, org: NodeKey, direction: Direction, place: Address, wire: WireSocket, muxer: BoundedYamux
    ) -> None:
        self.org = org
        self.direction = direction
        self.place = place
        self.wire = wire
        self.muxer = muxer
        self.streams_open = 0
        self.opened_at = trio.current_time()
        self.started = trio.Event()
        self.ended = trio.Event()

    def abort(self) -> None:
        self.wire.abort()

    async def open_stream(self, protocol: str) -> "Stream":
        """A new stream on which `protocol` is proposed with the first write. Raises PeerUnreachable."""
        if self.ended.is_set() or self.wire.aborted:
            raise PeerUnreachable("the connection has ended")
        try:
            muxed = await self.muxer.open_stream()
        except Exception as error:
            raise PeerUnreachable(f"no stream could be opened: {error}") from None
        return Stream(self, muxed, _line("/multistream/1.0.0") + _line(protocol))


class Stream:
    """One stream. `proposal`: bytes that go before the first write and must come back before the first read.

    multistream-select (libp2p connections specification) lets the opener speak before the answer is there, which
    saves a round trip: a peer that agrees echoes the very same bytes.
    """

    def __init__(self, connection: Connection, muxed: Any, proposal: bytes = b"") -> None:
        self.connection = connection
        self._muxed = muxed
        self.ahead = b""
        self._to_write = proposal
        self._to_read = proposal

    async def read(self) -> bytes:
        """Some bytes; b"" when the peer finished. Raises PeerUnreachable when the stream or connection broke."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        while True:
            data = await self.read_some(_READ_BYTES)
            if not self._to_read or not data:
                return data
            expected = self._to_read[: len(data)]
            if data[: len(expected)] != expected:
                raise PeerUnreachable(f"the peer does not speak our protocol, it says {data[:40]!r}")
            self._to_read = self._to_read[len(expected) :]
            if len(data) > len(expected):
                return data[len(expected) :]

    async def read_some(self, n: int) -> bytes:
        try:
            data: bytes = await self._muxed.read(n)
        except MuxedStreamEOF:
            if self.connection.muxer.event_shutting_down.is_set():
                raise PeerUnreachable("the connection broke") from None
            return b""
        except Exception as error:
            raise PeerUnreachable(f"the stream broke: {type(error).__name__}") from None
        return data

    async def write(self, data: bytes) -> None:
        if self._to_write:
            data, self._to_write = self._to_write + data, b""
        try:
            await self._muxed.write(data)
        except Exception as error:
            raise PeerUnreachable(f"the stream broke: {error or type(error).__name__}") from None

    def give_up(self, since: float) -> None:
        """A deadline that began at trio time `since` has passed: a connection that was silent all along goes too.

        A peer that is only slow to answer keeps its connection, and the messages and transfers on it.
        """
        if self.connection.wire.heard_at <= since:
            self.connection.abort()

    async def finish(self, whole: bool) -> None:
        """End the stream: in order when the exchange was whole, at once when it was not. Never raises but Cancelled."""
        self.connection.muxer.drop_unread(self._muxed)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _FINISH_S) as limit:
            try:
                await (self._muxed.close() if whole else self._muxed.reset())
            except Exception:
                self.connection.abort()
        if limit.cancelled_caught:
            self.connection.abort()


class Negotiation:
    """What multistream-select sees of an inbound stream: bounded, and read in one go although it asks byte by byte."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ahead = b""
        self._left = _NEGOTIATION_BYTES_MAX

    async def read(self, n: int | None = None) -> bytes:
        if not self._ahead:
            if self._left <= 0:
                raise PeerUnreachable(f"more than {_NEGOTIATION_BYTES_MAX} bytes of negotiation")
            self._ahead = await self._stream.read_some(self._left)
            self._left -= len(self._ahead)
        data, self._ahead = self._ahead[:n], self._ahead[len(self._ahead[:n]) :]
        return data

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    def done(self) -> None:
        """Give back what was read beyond the negotiation."""
        self._stream.ahead = self._ahead


def _line(text: str) -> bytes:
    line = text.encode() + b"\n"
    assert len(line) < 128, "one byte of varint"
    return bytes([len(line)]) + line
