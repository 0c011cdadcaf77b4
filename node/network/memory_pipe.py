"""Two byte streams back to back in memory that a test can tear: what channels of the memory double run on."""

import trio

from ledger.types import NodeKey
from node.network.transport import PeerUnreachable

# Pieces on their way; the writer then waits, as it would for a socket.
_PIPE_PIECES_MAX = 4


class Pipe:
    """Two streams back to back. `pair`: whose, so that a cut finds it."""

    def __init__(self, pair: frozenset[NodeKey]) -> None:
        self.pair = pair
        there = trio.open_memory_channel[bytes](_PIPE_PIECES_MAX)
        back = trio.open_memory_channel[bytes](_PIPE_PIECES_MAX)
        self.ends = (PipeEnd(there[0], back[1]), PipeEnd(back[0], there[1]))

    def tear(self) -> None:
        for end in self.ends:
            end.torn = True
            end.finish()


class PipeEnd:
    """See channel.ByteStream."""

    def __init__(self, out: trio.MemorySendChannel[bytes], into: trio.MemoryReceiveChannel[bytes]) -> None:
        self._out = out
        self._into = into
        self.torn = False

    async def read(self) -> bytes:
        try:
            return await self._into.receive()
        except trio.EndOfChannel:
            if self.torn:
                raise PeerUnreachable("the link was cut") from None
            return b""
        except trio.ClosedResourceError:
            raise PeerUnreachable("the link was cut") from None

    async def write(self, data: bytes) -> None:
        try:
            await self._out.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PeerUnreachable("the stream broke") from None

    def give_up(self, since: float) -> None:
        self.finish()

    def finish(self) -> None:
        self._out.close()
        self._into.close()
