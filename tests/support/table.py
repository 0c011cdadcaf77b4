"""Replicas around one table: messages are handed over at once, timers ring only when a test says so.

`node/sim.py` is for what chance brings; here a test decides who hears what, whose clock is off and who computes wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from consensus.effects import Compute, Effect, SetTimer, Transmit
from consensus.events import Timing
from consensus.journal import JournalRecord
from consensus.messages import Message, Transactions, VoteMessage
from consensus.replica import Replica, ReplicaSettings
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.blocks import FinalBlock
from ledger.certificates import Subject, VoteKind
from ledger.chain import Chain
from ledger.codec import digest
from ledger.entries import Request, request_key
from ledger.keys import KeyPair
from ledger.memory_store import MemoryStore
from ledger.transactions import (
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    JoinRequest,
    PublishRequest,
    Transaction,
    Transfer,
    Verdict,
)
from ledger.types import OrgId
from tests.support.league import START_MS, anchored, founders, genesis_of, terms

E = TypeVar("E")
TIMING = Timing(base_ms=2_000, step_ms=500, resend_ms=700, grace_ms=0)


def computed(task: AggregationTask) -> AggregationResult:
    """What an honest member makes of a round."""
    inputs = b"".join(each.blob for each in task.contributions)
    return AggregationResult(
        digest("test/model", task.base_model + inputs), 24, tuple((each.org, 500_000) for each in task.contributions)
    )


@dataclass
class Seat:
    """One replica, its clock and what it did. `deaf`: hears nothing, `mute`: nobody hears it."""

    replica: Replica
    skew_ms: int = 0
    deaf: bool = False
    mute: bool = False
    compute: Callable[[AggregationTask], AggregationResult] | None = computed
    did: list[Effect] = field(default_factory=list)

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.did if isinstance(effect, kind)]

    def sent(self, kind: type[E]) -> list[E]:
        return [each.message for each in self.all(Transmit) if isinstance(each.message, kind)]

    def timers(self) -> dict[str, int]:
        return {each.name: each.delay_ms for each in self.all(SetTimer)}


class Table:
    """Founders at a table. `order` of the seats is that of their keys."""

    def __init__(self, members: int = 4) -> None:
        self.keys = founders(members)
        self.genesis = genesis_of(self.keys)
        self.now = START_MS + 1_000
        self._letters: list[tuple[OrgId | None, OrgId | None, Message]] = []
        self.seats: dict[OrgId, Seat] = {}
        for key in self.keys:
            self.sit(key)

    def make(
        self,
        key: KeyPair | None,
        skew_ms: int = 0,
        first_vote: int | None = 0,
        later: Mapping[int, Sequence[JournalRecord]] | None = None,
    ) -> Seat:
        store = MemoryStore()
        replica = Replica(
            lambda signatures: Chain(store, self.genesis, signatures.check),
            self.genesis.chain_id,
            key,
            ReplicaSettings(TIMING),
            self.now + skew_ms,
            first_vote=first_vote,
            later=later,
        )
        return Seat(replica, skew_ms)

    def sit(self, key: KeyPair, skew_ms: int = 0, first_vote: int | None = 0) -> Seat:
        seat = self.seats[key.org] = self.make(key, skew_ms, first_vote)
        self.take(key.org, seat.replica.start(self.now + skew_ms))
        return seat

    def seat(self, key: KeyPair) -> Seat:
        return self.seats[key.org]

    @property
    def leader(self) -> KeyPair:
        """Who leads the next height's first view, as all but the deaf see it."""
        chain = max((seat.replica.chain for seat in self.seats.values()), key=lambda each: each.height)
        return next(key for key in self.keys if key.org == chain.leaders()[0])

    def heights(self) -> list[int]:
        return [self.seat(key).replica.chain.height for key in self.keys]

    # --- what happens

    def say(self, key: KeyPair, body: Body) -> None:
        """A member says it; all that follows at once, follows."""
        effects, _ = self.seat(key).replica.submit_own(body, self.clock(key.org))
        self.take(key.org, effects)
        self.deliver()

    def ring(self, name: str, keys: Sequence[KeyPair] | None = None, after_ms: int = 0) -> None:
        """A timer runs out at these seats, or at all."""
        self.now += after_ms
        for key in self.keys if keys is None else keys:
            self.take(key.org, self.seat(key).replica.timer(name, self.clock(key.org)))
        self.deliver()

    def hand(self, sender: KeyPair, receiver: KeyPair, message: Message) -> list[Effect]:
        """One message, by hand. Returns what the receiver did."""
        effects = self.seat(receiver).replica.receive(sender.org, message, self.clock(receiver.org))
        self.take(receiver.org, effects)
        return effects

    def clock(self, org: OrgId) -> int:
        return self.now + self.seats[org].skew_ms

    def take(self, org: OrgId, effects: Sequence[Effect]) -> None:
        """Carry out what one seat asked for; messages wait until `deliver`."""
        seat = self.seats[org]
        seat.did.extend(effects)
        for effect in effects:
            if isinstance(effect, Transmit) and not seat.mute:
                self._letters.append((org, effect.to, effect.message))
            elif isinstance(effect, Compute) and seat.compute is not None:
                result = seat.compute(effect.task)
                self.take(org, seat.replica.aggregate_computed(effect.task, result, self.clock(org)))

    def deliver(self) -> None:
        """Until nothing is on its way."""
        while self._letters:
            sender, to, message = self._letters.pop(0)
            assert sender is not None
            for org in [to] if to is not None else [each for each in self.seats if each != sender]:
                if org in self.seats and not self.seats[org].deaf:
                    self.take(org, self.seats[org].replica.receive(sender, message, self.clock(org)))


# --- what was said and what came of it


def votes(seat: Seat, kind: VoteKind = VoteKind.NOTARIZE) -> list[Subject]:
    return [each.vote.subject for each in seat.sent(VoteMessage) if each.vote.subject.kind is kind]


def bodies(seat: Seat, kind: type) -> list[Transaction]:
    sent = [each for message in seat.sent(Transactions) for each in message.transactions]
    return [each for each in sent if isinstance(each.body, kind)]


def pay(table: Table, key: KeyPair, amount: int = 1) -> None:
    table.say(key, Transfer(table.keys[0].org, amount, ""))


def final_blocks(table: Table) -> tuple[FinalBlock, ...]:
    chain = max((seat.replica.chain for seat in table.seats.values()), key=lambda each: each.height)
    found = [chain.final_block(height) for height in range(1, chain.height + 1)]
    return tuple(each for each in found if each is not None)


def training(table: Table) -> bytes:
    """A request whose round waits for its last attestation; returns its id."""
    alice, *providers = table.keys
    for key in providers:
        table.say(key, anchored(1))
    table.say(alice, PublishRequest(terms()))
    chain = table.seat(alice).replica.chain
    ((request, _),) = list(chain.scan(Request, request_key(b"")))
    for key in providers:
        table.say(key, JoinRequest(request, "vibration", 100, ()))
    for key in providers:
        table.say(key, AnnounceUpdate(request, 1, 0, digest("test/update", key.org), 24, 100, (1,), 0, 0))
    return request


def attested(table: Table, request: bytes) -> None:
    held = tuple(Attestation(key.org, digest("test/update", key.org), Verdict.HELD) for key in table.keys[1:])
    for key in table.keys[:3]:
        table.say(key, AttestBlobs(request, 1, 0, held))


def wrong(task: AggregationTask) -> AggregationResult:
    return replace(computed(task), model=digest("test", b"poisoned"))


def standing(table: Table, request: bytes) -> Request:
    found = max((seat.replica.chain for seat in table.seats.values()), key=lambda each: each.height).read(
        Request, request_key(request)
    )
    assert found is not None
    return found
