"""The data-request state machine (DESIGN D8): what transactions may do to a request, in which stage.

OPEN takes offers; TRAINING takes updates of one round; ATTESTING waits until the committee has said of each announced
update whether it holds it; AGGREGATING waits for a leader's aggregate, which pays and opens the next round. How rounds
go on by themselves is in `rounds.py`.
"""

from collections.abc import Sequence
from dataclasses import replace

from ledger.anchors import anchor_totals, records_under
from ledger.charges import put_charge
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
from ledger.masked_rounds import settle_masked
from ledger.protection_entries import Exclusion, exclusion_key, protection_key
from ledger.request_lookup import (
    mask_round_of,
    participant_of,
    protection_of,
    put_participant,
    request_in_stage,
    round_in_work,
    with_participant,
)
from ledger.request_terms import check_protection, check_terms, update_bytes_max
from ledger.rewards import withdraw
from ledger.rounds import cancel_now, open_round, settle
from ledger.settlement import judge, put_receipt
from ledger.state import BlockContext, State
from ledger.transactions import (
    AnnounceProtected,
    AnnounceUpdate,
    AttestBlobs,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    Protection,
    ReportAccuracy,
    RequestTerms,
    Verdict,
)
from ledger.types import MEMBERS_MAX, Hash32, OrgId


def publish(
    state: State,
    context: BlockContext,
    sender: OrgId,
    request_id: Hash32,
    terms: RequestTerms,
    protection: Protection | None = None,
) -> None:
    """Escrow the budget and take offers until the join window ends or all places are taken."""
    limits = context.parameters
    check_terms(terms, limits)
    if protection is not None:
        check_protection(terms, protection, limits)
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
    if protection is not None:
        state.put(protection_key(request_id), protection)
    state.put(OPEN_REQUESTS, OpenRequests((*open_requests.ids, request_id)))


def join(state: State, context: BlockContext, sender: OrgId, body: JoinRequest) -> None:
    """Record a provider's offer; who comes while a round runs takes part from the next."""
    request = request_in_stage(state, body.request, JoinRequest)
    if sender == request.requester:
        raise InvalidTransaction("requester", "the requester cannot pay itself for training")
    if any(provider.org == sender for provider in request.providers):
        raise InvalidTransaction("joined", "the sender has joined this request already")
    if body.data_type != request.terms.data_type:
        raise InvalidTransaction("data_type", f"data type {body.data_type!r}, want {request.terms.data_type!r}")
    told = sum(len(text.encode()) for setting in body.attributes for text in (setting.name, setting.value))
    if told > context.rules.attributes_bytes_max:
        most = context.rules.attributes_bytes_max
        raise InvalidTransaction("size", f"{told} bytes of attributes, at most {most} are allowed")
    excluded = state.get(Exclusion, exclusion_key(body.request, sender))
    if excluded is not None:
        raise InvalidTransaction("excluded", f"the sender was put out of this request: {excluded.reason}")
    if len(request.providers) >= request.terms.providers_max:
        raise InvalidTransaction("full", f"all {request.terms.providers_max} places are taken")
    provider = Provider(sender, body.data_type, body.record_count, body.attributes, context.height)
    request = replace(request, providers=(*request.providers, provider))
    state.put(request_key(body.request), request)
    if request.stage is Stage.OPEN and len(request.providers) == request.terms.providers_max:
        open_round(state, context, body.request, request, 1)


def weight_counted(record_count: int, anchored: int, payable: int) -> int:
    """For how many records an update counts: of those it was trained on, no more than the anchors of its periods hold,
    and no more than its provider is paid for. A provider weighs its own update by it before it masks it."""
    return min(record_count, anchored, payable)


def announce(
    state: State,
    context: BlockContext,
    sender: OrgId,
    body: AnnounceUpdate | AnnounceProtected,
) -> None:
    """A provider's update. In time it waits for the committee; after the deadline it is noted as late, unpaid.

    Of a protected request with what it was charged, late or not: its records were used.
    """
    update = body.update if isinstance(body, AnnounceProtected) else body
    request = request_in_stage(state, update.request, type(body))
    current = round_in_work(state, update.request, update.round, update.attempt)
    part = participant_of(current, sender)
    if part.fate is not Fate.MISSING:
        raise InvalidTransaction("announced", f"the sender's part of this round is {part.fate.name}")
    protection = protection_of(state, update.request)
    if (protection is not None) is not isinstance(body, AnnounceProtected):
        wanted = "AnnounceUpdate" if protection is None else "AnnounceProtected"
        raise InvalidTransaction("protection", f"{type(body).__name__} for this request, want {wanted}")
    masking = mask_round_of(state, update.request)
    if masking is not None and all(each.org != sender or not each.counted for each in masking.members):
        raise InvalidTransaction("masked", f"the sender's masks do not count: {part.reason or 'no keys offered'}")
    if update.blob_bytes > update_bytes_max(request.terms.parameters, protection):
        raise InvalidTransaction("blob", f"{update.blob_bytes} bytes for {request.terms.parameters} parameters")
    if isinstance(body, AnnounceProtected):
        put_charge(state, update.request, request.terms, sender, body.charge)
    anchored = records_under(state, sender, update.periods)
    part = replace(
        part,
        fate=Fate.ANNOUNCED if request.stage is Stage.TRAINING else Fate.LATE,
        blob=update.blob,
        blob_bytes=update.blob_bytes,
        weight=weight_counted(update.record_count, anchored, part.payable),
        accuracy=update.accuracy,
        tested_records=min(update.tested_records, part.payable),
        periods=update.periods,
    )
    put_participant(state, update.request, current, part)
    settle(state, context, update.request)


def decline(state: State, context: BlockContext, sender: OrgId, body: DeclineRound) -> None:
    """A provider sits this round out; the round does not wait for it."""
    request_in_stage(state, body.request, DeclineRound)
    current = round_in_work(state, body.request, body.round, body.attempt)
    part = participant_of(current, sender)
    if part.fate is not Fate.MISSING:
        raise InvalidTransaction("announced", f"the sender's part of this round is {part.fate.name}")
    put_participant(state, body.request, current, replace(part, fate=Fate.DECLINED, reason=body.reason))
    settle_masked(state, context, body.request)


def report_accuracy(state: State, sender: OrgId, body: ReportAccuracy) -> None:
    """The requester's own test of the model that the round began with; counts beside the providers'."""
    request = request_in_stage(state, body.request, ReportAccuracy)
    if sender != request.requester:
        raise InvalidTransaction("requester", "only the requester reports on its own test set")
    current = round_in_work(state, body.request, body.round, body.attempt)
    if current.requester_tested:
        raise InvalidTransaction("reported", "the requester has reported on this round already")
    tested = min(body.tested_records, anchor_totals(state, sender).records)
    state.put(round_key(body.request), replace(current, requester_accuracy=body.accuracy, requester_tested=tested))


def attest(state: State, context: BlockContext, sender: OrgId, body: AttestBlobs) -> None:
    """What a committee member holds. A quorum's yes makes an update count; more than f refusals make it refused."""
    request = request_in_stage(state, body.request, AttestBlobs)
    if sender not in context.seated:
        raise InvalidTransaction("committee", "only committee members attest")
    current = round_in_work(state, body.request, body.round, body.attempt)
    for attestation in body.attestations:
        part = participant_of(current, attestation.provider)
        if part.blob != attestation.blob or part.fate in (Fate.MISSING, Fate.DECLINED, Fate.LATE):
            raise InvalidTransaction("blob", f"{attestation.provider.hex()[:16]} has announced no such update in time")
        if sender in part.held_by or sender in part.refused_by:
            raise InvalidTransaction("attested", f"the sender has attested {attestation.provider.hex()[:16]} already")
        current = with_participant(current, _attested(part, sender, attestation.verdict, context))
    current = replace(current, attested_by=_with_seat(current.attested_by, sender, context))
    state.put(round_key(body.request), current)
    assert request.stage in (Stage.TRAINING, Stage.ATTESTING)
    settle(state, context, body.request)


def cancel(state: State, context: BlockContext, sender: OrgId, body: CancelRequest) -> None:
    """End the request at once, or after the round in work when updates of it are announced.

    By then the committee, the requester perhaps among it, has their bytes: what is delivered of them is paid first.
    """
    request = request_in_stage(state, body.request, CancelRequest)
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
        if awaited or request.stage is Stage.UNMASKING:
            settle_masked(state, context, request_id)


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
