"""What a round's aggregate is computed from, for leader and voters alike, and which rounds wait for one."""

from dataclasses import dataclass

from ledger.entries import OPEN_REQUESTS, Fate, OpenRequests, Request, Round, Stage, request_key, round_key
from ledger.state import State
from ledger.transactions import AggregateRound, UpdateScore
from ledger.types import Hash32, OrgId


def awaiting_aggregate(state: State) -> list[tuple[Hash32, Request, Round]]:
    """Requests whose round is closed and waits for a leader's aggregate."""
    return _in_stage(state, Stage.AGGREGATING)


def _in_stage(state: State, stage: Stage) -> list[tuple[Hash32, Request, Round]]:
    found = []
    for request_id in state.need(OpenRequests, OPEN_REQUESTS).ids:
        request = state.need(Request, request_key(request_id))
        if request.stage is stage:
            found.append((Hash32(request_id), request, state.need(Round, round_key(request_id))))
    return found


@dataclass(frozen=True, slots=True)
class Contribution:
    """One agreed update and the records it counts for."""

    org: OrgId
    blob: Hash32
    weight: int


@dataclass(frozen=True, slots=True)
class AggregationTask:
    """All that a round's aggregate depends on: equal tasks give equal bytes on every machine (DESIGN D4)."""

    request: Hash32
    round: int
    attempt: int
    base_model: Hash32
    contributions: tuple[Contribution, ...]
    aggregation: str
    parameters: int
    scale_bits: int
    limit: int


@dataclass(frozen=True, slots=True)
class AggregationResult:
    """`model`: digest of the aggregate's blob, `model_bytes` its length; `scores` by contribution, in millionths."""

    model: Hash32
    model_bytes: int
    scores: tuple[tuple[OrgId, int], ...]


def aggregation_task(request_id: bytes, request: Request, current: Round, *, foreseen: bool = False) -> AggregationTask:
    """What a closed round's aggregate is computed from; `foreseen`: as if all that is announced will count."""
    counted = {Fate.DELIVERED, Fate.ANNOUNCED} if foreseen else {Fate.DELIVERED}
    parts = [part for part in current.participants if part.fate in counted]
    terms = request.terms
    return AggregationTask(
        Hash32(request_id),
        current.number,
        current.attempt,
        Hash32(current.base_model),
        tuple(Contribution(OrgId(part.org), Hash32(part.blob), part.weight) for part in parts),
        terms.aggregation,
        terms.parameters,
        terms.scale_bits,
        terms.limit,
    )


def aggregate_transaction_body(task: AggregationTask, result: AggregationResult) -> AggregateRound:
    scores = tuple(UpdateScore(org, quality) for org, quality in result.scores)
    return AggregateRound(task.request, task.round, task.attempt, result.model, result.model_bytes, scores)


def awaiting_attestation(state: State) -> list[tuple[Hash32, Request, Round]]:
    """Requests whose announcements are closed and that wait for the committee's word."""
    return _in_stage(state, Stage.ATTESTING)
