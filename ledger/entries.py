"""What the state holds: one frozen dataclass an entry, and the key it lies under.

Every entry is under the authenticated tree, so each can be proven to a holder of a header (DESIGN D5).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from ledger.codec import Size
from ledger.fields import (
    Addresses,
    Amount,
    Count,
    Digest,
    Duration,
    Key,
    Millionths,
    Name,
    Org,
    Orgs,
    Positive,
    Roles,
    Text,
)
from ledger.parameters import REQUESTS_OPEN_LIMIT
from ledger.transactions import RequestTerms, Settings
from ledger.types import COMMITTEE_MAX, MEMBERS_MAX, OrgId


@dataclass(frozen=True, slots=True)
class League:
    """Totals of the whole league. `supply` never changes: balances plus escrow always add up to it.

    `voters`: members that are no observers. `electorate_height`: when it last changed who they are.
    """

    name: Name
    supply: Amount
    members: Count
    voters: Count
    candidates: Count
    ballots: Count
    electorate_height: Count


@dataclass(frozen=True, slots=True)
class Account:
    """`nonce`: how many of this organisation's transactions are final; the next must carry exactly this number."""

    balance: Amount
    nonce: Count


@dataclass(frozen=True, slots=True)
class Member:
    """`key`: what its node signs with. `rotated_until`: block time to which rotations are used up (`keyring.py`)."""

    name: Name
    addresses: Addresses
    joined_height: Count
    joined_epoch: Count
    key: Key
    roles: Roles
    rotated_until: Amount


@dataclass(frozen=True, slots=True)
class Candidate:
    """Registered, not yet approved by more than two thirds of the voters; forgotten at `expires_height`."""

    name: Name
    addresses: Addresses
    key: Key
    roles: Roles
    expires_height: Count
    approvals: Orgs


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's reputation, in millionths, and what made it."""

    reputation: Millionths
    last_led: Count  # height of the last block it authored, 0 for none
    jailed_until_epoch: Count
    punished_height: Count  # equivocations up to here are paid for
    rounds_delivered: Count
    rounds_missed: Count
    tokens_earned: Amount


@dataclass(frozen=True, slots=True)
class Seat:
    """A committee member in this epoch; `reputation` is frozen at the epoch's start, `key` follows rotations."""

    org: Org
    key: Key
    reputation: Millionths
    last_led: Count
    led: bool


@dataclass(frozen=True, slots=True)
class Election:
    """Who votes on the next height and in which order they lead it (DESIGN D7)."""

    epoch: Count
    epoch_start: Count
    seats: Annotated[tuple[Seat, ...], Size(1, COMMITTEE_MAX)]
    skipped: Annotated[tuple[Org, ...], Size(0, COMMITTEE_MAX)]


@dataclass(frozen=True, slots=True)
class Anchor:
    """The root over one period's records of one organisation [ANCHOR Algorithm 2]."""

    record_count: Positive
    root: Digest
    begins: Amount
    ends: Amount
    height: Count


@dataclass(frozen=True, slots=True)
class AnchorTotals:
    """Over all periods of one organisation."""

    periods: Count
    records: Count
    last_period: Count


class Stage(IntEnum):
    """Where a data request stands (DESIGN D8); `requests.py` says what may happen in each stage."""

    OPEN = 0
    TRAINING = 1
    ATTESTING = 2
    AGGREGATING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6
    # Masked rounds only, `masked_rounds.py`: the first four before TRAINING, the last one after ATTESTING.
    KEYS = 7
    SHARES = 8
    CONTEST = 9
    ANSWERING = 10
    UNMASKING = 11


FINAL_STAGES = frozenset({Stage.DONE, Stage.FAILED, Stage.CANCELLED})


@dataclass(frozen=True, slots=True)
class Provider:
    """An organisation that offered its data to a request."""

    org: Org
    data_type: Name
    record_count: Positive
    attributes: Settings
    joined_height: Count


@dataclass(frozen=True, slots=True)
class Request:
    """A data request. `deadline`: block time at which the current stage ends by itself; 0: it does not.

    `model` is the current global model, the result of round `model_round` (0: the initial model), `accuracy` what
    providers measured of `judged_model`, weighted by their test records; `judged_round` its round. `ending`: cancelled
    by the requester while updates were announced: the round in work is settled, and no other begins. `aggregation_max`
    and `void_rounds_max`: the league's parameters when it was published.
    """

    requester: Org
    terms: RequestTerms
    published_height: Count
    stage: Stage
    deadline: Amount
    round: Count
    attempt: Count
    void_rounds: Count  # rounds in a row that too few delivered
    providers: Annotated[tuple[Provider, ...], Size(0, MEMBERS_MAX)]
    escrow: Amount
    paid: Amount
    model: Digest
    model_round: Count
    judged_model: Digest
    judged_round: Count
    accuracy: Millionths
    outcome: Text
    ending: bool
    aggregation_max: Duration
    void_rounds_max: Positive


class Fate(IntEnum):
    """What became of an invited provider in a round."""

    MISSING = 0  # invited, never announced
    ANNOUNCED = 1  # announced in time, not yet resolved
    DELIVERED = 2  # a quorum holds it: counted and paid
    LATE = 3  # announced after the deadline: not counted, not paid
    DECLINED = 4  # said itself that it does not train this round
    UNAVAILABLE = 5  # announced, but no quorum could fetch it in time
    REFUSED = 6  # fetched, and not a vector of the agreed kind
    # Protected requests only.
    REJECTED = 7  # worth nothing by the rule of the request, or dealt wrong shares: not counted, not paid
    UNUSED = 8  # did its part, and the round came to nothing all the same: not paid, nothing lost


@dataclass(frozen=True, slots=True)
class Participant:
    """One invited provider's part of a round. `payable`: most records that can be paid. `weight`: records counted."""

    org: Org
    payable: Count
    fate: Fate
    reason: Text
    blob: Annotated[bytes, Size(0, 32)]
    blob_bytes: Count
    weight: Count
    accuracy: Millionths
    tested_records: Count
    periods: Annotated[tuple[Count, ...], Size(0, 256)]
    held_by: Annotated[tuple[Org, ...], Size(0, MEMBERS_MAX)]
    refused_by: Annotated[tuple[Org, ...], Size(0, MEMBERS_MAX)]


@dataclass(frozen=True, slots=True)
class Round:
    """The round in work: invited providers ascending by id."""

    number: Count
    attempt: Count
    base_model: Digest
    opened_height: Count
    deadline: Amount
    participants: Annotated[tuple[Participant, ...], Size(1, MEMBERS_MAX)]
    attested_by: Orgs
    requester_accuracy: Millionths
    requester_tested: Count


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """What one invited provider did in a round, what it counted for and what it was paid."""

    org: Org
    fate: Fate
    reason: Text
    blob: Annotated[bytes, Size(0, 32)]
    periods: Annotated[tuple[Count, ...], Size(0, 256)]
    weight: Count
    quality: Millionths
    paid: Amount


@dataclass(frozen=True, slots=True)
class Receipt:
    """A closed round, so that no run succeeds on a silent subset. `model` is empty when there is no aggregate: the
    round was void, or nobody could make one."""

    request: Digest
    round: Count
    attempt: Count
    height: Count
    base_model: Digest
    base_accuracy: Millionths
    model: Annotated[bytes, Size(0, 32)]
    author: Org
    lines: Annotated[tuple[ReceiptLine, ...], Size(1, MEMBERS_MAX)]


@dataclass(frozen=True, slots=True)
class OpenRequests:
    """Ids of the requests that are not over, in order of publication."""

    ids: Annotated[tuple[Digest, ...], Size(0, REQUESTS_OPEN_LIMIT)]


LEAGUE = b"league"
ELECTION = b"election"
OPEN_REQUESTS = b"open-requests"
MEMBERS = b"member/"
CANDIDATES = b"candidate/"
REQUESTS = b"request/"


def account_key(org: OrgId | bytes) -> bytes:
    return b"account/" + org


def member_key(org: OrgId | bytes) -> bytes:
    return MEMBERS + org


def candidate_key(org: OrgId | bytes) -> bytes:
    return CANDIDATES + org


def standing_key(org: OrgId | bytes) -> bytes:
    return b"standing/" + org


def anchor_key(org: OrgId | bytes, period: int) -> bytes:
    return b"anchor/" + org + period.to_bytes(8, "big")


def anchors_prefix(org: OrgId | bytes) -> bytes:
    return b"anchor/" + org


def anchor_totals_key(org: OrgId | bytes) -> bytes:
    return b"anchors/" + org


def request_key(request: bytes) -> bytes:
    return REQUESTS + request


def round_key(request: bytes) -> bytes:
    """The round in work of a request; gone when the request is over."""
    return b"round/" + request


def receipt_key(request: bytes, number: int, attempt: int) -> bytes:
    return b"receipt/" + request + number.to_bytes(4, "big") + attempt.to_bytes(2, "big")


def receipts_prefix(request: bytes) -> bytes:
    return b"receipt/" + request
