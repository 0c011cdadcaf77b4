"""A masked round over the real ledger rules, step by step: providers on disks that forget, words that get lost, liars.

Each provider is what a node is in the exchange (`node/masking_steps.py` over `node/masking_memory.py`) with its update
drawn from the seed; blocks are sealed by hand, a second apart, or when nobody has anything to say a window later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np

from fl.fixed_point import Ints, limit_in_steps
from ledger.aggregation import AggregationResult, AggregationTask, aggregates_due
from ledger.entries import FINAL_STAGES, Fate, Receipt, Request, Round, Stage, receipt_key, request_key, round_key
from ledger.protection import AcceptShares, ShareMaskSecrets
from ledger.transactions import (
    AnnounceProtected,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    DeclineRound,
    Protection,
    PublishProtected,
    Verdict,
)
from ledger.types import Hash32
from node.masked_rounds import BEFORE_TRAINING, mask_view
from node.masking_memory import Dealt, MaskingMemory
from node.masking_steps import MaskView, SecretsLost, masked, next_step
from node.network.blob_store import blob_digest
from node.rounds import RoundId, participant
from node.simulation.disk import DiskFaults, PowerCut, SimDisk
from node.unmasking import unmasked
from tests.support.open_requests import LIMIT, PARAMETERS, SCALE_BITS, TERMS, anchor, join, vector_blob
from tests.support.sealed_chain import SealedChain, key_of

FOLDER = Path("/simulated")
REQUESTER = "requester"
RECORDS = 60
WINDOW_MS, STEP_MS = 10_000, 1_000
BASE = vector_blob(0.0)
LIMIT_Q = limit_in_steps(LIMIT, SCALE_BITS)
# Every stage of a round once, words lost and said again: a league that takes more has stopped.
BLOCKS_MAX = 200


@dataclass(frozen=True, slots=True)
class Fall:
    """What befalls a provider when a round first stands at `stage`: before it speaks there or after."""

    stage: Stage
    speaks: bool
    # It comes back with an empty disk, or never.
    returns: bool = False


@dataclass
class Party:
    """One provider. `said`: its words by attempt and kind; `update`: what it trained, by attempt."""

    name: str
    disk: SimDisk
    rng: Random
    fall: Fall | None = None
    alive: bool = True
    memory: MaskingMemory = field(init=False)
    blobs: dict[RoundId, bytes] = field(default_factory=dict)
    updates: dict[RoundId, Ints] = field(default_factory=dict)
    said: dict[tuple[RoundId, type], set[Body]] = field(default_factory=dict)
    dealt: dict[RoundId, tuple[Dealt, ...]] = field(default_factory=dict)
    lost: bool = False
    crashed: bool = False

    def __post_init__(self) -> None:
        self.org = key_of(self.name).org
        self.revive()

    def revive(self) -> None:
        self.disk.kill()
        faults, self.disk.faults = self.disk.faults, DiskFaults()
        self.memory = MaskingMemory(FOLDER, self.disk.files())
        self.disk.faults = faults

    def word(self, view: MaskView) -> Body | None:
        """What it says now; None when nothing, or when it crashes on the way: then it is back at the next block."""
        try:
            step = next_step(view, self.memory.load(view.id), self.rng.randbytes)
            if step is not None and step.keep is not None:
                self.memory.save(step.keep)
                self.dealt[view.id] = step.keep.dealt or self.dealt.get(view.id, ())
        except SecretsLost:
            self.lost = True
            return DeclineRound(*view.id, "lost") if view.stage in BEFORE_TRAINING else None
        except PowerCut:
            self.crashed = True
            self.revive()
            return None
        if step is None:
            return None
        self.said.setdefault((view.id, type(step.say)), set()).add(step.say)
        return self.twisted(step.say)

    def twisted(self, word: Body) -> Body:
        """What a liar makes of it; here nothing."""
        return word

    def announcement(self, view: MaskView) -> Body | None:
        size = int.from_bytes(self.org[:2], "big") % RECORDS + 1
        if view.id not in self.blobs:
            values = np.random.default_rng(self.rng.randrange(2**32)).integers(-LIMIT_Q, LIMIT_Q, PARAMETERS, np.int32)
            try:
                secrets = self.memory.load(view.id)
                blob = masked(view, secrets, TERMS.aggregation, values, size)
                assert secrets is not None
                self.memory.save(secrets.spent())
            except SecretsLost:
                self.lost = True
                return DeclineRound(*view.id, "lost")
            except PowerCut:
                self.crashed = True
                self.revive()
                return None
            self.updates[view.id], self.blobs[view.id] = values, self.garbled(blob)
        blob = self.blobs[view.id]
        update = AnnounceUpdate(*view.id, blob_digest(blob), len(blob), size, (1,), 0, 0)
        return AnnounceProtected(update, ())

    def garbled(self, blob: bytes) -> bytes:
        return blob

    def is_spent(self, round_id: RoundId) -> bool:
        """Whether nothing of its own secrets is on its disk."""
        kept = self.memory.load(round_id)
        return kept is None or kept.is_spent


class MaskedLeague:
    """`providers` and one who asks. `loss`: share of words that get lost; `cut_short`: of writes that a crash ends."""

    def __init__(
        self,
        providers: int,
        seed: int = 0,
        falls: Mapping[int, Fall] | None = None,
        loss: float = 0.0,
        cut_short: float = 0.0,
        rounds: int = 1,
        liars: Mapping[int, type[Party]] | None = None,
    ) -> None:
        self.rng = Random(f"masked/{seed}")
        self.loss = loss
        names = [f"provider {at}" for at in range(providers)]
        self.sealed = SealedChain(REQUESTER, *names)
        kinds = liars or {}
        self.parties = [self._party(kinds.get(at, Party), at, name, cut_short) for at, name in enumerate(names)]
        for at, fall in (falls or {}).items():
            self.parties[at].fall = fall
        self.request = self._publish(providers, rounds)
        self.stages: list[Stage] = []
        self.tasks: list[AggregationTask] = []
        self.busy = False
        self.models: dict[Hash32, bytes] = {}

    def _party(self, kind: type[Party], at: int, name: str, cut_short: float) -> Party:
        disk = SimDisk(Random(f"{self.rng.random()}/{at}"))
        disk.faults = DiskFaults(cut_short=cut_short)
        return kind(name, disk, Random(f"{self.rng.random()}/{at}/words"))

    def _publish(self, providers: int, rounds: int) -> Hash32:
        terms = replace(
            TERMS,
            initial_model=blob_digest(BASE),
            providers_min=3,
            providers_max=providers,
            rounds_max=rounds,
            attest_window=WINDOW_MS,
            round_deadline=3 * WINDOW_MS,
        )
        published = self.sealed.say(REQUESTER, PublishProtected(terms, Protection((), True, WINDOW_MS)))
        self.sealed.seal()
        for party in self.parties:
            anchor(self.sealed, party.name, RECORDS)
            join(self.sealed, party.name, published.id, RECORDS)
        self.sealed.seal()
        assert not self.sealed.refused, self.sealed.refused
        return published.id

    @property
    def entry(self) -> Request:
        found = self.sealed.chain.read(Request, request_key(self.request))
        assert found is not None
        return found

    def receipt(self, number: int = 1, attempt: int = 0) -> Receipt:
        found = self.sealed.chain.read(Receipt, receipt_key(self.request, number, attempt))
        assert found is not None
        return found

    def run(self) -> None:
        """Until the request is over."""
        for _ in range(BLOCKS_MAX):
            if self.entry.stage in FINAL_STAGES:
                return
            self.block()
        raise AssertionError(f"after {BLOCKS_MAX} blocks the request is {self.entry.stage.name}: {self.stages}")

    def block(self) -> None:
        """Everybody who has something to say says it, and it is sealed."""
        request = self.entry
        current = self.sealed.chain.read(Round, round_key(self.request))
        assert current is not None
        round_id = RoundId(self.request, current.number, current.attempt)
        self.stages.append(request.stage)
        for party in self.parties:
            self._speak(party, round_id, request, current)
        if request.stage is Stage.ATTESTING:
            self._attest(round_id, current)
        results: dict[bytes, AggregationResult] = {
            task.request: self.aggregate(task) for task in aggregates_due(self.sealed.chain.state())
        }
        spoken = self.busy or bool(self.sealed.pending or results)
        self.sealed.seal(STEP_MS if spoken else 3 * WINDOW_MS, results)
        self.busy = False
        self._check_refused()

    def _speak(self, party: Party, round_id: RoundId, request: Request, current: Round) -> None:
        falls = party.alive and party.fall is not None and party.fall.stage is request.stage
        if not party.alive or (falls and party.fall is not None and not party.fall.speaks):
            self._fall(party, falls)
            return
        self._say(party, round_id, request, current)
        self._fall(party, falls)

    def _say(self, party: Party, round_id: RoundId, request: Request, current: Round) -> None:
        view = mask_view(self.sealed.chain, round_id, party.org)
        part = participant(current, party.org)
        if view is None or part is None:
            return
        word = party.word(view)
        if request.stage is Stage.TRAINING and part.fate is Fate.MISSING:
            mine = view.myself
            word = party.announcement(view) if mine is not None and mine.counted else None
        if isinstance(word, DeclineRound) and part.fate is not Fate.MISSING:
            word = None
        self.busy = self.busy or word is not None or party.crashed
        party.crashed = False
        if word is not None and self.rng.random() >= self.loss:
            self.sealed.say(party.name, word)

    @staticmethod
    def _fall(party: Party, falls: bool) -> None:
        if falls and party.fall is not None:
            party.disk.wipe()
            party.alive = party.fall.returns
            party.fall = None
            party.revive()

    def _attest(self, round_id: RoundId, current: Round) -> None:
        announced = [part for part in current.participants if part.fate is Fate.ANNOUNCED]
        words = tuple(Attestation(part.org, part.blob, Verdict.HELD) for part in announced)
        for name in (REQUESTER, *(party.name for party in self.parties)):
            seated = key_of(name).org in self.sealed.chain.seated()
            if seated and not any(key_of(name).org in part.held_by for part in announced):
                self.sealed.say(name, AttestBlobs(*round_id, words))

    def aggregate(self, task: AggregationTask) -> AggregationResult:
        blobs = {blob_digest(BASE): BASE}
        blobs |= {blob_digest(blob): blob for party in self.parties for blob in party.blobs.values()}
        blobs |= self.models
        self.tasks.append(task)
        result, blob, _ = unmasked(task, self.sealed.chain.chain_id, lambda digest: blobs[Hash32(digest)])
        if blob:
            self.models[blob_digest(blob)] = blob
        return result

    def _check_refused(self) -> None:
        """Words cross the end of a stage; anything else that is refused nobody should have said."""
        for error in self.sealed.refused.values():
            assert error.code in ("stage", "round", "nonce", "said", "announced"), error
        self.sealed.refused.clear()

    def expected(self, number: int = 1, attempt: int = 0) -> tuple[list[Ints], list[int]]:
        """The plain updates and weights of all that the receipt says were delivered."""
        lines = [line for line in self.receipt(number, attempt).lines if line.fate is Fate.DELIVERED]
        by_org: dict[bytes, Party] = {party.org: party for party in self.parties}
        round_id = RoundId(self.request, number, attempt)
        return [by_org[line.org].updates[round_id] for line in lines], [line.weight for line in lines]


# --- liars


class WrongDealer(Party):
    """Deals good shares of another seed than the one it is bound to: nobody can tell before they are put together."""

    def twisted(self, word: Body) -> Body:
        return replace(word, seed_commitment=bytes(32)) if isinstance(word, ShareMaskSecrets) else word


class CarelessDealer(Party):
    """What it deals to the first holder does not open; it answers the complaint as it must."""

    def twisted(self, word: Body) -> Body:
        if not isinstance(word, ShareMaskSecrets):
            return word
        at = next(at for at, share in enumerate(word.shares) if share.holder != self.org)
        shares = list(word.shares)
        shares[at] = replace(shares[at], sealed=bytes(len(shares[at].sealed)))
        return replace(word, shares=tuple(shares))


class SilentDealer(CarelessDealer):
    """And does not answer."""

    def word(self, view: MaskView) -> Body | None:
        return None if view.stage is Stage.ANSWERING else super().word(view)


class Complainer(Party):
    """Complains of the first other dealer, whose shares are good."""

    def twisted(self, word: Body) -> Body:
        others = sorted(key_of(name).org for name in self.others)
        return replace(word, refused=(others[0],)) if isinstance(word, AcceptShares) else word

    @property
    def others(self) -> list[str]:
        return [name for name in (f"provider {at}" for at in range(3)) if name != self.name]


class Garbler(Party):
    """Masks something else than an update, in the first attempt."""

    def garbled(self, blob: bytes) -> bytes:
        return blob[:-8] + self.rng.randbytes(8) if len(self.blobs) == 0 else blob
