"""Nodes in network namespaces of their own, joined by a bridge for each side of a partition: what a cut cable does.

Runs inside namespaces that the runner was started in (see `enclosed`), so that nothing of it outlives the run: no
bridge, no cable and no mount is ever seen by the machine.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

PORT = 4001
_PATIENCE_S = 20.0


class NotPermitted(Exception):
    """This machine does not let us make namespaces or mounts. The text says what was tried and what it answered."""


def enclosed(command: Sequence[str], *, network: bool, mounts: bool) -> list[str]:
    """`command` in namespaces of its own, so that it may mount and make networks. Raises NotPermitted."""
    if not network and not mounts:
        return list(command)
    for tool in ("unshare", *(("ip", "nsenter") if network else ()), *(("mount", "umount") if mounts else ())):
        if shutil.which(tool) is None:
            raise NotPermitted(f"there is no {tool} on this machine")
    prefix = ["unshare", "--mount", *(("--net",) if network else ())]
    if os.geteuid() != 0:
        prefix += ["--user", "--map-root-user"]
    trials = []
    if mounts:
        trials.append(["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"])
    if network:
        trials.append(["ip", "link", "add", "trial", "type", "bridge"])
        trials.append(["ip", "link", "add", "one", "type", "veth", "peer", "name", "other"])
    for trial in trials:
        tried = [*prefix, *trial]
        done = subprocess.run(tried, capture_output=True, text=True, timeout=_PATIENCE_S)
        if done.returncode:
            raise NotPermitted(f"{' '.join(tried)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return [*prefix, *command]


class Namespaces:
    """A namespace with one cable for each name. A context; leaving it ends them all."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._bridges = 0

    def __enter__(self) -> "Namespaces":
        try:
            _ip("link", "set", "lo", "up")
            self._add_bridge()
            for at, name in enumerate(self._names):
                self._add_node(name, at)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._holders.values():
            with suppress(ProcessLookupError):
                holder.send_signal(signal.SIGKILL)
            holder.wait()

    def command(self, name: str) -> tuple[str, ...]:
        """What stands before a command that is to run in the node's namespace; the process keeps its number."""
        return ("nsenter", "--target", str(self._holders[name].pid), "--net", "--")

    def address(self, name: str) -> str:
        return f"/ip4/{self._host(name)}/tcp/{PORT}"

    def split(self, groups: Sequence[Sequence[str]]) -> None:
        """Only members of one group reach each other from now on; what is on its way between groups is lost."""
        while self._bridges < len(groups):
            self._add_bridge()
        for number, group in enumerate(groups):
            for name in group:
                _ip("link", "set", _cable(self._names.index(name)), "master", f"hanse{number}")

    def heal(self) -> None:
        self.split([self._names])

    def _host(self, name: str) -> str:
        return f"10.77.0.{self._names.index(name) + 1}"

    def _add_bridge(self) -> None:
        name = f"hanse{self._bridges}"
        _ip("link", "add", name, "type", "bridge", "forward_delay", "0")
        _ip("link", "set", name, "up")
        self._bridges += 1

    def _add_node(self, name: str, at: int) -> None:
        holder = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._holders[name] = holder
        _wait_namespace(holder.pid)
        cable = _cable(at)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _ip("link", "set", cable, "master", "hanse0", "up")
        inside = self.command(name)
        _run(*inside, "ip", "addr", "add", f"{self._host(name)}/24", "dev", "eth0")
        _run(*inside, "ip", "link", "set", "eth0", "up")
        _run(*inside, "ip", "link", "set", "lo", "up")


def _cable(at: int) -> str:
    return f"cable{at}"


def _wait_namespace(pid: int) -> None:
    """Until the process is in a network namespace other than ours."""
    ours = os.readlink("/proc/self/ns/net")
    ends = time.monotonic() + _PATIENCE_S
    while os.readlink(f"/proc/{pid}/ns/net") == ours:
        if time.monotonic() > ends:
            raise NotPermitted(f"process {pid} made no network namespace within {_PATIENCE_S:g} s")
        time.sleep(0.01)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.returncode:
        raise NotPermitted(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
