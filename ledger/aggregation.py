"""What a round's aggregate is computed from, for leader and voters alike, and which rounds wait for one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ledger.entries import (
    OPEN_REQUESTS,
    Fate,
    OpenRequests,
    Receipt,
    Request,
    Round,
    Stage,
    receipt_key,
    request_key,
    round_key,
)
from ledger.protection import Rejection
from ledger.protection_entries import (
    IndexedShare,
    MaskedInputs,
    MaskedMember,
    MaskRound,
    Revealed,
    masking_key,
    protection_key,
    revealed_key,
)
from ledger.state import State
from ledger.transactions import AggregateProtected, AggregateRound, Protection, Settings, UpdateScore
from ledger.types import Hash32, OrgId

NO_MODEL = b""


@dataclass(frozen=True, slots=True)
class Contribution:
    """One agreed update and the records it counts for. `known_for`: of a sealed one, how many attempts ago its provider
    announced it in time first: everybody could read it since, so of two copies the one known for longer is none."""

    org: OrgId
    blob: Hash32
    weight: int
    known_for: int = 0


@dataclass(frozen=True, slots=True)
class AggregationTask:
    """All that a round's aggregate depends on: equal tasks give equal bytes on every machine (DESIGN D4).

    `protected`: by the request's own settings of the rule, which may reject updates. `sealed`: each update's blob ends
    in its provider's id. `masking`: the updates are masked, and this unmasks their sum. `previous_model`: of a sealed
    round after the first, the global model before `base_model`: who only repeats the last movement is rejected.
    `updates_least`: of a sealed round, there is no aggregate when fewer than these are not rejected.
    """

    request: Hash32
    round: int
    attempt: int
    base_model: Hash32
    contributions: tuple[Contribution, ...]
    aggregation: str
    parameters: int
    scale_bits: int
    limit: int
    protected: bool = False
    aggregation_settings: Settings = ()
    sealed: bool = False
    masking: MaskedInputs | None = None
    previous_model: Hash32 | None = None
    updates_least: int = 1


@dataclass(frozen=True, slots=True)
class AggregationResult:
    """`model`: digest of the aggregate's blob, `model_bytes` its length; `scores` by contribution, in millionths.

    Of a protected request: `rejected`, each with its reason, have no score. A `model` of no bytes, without scores:
    there is no aggregate, for too few are left, or what is unmasked is no sum of updates.
    """

    model: Hash32 | Literal[b""]
    model_bytes: int
    scores: tuple[tuple[OrgId, int], ...]
    rejected: tuple[tuple[OrgId, str], ...] = ()


def aggregation_task(
    request_id: bytes,
    request: Request,
    current: Round,
    protection: Protection | None = None,
    masking: MaskedInputs | None = None,
    *,
    foreseen: bool = False,
    known: Mapping[tuple[bytes, bytes], int] | None = None,
) -> AggregationTask:
    """What a closed round's aggregate is computed from; `foreseen`: as if all that is announced will count; `known`: of
    earlier attempts at the round, see `known_since`."""
    counted = {Fate.DELIVERED, Fate.ANNOUNCED} if foreseen else {Fate.DELIVERED}
    parts = [part for part in current.participants if part.fate in counted]
    terms = request.terms
    sealed = protection is not None and not protection.masked
    return AggregationTask(
        Hash32(request_id),
        current.number,
        current.attempt,
        Hash32(current.base_model),
        tuple(
            Contribution(
                OrgId(part.org),
                Hash32(part.blob),
                part.weight,
                known.get((part.org, part.blob), 0) if sealed and known else 0,
            )
            for part in parts
        ),
        terms.aggregation,
        terms.parameters,
        terms.scale_bits,
        terms.limit,
        protected=protection is not None,
        aggregation_settings=protection.aggregation_settings if protection else (),
        sealed=sealed,
        masking=masking,
        # The model that the last round began with is the one that it judged.
        previous_model=Hash32(request.judged_model) if sealed and request.model_round else None,
        updates_least=terms.providers_min if sealed else 1,
    )


def aggregate_transaction_body(task: AggregationTask, result: AggregationResult) -> AggregateRound | AggregateProtected:
    scores = tuple(UpdateScore(org, quality) for org, quality in result.scores)
    place = (task.request, task.round, task.attempt)
    if not task.protected:
        return AggregateRound(*place, result.model, result.model_bytes, scores)
    rejected = tuple(Rejection(org, reason) for org, reason in result.rejected)
    return AggregateProtected(*place, result.model, result.model_bytes, scores, rejected)


def aggregates_due(state: State) -> list[AggregationTask]:
    """Of every round that is closed and waits for a leader's aggregate, in order of publication of the requests."""
    return [_task(state, *each) for each in awaiting_aggregate(state)]


def aggregates_foreseen(state: State) -> list[AggregationTask]:
    """Of rounds that wait for the committee's word: what they will come to if all that is announced is held.

    A masked round is not among them: what unmasks its sum is not known before its set is agreed.
    """
    tasks = [_task(state, *each, foreseen=True) for each in awaiting_attestation(state)]
    return [task for task in tasks if task.sealed or not task.protected]


def _task(
    state: State, request_id: Hash32, request: Request, current: Round, foreseen: bool = False
) -> AggregationTask:
    protection = state.get(Protection, protection_key(request_id))
    masked = protection is not None and protection.masked and not foreseen
    masking = masked_inputs(state, request_id, current) if masked else None
    keys = [receipt_key(request_id, current.number, attempt) for attempt in range(current.attempt)]
    known = known_since((state.need(Receipt, key) for key in keys), current.attempt)
    return aggregation_task(request_id, request, current, protection, masking, foreseen=foreseen, known=known)


def known_since(receipts: Iterable[Receipt], attempt: int) -> dict[tuple[bytes, bytes], int]:
    """Of every (provider, blob) that was announced in time in earlier attempts at a round, how many attempts before
    this one that was first. `receipts`: of those attempts, in order.

    What came late is left out: by then the others' updates could be read, and it may be a copy of one of them.
    """
    known: dict[tuple[bytes, bytes], int] = {}
    for receipt in receipts:
        for line in receipt.lines:
            if line.blob and line.fate is not Fate.LATE:
                known.setdefault((line.org, line.blob), attempt - receipt.attempt)
    return known


def masked_inputs(state: State, request_id: bytes, current: Round) -> MaskedInputs:
    """What the sum of the masked round in work is unmasked with: of every member of U2 the first shares, by index, that
    the threshold asks for."""
    masking = state.need(MaskRound, masking_key(request_id))
    delivered = {part.org for part in current.participants if part.fate is Fate.DELIVERED}
    known: dict[bytes, list[IndexedShare]] = {each.org: [] for each in masking.members if each.counted}
    for index, holder in enumerate(masking.members, start=1):
        revealed = state.get(Revealed, revealed_key(request_id, holder.org))
        for each in revealed.shares if revealed else ():
            known[each.dealer].append(IndexedShare(index, each.share))
    members = [
        MaskedMember(
            each.org,
            each.mask_key,
            each.seed_commitment,
            each.org in delivered,
            tuple(known[each.org][: masking.threshold]),
        )
        for each in masking.members
        if each.counted
    ]
    return MaskedInputs(masking.threshold, tuple(members))


def awaiting_aggregate(state: State) -> list[tuple[Hash32, Request, Round]]:
    """Requests whose round is closed and waits for a leader's aggregate."""
    return _in_stage(state, Stage.AGGREGATING)


def awaiting_attestation(state: State) -> list[tuple[Hash32, Request, Round]]:
    """Requests whose announcements are closed and that wait for the committee's word."""
    return _in_stage(state, Stage.ATTESTING)


def _in_stage(state: State, stage: Stage) -> list[tuple[Hash32, Request, Round]]:
    found = []
    for request_id in state.need(OpenRequests, OPEN_REQUESTS).ids:
        request = state.need(Request, request_key(request_id))
        if request.stage is stage:
            found.append((Hash32(request_id), request, state.need(Round, round_key(request_id))))
    return found
