"""What must hold in every run, whatever goes wrong: checked at every word, every block, every start and at the end.

The letters are those of docs/adversary.md: S1 agreement, S3 no contradiction across restarts, S10 certificates, S11 one
state, S12 no false evidence, S15 time, S16 supply, S17 aggregates recomputed. Faulty members are not held to anything.
"""

import hashlib
from collections.abc import Iterable
from typing import NoReturn

from consensus.effects import Disagreement, Effect, Halt, Refused
from consensus.messages import Message, Proposal, VoteMessage, parse_message
from fl.aggregate import aggregate_blobs
from fl.fixed_point import limit_in_steps
from ledger.aggregation import AggregationTask, aggregate_transaction_body
from ledger.blocks import FinalBlock
from ledger.certificates import Committee, Vote, VoteKind, check_certificate, contradicts
from ledger.chain import Chain, Outcome
from ledger.codec import decode
from ledger.entries import FINAL_STAGES, REQUESTS, Request, Stage
from ledger.rewards import supply, tokens_in_circulation
from ledger.transactions import AggregateProtected, AggregateRound, ReportEquivocation
from ledger.types import Hash32, NodeKey
from node.network.blob_store import blob_digest
from node.unmasking import unmasked


class SimulationFailed(AssertionError):
    """An invariant broke. The message begins with the seed that replays it."""


class Referee:
    """Sees what correct members say and do. `faulty`: keys of the others. `label`: what a failure begins with."""

    def __init__(self, label: str, faulty: frozenset[NodeKey]) -> None:
        self._label = label
        self._faulty = faulty
        self._said: dict[tuple[NodeKey, int, int], dict[VoteKind, Vote]] = {}
        self._parsed: tuple[bytes, Message | None] = (b"", None)
        self._decided: dict[int, tuple[Hash32, Hash32, Hash32]] = {}
        self._times: dict[int, int] = {}
        self._requests: dict[tuple[NodeKey, bytes], Request] = {}
        self._trace = hashlib.sha256()
        self.archive: dict[bytes, bytes] = {}
        self.final: dict[Hash32, int] = {}
        self.aggregates: dict[AggregationTask, AggregateRound | AggregateProtected] = {}
        self.now_ms = 0
        self.failure: SimulationFailed | None = None

    @property
    def trace(self) -> str:
        """A digest of all that correct members said and all that became final: equal for equal runs."""
        return self._trace.hexdigest()[:16]

    @property
    def heights(self) -> int:
        return len(self._decided)

    def fail(self, reason: str) -> NoReturn:
        """The first failure is what counts, whoever catches it on its way."""
        failure = SimulationFailed(f"{self._label}, {self.now_ms} ms: {reason}")
        self.failure = self.failure or failure
        raise self.failure

    # --- words

    def said(self, key: NodeKey, message: bytes) -> None:
        """A correct member sends this (S3; simplex rule 14)."""
        if self._parsed[0] is not message:
            self._trace.update(key + hashlib.sha256(message).digest())
            self._parsed = (message, parse_message(message))
            self._check_said(key, self._parsed[1])

    def _check_said(self, key: NodeKey, message: Message | None) -> None:
        match message:
            case VoteMessage(vote) if vote.voter == key:
                pass
            case Proposal(subject=subject):
                # Only a leader sends its proposal; others pass on certificates and bodies.
                vote = Vote(subject, key, message.signature)
            case _:
                return
        said = self._said.setdefault((key, vote.subject.height, vote.subject.view), {})
        for other in said.values():
            if contradicts(vote, other):
                self.fail(
                    f"{key.hex()[:8]} contradicts itself at height {vote.subject.height}, view {vote.subject.view}: "
                    f"{other.subject.kind.name} and {vote.subject.kind.name}"
                )
        said[vote.subject.kind] = vote

    def did(self, key: NodeKey, effects: Iterable[Effect]) -> None:
        """What a correct member's replica asked of its driver."""
        for effect in effects:
            match effect:
                case Refused(sender, reason) if sender not in self._faulty:
                    self.fail(f"{key.hex()[:8]} refuses what correct {sender.hex()[:8]} sent: {reason}")
                case Disagreement(task, author) if author not in self._faulty:
                    self.fail(f"correct members disagree on the aggregate of round {task.round}")
                case Halt(reason):
                    self.fail(f"{key.hex()[:8]} halted: {reason}")

    # --- blocks

    def committed(self, key: NodeKey, chain: Chain, final: FinalBlock, outcome: Outcome) -> None:
        """A block became final at a correct member."""
        block = final.block
        height, decided = block.height, (block.id, outcome.state_root, outcome.next_committee.hash)
        self._trace.update(key + block.id)
        first = height not in self._decided
        if self._decided.setdefault(height, decided) != decided:
            self.fail(f"S1, S11: two blocks, states or next committees at height {height}")
        try:
            check_certificate(chain.chain_id, self._committee(chain, height), final.certificate)
        except ValueError as error:
            self.fail(f"S10: {key.hex()[:8]} keeps height {height} under a certificate that is none: {error}")
        if tokens_in_circulation(chain.state()) != supply(chain.state()):
            self.fail(f"S16: tokens appeared or vanished at height {height}")
        self._check_requests(key, outcome)
        if first:
            self._check_once(final)
            for task, body in outcome.claims:
                self._check_aggregate(task, body, chain.chain_id)

    def _committee(self, chain: Chain, height: int) -> Committee:
        committee = chain.committee_at(height)
        if committee is None:
            self.fail(f"no committee is known for height {height}")
        return committee

    def _check_once(self, final: FinalBlock) -> None:
        """What every member would find the same, for it is one block."""
        block = final.block
        for before, time in ((block.height - 1, "not above"), (block.height + 1, "not below")):
            known = self._times.get(before)
            if known is not None and (known - block.header.time) * (block.height - before) >= 0:
                self.fail(f"S15: the time of height {block.height} is {time} that of height {before}")
        self._times[block.height] = block.header.time
        for transaction in block.transactions:
            if isinstance(transaction.body, ReportEquivocation):
                accused = transaction.body.evidence.first.voter
                if accused not in self._faulty:
                    self.fail(f"S12: a correct member is accused at height {block.height}")
            if self.final.setdefault(transaction.id, block.height) != block.height:
                self.fail(f"a transaction is final twice, at {self.final[transaction.id]} and {block.height}")

    def _check_aggregate(
        self, task: AggregationTask, body: AggregateRound | AggregateProtected, league: Hash32
    ) -> None:
        """S17: from the blobs themselves, as anybody could who has them."""
        missing = [
            each for each in (task.base_model, *(part.blob for part in task.contributions)) if each not in self.archive
        ]
        if missing:
            self.fail(f"S17: round {task.round} rests on blob {missing[0].hex()[:8]}, which nobody ever had")
        if task.masking is not None:
            result, blob, _ = unmasked(task, league, self.archive.__getitem__)
            if aggregate_transaction_body(task, result) != body:
                self.fail(f"S17: the aggregate of masked round {task.round} is not what its sum unmasks to")
            if blob:
                self.archive[body.model] = blob
            self.aggregates[task] = body
            return
        updates = [(self.archive[part.blob], part.weight) for part in task.contributions]
        limit = limit_in_steps(task.limit, task.scale_bits)
        base = self.archive[task.base_model]
        made = aggregate_blobs(task.aggregation, {}, base, updates, task.parameters, task.scale_bits, limit)
        scores = tuple(score.quality for score in body.scores)
        if (blob_digest(made.blob), made.qualities) != (body.model, scores):
            self.fail(f"S17: the aggregate of round {task.round} is not that of its updates")
        self.archive[body.model] = made.blob
        self.aggregates[task] = body

    def _check_requests(self, key: NodeKey, outcome: Outcome) -> None:
        for changed, value in outcome.changes.items():
            if not changed.startswith(REQUESTS) or value is None:
                continue
            now, before = decode(Request, value), self._requests.get((key, changed))
            self._requests[key, changed] = now
            if now.stage not in FINAL_STAGES and now.escrow + now.paid != now.terms.budget:
                self.fail(f"a request holds {now.escrow} and paid {now.paid} of a budget of {now.terms.budget}")
            if before is None:
                continue
            if before.stage in FINAL_STAGES and now != before:
                self.fail(f"a request that was {before.stage.name} changed")
            if now.stage is Stage.OPEN and before.stage is not Stage.OPEN:
                self.fail(f"a request went from {before.stage.name} back to OPEN")
            if (now.round, now.paid, now.model_round) < (before.round, before.paid, before.model_round):
                self.fail(f"a request went back from round {before.round} to {now.round}")
            if not now.model_round <= now.round <= now.terms.rounds_max:
                self.fail(f"a request has a model of round {now.model_round} in round {now.round}")

    # --- starts

    def started(self, key: NodeKey, chain: Chain, acknowledged: int) -> None:
        """A correct member comes up with its disk: what it said was final is there."""
        if chain.height < acknowledged:
            self.fail(f"{key.hex()[:8]} said that height {acknowledged} is final and comes up at {chain.height}")
        # A member that was wiped hears the history again, and what it says of it must be the same.
        for known in [each for each in self._requests if each[0] == key]:
            del self._requests[known]


def differing_rows(one: Chain, other: Chain) -> list[str]:
    """Names of rows that two members at the same height do not share byte for byte, certificates apart."""
    found = []
    for family in (b"S", b"N", b"C", b"I", b"T", b"M"):
        left, right = dict(one.store.scan(family)), dict(other.store.scan(family))
        found += [
            f"{family.decode()}{key[1:].hex()[:16]}"
            for key in left.keys() | right.keys()
            if left.get(key) != right.get(key)
        ]
    for height in range(1, one.height + 1):
        mine, theirs = one.final_block(height), other.final_block(height)
        if (mine and mine.block) != (theirs and theirs.block):
            found.append(f"B{height}")
    return sorted(found)
