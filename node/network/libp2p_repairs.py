"""What is wrong inside py-libp2p 0.8.1 and can only be put right inside it. Importing this file repairs it.

Holds the version check, the replaced names and the bounded Yamux. What is wrong around it (its Swarm, its host, its
socket wrapper) is not repaired but left out: `libp2p_host.py` drives the pieces itself.
"""

import importlib.metadata
import logging
from typing import Any

import trio

import node.network.libp2p_bare  # noqa: F401 - before anything of libp2p

# isort: split
from libp2p.io import msgio
from libp2p.io.exceptions import IncompleteReadError
from libp2p.stream_muxer.yamux import yamux

WANTED_VERSION = "0.8.1"
# A Noise record holds 65519 bytes; Yamux's own 65536 make every frame two records.
_YAMUX_FRAME_BYTES = 65519
# 2 MiB in flight fill 200 Mbit/s over 80 ms. Yamux's 16 MiB a stream would let a few streams hold too much.
_YAMUX_WINDOW_BYTES_MAX = 2 * 2**20

_REPLACED = (
    (msgio, "read_exactly"),
    (yamux, "read_exactly"),
    (yamux, "MAX_MESSAGE_SIZE"),
    (yamux, "MAX_WINDOW_SIZE"),
    (yamux, "_yamux_release_on_read"),
    (yamux.Yamux, "_read_data_body"),
    (yamux.Yamux, "_sweep_stale_streams"),
    (yamux.Yamux, "_write_frame"),
)


def check_library() -> None:
    """Raises RuntimeError unless this is the libp2p that the repairs were written for."""
    version = importlib.metadata.version("libp2p")
    if version != WANTED_VERSION:
        raise RuntimeError(f"libp2p {version} is installed, want {WANTED_VERSION}: its insides are repaired by name")
    missing = [f"{place.__name__}.{name}" for place, name in _REPLACED if not hasattr(place, name)]
    if missing:
        raise RuntimeError(f"libp2p {version} has no {', '.join(missing)}")


async def read_exactly(reader: Any, n: int, retry_count: int = 0) -> bytes:
    """`n` bytes of `reader`, in however many pieces they come.

    The library's own gives up after 100 pieces, which ends the connection on a large record over a small segment
    size and every message above some 6 MB.
    """
    data = await reader.read(n)
    if len(data) == n:
        return bytes(data)
    buffer = bytearray(data)
    while len(buffer) < n:
        data = await reader.read(n - len(buffer))
        if not data:
            raise IncompleteReadError(
                f"the stream ended {n - len(buffer)} of {n} bytes early",
                expected_bytes=n,
                received_bytes=len(buffer),
            )
        buffer += data
    return bytes(buffer)


class BoundedYamux(yamux.Yamux):  # type: ignore[misc]
    """Yamux that bounds what lies unread, forgets streams the other side never finishes, and never raises from `run`.

    The library's only warns when a peer ignores the window (400 MB sent were 400 MB held), and keeps a stream that
    one side finished and the other did not for as long as the connection lasts.
    """

    def __init__(self, secured_conn: Any, peer_id: Any, unread_bytes_max: int) -> None:
        super().__init__(secured_conn, peer_id)
        self.unread_bytes_max = unread_bytes_max
        self._half_closed: set[int] = set()

    async def run(self) -> None:
        """Carry frames until the connection ends, however it ends."""
        try:
            await self.start()
        except* Exception:
            # Nothing the peer can do may reach the nursery we share with other peers.
            logging.getLogger(__name__).debug("a connection ended", exc_info=True)
        finally:
            self.event_started.set()

    async def _read_data_body(self, length: int) -> bytes:
        unread = sum(map(len, self.stream_buffers.values()))
        if unread + length > self.unread_bytes_max:
            # The one exception after which the reading loop ends the connection.
            raise trio.TooSlowError
        body: bytes = await super()._read_data_body(length)
        return body

    async def _write_frame(self, data: bytes) -> None:
        # As the library's, without a debug line formatted for every frame.
        async with self._write_lock:
            await self.secured_conn.write(data)
        await trio.lowlevel.checkpoint()

    def drop_unread(self, stream: Any) -> None:
        """Forget what has arrived on a stream that nobody will read any more: the library keeps it for a minute."""
        if stream.stream_id in self.stream_buffers:
            self.stream_buffers[stream.stream_id] = bytearray()

    def _sweep_stale_streams(self, now: float | None = None) -> int:
        for sid, stream in self.streams.items():
            # We finish a stream when we are done with it: what came after is nobody's.
            if stream.send_closed and self.stream_buffers.get(sid):
                self.stream_buffers[sid] = bytearray()
        # Seen twice, so at least one sweep interval (30 s) after we finished our half.
        half_closed = {sid for sid, stream in self.streams.items() if stream.send_closed and not stream.recv_closed}
        for sid in half_closed & self._half_closed:
            stream = self.streams[sid]
            stream.closed = stream.recv_closed = stream.reset_received = True
            if sid in self.stream_events:
                self.stream_events[sid].set()
        self._half_closed = half_closed
        return int(super()._sweep_stale_streams(now))


def _repair() -> None:
    check_library()
    for module in (msgio, yamux):
        module.read_exactly = read_exactly
    yamux.MAX_MESSAGE_SIZE = _YAMUX_FRAME_BYTES
    yamux.MAX_WINDOW_SIZE = _YAMUX_WINDOW_BYTES_MAX
    # Window updates in batches: the library answers nearly every read with one.
    yamux._yamux_release_on_read = lambda: False
    # It reports what peers do to it at WARNING and ERROR, many lines each: our own log says it once.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)


_repair()
