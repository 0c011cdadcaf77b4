"""What a run of the end-to-end tests is told: a league, its load, faults in their order, and what must hold.

Parsed once and strictly, as the daemon's own files are; README.md beside this file says what each word means. Nothing
is started here.
"""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from node.toml_rules import (
    Choice,
    Flag,
    Whole,
    WordList,
    Words,
    parse_toml,
    read_section,
    read_toml,
    read_value,
    refuse_unknown,
)

# Seven daemons fill two cores; more would test the machine.
NODES_MAX = 10
STEPS_MAX = 64
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
NETWORKS = ("loopback", "proxies", "namespaces")
BYZANTINE = (
    "equivocate-proposals",
    "equivocate-votes",
    "silent",
    "withhold-proposals",
    "withhold-blobs",
    "false-aggregate",
    "false-heights",
    "garbage",
)
# Of a target: a role that is looked up when the step begins.
ROLES = ("leader", "next-leader", "follower", "random", "f", "all", "others")
# What a step's kind says beside `do` and `until`; anything else in the step is refused.
WORDS_OF: dict[str, frozenset[str]] = {
    "kill": frozenset({"target", "stalls"}),
    "stop": frozenset({"target", "stalls"}),
    "pause": frozenset({"target", "stalls"}),
    "power-cut": frozenset(),
    "wipe": frozenset({"target", "lose"}),
    "journal": frozenset({"target", "damage"}),
    "fill-disk": frozenset({"target"}),
    "skew": frozenset({"target", "seconds"}),
    "slow": frozenset({"target", "percent"}),
    "partition": frozenset({"groups", "how", "stalls"}),
    "join": frozenset({"newcomer"}),
    "expel": frozenset({"target"}),
    "rotate": frozenset({"target"}),
    "upgrade": frozenset(),
    "mend": frozenset({"target"}),
    "wait": frozenset(),
}
NO_UNTIL = frozenset({"mend", "journal", "wipe", "power-cut", "join", "expel", "rotate", "upgrade"})


class InvalidManifest(ValueError):
    """A manifest that says what the runner does not know, or what contradicts itself. The text names the place."""


@dataclass(frozen=True, slots=True)
class Until:
    """When a step's fault ends: so many blocks later, so many seconds later, or (both 0) when everything is mended."""

    heights: int = 0
    seconds: int = 0

    @property
    def at_the_end(self) -> bool:
        return not self.heights and not self.seconds

    def __str__(self) -> str:
        if self.heights:
            return f"height +{self.heights}"
        return f"{self.seconds} s" if self.seconds else "end"


@dataclass(frozen=True, slots=True)
class LeagueRules:
    """The league: timers are the daemon's own unless they are set here."""

    nodes: Annotated[int, Whole(1, NODES_MAX, "founders, a process each")] = 4
    view_timeout_ms: Annotated[int, Whole(50, 60_000, "as in the daemon's [consensus]")] = 2_000
    view_timeout_step_ms: Annotated[int, Whole(0, 60_000, "as in the daemon's [consensus]")] = 500
    resend_ms: Annotated[int, Whole(20, 60_000, "as in the daemon's [consensus]")] = 700
    ping_every_ms: Annotated[int, Whole(200, 60_000, "as in the daemon's [network]")] = 5_000
    silence_ms: Annotated[int, Whole(500, 300_000, "as in the daemon's [network]")] = 8_000
    snapshot_every: Annotated[int, Whole(1, 100_000, "as in the daemon's [sync]")] = 1_000
    snapshot_gap: Annotated[int, Whole(1, 100_000, "as in the daemon's [sync]")] = 2_000
    keep_blocks: Annotated[int, Whole(0, 100_000, "as in [storage], of all but alice, who keeps all blocks")] = 0
    protocol: Annotated[int, Whole(0, 255, "which the league begins with; 0: the newest")] = 0

    @property
    def names(self) -> tuple[str, ...]:
        return NAMES[: self.nodes]

    @property
    def faults(self) -> int:
        return (self.nodes - 1) // 3


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What is special about one node, from its first start on."""

    name: Annotated[str, Choice(NAMES, "which of the founders")]
    byzantine: Annotated[str, Choice(("", *BYZANTINE), "how it lies; empty: it is honest")] = ""
    clock_offset_s: Annotated[int, Whole(-86_400, 86_400, "how far its clock is ahead")] = 0
    slow_percent: Annotated[int, Whole(0, 95, "the share of time it does not run")] = 0
    outdated: Annotated[bool, Flag("it knows the protocol that the league begins with, and no later one")] = False
    tmpfs_mib: Annotated[int, Whole(0, 1_024, "its folder is a disk of its own of this size; 0: it is not")] = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What clients do from the first step to the last."""

    transfers_per_second: Annotated[int, Whole(0, 200, "transfers signed, by all clients together")] = 8
    in_flight: Annotated[int, Whole(1, 64, "transfers of one client that may wait at a time")] = 6
    request: Annotated[bool, Flag("a data request is in work all the time")] = False
    rounds: Annotated[int, Whole(1, 100, "of that request")] = 6
    without: Annotated[
        tuple[str, ...], WordList(NODES_MAX, 16, "nodes whose organisations neither pay nor are paid")
    ] = ()


@dataclass(frozen=True, slots=True)
class Checks:
    """What must hold at the end beside what always must."""

    convicted: Annotated[tuple[str, ...], WordList(NODES_MAX, 16, "nodes whose equivocation is proven at the end")] = ()
    may_be_convicted: Annotated[tuple[str, ...], WordList(NODES_MAX, 16, "nodes for which it may have been")] = ()
    by_snapshot: Annotated[tuple[str, ...], WordList(NODES_MAX, 16, "nodes that must have begun with a snapshot")] = ()
    request: Annotated[str, Choice(("", "done"), "how the request must have ended")] = ""
    recovery_s_max: Annotated[int, Whole(1, 600, "longest time until a new transfer is final after a fault")] = 60


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. Only the words of its kind are set, see WORDS_OF."""

    do: Annotated[str, Choice(tuple(WORDS_OF), "what is done")]
    target: Annotated[tuple[str, ...], WordList(NODES_MAX, 16, "names or roles")] = ()
    lose: Annotated[tuple[str, ...], WordList(3, 16, "of ledger, journal, blobs")] = ("ledger", "journal")
    damage: Annotated[str, Choice(("truncate", "delete", "flip", "absolve"), "what becomes of the journal")] = (
        "truncate"
    )
    newcomer: Annotated[str, Choice(("", *NAMES), "who joins")] = ""
    seconds: Annotated[int, Whole(-86_400, 86_400, "how far the clock is ahead from now on")] = 0
    percent: Annotated[int, Whole(1, 95, "the share of time the node does not run")] = 50
    how: Annotated[str, Choice(("silent", "reset", "one-way"), "what happens to connections across")] = "silent"
    stalls: Annotated[bool, Flag("too few are left: nothing may become final meanwhile")] = False
    groups: tuple[tuple[str, ...], ...] = ()
    until: Until = Until()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole run. `within_s`: a run that takes longer has failed. `seed`: for everything that is drawn."""

    name: str
    title: Annotated[str, Words(1, 200, "what this run shows")]
    network: Annotated[str, Choice(NETWORKS, "what lies between the nodes")] = "loopback"
    within_s: Annotated[int, Whole(10, 3_600, "longest time for all of it, in seconds")] = 480
    seed: Annotated[int, Whole(0, 2**53 - 1, "draws random targets, bytes and amounts")] = 1
    league: LeagueRules = LeagueRules()
    nodes: tuple[NodeRules, ...] = ()
    load: Load = Load()
    steps: tuple[Step, ...] = ()
    checks: Checks = field(default_factory=Checks)

    def node(self, name: str) -> NodeRules:
        return next((each for each in self.nodes if each.name == name), NodeRules(name))

    @property
    def liars(self) -> frozenset[str]:
        return frozenset(each.name for each in self.nodes if each.byzantine)

    @property
    def needs_mounts(self) -> bool:
        return any(each.tmpfs_mib for each in self.nodes)


def read_manifest(path: Path) -> Manifest:
    """Raises InvalidManifest."""
    return _manifest(path.stem, read_toml(path, InvalidManifest))


def parse_manifest(name: str, text: str) -> Manifest:
    """Raises InvalidManifest."""
    return _manifest(name, parse_toml(text.encode(), name, InvalidManifest))


_TABLES = ("league", "node", "load", "step", "checks")


def _manifest(name: str, tables: dict[str, Any]) -> Manifest:
    plain = {key: value for key, value in tables.items() if key not in _TABLES}
    top = read_section(_Top, plain, Path(), name, InvalidManifest)
    nodes = _each(name, tables, "node", NODES_MAX)
    steps = _each(name, tables, "step", STEPS_MAX)
    made = Manifest(
        name,
        top.title,
        top.network,
        top.within_s,
        top.seed,
        read_section(LeagueRules, tables.get("league", {}), Path(), f"{name} [league]", InvalidManifest),
        tuple(read_section(NodeRules, table, Path(), where, InvalidManifest) for where, table in nodes),
        read_section(Load, tables.get("load", {}), Path(), f"{name} [load]", InvalidManifest),
        tuple(_step(where, table) for where, table in steps),
        read_section(Checks, tables.get("checks", {}), Path(), f"{name} [checks]", InvalidManifest),
    )
    _check(made)
    return made


@dataclass(frozen=True, slots=True)
class _Top:
    """The words of a manifest that stand in no table."""

    title: Annotated[str, Words(1, 200, "what this run shows")]
    network: Annotated[str, Choice(NETWORKS, "what lies between the nodes")] = "loopback"
    within_s: Annotated[int, Whole(10, 3_600, "longest time for all of it, in seconds")] = 480
    seed: Annotated[int, Whole(0, 2**53 - 1, "draws random targets, bytes and amounts")] = 1


def _each(name: str, tables: dict[str, Any], word: str, most: int) -> list[tuple[str, Any]]:
    found = tables.get(word, [])
    if not isinstance(found, list) or len(found) > most:
        raise InvalidManifest(f"{name} [[{word}]]: want a list of at most {most} tables")
    return [(f"{name} [[{word}]] {number}", table) for number, table in enumerate(found, 1)]


def _step(where: str, table: Any) -> Step:
    if not isinstance(table, dict):
        raise InvalidManifest(f"{where}: want a table with do")
    do = read_value(Choice(tuple(WORDS_OF), "what is done"), table.get("do"), Path(), f"{where} do", InvalidManifest)
    words = {"do", *WORDS_OF[do], *(() if do in NO_UNTIL else ("until",))}
    refuse_unknown(table, dict.fromkeys(sorted(words)), f"{where} ({do})", InvalidManifest)
    simple = {key: value for key, value in table.items() if key not in ("groups", "until")}
    step = read_section(Step, simple, Path(), where, InvalidManifest)
    groups = _groups(where, table["groups"]) if "groups" in table else ()
    values = {each.name: getattr(step, each.name) for each in fields(Step)}
    until = _until(where, table.get("until", "end"))
    step = Step(**{**values, "groups": groups, "until": until})
    if "target" in words and not step.target:
        raise InvalidManifest(f"{where} target is missing, want names or {', '.join(ROLES)}")
    if do == "partition" and len(step.groups) < 2:
        raise InvalidManifest(f"{where} groups: want two groups of names at least")
    if set(step.lose) - {"ledger", "journal", "blobs"}:
        raise InvalidManifest(f"{where} lose is {list(step.lose)}, want some of ledger, journal, blobs")
    return step


def _groups(where: str, value: Any) -> tuple[tuple[str, ...], ...]:
    rule = WordList(NODES_MAX, 16, "names or roles")
    if not isinstance(value, list):
        raise InvalidManifest(f"{where} groups: want a list of lists of names")
    return tuple(read_value(rule, each, Path(), f"{where} groups", InvalidManifest) for each in value)


def _until(where: str, value: Any) -> Until:
    text = value if isinstance(value, str) else ""
    if text == "end":
        return Until()
    if found := re.fullmatch(r"height \+([1-9][0-9]{0,3})", text):
        return Until(heights=int(found[1]))
    if found := re.fullmatch(r"([1-9][0-9]{0,2}) s", text):
        return Until(seconds=int(found[1]))
    raise InvalidManifest(f"{where} until is {value!r}, want 'height +5', '12 s' or 'end'")


def _check(made: Manifest) -> None:
    """What no field can say by itself. Raises InvalidManifest."""
    names = set(made.league.names)
    said = [each.name for each in made.nodes]
    if len(said) != len(set(said)):
        raise InvalidManifest(f"{made.name}: a [[node]] is described twice")
    names |= {step.newcomer for step in made.steps if step.do == "join"}
    for each in (*said, *made.load.without, *made.checks.convicted, *made.checks.may_be_convicted):
        if each not in names:
            raise InvalidManifest(f"{made.name}: {each} is none of the {len(names)} nodes")
    for number, step in enumerate(made.steps, 1):
        for word in (*step.target, *(each for group in step.groups for each in group)):
            if word not in names and word not in ROLES:
                raise InvalidManifest(f"{made.name} step {number}: {word!r} is no founder and none of {ROLES}")
        if step.do == "fill-disk" and not all(made.node(each).tmpfs_mib for each in step.target):
            raise InvalidManifest(f"{made.name} step {number}: fill-disk wants nodes by name that have tmpfs_mib")
        if step.do == "partition" and made.network == "loopback":
            raise InvalidManifest(f"{made.name} step {number}: partition wants network proxies or namespaces")
        if step.how != "silent" and made.network == "namespaces":
            raise InvalidManifest(f"{made.name} step {number}: how = {step.how!r} wants network proxies")
        if step.do == "join" and (not step.newcomer or step.newcomer in made.league.names):
            raise InvalidManifest(
                f"{made.name} step {number}: newcomer is {step.newcomer!r}, want another of the names"
            )
        if step.do in ("expel", "rotate") and not set(step.target) <= set(made.load.without):
            raise InvalidManifest(f"{made.name} step {number}: {step.do} wants nodes that stand in [load] without")
        if step.do == "upgrade" and not made.league.protocol:
            raise InvalidManifest(f"{made.name} step {number}: upgrade wants [league] protocol, to begin with")
        if step.stalls and not step.until.seconds:
            raise InvalidManifest(f"{made.name} step {number}: who stalls makes no heights, want until in seconds")
    if made.checks.request and not made.load.request:
        raise InvalidManifest(f"{made.name} [checks] request: want [load] request = true")
