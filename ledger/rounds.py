"""How rounds of a data request go on: who is invited, when a round closes, what block time alone brings about.

What transactions do to a request is in `requests.py`, what a closed round leaves in `settlement.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ledger.anchors import anchor_totals
from ledger.entries import (
    FINAL_STAGES,
    OPEN_REQUESTS,
    Fate,
    OpenRequests,
    Participant,
    Request,
    Round,
    Stage,
    Standing,
    request_key,
    round_key,
    standing_key,
)
from ledger.membership import is_member
from ledger.rewards import deposit, reward
from ledger.settlement import judge, move_reputations, pay, put_receipt, with_earnings
from ledger.state import BlockContext, State
from ledger.types import Hash32, OrgId


def pass_deadlines(state: State, context: BlockContext) -> None:
    """What block time alone brings about, in order of publication."""
    for request_id in state.need(OpenRequests, OPEN_REQUESTS).ids:
        request = state.need(Request, request_key(request_id))
        if request.deadline and request.deadline <= context.time:
            _WHEN_DUE[request.stage](state, context, Hash32(request_id), request)


def next_deadline(state: State) -> int | None:
    """Block time in ms at which something falls due by itself; None when nothing will."""
    requests = (state.need(Request, request_key(each)) for each in state.need(OpenRequests, OPEN_REQUESTS).ids)
    return min((request.deadline for request in requests if request.deadline), default=None)


def finish(state: State, request_id: bytes, request: Request, stage: Stage, outcome: str) -> None:
    """Return what is left of the escrow and let go of the request."""
    assert stage in FINAL_STAGES
    deposit(state, request.requester, request.escrow)
    state.put(request_key(request_id), replace(request, stage=stage, deadline=0, escrow=0, outcome=outcome))
    state.delete(round_key(request_id))
    open_requests = state.need(OpenRequests, OPEN_REQUESTS)
    state.put(OPEN_REQUESTS, OpenRequests(tuple(each for each in open_requests.ids if each != request_id)))


def cancel_now(state: State, request_id: bytes, request: Request) -> None:
    """End a request that has no round to settle any more."""
    here = is_member(state, request.requester)
    outcome = "cancelled by the requester" if here else "the requester is no member any more"
    finish(state, request_id, request, Stage.CANCELLED, outcome)


def open_round(
    state: State, context: BlockContext, request_id: bytes, request: Request, number: int, attempt: int = 0
) -> None:
    """Invite who has anchored records and whom the escrow can still pay, in the order they joined."""
    if request.ending:
        cancel_now(state, request_id, request)
        return
    offers = [
        (provider.org, min(provider.record_count, anchor_totals(state, provider.org).records))
        for provider in request.providers
    ]
    invited = _affordable(request, offers)
    if len(invited) < request.terms.providers_min:
        # One offer as large as the budget, made first, must not keep all others out: the smallest ones first, then.
        invited = _affordable(request, sorted(offers, key=lambda offer: offer[1]))
    if len(invited) < request.terms.providers_min:
        stage = Stage.DONE if request.model_round else Stage.FAILED
        finish(state, request_id, request, stage, f"only {len(invited)} providers can be paid for round {number}")
        return
    deadline = context.time + request.terms.round_deadline
    participants = tuple(sorted(invited, key=lambda part: part.org))
    current = Round(number, attempt, request.model, context.height, deadline, participants, (), 0, 0)
    state.put(round_key(request_id), current)
    opened = replace(request, stage=Stage.TRAINING, deadline=deadline, round=number, attempt=attempt)
    state.put(request_key(request_id), opened)


def _affordable(request: Request, offers: Sequence[tuple[bytes, int]]) -> list[Participant]:
    """Of (provider, records that can be paid), in this order, all that the escrow can still pay."""
    terms = request.terms
    # What the exact mean can add up in 64 bits: sums to twice the weights times the widest parameter, and the weights.
    weight_left = (2**63 - 1) // (2 * (terms.limit << terms.scale_bits) + 1)
    left = request.escrow
    invited = []
    for org, payable in offers:
        cost = reward(payable, terms.price)
        if payable and cost <= left and payable <= weight_left:
            left -= cost
            weight_left -= payable
            invited.append(_invited(org, payable))
    return invited


def settle(state: State, context: BlockContext, request_id: bytes) -> None:
    """Move on as soon as nobody is waited for any more."""
    request = state.need(Request, request_key(request_id))
    current = state.need(Round, round_key(request_id))
    fates = {part.fate for part in current.participants}
    if request.stage is Stage.TRAINING and Fate.MISSING not in fates:
        request = _to_attesting(state, context, request_id, request)
    if request.stage is Stage.ATTESTING and Fate.ANNOUNCED not in fates:
        _close_round(state, context, request_id, request, current)


def _to_attesting(state: State, context: BlockContext, request_id: bytes, request: Request) -> Request:
    attesting = replace(request, stage=Stage.ATTESTING, deadline=context.time + request.terms.attest_window)
    state.put(request_key(request_id), attesting)
    return attesting


def _close_round(state: State, context: BlockContext, request_id: bytes, request: Request, current: Round) -> None:
    """The set is agreed. Enough delivered: aggregate. Too few: the round is void and is tried again, a few times."""
    delivered = sum(part.fate is Fate.DELIVERED for part in current.participants)
    if delivered >= request.terms.providers_min:
        deadline = context.time + request.aggregation_max
        state.put(request_key(request_id), replace(request, stage=Stage.AGGREGATING, deadline=deadline))
        return
    move_reputations(state, context, current, {}, {})
    put_receipt(state, context, request_id, current, judge(current), b"", {}, {})
    request = replace(request, void_rounds=request.void_rounds + 1)
    if request.void_rounds >= request.void_rounds_max:
        stage = Stage.DONE if request.model_round else Stage.FAILED
        finish(state, request_id, request, stage, f"{request.void_rounds} rounds in a row with too few deliveries")
    else:
        open_round(state, context, request_id, request, current.number, current.attempt + 1)


def _join_window_ended(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    if len(request.providers) < request.terms.providers_min:
        outcome = f"{len(request.providers)} providers joined, {request.terms.providers_min} were wanted"
        finish(state, request_id, request, Stage.FAILED, outcome)
    else:
        open_round(state, context, request_id, request, 1)


def _round_deadline_passed(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    _to_attesting(state, context, request_id, request)
    settle(state, context, request_id)


def _attest_window_ended(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    current = state.need(Round, round_key(request_id))
    parts = tuple(
        replace(part, fate=Fate.UNAVAILABLE, reason=f"held by {len(part.held_by)} of the committee in time")
        if part.fate is Fate.ANNOUNCED
        else part
        for part in current.participants
    )
    current = replace(current, participants=parts)
    state.put(round_key(request_id), current)
    _close_round(state, context, request_id, request, current)


def _nobody_aggregated(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    """End a request whose round no member could aggregate: an unknown rule, initial weights that are no vector.

    Without this it would hold its escrow and its place for ever. A quorum holds what was delivered, so that is paid, or
    impossible terms would be free work; reputations stay, for nobody knows how good it was.
    """
    current = state.need(Round, round_key(request_id))
    paid = pay(state, request, [part for part in current.participants if part.fate is Fate.DELIVERED])
    for org, amount in paid.items():
        standing = state.need(Standing, standing_key(org))
        state.put(standing_key(org), with_earnings(standing, amount))
    put_receipt(state, context, request_id, current, judge(current), b"", {}, paid)
    spent = sum(paid.values())
    request = replace(request, escrow=request.escrow - spent, paid=request.paid + spent)
    stage = Stage.DONE if request.model_round else Stage.FAILED
    finish(state, request_id, request, stage, f"nobody could aggregate round {current.number}")


_WHEN_DUE: dict[Stage, Callable[[State, BlockContext, Hash32, Request], None]] = {
    Stage.OPEN: _join_window_ended,
    Stage.TRAINING: _round_deadline_passed,
    Stage.ATTESTING: _attest_window_ended,
    Stage.AGGREGATING: _nobody_aggregated,
}


def with_participant(current: Round, part: Participant) -> Round:
    return replace(current, participants=tuple(part if each.org == part.org else each for each in current.participants))


def put_participant(state: State, request_id: bytes, current: Round, part: Participant) -> None:
    state.put(round_key(request_id), with_participant(current, part))


def _invited(org: OrgId | bytes, payable: int) -> Participant:
    return Participant(org, payable, Fate.MISSING, "", b"", 0, 0, 0, 0, (), (), ())
