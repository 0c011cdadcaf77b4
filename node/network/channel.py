"""A channel over any byte stream: frames with bounds and a deadline each. Shared by libp2p and the memory double."""

from typing import Protocol

import trio

from ledger.types import NodeKey
from node.network.transport import ChannelClosed, PeerUnreachable, RequestRefused, RequestTimedOut
from node.network.wire import FrameKind, FrameReader, InvalidFrame, frame

REFUSAL_BYTES_MAX = 1024
# The deadline is for each piece of a long frame, so that a slow line may take its time.
_WRITE_BYTES = 2**20


class FrameOutOfBounds(PeerUnreachable):
    """The peer sent a frame that is longer than agreed, or none of ours: the stream cannot be read on."""


class ByteStream(Protocol):
    """One stream to one peer. Both calls raise PeerUnreachable when it broke."""

    async def read(self) -> bytes:
        """Some bytes; b"" when the peer finished."""

    async def write(self, data: bytes) -> None: ...

    def give_up(self, since: float) -> None:
        """The peer was too slow from `since` (trio time) on: make sure that nobody waits for it on this stream."""


class FramedChannel:
    """See transport.Channel. `stall_s`: how long the peer may give or take nothing."""

    def __init__(self, stream: ByteStream, peer: NodeKey, stall_s: float) -> None:
        self._stream = stream
        self._peer = peer
        self._stall_s = stall_s
        self._reader = FrameReader({FrameKind.DATA: 0, FrameKind.REFUSAL: REFUSAL_BYTES_MAX})

    @property
    def peer(self) -> NodeKey:
        return self._peer

    async def send(self, body: bytes) -> None:
        await self._write(frame(FrameKind.DATA, body))

    async def send_all(self, *bodies: bytes) -> None:
        """Several frames in one write: streams cost per write."""
        await self._write(b"".join(frame(FrameKind.DATA, body) for body in bodies))

    async def refuse(self, refusal: RequestRefused) -> None:
        body = f"{refusal.code}\n{refusal.text}".encode()[:REFUSAL_BYTES_MAX]
        await self._write(frame(FrameKind.REFUSAL, body))

    async def receive(self, bytes_max: int) -> bytes:
        self._reader.bytes_max[FrameKind.DATA] = bytes_max
        try:
            while (item := self._reader.next()) is None:
                self._reader.feed(await self._read())
        except InvalidFrame as error:
            raise FrameOutOfBounds(str(error)) from None
        kind, body = item
        if kind is FrameKind.REFUSAL:
            code, _, text = body.decode(errors="replace").partition("\n")
            raise RequestRefused(code, text)
        return body

    async def _read(self) -> bytes:
        since = trio.current_time()
        try:
            with trio.fail_after(self._stall_s):
                data = await self._stream.read()
        except trio.TooSlowError:
            self._stream.give_up(since)
            raise RequestTimedOut(f"nothing came for {self._stall_s} s") from None
        if data:
            return data
        if self._reader.between_frames:
            raise ChannelClosed("the peer finished where a frame was due")
        raise PeerUnreachable(f"the stream ended {self._reader.wants()} bytes before the end of a frame")

    async def _write(self, data: bytes) -> None:
        try:
            for at in range(0, len(data), _WRITE_BYTES):
                since = trio.current_time()
                with trio.fail_after(self._stall_s):
                    await self._stream.write(data[at : at + _WRITE_BYTES])
        except trio.TooSlowError:
            self._stream.give_up(since)
            raise RequestTimedOut(f"the peer took nothing for {self._stall_s} s") from None
