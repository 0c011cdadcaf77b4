"""What the organisations of `sim.py` want of their league: transfers, and one data request from anchors to its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from consensus.effects import Effect
from consensus.journal import JournalRecord
from consensus.replica import Replica
from ledger.codec import digest
from ledger.entries import AnchorTotals, Fate, Request, Round, Stage, anchor_totals_key, request_key, round_key
from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.memory_store import MemoryStore
from ledger.transactions import (
    AnchorRecords,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    JoinRequest,
    PublishRequest,
    RequestTerms,
    Transfer,
    Verdict,
)
from ledger.types import Hash32, NodeKey


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


class SimLeague(Protocol):
    """What is wanted of a simulated league; times are virtual milliseconds."""

    faults: Faults
    random: Random
    now: int

    @property
    def nodes(self) -> Mapping[NodeKey, SimNode]: ...

    def clock(self) -> int: ...

    def at(self, time: int, action: Callable[[], None]) -> None: ...

    def after(self, delay: int, org: NodeKey, action: Callable[[], None]) -> None: ...

    def carry_out(self, org: NodeKey, effects: list[Effect]) -> None: ...


class Wishes:
    """`submitted`: transfers whose sender cannot forget them: they must become final."""

    def __init__(self, league: SimLeague) -> None:
        self._league = league
        self.submitted: list[bytes] = []

    def _submit(self, org: NodeKey, body: Body) -> bool:
        """Whether it was taken; counted as submitted only then."""
        replica = self._league.nodes[org].replica
        if replica is None:
            return False
        try:
            effects, transaction = replica.submit_own(body, self._league.clock())
        except InvalidTransaction:
            return False
        if isinstance(body, Transfer):
            self.submitted.append(transaction.id)
        self._league.carry_out(org, effects)
        return True

    def transfer(self) -> None:
        """Somebody pays somebody."""
        league = self._league
        # Only members that never crash mid-way could promise to remember; here a crashed sender's transfer may be lost.
        orgs = list(league.nodes)
        sender, receiver = league.random.sample(orgs, 2) if len(orgs) > 1 else orgs * 2
        replica = league.nodes[sender].replica
        payment = Transfer(receiver, league.random.randrange(1, 100), "")
        if replica is None or league.faults.crash_every_ms or league.faults.crash_after_sync:
            self._submit_unpromised(sender, payment)
        else:
            self._submit(sender, payment)

    def _submit_unpromised(self, org: NodeKey, body: Body) -> None:
        if self._submit(org, body):
            self.submitted.pop()

    def begin_request(self) -> None:
        """Everybody anchors; the first member publishes a request. Tried again: who crashes forgets what it wanted."""
        publisher = next(iter(self._league.nodes))
        replica = self._league.nodes[publisher].replica
        if replica is None or self._request_seen_by(replica) is None:
            self._league.at(self._league.now + 3_000, self.begin_request)
        if replica is None:
            return
        anchored = [replica.chain.read(AnchorTotals, anchor_totals_key(org)) for org in self._league.nodes]
        for org, totals in zip(self._league.nodes, anchored, strict=True):
            if totals is None:
                self._submit(org, AnchorRecords(1, 100, digest("sim/records", org), 1, 2))
        if all(anchored) and self._request_seen_by(replica) is None:
            self._submit(publisher, PublishRequest(simulated_terms(len(self._league.nodes))))

    def do_duties(self, org: NodeKey) -> None:
        """Join, announce and attest as a daemon would, from the committed state alone."""
        replica = self._league.nodes[org].replica
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
            self._league.after(3_000, org, lambda: self.do_duties(org))

    def _request_seen_by(self, replica: Replica) -> tuple[Hash32, Request] | None:
        for request_id, request in replica.chain.scan(Request, request_key(b"")):
            return Hash32(request_id), request
        return None

    def request(self) -> tuple[Hash32, Request] | None:
        replica = next(node.replica for node in self._league.nodes.values() if node.replica)
        return self._request_seen_by(replica)

    def request_is_over(self) -> bool:
        found = self.request()
        return found is not None and found[1].stage in (Stage.DONE, Stage.FAILED)


def simulated_terms(members: int) -> RequestTerms:
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
