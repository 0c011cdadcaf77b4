"""Whole replicas on virtual time: the consensus, chain, pool and catch-up of the daemon, under one seed.

The network loses, delays, reorders and partitions; replicas crash, also between a journal's sync and what it covers,
and come back from what was on their disks. Training is a small exact stand-in, for here only agreement is at stake.
What must hold is checked after every block; a failure names its seed and `run(seed=...)` replays it.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from consensus.effects import (
    CancelTimer,
    Committed,
    Compute,
    Disagreement,
    Dropped,
    Effect,
    Halt,
    Persist,
    Refused,
    SetTimer,
    Transmit,
)
from consensus.events import Timing
from consensus.journal import JournalRecord
from consensus.messages import Message, VoteMessage
from consensus.replica import Replica, ReplicaSettings
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.blocks import FinalBlock
from ledger.certificates import Committee, Vote, VoteKind, check_certificate, contradicts
from ledger.chain import Chain, Outcome
from ledger.codec import digest
from ledger.entries import AnchorTotals, Fate, Request, Round, Stage, anchor_totals_key, request_key, round_key
from ledger.errors import InvalidTransaction
from ledger.genesis import Genesis, GenesisMember
from ledger.keys import KeyPair
from ledger.memory_store import MemoryStore
from ledger.parameters import LeagueParameters
from ledger.rewards import supply, tokens_in_circulation
from ledger.transactions import (
    AnchorRecords,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    JoinRequest,
    PublishRequest,
    ReportEquivocation,
    RequestTerms,
    Transfer,
    Verdict,
)
from ledger.types import Hash32, NodeKey

START_MS = 1_700_000_000_000
# A run that is not over by then never will be: an hour of virtual time after the last fault.
SETTLE_MS_MAX = 3_600_000


class SimulationFailed(AssertionError):
    """An invariant broke. The message begins with the seed that replays it."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong until `until_ms` of virtual time; then the network heals and nobody crashes any more."""

    loss: float = 0.0
    delay_ms: tuple[int, int] = (1, 20)
    partition_every_ms: int = 0
    crash_every_ms: int = 0
    down_ms: tuple[int, int] = (500, 8_000)
    crash_after_sync: float = 0.0
    until_ms: int = 30_000


@dataclass(slots=True)
class SimNode:
    """One organisation: its disk survives a crash, its replica does not."""

    key: KeyPair
    store: MemoryStore = field(default_factory=MemoryStore)
    journal: list[tuple[int, JournalRecord]] = field(default_factory=list)
    replica: Replica | None = None
    timers: dict[str, int] = field(default_factory=dict)
    life: int = 0


@dataclass(slots=True)
class Report:
    """What a run saw."""

    seed: int
    heights: int
    transactions_final: int
    messages: int
    crashes: int
    rounds_finished: int
    virtual_ms: int


class Simulation:
    """`members` replicas under one seed. `requests`: whether a data request runs beside the transfers."""

    def __init__(self, seed: int, members: int = 4, faults: Faults | None = None, requests: bool = True) -> None:
        self.seed = seed
        self.faults = faults or Faults()
        self._random = random.Random(seed)
        self._now = 0
        self._sequence = 0
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        keys = [KeyPair.from_seed(digest("sim", bytes([member]))) for member in range(members)]
        keys.sort(key=lambda key: key.public)
        founders = tuple(GenesisMember(key.org, f"factory {at}", (), 1_000_000) for at, key in enumerate(keys))
        self.genesis = Genesis("simulated", START_MS, founders, LeagueParameters())
        self.nodes = {key.public: SimNode(key) for key in keys}
        self._groups: dict[NodeKey, int] = {}
        self._decided: dict[int, tuple[bytes, bytes]] = {}
        self._final: dict[bytes, int] = {}
        self._submitted: list[bytes] = []
        self._said: dict[tuple[NodeKey, int, int], dict[VoteKind, Vote]] = {}
        self._requests = requests
        self.messages = self.crashes = 0
        for org in self.nodes:
            self._boot(org)

    # --- running

    def run(self, transfers: int = 30) -> Report:
        """Faults first, then healing, until everything submitted is final everywhere. Raises SimulationFailed."""
        self._plan(transfers)
        while self._agenda and not self._is_over():
            self._step()
        if not self._is_over():
            self._fail("the agenda ran empty before everything was final")
        return self._report()

    def _plan(self, transfers: int) -> None:
        faults = self.faults
        for _ in range(transfers):
            self._at(self._random.randrange(max(1, faults.until_ms)), self._transfer)
        if self._requests:
            self._at(100, self._begin_request)
        for every, what in ((faults.partition_every_ms, self._partition), (faults.crash_every_ms, self._crash_someone)):
            for time in range(every, faults.until_ms, every) if every else ():
                self._at(time, what)
        self._at(faults.until_ms, self._heal)

    def _step(self) -> None:
        time, _, action = heapq.heappop(self._agenda)
        self._now = max(self._now, time)
        if self._now > self.faults.until_ms + SETTLE_MS_MAX:
            self._fail("no progress within an hour after healing")
        action()

    def _is_over(self) -> bool:
        if self._now <= self.faults.until_ms:
            return False
        replicas = [node.replica for node in self.nodes.values()]
        heights = {replica.chain.height if replica else -1 for replica in replicas}
        if None in replicas or len(heights) != 1 or not all(each in self._final for each in self._submitted):
            return False
        roots = {replica.chain.state_root for replica in replicas if replica}
        if len(roots) != 1:
            self._fail(f"{len(roots)} state roots at height {heights}")
        return not self._requests or self._request_is_over()

    def _report(self) -> Report:
        chain = self._any_chain()
        request = self._request()
        return Report(
            self.seed,
            chain.height,
            len(self._final),
            self.messages,
            self.crashes,
            request[1].model_round if request else 0,
            self._now,
        )

    # --- replicas

    def _boot(self, org: NodeKey) -> None:
        node = self.nodes[org]
        node.life += 1
        node.timers.clear()

        def make_chain(signatures: Any) -> Chain:
            return Chain(node.store, self.genesis, signatures.check)

        head = Chain(node.store, self.genesis).height
        records = self._journal(node, head + 1)
        settings = ReplicaSettings(Timing(base_ms=2_000, step_ms=500, resend_ms=700, grace_ms=0))
        node.replica = Replica(make_chain, self.genesis.chain_id, node.key, settings, self._clock(), records)
        self._carry_out(org, node.replica.start(self._clock()))
        self._after(500, org, lambda: self._do_duties(org))
        for other in self.nodes:
            if other != org and self._linked(org, other):
                self._meet(org, other)

    def _journal(self, node: SimNode, height: int) -> list[JournalRecord]:
        """What a restarted member finds of the height in work."""
        return [record for written, record in node.journal if written == height]

    def _meet(self, one: NodeKey, other: NodeKey) -> None:
        for here, there in ((one, other), (other, one)):
            replica = self.nodes[here].replica
            if replica is not None:
                self._carry_out(here, replica.connected(there, self._clock()))

    def _carry_out(self, org: NodeKey, effects: list[Effect]) -> None:
        node = self.nodes[org]
        life = node.life
        for effect in effects:
            if node.life != life or node.replica is None:
                return  # crashed on the way: what was not sent is gone, what was synced is not
            match effect:
                case Persist(height, records):
                    node.journal.extend((height, record) for record in records)
                    if self._now < self.faults.until_ms and self._random.random() < self.faults.crash_after_sync:
                        self._crash(org)
                case Transmit(to, message):
                    self._check_said(org, message)
                    for receiver in [to] if to is not None else [each for each in self.nodes if each != org]:
                        self._transmit(org, receiver, message)
                case SetTimer(name, delay_ms, jitter):
                    self._set_timer(org, name, delay_ms, jitter)
                case CancelTimer(name):
                    node.timers.pop(name, None)
                case Compute(task):
                    self._after(self._random.randrange(1, 50), org, self._computed(org, task))
                case Committed(final, outcome):
                    node.journal = [(height, record) for height, record in node.journal if height > final.block.height]
                    self._check_final(org, final, outcome)
                    self._after(self._random.randrange(1, 200), org, lambda: self._do_duties(org))
                case Dropped(transaction, error):
                    if transaction.id in self._submitted:
                        self._fail(f"a submitted transaction was dropped: {error.code}: {error}")
                case Refused(sender, reason):
                    self._fail(f"a correct replica was refused: {sender.hex()[:8]}: {reason}")
                case Disagreement(task):
                    self._fail(f"replicas disagree on the aggregate of round {task.round}")
                case Halt(reason):
                    self._fail(f"halted: {reason}")

    def _computed(self, org: NodeKey, task: AggregationTask) -> Callable[[], None]:
        def deliver() -> None:
            replica = self.nodes[org].replica
            if replica is not None:
                inputs = b"".join(each.blob + each.weight.to_bytes(8, "big") for each in task.contributions)
                scores = tuple((each.org, each.blob[0] * 1_000) for each in task.contributions)
                result = AggregationResult(digest("sim/model", task.base_model + inputs), 24, scores)
                self._carry_out(org, replica.aggregate_computed(task, result, self._clock()))

        return deliver

    def _set_timer(self, org: NodeKey, name: str, delay_ms: int, jitter: bool) -> None:
        node = self.nodes[org]
        delay = int(delay_ms * self._random.uniform(0.75, 1.25)) if jitter else delay_ms
        due = self._now + max(1, delay)
        node.timers[name] = due

        def fire() -> None:
            if node.timers.get(name) == due and node.replica is not None:
                del node.timers[name]
                self._carry_out(org, node.replica.timer(name, self._clock()))

        self._after(due - self._now, org, fire)

    # --- the network and its faults

    def _transmit(self, sender: NodeKey, receiver: NodeKey, message: Message) -> None:
        self.messages += 1
        faulty = self._now < self.faults.until_ms
        if not self._linked(sender, receiver) or (faulty and self._random.random() < self.faults.loss):
            return

        def deliver() -> None:
            replica = self.nodes[receiver].replica
            if replica is not None and self._linked(sender, receiver):
                self._carry_out(receiver, replica.receive(sender, message, self._clock()))

        self._at(self._now + self._random.randint(*self.faults.delay_ms), deliver)

    def _linked(self, one: NodeKey, other: NodeKey) -> bool:
        return self._groups.get(one, 0) == self._groups.get(other, 0)

    def _partition(self) -> None:
        parts = self._random.choice((1, 2, 2, 3))
        self._groups = {org: self._random.randrange(parts) for org in self.nodes}

    def _crash_someone(self) -> None:
        self._crash(self._random.choice(list(self.nodes)))

    def _crash(self, org: NodeKey) -> None:
        node = self.nodes[org]
        if node.replica is None:
            return
        self.crashes += 1
        node.replica = None
        node.life += 1
        self._at(self._now + self._random.randint(*self.faults.down_ms), lambda: self._boot(org))

    def _heal(self) -> None:
        self._groups = {}
        orgs = list(self.nodes)
        for at, one in enumerate(orgs):
            for other in orgs[at + 1 :]:
                self._meet(one, other)

    # --- what the organisations want

    def _submit(self, org: NodeKey, body: Body) -> bool:
        """Whether it was taken; counted as submitted only then."""
        replica = self.nodes[org].replica
        if replica is None:
            return False
        try:
            effects, transaction = replica.submit_own(body, self._clock())
        except InvalidTransaction:
            return False
        if isinstance(body, Transfer):
            self._submitted.append(transaction.id)
        self._carry_out(org, effects)
        return True

    def _transfer(self) -> None:
        # Only members that never crash mid-way could promise to remember; here a crashed sender's transfer may be lost.
        sender, receiver = self._random.sample(list(self.nodes), 2) if len(self.nodes) > 1 else [*self.nodes] * 2
        replica = self.nodes[sender].replica
        if replica is None or self.faults.crash_every_ms or self.faults.crash_after_sync:
            self._submit_unpromised(sender, Transfer(receiver, self._random.randrange(1, 100), ""))
        else:
            self._submit(sender, Transfer(receiver, self._random.randrange(1, 100), ""))

    def _submit_unpromised(self, org: NodeKey, body: Body) -> None:
        if self._submit(org, body):
            self._submitted.pop()

    def _begin_request(self) -> None:
        """Everybody anchors; the first member publishes a request. Tried again: who crashes forgets what it wanted."""
        publisher = next(iter(self.nodes))
        replica = self.nodes[publisher].replica
        if replica is None or self._request_seen_by(replica) is None:
            self._at(self._now + 3_000, self._begin_request)
        if replica is None:
            return
        anchored = [replica.chain.read(AnchorTotals, anchor_totals_key(org)) for org in self.nodes]
        for org, totals in zip(self.nodes, anchored, strict=True):
            if totals is None:
                self._submit(org, AnchorRecords(1, 100, digest("sim/records", org), 1, 2))
        if all(anchored) and self._request_seen_by(replica) is None:
            self._submit(publisher, PublishRequest(_terms(len(self.nodes))))

    def _do_duties(self, org: NodeKey) -> None:
        """Join, announce and attest as a daemon would, from the committed state alone."""
        replica = self.nodes[org].replica
        found = self._request_seen_by(replica) if replica else None
        if replica is None or found is None:
            return
        request_id, request = found
        joined = any(provider.org == org for provider in request.providers)
        anchored = replica.chain.read(AnchorTotals, anchor_totals_key(org))
        if request.stage is Stage.OPEN and not joined and org != request.requester and anchored:
            self._submit(org, JoinRequest(request_id, "simulated", 100, ()))
        current = replica.chain.read(Round, round_key(request_id))
        if current is None:
            return
        for part in current.participants:
            if part.org == org and part.fate is Fate.MISSING:
                blob = digest("sim/update", org + current.number.to_bytes(4, "big"))
                number, attempt = current.number, current.attempt
                self._submit(org, AnnounceUpdate(request_id, number, attempt, blob, 24, 100, (1,), 0, 0))
        owed = [
            Attestation(part.org, part.blob, Verdict.HELD)
            for part in current.participants
            if part.fate is Fate.ANNOUNCED and org not in part.held_by
        ]
        if request.stage is Stage.ATTESTING and owed and org in replica.chain.committee().members:
            self._submit(org, AttestBlobs(request_id, current.number, current.attempt, tuple(owed)))
        if request.stage not in (Stage.DONE, Stage.FAILED, Stage.CANCELLED):
            self._after(3_000, org, lambda: self._do_duties(org))

    def _request_seen_by(self, replica: Replica) -> tuple[Hash32, Request] | None:
        for request_id, request in replica.chain.scan(Request, request_key(b"")):
            return Hash32(request_id), request
        return None

    def _request(self) -> tuple[Hash32, Request] | None:
        replica = next(node.replica for node in self.nodes.values() if node.replica)
        return self._request_seen_by(replica)

    def _request_is_over(self) -> bool:
        found = self._request()
        return found is not None and found[1].stage in (Stage.DONE, Stage.FAILED)

    # --- invariants

    def _check_said(self, org: NodeKey, message: Message) -> None:
        """Nobody here lies, so nobody may contradict a vote it sent, not even across a crash (simplex rule 14)."""
        if not isinstance(message, VoteMessage) or message.vote.voter != org:
            return
        vote, subject = message.vote, message.vote.subject
        said = self._said.setdefault((org, subject.height, subject.view), {})
        if any(contradicts(vote, other) for other in said.values()):
            self._fail(f"{org.hex()[:8]} contradicts itself at height {subject.height}, view {subject.view}")
        said[subject.kind] = vote

    def _check_final(self, org: NodeKey, final: FinalBlock, outcome: Outcome) -> None:
        replica = self.nodes[org].replica
        assert replica is not None
        chain, block = replica.chain, final.block
        seen = self._decided.setdefault(block.height, (block.id, outcome.state_root))
        if seen != (block.id, outcome.state_root):
            self._fail(f"two blocks or states at height {block.height}")
        check_certificate(chain.chain_id, self._committee(chain, block.height), final.certificate)
        if tokens_in_circulation(chain.state()) != supply(chain.state()):
            self._fail(f"tokens appeared or vanished at height {block.height}")
        for transaction in block.transactions:
            if isinstance(transaction.body, ReportEquivocation):
                self._fail("a correct member was accused")
            height = self._final.setdefault(transaction.id, block.height)
            if height != block.height:
                self._fail(f"a transaction is final twice, at {height} and {block.height}")

    def _committee(self, chain: Chain, height: int) -> Committee:
        committee = chain.committee_at(height)
        if committee is None:
            self._fail(f"no committee is known for height {height}")
        return committee

    def _fail(self, reason: str) -> NoReturn:
        raise SimulationFailed(f"seed {self.seed}, {len(self.nodes)} members, {self._now} ms: {reason}")

    # --- time

    def _clock(self) -> int:
        return START_MS + 1_000 + self._now

    def _at(self, time: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._agenda, (time, self._sequence, action))

    def _after(self, delay: int, org: NodeKey, action: Callable[[], None]) -> None:
        """Unless the replica crashes before."""
        life = self.nodes[org].life

        def alive() -> None:
            if self.nodes[org].life == life:
                action()

        self._at(self._now + delay, alive)

    def _any_chain(self) -> Chain:
        return next(node.replica.chain for node in self.nodes.values() if node.replica)


def run(
    seed: int, members: int = 4, faults: Faults | None = None, transfers: int = 30, requests: bool = True
) -> Report:
    """One simulated league. Raises SimulationFailed, naming the seed."""
    return Simulation(seed, members, faults, requests).run(transfers)


def _terms(members: int) -> RequestTerms:
    return RequestTerms(
        title="simulated",
        model="simulated",
        model_arguments=(),
        parameters=2,
        initial_model=digest("sim/initial", b""),
        scale_bits=20,
        limit=512,
        strategy="fedavg",
        strategy_settings=(),
        aggregation="mean",
        privacy="none",
        privacy_settings=(),
        data_type="simulated",
        epochs=1,
        batch=1,
        training_settings=(),
        price=1,
        budget=10_000,
        target_accuracy=0,
        rounds_max=3,
        providers_min=1,
        providers_max=max(1, members - 1),
        join_window=60_000,
        round_deadline=120_000,
        attest_window=120_000,
    )
