"""The data-request state machine (DESIGN D8): what transactions may do to a request, in which stage.

OPEN takes offers; TRAINING takes updates of one round; ATTESTING waits until the committee has said of each announced
update whether it holds it; AGGREGATING waits for a leader's aggregate, which pays and opens the next round. How rounds
go on by themselves is in `rounds.py`.
"""

from collections.abc import Sequence
from dataclasses import replace

from ledger.anchors import anchor_totals, records_under
from ledger.entries import (
    OPEN_REQUESTS,
    Fate,
    OpenRequests,
    Participant,
    Provider,
    Request,
    Round,
    Stage,
    request_key,
    round_key,
)
from ledger.errors import InvalidTransaction
from ledger.parameters import LeagueParameters
from ledger.rewards import withdraw
from ledger.rounds import cancel_now, finish, open_round, put_participant, settle, with_participant
from ledger.settlement import judge, move_reputations, pay, put_receipt
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
from ledger.types import BLOB_BYTES_MAX, MEMBERS_MAX, Hash32, OrgId

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
        open_round(state, context, body.request, request, 1)


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
    put_participant(state, body.request, current, part)
    settle(state, context, body.request)


def decline(state: State, context: BlockContext, sender: OrgId, body: DeclineRound) -> None:
    """A provider sits this round out; the round does not wait for it."""
    _request_in_stage(state, body.request, DeclineRound)
    current = _round_in_work(state, body.request, body.round, body.attempt)
    part = _participant(current, sender)
    if part.fate is not Fate.MISSING:
        raise InvalidTransaction("announced", f"the sender's part of this round is {part.fate.name}")
    put_participant(state, body.request, current, replace(part, fate=Fate.DECLINED, reason=body.reason))
    settle(state, context, body.request)


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
        current = with_participant(current, _attested(part, sender, attestation.verdict, context))
    current = replace(current, attested_by=_with_seat(current.attested_by, sender, context))
    state.put(round_key(body.request), current)
    assert request.stage in (Stage.TRAINING, Stage.ATTESTING)
    settle(state, context, body.request)


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
        open_round(state, context, body.request, request, current.number + 1)


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
    cancel_now(state, request_id, request)


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
            put_participant(state, request_id, current, replace(awaited[0], fate=Fate.DECLINED, reason=reason))
            settle(state, context, request_id)


def _attested(part: Participant, sender: OrgId, verdict: Verdict, context: BlockContext) -> Participant:
    committee = context.committee
    if verdict is Verdict.HELD:
        part = replace(part, held_by=_with_seat(part.held_by, sender, context))
    else:
        part = replace(part, refused_by=_with_seat(part.refused_by, sender, context))
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


def _with_seat(others: Sequence[bytes], sender: OrgId, context: BlockContext) -> tuple[bytes, ...]:
    """Those who attested and one more, ascending. Seats move: at the bound, only who sits now is kept."""
    kept = [org for org in others if org in context.seated] if len(others) == MEMBERS_MAX else others
    return tuple(sorted({*kept, sender}))


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
