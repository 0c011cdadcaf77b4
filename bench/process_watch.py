"""What a command costs with everything it starts: wall time, CPU seconds, the most memory, how many processes.

Processes that outlive their parents (Ray's do) are handed to this one, so that they are seen, counted, and ended.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.leagues import cpu_seconds, descendants, proportional_mb

LOOKS_EVERY_S = 0.25
# What a framework's own processes may take to end after its program did.
ENDING_S = 20.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Cost:
    """wall_s: of the command; cpu_s: user and system, of every process; peak_mb: proportional, of all together (10^6
    bytes); processes: at most at once; output: its standard output."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    processes: int
    output: str


class _Watch(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mb, self.processes = 0.0, 0
        self.cpu_s: dict[int, float] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(LOOKS_EVERY_S):
            pids = descendants(os.getpid())[1:]
            for pid in pids:
                with suppress(OSError, IndexError):
                    self.cpu_s[pid] = cpu_seconds(pid)
            self.processes = max(self.processes, len(pids))
            self.peak_mb = max(self.peak_mb, proportional_mb(pids))


def cost_of(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Cost:
    """Run a command to its end, in `folder`. Raises SystemExit with what it said when it fails."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    watch = _Watch()
    watch.start()
    began = time.perf_counter()
    said = folder / "said.txt"
    with said.open("w") as file:
        code = subprocess.run(command, env=dict(environment), stdout=subprocess.PIPE, stderr=file, text=True)
    wall_s = time.perf_counter() - began
    _end_orphans()
    watch.ended.set()
    watch.join()
    if code.returncode:
        sys.exit(f"{' '.join(command)} ended with {code.returncode}:\n{code.stdout}\n{said.read_text()[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A parent that does not wait for its children (Ray's does not) hides their time from who waits for it; what was
    # seen of each process last does not hold its very end.
    waited_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cpu_s = max(waited_s, sum(watch.cpu_s.values()))
    return Cost(wall_s, cpu_s, watch.peak_mb, watch.processes, code.stdout)


def _end_orphans() -> None:
    """Wait for processes that the command left behind, and kill those that stay: all are our children by now."""
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > deadline:
                for each in descendants(os.getpid())[1:]:
                    with suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)
            time.sleep(0.05)
