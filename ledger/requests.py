"""The data-request state machine (DESIGN D8): what may happen in which stage, by transaction or by block time.

OPEN takes offers; TRAINING takes updates of one round; ATTESTING waits until the committee has said of each announced
update whether it holds it; AGGREGATING waits for a leader's aggregate, which pays and opens the next round.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ledger.anchors import anchor_totals, records_under
from ledger.entries import (
    FINAL_STAGES,
    OPEN_REQUESTS,
    Fate,
    OpenRequests,
    Participant,
    Provider,
    Request,
    Round,
    Stage,
    Standing,
    request_key,
    round_key,
    standing_key,
)
from ledger.errors import InvalidTransaction
from ledger.parameters import LeagueParameters
from ledger.rewards import deposit, reward, withdraw
from ledger.settlement import judge, move_reputations, pay, put_receipt, with_earnings
from ledger.state import BlockContext, State
from ledger.transactions import (
    AggregateRound,
    AnnounceUpdate,
    AttestBlobs,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    PublishRequest,
    ReportAccuracy,
    RequestTerms,
    Verdict,
)
from ledger.types import BLOB_BYTES_MAX, Hash32, OrgId

CANCELLED = "cancelled by the requester"
# The header of an update's blob beside four bytes a parameter.
BLOB_OVERHEAD_BYTES_MAX = 64

# What each transaction may meet. Deadlines, not transactions, do the rest.
STAGES_ALLOWED: dict[type, frozenset[Stage]] = {
    JoinRequest: frozenset({Stage.OPEN, Stage.TRAINING, Stage.ATTESTING, Stage.AGGREGATING}),
    AnnounceUpdate: frozenset({Stage.TRAINING, Stage.ATTESTING}),
    DeclineRound: frozenset({Stage.TRAINING}),
    ReportAccuracy: frozenset({Stage.TRAINING, Stage.ATTESTING}),
    AttestBlobs: frozenset({Stage.TRAINING, Stage.ATTESTING}),
    AggregateRound: frozenset({Stage.AGGREGATING}),
    CancelRequest: frozenset({Stage.OPEN, Stage.TRAINING, Stage.ATTESTING, Stage.AGGREGATING}),
}


def publish(state: State, context: BlockContext, sender: OrgId, request_id: Hash32, body: PublishRequest) -> None:
    """Escrow the budget and take offers until the join window ends or all places are taken."""
    terms, limits = body.terms, context.parameters
    _check_terms(terms, limits)
    open_requests = state.need(OpenRequests, OPEN_REQUESTS)
    if len(open_requests.ids) >= limits.requests_open_max:
        raise InvalidTransaction("full", f"{len(open_requests.ids)} requests are open already")
    own = len(open_requests_of(state, sender))
    if own >= limits.requests_per_member_max:
        most = limits.requests_per_member_max
        raise InvalidTransaction("full", f"{own} requests of the sender are open, at most {most}")
    withdraw(state, sender, terms.budget)
    request = Request(
        requester=sender,
        terms=terms,
        published_height=context.height,
        stage=Stage.OPEN,
        deadline=context.time + terms.join_window,
        round=0,
        attempt=0,
        void_rounds=0,
        providers=(),
        escrow=terms.budget,
        paid=0,
        model=terms.initial_model,
        model_round=0,
        judged_model=terms.initial_model,
        judged_round=0,
        accuracy=0,
        outcome="",
        ending=False,
        aggregation_max=limits.aggregation_max,
        void_rounds_max=limits.void_rounds_max,
    )
    state.put(request_key(request_id), request)
    state.put(OPEN_REQUESTS, OpenRequests((*open_requests.ids, request_id)))


def _check_terms(terms: RequestTerms, limits: LeagueParameters) -> None:
    """Raises InvalidTransaction ("terms") for terms that contradict themselves or the league's parameters."""
    if terms.providers_min > terms.providers_max:
        raise InvalidTransaction("terms", f"{terms.providers_min} providers at least, {terms.providers_max} at most")
    if terms.limit << terms.scale_bits >= 2**31:
        # Parameters travel as int32: terms that no vector fits would only cost the providers a round.
        raise InvalidTransaction("terms", f"limit {terms.limit} with {terms.scale_bits} binary places exceeds 32 bits")
    if 4 * terms.parameters > BLOB_BYTES_MAX - BLOB_OVERHEAD_BYTES_MAX:
        raise InvalidTransaction("terms", f"{terms.parameters} parameters fit no blob of {BLOB_BYTES_MAX} bytes")
    for settings in (terms.model_arguments, terms.strategy_settings, terms.privacy_settings, terms.training_settings):
        names = [setting.name for setting in settings]
        if names != sorted(set(names)):
            raise InvalidTransaction("terms", f"settings are not ascending and distinct: {', '.join(names)}")
    if terms.price < limits.reward_min:
        raise InvalidTransaction("terms", f"price {terms.price}, the league pays {limits.reward_min} a record at least")
    for name in ("join_window", "round_deadline", "attest_window"):
        asked, least = getattr(terms, name), getattr(limits, f"{name}_min")
        if not least <= asked <= limits.duration_max:
            raise InvalidTransaction("terms", f"{name} {asked} ms, want {least} to {limits.duration_max}")


def join(state: State, context: BlockContext, sender: OrgId, body: JoinRequest) -> None:
    """Record a provider's offer; who comes while a round runs takes part from the next."""
    request = _request_in_stage(state, body.request, JoinRequest)
    if sender == request.requester:
        raise InvalidTransaction("requester", "the requester cannot pay itself for training")
    if any(provider.org == sender for provider in request.providers):
        raise InvalidTransaction("joined", "the sender has joined this request already")
    if body.data_type != request.terms.data_type:
        raise InvalidTransaction("data_type", f"data type {body.data_type!r}, want {request.terms.data_type!r}")
    if len(request.providers) >= request.terms.providers_max:
        raise InvalidTransaction("full", f"all {request.terms.providers_max} places are taken")
    provider = Provider(sender, body.data_type, body.record_count, body.attributes, context.height)
    request = replace(request, providers=(*request.providers, provider))
    state.put(request_key(body.request), request)
    if request.stage is Stage.OPEN and len(request.providers) == request.terms.providers_max:
        _open_round(state, context, body.request, request, 1)


def announce(state: State, context: BlockContext, sender: OrgId, body: AnnounceUpdate) -> None:
    """A provider's update. In time it waits for the committee; after the deadline it is noted as late, unpaid."""
    request = _request_in_stage(state, body.request, AnnounceUpdate)
    current = _round_in_work(state, body.request, body.round, body.attempt)
    part = _participant(current, sender)
    if part.fate is not Fate.MISSING:
        raise InvalidTransaction("announced", f"the sender's part of this round is {part.fate.name}")
    if body.blob_bytes > 4 * request.terms.parameters + BLOB_OVERHEAD_BYTES_MAX:
        raise InvalidTransaction("blob", f"{body.blob_bytes} bytes for {request.terms.parameters} parameters")
    anchored = records_under(state, sender, body.periods)
    part = replace(
        part,
        fate=Fate.ANNOUNCED if request.stage is Stage.TRAINING else Fate.LATE,
        blob=body.blob,
        blob_bytes=body.blob_bytes,
        weight=min(body.record_count, anchored, part.payable),
        accuracy=body.accuracy,
        tested_records=min(body.tested_records, part.payable),
        periods=body.periods,
    )
    _put_participant(state, body.request, current, part)
    _settle(state, context, body.request)


def decline(state: State, context: BlockContext, sender: OrgId, body: DeclineRound) -> None:
    """A provider sits this round out; the round does not wait for it."""
    _request_in_stage(state, body.request, DeclineRound)
    current = _round_in_work(state, body.request, body.round, body.attempt)
    part = _participant(current, sender)
    if part.fate is not Fate.MISSING:
        raise InvalidTransaction("announced", f"the sender's part of this round is {part.fate.name}")
    _put_participant(state, body.request, current, replace(part, fate=Fate.DECLINED, reason=body.reason))
    _settle(state, context, body.request)


def report_accuracy(state: State, sender: OrgId, body: ReportAccuracy) -> None:
    """The requester's own test of the model that the round began with; counts beside the providers'."""
    request = _request_in_stage(state, body.request, ReportAccuracy)
    if sender != request.requester:
        raise InvalidTransaction("requester", "only the requester reports on its own test set")
    current = _round_in_work(state, body.request, body.round, body.attempt)
    if current.requester_tested:
        raise InvalidTransaction("reported", "the requester has reported on this round already")
    tested = min(body.tested_records, anchor_totals(state, sender).records)
    state.put(round_key(body.request), replace(current, requester_accuracy=body.accuracy, requester_tested=tested))


def attest(state: State, context: BlockContext, sender: OrgId, body: AttestBlobs) -> None:
    """What a committee member holds. A quorum's yes makes an update count; more than f refusals make it refused."""
    request = _request_in_stage(state, body.request, AttestBlobs)
    if sender not in context.seated:
        raise InvalidTransaction("committee", "only committee members attest")
    current = _round_in_work(state, body.request, body.round, body.attempt)
    for attestation in body.attestations:
        part = _participant(current, attestation.provider)
        if part.blob != attestation.blob or part.fate in (Fate.MISSING, Fate.DECLINED, Fate.LATE):
            raise InvalidTransaction("blob", f"{attestation.provider.hex()[:16]} has announced no such update in time")
        if sender in part.held_by or sender in part.refused_by:
            raise InvalidTransaction("attested", f"the sender has attested {attestation.provider.hex()[:16]} already")
        current = _with_participant(current, _attested(part, sender, attestation.verdict, context))
    current = replace(current, attested_by=tuple(sorted({*current.attested_by, sender})))
    state.put(round_key(body.request), current)
    assert request.stage in (Stage.TRAINING, Stage.ATTESTING)
    _settle(state, context, body.request)


def aggregate(state: State, context: BlockContext, body: AggregateRound) -> None:
    """Close the round: pay, write the receipt, move reputations, judge the accuracy, open the next round or finish."""
    request = _request_in_stage(state, body.request, AggregateRound)
    current = _round_in_work(state, body.request, body.round, body.attempt)
    delivered = [part for part in current.participants if part.fate is Fate.DELIVERED]
    if [score_.provider for score_ in body.scores] != [part.org for part in delivered]:
        raise InvalidTransaction("scores", f"{len(body.scores)} scores that do not name the {len(delivered)} delivered")
    if body.model_bytes > 4 * request.terms.parameters + BLOB_OVERHEAD_BYTES_MAX:
        raise InvalidTransaction("blob", f"{body.model_bytes} bytes for {request.terms.parameters} parameters")
    qualities = {score_.provider: score_.quality for score_ in body.scores}
    paid = pay(state, request, delivered)
    accuracy = judge(current)
    move_reputations(state, context, current, qualities, paid)
    put_receipt(state, context, body.request, current, accuracy, body.model, qualities, paid)
    request = replace(
        request,
        escrow=request.escrow - sum(paid.values()),
        paid=request.paid + sum(paid.values()),
        model=body.model,
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
        finish(state, body.request, request, Stage.DONE, "target accuracy reached")
    elif current.number >= request.terms.rounds_max:
        finish(state, body.request, request, Stage.DONE, "all rounds done")
    else:
        _open_round(state, context, body.request, request, current.number + 1)


def cancel(state: State, context: BlockContext, sender: OrgId, body: CancelRequest) -> None:
    """End the request at once, or after the round in work when updates of it are announced.

    By then the committee, the requester perhaps among it, has their bytes: what is delivered of them is paid first.
    """
    request = _request_in_stage(state, body.request, CancelRequest)
    if sender != request.requester:
        raise InvalidTransaction("requester", "only the requester cancels a request")
    if request.ending:
        raise InvalidTransaction("cancelled", f"it is cancelled, round {request.round} is settled first")
    _end(state, context, body.request, request)


def _end(state: State, context: BlockContext, request_id: bytes, request: Request) -> None:
    current = state.get(Round, round_key(request_id))
    if current is not None:
        if any(part.fate in (Fate.ANNOUNCED, Fate.DELIVERED) for part in current.participants):
            state.put(request_key(request_id), replace(request, ending=True))
            return
        put_receipt(state, context, request_id, current, judge(current), b"", {}, {})
    finish(state, request_id, request, Stage.CANCELLED, CANCELLED)


def open_requests_of(state: State, org: OrgId | bytes) -> list[tuple[Hash32, Request]]:
    """What an organisation has published and is not over."""
    found = ((each, state.need(Request, request_key(each))) for each in state.need(OpenRequests, OPEN_REQUESTS).ids)
    return [(Hash32(request_id), request) for request_id, request in found if request.requester == org]


def end_requests_of(state: State, context: BlockContext, org: OrgId | bytes) -> None:
    """All open requests of who is put out end as if it had cancelled them."""
    for request_id, request in open_requests_of(state, org):
        if not request.ending:
            _end(state, context, request_id, request)


def withdraw_provider(state: State, context: BlockContext, org: OrgId | bytes, reason: str) -> None:
    """Take who has gone out of all open requests. Of the round in work, what it announced counts and is paid."""
    for request_id in state.need(OpenRequests, OPEN_REQUESTS).ids:
        request = state.need(Request, request_key(request_id))
        if all(provider.org != org for provider in request.providers):
            continue
        left = tuple(provider for provider in request.providers if provider.org != org)
        state.put(request_key(request_id), replace(request, providers=left))
        current = state.get(Round, round_key(request_id))
        if current is None:
            continue
        awaited = [part for part in current.participants if part.org == org and part.fate is Fate.MISSING]
        if awaited:
            _put_participant(state, request_id, current, replace(awaited[0], fate=Fate.DECLINED, reason=reason))
            _settle(state, context, request_id)


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


# --- rounds ---


def _open_round(
    state: State, context: BlockContext, request_id: bytes, request: Request, number: int, attempt: int = 0
) -> None:
    """Invite who has anchored records and whom the escrow can still pay, in the order they joined."""
    if request.ending:
        finish(state, request_id, request, Stage.CANCELLED, CANCELLED)
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


def _settle(state: State, context: BlockContext, request_id: bytes) -> None:
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
        _open_round(state, context, request_id, request, current.number, current.attempt + 1)


def _join_window_ended(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    if len(request.providers) < request.terms.providers_min:
        outcome = f"{len(request.providers)} providers joined, {request.terms.providers_min} were wanted"
        finish(state, request_id, request, Stage.FAILED, outcome)
    else:
        _open_round(state, context, request_id, request, 1)


def _round_deadline_passed(state: State, context: BlockContext, request_id: Hash32, request: Request) -> None:
    _to_attesting(state, context, request_id, request)
    _settle(state, context, request_id)


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


def _attested(part: Participant, sender: OrgId, verdict: Verdict, context: BlockContext) -> Participant:
    committee = context.committee
    if verdict is Verdict.HELD:
        part = replace(part, held_by=tuple(sorted({*part.held_by, sender})))
    else:
        part = replace(part, refused_by=tuple(sorted({*part.refused_by, sender})))
    if part.fate is not Fate.ANNOUNCED:
        return part
    # Seats may have changed since the first attestation: only those who sit now are counted.
    held = sum(org in context.seated for org in part.held_by)
    refused = sum(org in context.seated for org in part.refused_by)
    if held >= committee.quorum:
        return replace(part, fate=Fate.DELIVERED)
    if refused > committee.faults:
        return replace(part, fate=Fate.REFUSED, reason=verdict.name.lower().replace("_", " "))
    return part


# --- looking things up, with a clear refusal ---


def _request_in_stage(state: State, request_id: bytes, kind: type) -> Request:
    request = state.get(Request, request_key(request_id))
    if request is None:
        raise InvalidTransaction("request", f"there is no request {request_id.hex()[:16]}")
    if request.stage not in STAGES_ALLOWED[kind]:
        wanted = ", ".join(sorted(stage.name for stage in STAGES_ALLOWED[kind]))
        raise InvalidTransaction("stage", f"the request is {request.stage.name}, {kind.__name__} wants {wanted}")
    return request


def _round_in_work(state: State, request_id: bytes, number: int, attempt: int) -> Round:
    current = state.need(Round, round_key(request_id))
    if (current.number, current.attempt) != (number, attempt):
        wanted = f"round {current.number} attempt {current.attempt}"
        raise InvalidTransaction("round", f"round {number} attempt {attempt}, in work is {wanted}")
    return current


def _participant(current: Round, org: OrgId | bytes) -> Participant:
    for part in current.participants:
        if part.org == org:
            return part
    raise InvalidTransaction("invited", f"{org.hex()[:16]} is not invited to round {current.number}")


def _with_participant(current: Round, part: Participant) -> Round:
    return replace(current, participants=tuple(part if each.org == part.org else each for each in current.participants))


def _put_participant(state: State, request_id: bytes, current: Round, part: Participant) -> None:
    state.put(round_key(request_id), _with_participant(current, part))


def _invited(org: OrgId | bytes, payable: int) -> Participant:
    return Participant(org, payable, Fate.MISSING, "", b"", 0, 0, 0, 0, (), (), ())
