"""A round ends with its aggregate: it is paid, leaves its receipt, moves reputations, and the next one opens.

Of a protected request the aggregate may also say who is rejected, or that there is none; then the round is void.
"""

from collections.abc import Sequence
from dataclasses import replace

from ledger.aggregation import masked_inputs
from ledger.entries import Fate, Participant, Request, Round, Stage
from ledger.errors import InvalidTransaction
from ledger.masked_rounds import exclude
from ledger.protection_entries import unmasking_key
from ledger.request_lookup import (
    mask_round_of,
    participant_of,
    protection_of,
    request_in_stage,
    round_in_work,
    with_participant,
)
from ledger.request_terms import model_bytes_max
from ledger.rounds import finish, open_round, void_round
from ledger.settlement import judge, move_reputations, pay, put_receipt
from ledger.state import BlockContext, State
from ledger.transactions import AggregateProtected, AggregateRound, UpdateScore
from ledger.types import MICRO


def aggregate(state: State, context: BlockContext, body: AggregateRound) -> None:
    """Close the round of a plain request."""
    request = request_in_stage(state, body.request, AggregateRound)
    current = round_in_work(state, body.request, body.round, body.attempt)
    if protection_of(state, body.request) is not None:
        raise InvalidTransaction("protection", "the request is protected, want AggregateProtected")
    _check_scores(body.scores, [part for part in current.participants if part.fate is Fate.DELIVERED])
    _check_model(request, body.model, body.model_bytes)
    _close(state, context, body.request, request, current, body.model, body.scores)


def aggregate_protected(state: State, context: BlockContext, body: AggregateProtected) -> None:
    """Close the round of a protected request: without who is rejected, or as a void one."""
    request = request_in_stage(state, body.request, AggregateProtected)
    current = round_in_work(state, body.request, body.round, body.attempt)
    if protection_of(state, body.request) is None:
        raise InvalidTransaction("protection", "the request is not protected, want AggregateRound")
    rejected = [each.provider for each in body.rejected]
    if rejected != sorted({*rejected}):
        raise InvalidTransaction("rejected", "who is rejected is not ascending and distinct")
    if body.model:
        _check_model(request, body.model, body.model_bytes)
    elif body.model_bytes or body.scores:
        raise InvalidTransaction("blob", f"{body.model_bytes} bytes and {len(body.scores)} scores without a model")
    if mask_round_of(state, body.request) is None:
        _close_sealed(state, context, request, current, body)
    else:
        _close_masked(state, context, request, current, body)


def _close_sealed(
    state: State, context: BlockContext, request: Request, current: Round, body: AggregateProtected
) -> None:
    """Whoever the rule rejects is unpaid. With too few others there is no model: the round is void."""
    for each in body.rejected:
        part = participant_of(current, each.provider)
        if part.fate is not Fate.DELIVERED:
            raise InvalidTransaction("rejected", f"{each.provider.hex()[:16]} has delivered nothing to reject")
        current = with_participant(current, replace(part, fate=Fate.REJECTED, reason=each.reason))
    kept = [part for part in current.participants if part.fate is Fate.DELIVERED]
    if bool(body.model) is (len(kept) < request.terms.providers_min):
        raise InvalidTransaction(
            "blob",
            f"{len(kept)} updates left of at least {request.terms.providers_min}, {len(body.model)} bytes of model",
        )
    if body.model:
        _check_scores(body.scores, kept)
        _close(state, context, body.request, request, current, body.model, body.scores)
    else:
        void_round(state, context, body.request, request, current, [part.org for part in kept])


def _close_masked(
    state: State, context: BlockContext, request: Request, current: Round, body: AggregateProtected
) -> None:
    """A sum has no parts to reject: either it is whole, and all are equal in it, or there is none.

    Rejected are dealers whose shares, put together, are not the secret they committed to. Without any, what is unmasked
    is no sum of updates: somebody lied about its own, and nobody can say who.
    """
    masking = mask_round_of(state, body.request)
    assert masking is not None
    counted = {each.org for each in masking.members if each.counted}
    if body.model and body.rejected:
        raise InvalidTransaction("rejected", f"a sum, and {len(body.rejected)} that dealt wrong shares")
    if any(each.provider not in counted for each in body.rejected):
        raise InvalidTransaction("rejected", "who is rejected has dealt no shares that count")
    delivered = [part for part in current.participants if part.fate is Fate.DELIVERED]
    inputs = masked_inputs(state, body.request, current)
    state.put(unmasking_key(body.request, current.number, current.attempt), inputs)
    if body.model:
        _check_scores(body.scores, delivered)
        if any(score.quality != MICRO for score in body.scores):
            raise InvalidTransaction("scores", f"qualities of masked updates are not known, want {MICRO} for each")
        _close(state, context, body.request, request, current, body.model, body.scores)
        return
    for each in body.rejected:
        request, current = exclude(state, context, body.request, request, current, each.provider, each.reason)
    void_round(state, context, body.request, request, current, [part.org for part in delivered])


def _check_scores(scores: Sequence[UpdateScore], counted: Sequence[Participant]) -> None:
    if [score.provider for score in scores] != [part.org for part in counted]:
        raise InvalidTransaction("scores", f"{len(scores)} scores that do not name the {len(counted)} delivered")


def _check_model(request: Request, model: bytes, model_bytes: int) -> None:
    if len(model) != len(request.model) or not 0 < model_bytes <= model_bytes_max(request.terms.parameters):
        raise InvalidTransaction("blob", f"{model_bytes} bytes for {request.terms.parameters} parameters")


def _close(
    state: State,
    context: BlockContext,
    request_id: bytes,
    request: Request,
    current: Round,
    model: bytes,
    scores: Sequence[UpdateScore],
) -> None:
    """Pay, write the receipt, move reputations, judge the accuracy, open the next round or finish."""
    qualities = {score.provider: score.quality for score in scores}
    paid = pay(state, request, [part for part in current.participants if part.fate is Fate.DELIVERED])
    accuracy = judge(current)
    move_reputations(state, context, current, qualities, paid)
    put_receipt(state, context, request_id, current, accuracy, model, qualities, paid)
    request = replace(
        request,
        escrow=request.escrow - sum(paid.values()),
        paid=request.paid + sum(paid.values()),
        model=model,
        model_round=current.number,
        judged_model=current.base_model,
        judged_round=current.number - 1,
        accuracy=accuracy,
        void_rounds=0,
    )
    target = request.terms.target_accuracy
    if target and accuracy >= target:
        # The model that was judged is the one that is bought: the newer one nobody has tested yet.
        request = replace(request, model=request.judged_model, model_round=request.judged_round)
        finish(state, request_id, request, Stage.DONE, "target accuracy reached")
    elif current.number >= request.terms.rounds_max:
        finish(state, request_id, request, Stage.DONE, "all rounds done")
    else:
        open_round(state, context, request_id, request, current.number + 1)
