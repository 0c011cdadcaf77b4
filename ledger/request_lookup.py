"""Which statement about a request meets which stage, and looking up what it is about, with a clear refusal."""

from dataclasses import replace

from ledger.entries import Participant, Request, Round, Stage, request_key, round_key
from ledger.errors import InvalidTransaction
from ledger.protection import AcceptShares, OfferMaskKeys, OpenShares, RevealShares, ShareMaskSecrets
from ledger.protection_entries import MaskRound, masking_key, protection_key
from ledger.state import State
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnnounceProtected,
    AnnounceUpdate,
    AttestBlobs,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    Protection,
    ReportAccuracy,
)
from ledger.types import OrgId

# Stages of a masked round before its training: keys and shares are exchanged, complaints answered.
EXCHANGE = frozenset({Stage.KEYS, Stage.SHARES, Stage.CONTEST, Stage.ANSWERING})
# Of every round: from its training to the committee's word. A masked one has others before and after.
IN_WORK = EXCHANGE | {Stage.TRAINING, Stage.ATTESTING, Stage.UNMASKING}
OPEN_STAGES = IN_WORK | {Stage.OPEN, Stage.AGGREGATING}

# What each transaction may meet. Deadlines, not transactions, do the rest.
STAGES_ALLOWED: dict[type, frozenset[Stage]] = {
    JoinRequest: OPEN_STAGES,
    AnnounceUpdate: frozenset({Stage.TRAINING, Stage.ATTESTING}),
    AnnounceProtected: frozenset({Stage.TRAINING, Stage.ATTESTING}),
    DeclineRound: EXCHANGE | {Stage.TRAINING},
    ReportAccuracy: IN_WORK,
    AttestBlobs: frozenset({Stage.TRAINING, Stage.ATTESTING}),
    OfferMaskKeys: frozenset({Stage.KEYS}),
    ShareMaskSecrets: frozenset({Stage.SHARES}),
    AcceptShares: frozenset({Stage.CONTEST}),
    OpenShares: frozenset({Stage.ANSWERING}),
    RevealShares: frozenset({Stage.UNMASKING}),
    AggregateRound: frozenset({Stage.AGGREGATING}),
    AggregateProtected: frozenset({Stage.AGGREGATING}),
    CancelRequest: OPEN_STAGES,
}


def request_in_stage(state: State, request_id: bytes, kind: type) -> Request:
    """The request that a statement of this kind may be said of now. Raises InvalidTransaction."""
    request = state.get(Request, request_key(request_id))
    if request is None:
        raise InvalidTransaction("request", f"there is no request {request_id.hex()[:16]}")
    if request.stage not in STAGES_ALLOWED[kind]:
        wanted = ", ".join(sorted(stage.name for stage in STAGES_ALLOWED[kind]))
        raise InvalidTransaction("stage", f"the request is {request.stage.name}, {kind.__name__} wants {wanted}")
    return request


def round_in_work(state: State, request_id: bytes, number: int, attempt: int) -> Round:
    """Raises InvalidTransaction ("round") for any other round or attempt."""
    current = state.need(Round, round_key(request_id))
    if (current.number, current.attempt) != (number, attempt):
        wanted = f"round {current.number} attempt {current.attempt}"
        raise InvalidTransaction("round", f"round {number} attempt {attempt}, in work is {wanted}")
    return current


def participant_of(current: Round, org: OrgId | bytes) -> Participant:
    """Raises InvalidTransaction ("invited") for who is not invited to the round."""
    for part in current.participants:
        if part.org == org:
            return part
    raise InvalidTransaction("invited", f"{org.hex()[:16]} is not invited to round {current.number}")


def protection_of(state: State, request_id: bytes) -> Protection | None:
    """How a request's updates are protected; None when it is a plain one."""
    return state.get(Protection, protection_key(request_id))


def mask_round_of(state: State, request_id: bytes) -> MaskRound | None:
    """The exchange of the round in work; None when its updates are not masked."""
    return state.get(MaskRound, masking_key(request_id))


def with_participant(current: Round, part: Participant) -> Round:
    return replace(current, participants=tuple(part if each.org == part.org else each for each in current.participants))


def put_participant(state: State, request_id: bytes, current: Round, part: Participant) -> Round:
    """The round with this part in it, written down."""
    current = with_participant(current, part)
    state.put(round_key(request_id), current)
    return current
