"""The TCP socket under one connection, as py-libp2p wants it (read, write, close), and as we do: counted and abortable.

The library's own wrapper keeps no count, takes any number of bytes before the handshake is done, and leaves half a
record behind when a write is cancelled, after which the connection looks alive and answers nobody.
"""

import socket
import struct
from contextlib import suppress

import trio

from node.network.bucket import Bucket
from node.network.transport import Limits

# Records come as two bytes of length and a body; read ahead so that both cost one call.
_READ_BYTES = 128 * 1024
# Who reads too often waits this much longer than it must, or it would wait before every read.
_PAUSE_S = 0.05
# A write that the kernel does not take within so long is stuck, and may be cancelled at the price of the connection.
_STUCK_S = 0.25


class WireSocket:
    """One socket. `heard_at` is the trio time of the last byte from the peer."""

    def __init__(self, stream: trio.SocketStream, limits: Limits) -> None:
        self._stream = stream
        self._ahead = memoryview(b"")
        self._handshake_bytes_left: int | None = limits.handshake_bytes_max
        self._reads = Bucket(limits.reads_per_s, limits.reads_burst, trio.current_time())
        self.bytes_in = 0
        self.bytes_out = 0
        self.heard_at = trio.current_time()
        self.aborted = False

    def handshake_done(self) -> None:
        self._handshake_bytes_left = None

    async def read(self, n: int | None = None) -> bytes:
        """At most `n` bytes; b"" at the end, also when the connection broke."""
        if n == 0:
            return b""
        self._reads.spend(1, trio.current_time())
        if (wait_s := self._reads.wait_s(trio.current_time())) > 0:
            # It sends more, or smaller, than anything of ours does: TCP then holds it back.
            await trio.sleep(wait_s + _PAUSE_S)
        if not self._ahead:
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
            self.bytes_in += len(data)
            self.heard_at = trio.current_time()
            if self._handshake_bytes_left is not None:
                self._handshake_bytes_left -= len(data)
                if self._handshake_bytes_left < 0:
                    self.abort()
                    return b""
            self._ahead = memoryview(data)
        piece = self._ahead[:n]
        self._ahead = self._ahead[len(piece) :]
        return bytes(piece)

    async def write(self, data: bytes) -> None:
        """Write all of `data`. Raises ConnectionResetError when the connection broke.

        Cancelled only between writes or when the peer is stuck; then the socket is aborted, because a record that was
        begun can never be completed.
        """
        view = memoryview(data)
        sock = self._stream.socket
        try:
            while view:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _STUCK_S) as patience:
                    sent = await sock.send(view)
                    self.bytes_out += sent
                    view = view[sent:]
                if patience.cancelled_caught:
                    await self._wait_unstuck()
        except (OSError, trio.ClosedResourceError) as error:
            raise ConnectionResetError(f"the connection broke: {error}") from None

    async def _wait_unstuck(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._stream.socket.fileno())
        except trio.Cancelled:
            self.abort()
            raise

    async def close(self) -> None:
        await self._stream.aclose()

    def abort(self) -> None:
        """Drop the connection now, whatever is stuck on it: the peer sees a reset."""
        if self.aborted:
            return
        with suppress(OSError):  # it may be closed already
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    def hang_up(self) -> None:
        """Close without waiting; what was written still goes out."""
        self.aborted = True
        self._stream.socket.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        try:
            host, port, *_ = self._stream.socket.getpeername()
        except OSError:
            return None
        return str(host), int(port)
