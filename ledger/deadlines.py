"""What block time alone brings about: in each stage of a request, what its deadline does."""

from collections.abc import Callable
from dataclasses import replace

from ledger.entries import (
    OPEN_REQUESTS,
    Fate,
    OpenRequests,
    Request,
    Round,
    Stage,
    Standing,
    request_key,
    round_key,
    standing_key,
)
from ledger.masked_rounds import close_step
from ledger.rounds import close_round, finish, open_round, settle, to_attesting
from ledger.settlement import judge, pay, put_receipt, with_earnings
from ledger.state import BlockContext, State
from ledger.types import Hash32


def pass_deadlines(state: State, context: BlockContext) -> None:
    """What falls due at this block's time, in order of publication."""
    for request_id in state.need(OpenRequests, OPEN_REQUESTS).ids:
        request = state.need(Request, request_key(request_id))
        if request.deadline and request.deadline <= context.time:
            _WHEN_DUE[request.stage](state, context, Hash32(request_id), request)


def next_deadline(state: State) -> int | None:
    """Block time in ms at which something falls due by itself; None when nothing will."""
    requests = (state.need(Request, request_key(each)) for each in state.need(OpenRequests, OPEN_REQUESTS).ids)
    return min((request.deadline for request in requests if request.deadline), default=None)


def _join_window_ended(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    if len(request.providers) < request.terms.providers_min:
        outcome = f"{len(request.providers)} providers joined, {request.terms.providers_min} were wanted"
        finish(state, request_id, request, Stage.FAILED, outcome)
    else:
        open_round(state, context, request_id, request, 1)


def _round_deadline_passed(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    to_attesting(state, context, request_id, request)
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
    close_round(state, context, request_id, request, current)


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
    Stage.KEYS: close_step,
    Stage.SHARES: close_step,
    Stage.CONTEST: close_step,
    Stage.ANSWERING: close_step,
    Stage.TRAINING: _round_deadline_passed,
    Stage.ATTESTING: _attest_window_ended,
    Stage.UNMASKING: close_step,
    Stage.AGGREGATING: _nobody_aggregated,
}
