"""Founds a league on disk and runs its nodes as processes of their own. Used by `hanse devnet` and by the tests.

Nodes share nothing but the loopback network: each has its own folder, key, ledger and records.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger.genesis import Genesis, GenesisMember, genesis_to_json
from ledger.parameters import LeagueParameters
from ledger.types import NodeKey, OrgId
from node.cold_identity import IDENTITY_FILE, write_public
from node.config_template import config_template
from node.identity import create_key, peer_id, stored_key
from node.journal_file import JournalFile
from node.rpc.client import NodeUnreachable, RpcClient

FOUNDER_TOKENS = 10_000_000
KEY_FILE = "key.pem"
DAEMON = ("node.cli.main", "start", "-c")
LOOK_EVERY_S = 0.05
LOG_TAIL_BYTES = 4_000
# Registered ports that few programs use, and no system of ours draws for outgoing connections.
PORTS = range(20_000, 30_000)
# Held until this process ends: what other leagues of this machine see of the ports that were given here.
_given: dict[int, socket.socket] = {}


class LeagueFailed(Exception):
    """A node of the league did not do what it should in time. The text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One organisation. `source` empty: it has no data. `settings`: more of the configuration, by section."""

    name: str
    source: str = ""
    source_path: Path | None = None
    source_settings: Mapping[str, str] = field(default_factory=dict)
    period_records: int = 250
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(slots=True)
class DevNode:
    """A node's folder, and its process while it runs."""

    plan: NodePlan
    folder: Path
    org: OrgId
    address: str
    process: subprocess.Popen[bytes] | None = None
    _client: RpcClient | None = None

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def key(self) -> NodeKey:
        """What the node signs with now: it may have been rotated."""
        key = stored_key(self.folder / KEY_FILE)
        assert key is not None, "this node's key was made here"
        return key

    @property
    def multiaddr(self) -> str:
        return f"{self.address}/p2p/{peer_id(self.key)}"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    def start(self, program: Sequence[str] = DAEMON) -> None:
        """Start the process; it answers a moment later. `program`: a module and its arguments before the folder."""
        assert self.process is None or self.process.poll() is not None, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", *program, str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, to the node and its trainer: nothing is said goodbye to."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            # It did not end by itself, so nobody need be told.
            self.process = None
        self.forget_client()

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM and wait; the exit code. Killed when it does not go."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LeagueFailed(f"{self.name} did not stop within {timeout_s:g} s{self.log_tail()}") from None
        finally:
            self.forget_client()
        return code

    def call(self, method: str, **parameters: Any) -> Any:
        """One RPC. Raises RpcError, NodeUnreachable."""
        if self._client is None:
            self._client = RpcClient(self.folder)
        return self._client.call(method, **parameters)

    def answers(self) -> bool:
        self.check_alive()
        try:
            self.call("health")
        except NodeUnreachable:
            self.forget_client()
            return False
        return True

    def check_alive(self) -> None:
        """Raises LeagueFailed when the process has ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            raise LeagueFailed(f"{self.name} ended with code {self.process.returncode}{self.log_tail()}")

    def log_tail(self) -> str:
        text = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip() if self.log.exists() else ""
        return f"; its log ends:\n{text}" if text else ""

    def forget_client(self) -> None:
        """After the node has gone: the next call finds its next run."""
        if self._client is not None:
            self._client.close()
        self._client = None


class DevLeague:
    """Founders of a new league, each in a folder under `directory`. A context: leaving it stops every process."""

    def __init__(self, directory: Path, plans: Sequence[NodePlan], name: str = "devnet") -> None:
        self.directory = directory
        ports = free_ports(len(plans))
        self.nodes = [_prepare(directory / plan.name, plan, port) for plan, port in zip(plans, ports, strict=True)]
        founders = sorted(
            (GenesisMember(node.org, node.name, (node.address,), FOUNDER_TOKENS, node.key) for node in self.nodes),
            key=lambda founder: founder.org,
        )
        self.genesis = Genesis(name, int(time.time() * 1000), tuple(founders), LeagueParameters())
        for node in self.nodes:
            self.settle(node)

    def settle(self, node: DevNode) -> None:
        """Write a node's genesis and configuration; its bootstrap peers are all founders that come before it."""
        (node.folder / "genesis.json").write_text(genesis_to_json(self.genesis))
        before = [other.multiaddr for other in self.nodes if other is not node][:2]
        (node.folder / "config.toml").write_text(config_template(_config(node, before)))

    def add_outsider(self, plan: NodePlan) -> DevNode:
        """An organisation that is no founder: it has the genesis file and knows two members."""
        node = _prepare(self.directory / plan.name, plan, free_ports(1)[0])
        self.settle(node)
        self.nodes.append(node)
        return node

    def __enter__(self) -> "DevLeague":
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            try:
                node.stop()
            except LeagueFailed:
                node.kill()

    def start(self, timeout_s: float = 60.0) -> None:
        """All nodes up, answering and connected to each other."""
        for node in self.nodes:
            node.start()
        self.wait_until(lambda: all(node.answers() for node in self.nodes), "all nodes answer", timeout_s)
        self.wait_until(self.is_connected, "all nodes are connected", timeout_s)

    def is_connected(self) -> bool:
        wanted = len(self.nodes) - 1
        return all(sum(peer["connected"] for peer in node.call("peers")["peers"]) >= wanted for node in self.nodes)

    def is_agreed(self) -> bool:
        """Whether all nodes hold the same block and state now."""
        heads = [node.call("status") for node in self.nodes]
        return len({(head["head"]["height"], head["head"]["id"], head["state_root"]) for head in heads}) == 1

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Look until it is so. Raises LeagueFailed after the time, or when a node ends by itself."""
        ends = time.monotonic() + timeout_s
        while not condition():
            for node in self.nodes:
                node.check_alive()
            if time.monotonic() > ends:
                logs = "".join(f"\n{node.name}{node.log_tail()}" for node in self.nodes)
                raise LeagueFailed(f"not so within {timeout_s:g} s: {what}{logs}")
            time.sleep(LOOK_EVERY_S)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, each given once on this machine while this process lives.

    Below those that the system draws for outgoing connections: one of these may take a port between our look and the
    start of the node that is to listen there. Another league may look at a port while our node is down for a moment.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        if port not in _given and (claim := _claim(port)) is not None:
            found.append(port)
            _given[port] = claim
    if len(found) < count:
        raise LeagueFailed(f"{len(found)} free ports from {PORTS[0]} to {PORTS[-1]}, want {count}")
    return found


def _claim(port: int) -> socket.socket | None:
    """Our mark on a free port, None where it is not free or another process has marked it."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        # A name without a file, that is gone with whoever holds it.
        mark.bind(f"\0hanse-devnet-port-{port}")
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        mark.close()
        return None
    return mark


def _prepare(folder: Path, plan: NodePlan, port: int) -> DevNode:
    folder.mkdir(parents=True, mode=0o700)
    create_key(folder / KEY_FILE)
    # A real organisation takes its identity off the machine; these are gone with their folder.
    org = OrgId(create_key(folder / IDENTITY_FILE).public)
    write_public(folder / "identity.pub", org)
    JournalFile(folder / "journal").close()
    return DevNode(plan, folder, org, f"/ip4/127.0.0.1/tcp/{port}")


def _config(node: DevNode, bootstrap: Sequence[str]) -> dict[str, dict[str, Any]]:
    plan = node.plan
    settings: dict[str, dict[str, Any]] = {
        "node": {"name": plan.name},
        "network": {"listen": [node.address], "bootstrap": list(bootstrap)},
        "rpc": {"listen": "127.0.0.1:0"},
    }
    if plan.source:
        settings["data"] = {"source": plan.source, "period_records": plan.period_records}
        if plan.source_path is not None:
            settings["data"]["path"] = plan.source_path.absolute()
        if plan.source_settings:
            settings["data"]["settings"] = dict(plan.source_settings)
        settings["training"] = {"offer": "all"}
    for section, values in plan.settings.items():
        settings.setdefault(section, {}).update(values)
    return settings


def environment() -> dict[str, str]:
    """Ours, with this very code on the module path."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": root if not path else f"{root}{os.pathsep}{path}"}
