"""A clock that a test can set while a daemon runs: eight bytes in a file, milliseconds that the node is ahead.

The runner writes them, the test build of the node reads them at each look at its clock.
"""

import mmap
import struct
import time
from pathlib import Path

_OFFSET = struct.Struct("<q")
FILE = "clock-ahead-ms"


def set_clock(folder: Path, ahead_ms: int) -> None:
    """How far the node's clock is ahead from now on; also while it runs."""
    path = folder / FILE
    if not path.exists():
        path.write_bytes(_OFFSET.pack(ahead_ms))
        return
    # In place: the node has these very bytes mapped. Eight aligned bytes are written at once.
    with path.open("r+b") as file:
        file.write(_OFFSET.pack(ahead_ms))


def follow_clock(folder: Path) -> None:
    """From now on this process's wall clock is the machine's and what the file says. For the test build only.

    Every part of the node asks `time.time` or `time.time_ns`; trio's own clock is monotonic, and no machine's wall
    clock moves that.
    """
    with (folder / FILE).open("rb") as file:
        shared = mmap.mmap(file.fileno(), _OFFSET.size, prot=mmap.PROT_READ)
    true_time_ns = time.time_ns

    def time_ns() -> int:
        ahead_ms: int = _OFFSET.unpack_from(shared)[0]
        return true_time_ns() + ahead_ms * 1_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
