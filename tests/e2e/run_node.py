"""One node of a run: its process, its disk, and everything that may be done to both.

When something is done to it, and what must follow, is `perturb.py`'s business.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node.devnet.league import DevNode, environment
from tests.e2e.asking import Asker
from tests.e2e.manifest import NodeRules

# Of a slow node: stopped for its share of each period. Long enough to be felt by a loop that answers in milliseconds.
SLOW_PERIOD_S = 0.4
BALLAST = "ballast"
_PIECE = bytes(64 * 1024)
_TOOL_S = 20.0


class RunFailed(Exception):
    """Something did not become so in time, or is what it must never be. The text holds the ends of logs."""


@dataclass(slots=True)
class Standing:
    """What is being done to a node. `dead`: it does not run, on purpose. `gone`: it is no member any more.

    `hidden`: clients do not ask it now.
    """

    dead: bool = False
    frozen: bool = False
    cut_off: bool = False
    gone: bool = False
    slow: "Throttle | None" = None
    mounted: bool = False

    @property
    def hidden(self) -> bool:
        return self.dead or self.frozen or self.cut_off or self.gone


@dataclass(slots=True)
class RunNode:
    """One node of a run."""

    rules: NodeRules
    inner: DevNode
    asker: Asker
    # What stands before the command, such as the way into its namespace; and the command up to its verb.
    prefix: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "node.cli.main")
    standing: Standing = field(default_factory=Standing)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def folder(self) -> Path:
        return self.inner.folder

    @property
    def honest(self) -> bool:
        return not self.rules.byzantine

    def ask(self, method: str, **parameters: Any) -> Any:
        """Raises RpcError, Silence."""
        return self.asker.call(method, **parameters)

    def start(self) -> None:
        """Start the process; it answers a moment later."""
        process = self.inner.process
        assert process is None or process.poll() is not None, f"{self.name} runs already"
        with self.inner.log.open("ab") as log:
            self.inner.process = subprocess.Popen(
                [*self.prefix, sys.executable, *self.program, "start", "-c", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Each node hashes in another order: what they agree on must not depend on it.
                env={**environment(), "PYTHONHASHSEED": str(sum(self.name.encode()))},
                start_new_session=True,
            )
        self.standing.dead = False

    def kill(self) -> None:
        """SIGKILL to the node and its trainer."""
        self.speed_up()
        self.standing.dead = True
        self.inner.kill()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.speed_up()
        self.standing.dead = True
        code = self.inner.stop()
        self.inner.process = None
        return code

    def freeze(self) -> None:
        self.standing.frozen = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.standing.frozen = False

    def slow_down(self, percent: int) -> None:
        self.speed_up()
        assert self.inner.process is not None
        self.standing.slow = Throttle(self.inner.process.pid, percent)

    def speed_up(self) -> None:
        if self.standing.slow is not None:
            self.standing.slow.end()
        self.standing.slow = None

    def _signal(self, number: signal.Signals) -> None:
        process = self.inner.process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)

    def ended(self) -> int | None:
        """The exit code, when it has ended by itself."""
        process = self.inner.process
        return None if process is None else process.poll()

    def last_line(self) -> str:
        """Of its log: what a node that ends by itself says."""
        lines = self.inner.log_tail().strip().splitlines()
        return lines[-1].removeprefix("hanse: ") if lines else "nothing said"

    # --- its disk

    def lose(self, parts: Sequence[str]) -> None:
        """Delete parts of a dead node's folder: ledger, journal, blobs."""
        assert self.standing.dead
        for part in parts:
            path = self.folder / part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def fill_disk(self) -> None:
        """Leave no byte of room, as something else on the machine would."""
        with (self.folder / BALLAST).open("ab", buffering=0) as ballast:
            for size in (len(_PIECE), 4096, 1):
                with suppress(OSError):
                    while True:
                        ballast.write(_PIECE[:size])

    def make_room(self) -> None:
        (self.folder / BALLAST).unlink(missing_ok=True)

    def mount(self, mebibytes: int) -> None:
        """Its folder becomes a disk of its own, with what is in it."""
        aside = self.folder.with_name(self.folder.name + ".aside")
        self.folder.rename(aside)
        self.folder.mkdir(mode=0o700)
        _run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "hanse", str(self.folder))
        self.standing.mounted = True
        shutil.copytree(aside, self.folder, dirs_exist_ok=True)
        shutil.rmtree(aside)

    def unmount(self) -> None:
        if self.standing.mounted:
            # The log is worth more than the disk it was on.
            if self.inner.log.exists():
                shutil.copyfile(self.inner.log, self.folder.with_suffix(".log"))
            self.asker.forget()
            _run("umount", "--lazy", str(self.folder))
            self.standing.mounted = False


class Throttle:
    """A process that runs only for a share of each period: SIGSTOP and SIGCONT by turns, until `end`."""

    def __init__(self, group: int, percent: int) -> None:
        self._group = group
        self._stopped_s = SLOW_PERIOD_S * percent / 100
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="throttle", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with suppress(ProcessLookupError):
            try:
                while not self._over.is_set():
                    os.killpg(self._group, signal.SIGSTOP)
                    self._over.wait(self._stopped_s)
                    os.killpg(self._group, signal.SIGCONT)
                    self._over.wait(SLOW_PERIOD_S - self._stopped_s)
            finally:
                os.killpg(self._group, signal.SIGCONT)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_S)
    if done.returncode:
        raise RunFailed(f"{' '.join(command)}: {done.stderr.strip()}")
