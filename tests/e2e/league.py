"""The league of a run: real daemons, on loopback, behind proxies or in namespaces, each equipped as its manifest says.

Nodes are `run_node.py`'s; here is what they are together.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ledger.keys import KeyPair
from node.devnet.league import DevLeague, LeagueFailed, NodePlan
from node.identity import load_key
from node.rpc.errors import RpcError
from tests.e2e.asking import Asker, Silence
from tests.e2e.clock import set_clock
from tests.e2e.manifest import Manifest, NodeRules
from tests.e2e.namespaces import Namespaces
from tests.e2e.proxies import Proxies, across
from tests.e2e.run_node import RunFailed, RunNode
from tests.support.processes import factory

LOOK_EVERY_S = 0.05
START_S = 90.0


class RunLeague:
    """All nodes of a run. Made by `founded`."""

    def __init__(
        self,
        manifest: Manifest,
        dev: DevLeague,
        nodes: list[RunNode],
        wire: "Proxies | Namespaces | None",
        rng: random.Random,
    ) -> None:
        self.manifest = manifest
        self.dev = dev
        self.nodes = nodes
        self.rng = rng
        self._wire = wire

    def node(self, name: str) -> RunNode:
        return next(node for node in self.nodes if node.name == name)

    @property
    def honest(self) -> list[RunNode]:
        """Nodes of members that do not lie."""
        return [node for node in self.nodes if node.honest and not node.standing.gone]

    def asked(self) -> list[RunNode]:
        """Honest nodes that can be asked now."""
        return [node for node in self.honest if not node.standing.hidden]

    def gateways(self) -> dict[str, Asker]:
        return {node.name: node.asker for node in self.asked()}

    def height(self) -> int:
        """The highest head that an honest node shows; 0 when none answers."""
        heights = [0]
        for node in self.asked():
            with suppress(Silence, RpcError):
                heights.append(int(node.ask("status")["head"]["height"]))
        return max(heights)

    def heights(self) -> dict[str, int]:
        """The head of every honest node that is not frozen or dead; cut off or not, it is asked from this machine."""
        shown = {}
        for node in self.honest:
            if not node.standing.dead and not node.standing.frozen:
                with suppress(Silence, RpcError):
                    shown[node.name] = int(node.ask("status")["head"]["height"])
        return shown

    def is_ready(self, node: RunNode) -> bool:
        try:
            return bool(node.ask("health")["ready"])
        except (Silence, RpcError):
            return False

    def leaders(self) -> list[RunNode]:
        """Who leads the next height, view after view, as an honest node sees it."""
        for node in self.asked():
            with suppress(Silence, RpcError):
                orgs = node.ask("committee")["leaders"]
                return [each for org in orgs for each in self.nodes if each.inner.org.hex() == org]
        raise RunFailed("no honest node says who leads")

    def key_of(self, node: RunNode) -> KeyPair:
        """What the node signs with now."""
        return load_key(node.folder / "key.pem")

    def wait(self, condition: Callable[[], bool], what: str, patience_s: float) -> None:
        """Until it is so. Raises RunFailed after the time, or when a node ends that nobody ended."""
        ends = time.monotonic() + patience_s
        while not condition():
            self.check_alive()
            if time.monotonic() > ends:
                raise RunFailed(f"not so within {patience_s:g} s: {what}{self.logs()}")
            time.sleep(LOOK_EVERY_S)

    def check_alive(self) -> None:
        for node in self.nodes:
            code = node.ended()
            if code is not None and not node.standing.dead:
                raise RunFailed(f"{node.name} ended by itself with code {code}{node.inner.log_tail()}")

    def logs(self) -> str:
        return "".join(f"\n{node.name}{node.inner.log_tail()}" for node in self.nodes)

    def split(self, groups: Sequence[Sequence[str]], how: str) -> None:
        match self._wire:
            case Proxies() as proxies:
                pairs = across(groups)
                if how == "one-way":
                    # The first group speaks and hears nothing.
                    pairs = {(a, b) for a, b in pairs if b in groups[0]}
                proxies.cut(pairs, reset=how == "reset")
            case Namespaces() as namespaces:
                namespaces.split(groups)
            case None:
                raise AssertionError("the manifest was checked: a partition has something to cut")

    def heal(self) -> None:
        if self._wire is not None:
            self._wire.heal()

    def add_newcomer(self, name: str) -> RunNode:
        """An organisation that is no member yet, with a folder and the genesis; its node does not run."""
        if isinstance(self._wire, Proxies | Namespaces):
            raise RunFailed("a newcomer needs network loopback: no proxy and no cable was made for it")
        inner = self.dev.add_outsider(_plan(self.manifest, name))
        node = RunNode(NodeRules(name), inner, Asker(inner.folder))
        self.nodes.append(node)
        return node

    def part_with(self, node: RunNode) -> None:
        """A node that is no member any more: stopped in order, and asked no more."""
        node.stop()
        node.standing.gone = True

    def slow_again(self) -> None:
        """Nodes that are always slow, once they are up: starting alone would take them a minute."""
        for node in self.nodes:
            running = not node.standing.dead and not node.standing.frozen
            if node.rules.slow_percent and running and node.standing.slow is None:
                node.slow_down(node.rules.slow_percent)

    def set_clock(self, node: RunNode, ahead_s: int) -> None:
        set_clock(node.folder, ahead_s * 1000)


@contextmanager
def founded(manifest: Manifest, directory: Path) -> Iterator[RunLeague]:
    """A league on disk whose nodes do not run yet. No process, proxy, namespace or mount outlives the block."""
    rng = random.Random(manifest.seed)
    with ExitStack() as stack:
        plans = [_plan(manifest, name) for name in manifest.league.names]
        dev = stack.enter_context(DevLeague(directory, plans, manifest.name))
        nodes = [RunNode(manifest.node(inner.name), inner, Asker(inner.folder)) for inner in dev.nodes]
        stack.callback(_end_all, nodes)
        wire = _wired(manifest, nodes, stack)
        _found_anew(dev, manifest.league.protocol)
        clocks = any(step.do == "skew" for step in manifest.steps)
        for node in nodes:
            _equip(node, clocks, manifest.league.protocol)
            if node.rules.tmpfs_mib:
                node.mount(node.rules.tmpfs_mib)
        yield RunLeague(manifest, dev, nodes, wire, rng)


def _end_all(nodes: Sequence[RunNode]) -> None:
    for node in nodes:
        node.speed_up()
        node.thaw()
    running = [node for node in nodes if node.inner.process is not None and node.ended() is None]
    for node in running:
        assert node.inner.process is not None
        node.inner.process.terminate()
    for node in running:
        try:
            node.inner.stop()
        except LeagueFailed:
            node.inner.kill()
    for node in nodes:
        # Nobody need be told of an end that the test has seen.
        node.inner.process = None
        node.unmount()


def _plan(manifest: Manifest, name: str) -> NodePlan:
    rules, league = manifest.node(name), manifest.league
    settings: dict[str, dict[str, object]] = {
        "consensus": {
            "view_timeout_ms": league.view_timeout_ms,
            "view_timeout_step_ms": league.view_timeout_step_ms,
            "resend_ms": league.resend_ms,
        },
        "sync": {"snapshot_every": league.snapshot_every, "snapshot_gap": league.snapshot_gap, "snapshot_seconds": 0},
        "storage": {"keep_blocks": 0 if name == league.names[0] else league.keep_blocks},
        "network": {"ping_every_ms": league.ping_every_ms, "silence_ms": league.silence_ms},
    }
    if rules.tmpfs_mib:
        # On so small a disk the ordinary reserve would never be free.
        settings["storage"]["disk_free_min"] = 0
    if not manifest.load.request or name == manifest.league.names[0]:
        return NodePlan(name, settings=settings)
    names = manifest.league.names
    return factory(name, names.index(name), len(names), **settings)


def _wired(manifest: Manifest, nodes: Sequence[RunNode], stack: ExitStack) -> "Proxies | Namespaces | None":
    """Put what the manifest wants between the nodes, and give them the addresses it makes."""
    if manifest.network == "proxies":
        inside = {node.name: node.inner.address for node in nodes}
        targets = {name: int(address.rpartition("/")[2]) for name, address in inside.items()}
        proxies = stack.enter_context(Proxies(targets, lambda: _pids(nodes)))
        for node in nodes:
            node.inner.address = f"/ip4/127.0.0.1/tcp/{proxies.ports[node.name]}"
            _set(node, listen=[inside[node.name]], announce=[node.inner.address])
        return proxies
    if manifest.network == "namespaces":
        namespaces = stack.enter_context(Namespaces([node.name for node in nodes]))
        for node in nodes:
            node.inner.address = namespaces.address(node.name)
            node.prefix = namespaces.command(node.name)
        return namespaces
    return None


def _pids(nodes: Sequence[RunNode]) -> Mapping[int, str]:
    return {node.inner.process.pid: node.name for node in nodes if node.inner.process is not None}


def _set(node: RunNode, **network: object) -> None:
    settings = {section: dict(values) for section, values in node.inner.plan.settings.items()}
    settings.setdefault("network", {}).update(network)
    node.inner.plan = replace(node.inner.plan, settings=settings)


def _found_anew(dev: DevLeague, protocol: int) -> None:
    """The genesis again, with the addresses that the nodes have now. `protocol` 0: the newest."""
    addresses = {node.name: (node.address,) for node in dev.nodes}
    founders = tuple(replace(founder, addresses=addresses[founder.name]) for founder in dev.genesis.members)
    dev.genesis = replace(dev.genesis, members=founders, protocol=protocol or dev.genesis.protocol)
    for node in dev.nodes:
        dev.settle(node)


def _equip(node: RunNode, clock: bool, protocol: int) -> None:
    rules = node.rules
    words: list[str] = []
    if clock or rules.clock_offset_s:
        set_clock(node.folder, rules.clock_offset_s * 1000)
        words.append("--clock")
    if rules.byzantine:
        words += ["--byzantine", rules.byzantine]
    if rules.outdated:
        words += ["--newest-protocol", str(protocol)]
    if words:
        node.program = ("-m", "tests.e2e.node_build", *words)
