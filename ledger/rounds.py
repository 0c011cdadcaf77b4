"""How rounds of a data request go on: who is invited, when a round closes, what becomes of a void one.

What transactions do to a request is in `requests.py`, what a masked round does before its training and after it in
`masked_rounds.py`, what block time alone brings about in `deadlines.py`, what a closed round leaves in `settlement.py`.
"""

from collections.abc import Sequence
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
    request_key,
    round_key,
)
from ledger.membership import is_member
from ledger.protection import MASKED_PROVIDERS_MIN, vanished_max
from ledger.protection_entries import Dealing, MaskRound, Revealed, dealing_key, masking_key, revealed_key
from ledger.request_lookup import mask_round_of, protection_of
from ledger.rewards import deposit, reward
from ledger.settlement import judge, move_reputations, put_receipt
from ledger.state import BlockContext, State
from ledger.types import OrgId


def finish(state: State, request_id: bytes, request: Request, stage: Stage, outcome: str) -> None:
    """Return what is left of the escrow and let go of the request."""
    assert stage in FINAL_STAGES
    deposit(state, request.requester, request.escrow)
    state.put(request_key(request_id), replace(request, stage=stage, deadline=0, escrow=0, outcome=outcome))
    state.delete(round_key(request_id))
    forget_exchange(state, request_id)
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
    """Invite who has anchored records and whom the escrow can still pay, in the order they joined.

    A masked round begins with the exchange of keys, every other with its training.
    """
    forget_exchange(state, request_id)
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
    protection = protection_of(state, request_id)
    masked = protection is not None and protection.masked
    lasts = protection.exchange_window if protection is not None and masked else request.terms.round_deadline
    deadline = context.time + lasts
    participants = tuple(sorted(invited, key=lambda part: part.org))
    current = Round(number, attempt, request.model, context.height, deadline, participants, (), 0, 0)
    state.put(round_key(request_id), current)
    if masked:
        state.put(masking_key(request_id), MaskRound(number, attempt, 0, ()))
    stage = Stage.KEYS if masked else Stage.TRAINING
    opened = replace(request, stage=stage, deadline=deadline, round=number, attempt=attempt)
    state.put(request_key(request_id), opened)


def forget_exchange(state: State, request_id: bytes) -> None:
    """What only the masked round in work needed, sealed shares and revealed ones."""
    masking = mask_round_of(state, request_id)
    for member in masking.members if masking else ():
        for kind, key in ((Dealing, dealing_key), (Revealed, revealed_key)):
            if state.get(kind, key(request_id, member.org)) is not None:
                state.delete(key(request_id, member.org))
    if masking is not None:
        state.delete(masking_key(request_id))


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
    """Move on from training and attestation as soon as nobody is waited for any more."""
    request = state.need(Request, request_key(request_id))
    current = state.need(Round, round_key(request_id))
    if request.stage is Stage.TRAINING and not awaited_updates(state, request_id, current):
        request = to_attesting(state, context, request_id, request)
    if request.stage is Stage.ATTESTING and all(part.fate is not Fate.ANNOUNCED for part in current.participants):
        close_round(state, context, request_id, request, current)


def awaited_updates(state: State, request_id: bytes, current: Round) -> list[bytes]:
    """Who may still announce an update in time, ascending. In a masked round those only whose masks count."""
    masking = mask_round_of(state, request_id)
    missing = [part.org for part in current.participants if part.fate is Fate.MISSING]
    if masking is None:
        return missing
    return [member.org for member in masking.members if member.counted and member.org in missing]


def to_attesting(state: State, context: BlockContext, request_id: bytes, request: Request) -> Request:
    attesting = replace(request, stage=Stage.ATTESTING, deadline=context.time + request.terms.attest_window)
    state.put(request_key(request_id), attesting)
    return attesting


def close_round(state: State, context: BlockContext, request_id: bytes, request: Request, current: Round) -> None:
    """The set is agreed. Enough delivered: aggregate, or unmask first. Too few: the round is void."""
    delivered = [part.org for part in current.participants if part.fate is Fate.DELIVERED]
    masking = mask_round_of(state, request_id)
    if masking is None:
        enough, following, lasts = request.terms.providers_min, Stage.AGGREGATING, request.aggregation_max
    else:
        protection = protection_of(state, request_id)
        assert protection is not None
        enough = least_counted(request, current, masking)
        following, lasts = Stage.UNMASKING, protection.exchange_window
    if len(delivered) >= enough:
        state.put(request_key(request_id), replace(request, stage=following, deadline=context.time + lasts))
    else:
        void_round(state, context, request_id, request, current, delivered)


def least_counted(request: Request, current: Round, masking: MaskRound) -> int:
    """How many providers a masked round goes on with, and of how many updates a sum is unmasked, at least.

    With f of all who were invited colluding two others remain in the sum: of those who offered keys f is less, and
    whoever can keep some from offering would choose among whom it hides.
    """
    hidden = vanished_max(len(current.participants)) + 2
    return max(MASKED_PROVIDERS_MIN, masking.threshold, request.terms.providers_min, hidden)


def void_round(
    state: State,
    context: BlockContext,
    request_id: bytes,
    request: Request,
    current: Round,
    blameless: Sequence[bytes] = (),
) -> None:
    """A round that comes to nothing is tried again, a few times. `blameless`: who did its part in a masked one, or in
    one whose other updates were rejected."""
    accuracy = judge(current)
    if protection_of(state, request_id) is not None:
        kept = {Fate.MISSING, Fate.ANNOUNCED, Fate.DELIVERED}
        parts = [
            replace(part, fate=Fate.UNUSED) if part.org in blameless and part.fate in kept else part
            for part in current.participants
        ]
        current = replace(current, participants=tuple(parts))
    move_reputations(state, context, current, {}, {})
    put_receipt(state, context, request_id, current, accuracy, b"", {}, {})
    request = replace(request, void_rounds=request.void_rounds + 1)
    if request.void_rounds >= request.void_rounds_max:
        stage = Stage.DONE if request.model_round else Stage.FAILED
        plain = protection_of(state, request_id) is None
        why = "with too few deliveries" if plain else "came to nothing"
        finish(state, request_id, request, stage, f"{request.void_rounds} rounds in a row {why}")
    else:
        open_round(state, context, request_id, request, current.number, current.attempt + 1)


def _invited(org: OrgId | bytes, payable: int) -> Participant:
    return Participant(org, payable, Fate.MISSING, "", b"", 0, 0, 0, 0, (), (), ())
