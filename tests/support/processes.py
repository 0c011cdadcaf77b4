"""Leagues of real processes for tests: small factories, watching what happens, killing, freezing, reading what is left.

Nothing here waits for a time: every wait is for a condition, and what does not come in PATIENCE_S fails the test with
the logs of all nodes.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.journal import OwnProposal, OwnVote
from ledger.certificates import Vote, contradicts
from ledger.chain import Chain
from ledger.entries import Request, Round, Stage, request_key, round_key
from ledger.transactions import AnnounceProtected, AnnounceUpdate
from node.devnet.league import LOOK_EVERY_S, DevLeague, DevNode, NodePlan, environment
from node.journal_file import JournalFile
from node.leveldb import LevelDbStore
from node.rpc.client import InvalidAnswer, NodeUnreachable, RpcClient
from node.rpc.errors import RpcError
from node.training_memory import TrainingMemory, TrainingRecord

# Far more than anything takes on two quiet cores; a test that waits so long has failed.
PATIENCE_S = 60.0
RECORDS, TEST_RECORDS, PERIOD = 120, 60, 60
# Timers for one machine: a dead leader costs 0.6 s, a lost message 0.2 s.
FAST: Mapping[str, Mapping[str, object]] = {
    "consensus": {"view_timeout_ms": 600, "view_timeout_step_ms": 300, "resend_ms": 200},
}


def factory(name: str, at: int, count: int, **settings: Mapping[str, object]) -> NodePlan:
    """A small factory of simulated bearings, the `at`-th of `count`. `settings`: more configuration, by section."""
    source = {"factory": str(at), "factories": str(count)}
    source |= {"train_records": str(RECORDS), "test_records": str(TEST_RECORDS)}
    sections = {section: {**FAST.get(section, {}), **settings.get(section, {})} for section in {*FAST, *settings}}
    return NodePlan(name, "bearing-simulator", None, source, PERIOD, sections)


def terms(**changes: Any) -> dict[str, Any]:
    """A small request, as `request.publish` takes it; times in milliseconds."""
    small: dict[str, Any] = {
        "title": "Small bearings",
        "model": "mlp",
        "model_arguments": {"layers": "8,16,4"},
        "seed": 1,
        "scale_bits": 20,
        "limit": 512,
        "strategy": "dlmu",
        "strategy_settings": {},
        "aggregation": "mean",
        "aggregation_settings": {},
        "masked": False,
        "exchange_window": 1,
        "privacy": "none",
        "privacy_settings": {},
        "data_type": "bearing-simulator",
        "epochs": 2,
        "batch": 32,
        "training_settings": {"learning_rate": "0.05", "momentum": "0.8"},
        "price": 1,
        "budget": 100_000,
        "target_accuracy": 0,
        "rounds_max": 2,
        "providers_min": 2,
        "providers_max": 3,
        "join_window": 60_000,
        "round_deadline": 60_000,
        "attest_window": 20_000,
    }
    assert not changes.keys() - small.keys(), f"no such terms: {changes.keys() - small.keys()}"
    return {**small, **changes}


@contextmanager
def running_league(directory: Path, plans: Sequence[NodePlan]) -> Iterator[DevLeague]:
    """A league that is up, connected and has anchored its records. No process outlives the block."""
    with DevLeague(directory, plans, "processes") as league:
        try:
            league.start(PATIENCE_S)
            wait(league, lambda: all(map(has_anchored, league.nodes)), "all records are anchored")
            yield league
        finally:
            # A frozen process cannot be ended by a signal that it must hear.
            thaw(league.nodes)


def wait(league: DevLeague, condition: Callable[[], bool], what: str) -> None:
    """Until it is so; a node that is restarting may be asked, and is then not there yet. Raises LeagueFailed."""

    def looked() -> bool:
        try:
            return condition()
        except (NodeUnreachable, InvalidAnswer):
            for node in league.nodes:
                node.forget_client()
            return False

    league.wait_until(looked, what, PATIENCE_S)


def has_anchored(node: DevNode) -> bool:
    """Whether all records of a small factory are on the ledger; a node without data has nothing to anchor."""
    totals = node.call("anchor.list", org="me")["totals"]
    wanted = int(node.plan.source_settings.get("train_records", RECORDS))
    return not node.plan.source or int((totals or {}).get("records", 0)) >= wanted


def publish(node: DevNode, **changes: Any) -> str:
    """Publish a small request; its id once it is final."""
    return str(node.call("request.publish", request=terms(**changes), mode="final")["request"])


def request_of(node: DevNode, request: str) -> dict[str, Any]:
    shown: dict[str, Any] = node.call("request.get", request=request)["request"]
    return shown


def receipts_of(node: DevNode, request: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = node.call("receipts", request=request)["receipts"]
    return shown


def wait_over(league: DevLeague, node: DevNode, request: str) -> dict[str, Any]:
    """The request once it is over."""
    wait(league, lambda: bool(request_of(node, request)["over"]), f"{node.name} sees the request over")
    return request_of(node, request)


def end(league: DevLeague, node: DevNode, request: str) -> None:
    """Cancel what its test has seen enough of; the ledger refuses while a round's updates wait to be paid."""

    def over() -> bool:
        if request_of(node, request)["over"]:
            return True
        with suppress(RpcError):
            node.call("request.cancel", request=request, mode="final", timeout_s=5)
        return False

    wait(league, over, f"request {request[:16]} is over")


def wait_agreed(league: DevLeague) -> None:
    wait(league, league.is_agreed, "all nodes hold the same block and the same state root")


def shelved(node: DevNode, request: str) -> bool:
    """Whether the model is in the node's folder, exported."""
    return all((node.folder / "models" / f"{request}.{kind}").exists() for kind in ("json", "safetensors"))


def restart(league: DevLeague, node: DevNode) -> None:
    """Start a dead node on the directory it left, and wait until all its parts are up and it has caught up."""
    node.start()
    wait(league, lambda: node.answers() and bool(node.call("health")["ready"]), f"{node.name} is ready again")


def leader(league: DevLeague, asked: DevNode) -> DevNode:
    """Who leads the next height, as one node sees it."""
    org = asked.call("committee")["leaders"][0]
    return next(node for node in league.nodes if node.org.hex() == org)


# --- watching


class Watch:
    """A node's events as they come, from now on; for one thread. Ends when the node does."""

    def __init__(self, node: DevNode, *topics: str) -> None:
        self._node = node
        self._events: queue.Queue[tuple[str, Mapping[str, Any]] | None] = queue.Queue()
        self._client = RpcClient(node.folder, timeout_s=PATIENCE_S)
        standing = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(topics, standing), daemon=True)
        self._thread.start()
        assert standing.wait(PATIENCE_S), f"{node.name} gives no events"

    def _read(self, topics: tuple[str, ...], standing: threading.Event) -> None:
        try:
            with self._client.events(*topics) as events:
                standing.set()
                for event in events:
                    self._events.put((event.topic, event.data))
        except (NodeUnreachable, InvalidAnswer, RpcError):
            pass
        finally:
            standing.set()
            self._events.put(None)
            self._client.close()

    def until(self, wanted: Callable[[str, Mapping[str, Any]], bool], what: str) -> Mapping[str, Any]:
        """The data of the first event that is wanted. Fails when the node ends or nothing comes in time."""
        while True:
            try:
                event = self._events.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"{self._node.name}: not seen: {what}{self._node.log_tail()}") from None
            assert event is not None, f"{self._node.name} ended before {what}{self._node.log_tail()}"
            if wanted(*event):
                return event[1]

    def stage(self, request: str, stage: str, after_round: int = 0) -> Mapping[str, Any]:
        """Until a block says that the request is at `stage`, in a round later than `after_round` where rounds count."""
        return self.until(
            lambda topic, data: (
                topic == "request"
                and data["request"] == request
                and data["stage"] == stage
                and data["round"] >= after_round
            ),
            f"{stage} of request {request[:16]}",
        )


# --- stopping time


def freeze(nodes: Sequence[DevNode]) -> None:
    """SIGSTOP to each node and its trainer: they stay as they are until `thaw`."""
    _signal(nodes, signal.SIGSTOP)


def thaw(nodes: Sequence[DevNode]) -> None:
    _signal(nodes, signal.SIGCONT)


def _signal(nodes: Sequence[DevNode], number: signal.Signals) -> None:
    for node in nodes:
        if node.process is not None and node.process.poll() is None:
            os.killpg(node.process.pid, number)


def answer_alone(league: DevLeague, node: DevNode, watch: Watch, request: str, after_round: int = 1) -> TrainingRecord:
    """Freeze everybody else when `node` begins to train, until its answer is on its disk: nobody can have acted on it.

    `watch`: of the node's "training" events. The others stay frozen; the caller thaws them.
    """
    begun = watch.until(
        lambda topic, data: (
            topic == "training"
            and (data["request"], data["event"]) == (request, "epoch")
            and data["round"] >= after_round
        ),
        f"{node.name} trains",
    )
    freeze([other for other in league.nodes if other is not node])
    memory = TrainingMemory(node.folder / "strategies")
    answers: list[TrainingRecord] = []

    def answered() -> bool:
        record = memory.load(bytes.fromhex(request))
        if record is not None and record.answer is not None and record.round >= begun["round"]:
            answers.append(record)
        return bool(answers)

    league.wait_until(answered, f"{node.name} has written its answer down", PATIENCE_S)
    return answers[-1]


def announced(record: TrainingRecord) -> AnnounceUpdate:
    """The update that a node has written down as its answer, whatever it says beside it."""
    answer = record.answer.update if isinstance(record.answer, AnnounceProtected) else record.answer
    assert isinstance(answer, AnnounceUpdate), answer
    return answer


# --- what a dead node left


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A dead node's ledger, read from its directory."""

    height: int
    request: Request | None
    round: Round | None

    @property
    def stage(self) -> Stage | None:
        return self.request.stage if self.request is not None else None


def left_behind(league: DevLeague, node: DevNode, request: str) -> LeftBehind:
    assert node.process is None or node.process.poll() is not None, f"{node.name} still runs"
    store = LevelDbStore(node.folder / "ledger")
    try:
        chain = Chain(store, league.genesis)
        key = bytes.fromhex(request)
        return LeftBehind(chain.height, chain.read(Request, request_key(key)), chain.read(Round, round_key(key)))
    finally:
        store.close()


def votes_signed(node: DevNode, heights: int, beside: Path) -> list[Vote]:
    """Every vote and proposal in the node's journal, read from a copy at `beside`: a journal has one owner."""
    shutil.copyfile(node.folder / "journal", beside)
    journal = JournalFile(beside)
    votes = []
    for height in range(heights + 2):
        for record in journal.load(height):
            if isinstance(record, OwnVote):
                votes.append(record.vote)
            elif isinstance(record, OwnProposal):
                votes.append(Vote(record.proposal.subject, node.key, record.proposal.signature))
    journal.close()
    return votes


def contradictions(votes: Sequence[Vote]) -> list[tuple[Vote, Vote]]:
    """Pairs of votes that no correct member signs together (simplex rule 14)."""
    return [(a, b) for at, a in enumerate(votes) for b in votes[at + 1 :] if contradicts(a, b)]


def nobody_was_convicted(asked: DevNode) -> bool:
    """Whether the ledger holds no proof that any member signed two things of which it may sign one."""
    return all(row["punished_height"] == 0 for row in asked.call("ranking")["ranking"])


def supply_is_kept(league: DevLeague, asked: DevNode) -> bool:
    """Whether all tokens of the genesis are in balances and escrow, no more and no less."""
    held = sum(int(member["balance"]) for member in asked.call("members")["members"])
    escrow = sum(int(each["escrow"]) for each in asked.call("request.list")["requests"])
    return held + escrow == sum(founder.balance for founder in league.genesis.members)


# --- the command line, as a person uses it


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed and the code it left with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def hanse(*arguments: str | Path, cwd: Path | None = None, timeout_s: float = PATIENCE_S) -> Said:
    """One command of `hanse`, in a process of its own."""
    command = [sys.executable, "-m", "node.cli.main", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout_s)
    return Said(done.returncode, done.stdout, done.stderr)


def hanse_process(log: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """A command that goes on, as in a terminal of its own; what it says is written to `log`."""
    with log.open("ab") as lines:
        return subprocess.Popen(
            [sys.executable, "-m", "node.cli.main", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
            env=environment(),
        )


def eventually(
    condition: Callable[[], bool], what: str, explain: Callable[[], str] = str, every_s: float = LOOK_EVERY_S
) -> None:
    """Look until it is so. Fails with what `explain` has to say when it does not come."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"not so within {PATIENCE_S:g} s: {what}; {explain()}"
        time.sleep(every_s)
