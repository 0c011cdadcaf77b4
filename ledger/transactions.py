"""What can be said on the ledger: one frozen dataclass a kind, and the signed envelope around it.

What a transaction may do in a given state is `execution.py`'s business; here is only its shape and its bounds. What is
said about membership is in `statements.py`.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Annotated, ClassVar

from ledger.certificates import Equivocation
from ledger.codec import Range, Size, decode, digest, encode
from ledger.errors import InvalidTransaction
from ledger.fields import Amount, Digest, Duration, Key, Millionths, Name, Org, Positive, Text
from ledger.keys import KeyPair, verify
from ledger.protection import (
    AcceptShares,
    Attempt,
    Charge,
    OfferMaskKeys,
    OpenShares,
    Rejection,
    RevealShares,
    RoundNumber,
    ShareMaskSecrets,
)
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, RegisterMember, RotateKey, Support
from ledger.types import (
    AMOUNT_MAX,
    BLOB_BYTES_MAX,
    MEMBERS_MAX,
    TRANSACTION_BYTES_MAX,
    Hash32,
    NodeKey,
)

PERIODS_PER_UPDATE_MAX = 256  # a quarter of hourly periods fits in some 9 updates; past that, anchor longer periods
SETTINGS_MAX = 32


@dataclass(frozen=True, slots=True)
class Setting:
    """A named setting of a model, strategy or privacy mode: text on the ledger, parsed strictly by its reader."""

    name: Name
    value: Annotated[str, Size(0, 256)]


Settings = Annotated[tuple[Setting, ...], Size(0, SETTINGS_MAX)]


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """What a requester asks for (DESIGN D8). Times in ms of block time, prices in tokens, ratios in millionths.

    `initial_model` is the digest of the blob of initial weights, `parameters` the length of the vector in it.
    """

    title: Name
    model: Name
    model_arguments: Settings
    parameters: Annotated[int, Range(1, 2**28)]
    initial_model: Digest
    scale_bits: Annotated[int, Range(1, 30)]
    limit: Annotated[int, Range(1, 2**30)]  # every parameter lies in [-limit, +limit] units of 1
    strategy: Name
    strategy_settings: Settings
    aggregation: Name
    privacy: Name
    privacy_settings: Settings
    data_type: Name
    epochs: Annotated[int, Range(1, 10_000)]
    batch: Annotated[int, Range(1, 1_000_000)]
    training_settings: Settings  # learning rate, momentum, ...
    price: Positive  # tokens a record and finished round, not below the league's `reward_min`
    budget: Positive
    target_accuracy: Millionths  # 0: no target, run all rounds
    rounds_max: Annotated[int, Range(1, 10_000)]
    providers_min: Annotated[int, Range(1, MEMBERS_MAX)]
    providers_max: Annotated[int, Range(1, MEMBERS_MAX)]
    join_window: Duration
    round_deadline: Duration
    attest_window: Duration


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """A data request [DLMU 3, stage 2]; its budget leaves the sender's balance and waits in escrow."""

    KIND: ClassVar[int] = 3
    terms: RequestTerms


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A provider offers its data [DLMU 3, stage 3]: type, size and attributes are recorded."""

    KIND: ClassVar[int] = 4
    request: Digest
    data_type: Name
    record_count: Positive
    attributes: Settings


@dataclass(frozen=True, slots=True)
class AnnounceUpdate:
    """A provider's update of a round is ready [DLMU 3, stage 5].

    `blob`: digest of the update's bytes, served by the provider. `periods`: the provider's anchored periods that it was
    trained on, ascending. `record_count`: records used; counted only up to what those anchors hold. `accuracy`: of the
    global model the round began with, on `tested_records` of the provider's own test records (0: not tested).
    """

    KIND: ClassVar[int] = 5
    request: Digest
    round: Annotated[int, Range(1, 10_000)]
    attempt: Annotated[int, Range(0, 100)]
    blob: Digest
    blob_bytes: Annotated[int, Range(1, BLOB_BYTES_MAX)]
    record_count: Positive
    periods: Annotated[tuple[Annotated[int, Range(0, AMOUNT_MAX)], ...], Size(1, PERIODS_PER_UPDATE_MAX)]
    accuracy: Millionths
    tested_records: Amount


class Verdict(IntEnum):
    """What a committee member says of an announced update after fetching and checking its blob."""

    HELD = 0  # fetched, digest right, well formed, every parameter within the limit
    MALFORMED = 1  # the bytes are there but are not a vector of the agreed kind
    OUT_OF_RANGE = 2  # a parameter is beyond the limit, or not a number


@dataclass(frozen=True, slots=True)
class Attestation:
    provider: Org
    blob: Digest
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class AttestBlobs:
    """A committee member holds these updates of a round, or says what is wrong with them (DESIGN D8)."""

    KIND: ClassVar[int] = 6
    request: Digest
    round: Annotated[int, Range(1, 10_000)]
    attempt: Annotated[int, Range(0, 100)]
    attestations: Annotated[tuple[Attestation, ...], Size(1, MEMBERS_MAX)]


@dataclass(frozen=True, slots=True)
class AnchorRecords:
    """The root over one period's records [ANCHOR Algorithm 2, RFC 6962 hashing]. Times in ms, end excluded."""

    KIND: ClassVar[int] = 7
    period: Amount
    record_count: Positive
    root: Digest
    begins: Amount
    ends: Amount


@dataclass(frozen=True, slots=True)
class Transfer:
    """Tokens from the sender to another member."""

    KIND: ClassVar[int] = 8
    to: Org
    amount: Positive
    memo: Text


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The requester ends its request; escrow that no finished round has earned returns."""

    KIND: ClassVar[int] = 9
    request: Digest


@dataclass(frozen=True, slots=True)
class UpdateScore:
    """How far one included update pulled the way the aggregate went, in millionths (exact integer cosine)."""

    provider: Org
    quality: Millionths


@dataclass(frozen=True, slots=True)
class AggregateRound:
    """The leader's aggregate of a round [DLMU 3, stage 7]. Only the author of a block may put it there.

    Every committee member recomputes `model` and `scores` from the same blobs before it votes (DESIGN D4). Its nonce is
    the height of its block and is not counted, so that it never races with what else its author has to say.
    """

    KIND: ClassVar[int] = 10
    request: Digest
    round: Annotated[int, Range(1, 10_000)]
    attempt: Annotated[int, Range(0, 100)]
    model: Digest
    model_bytes: Annotated[int, Range(1, BLOB_BYTES_MAX)]
    scores: Annotated[tuple[UpdateScore, ...], Size(1, MEMBERS_MAX)]


@dataclass(frozen=True, slots=True)
class ReportEquivocation:
    """Proof that a member signed two things of which it may sign one: reputation to zero, jail."""

    KIND: ClassVar[int] = 11
    evidence: Equivocation


@dataclass(frozen=True, slots=True)
class ReportForDuty:
    """A member that was skipped as leader says it is back: the skip is lifted."""

    KIND: ClassVar[int] = 12
    height: Amount  # the head the sender had reached


@dataclass(frozen=True, slots=True)
class DeclineRound:
    """A provider does not train this round and says why (its privacy budget, its data, its terms)."""

    KIND: ClassVar[int] = 13
    request: Digest
    round: Annotated[int, Range(1, 10_000)]
    attempt: Annotated[int, Range(0, 100)]
    reason: Annotated[str, Size(1, 64)]


@dataclass(frozen=True, slots=True)
class ReportAccuracy:
    """The requester's own measure of the model the round began with, on its own test records (DESIGN D8)."""

    KIND: ClassVar[int] = 14
    request: Digest
    round: Annotated[int, Range(1, 10_000)]
    attempt: Annotated[int, Range(0, 100)]
    accuracy: Millionths
    tested_records: Positive


@dataclass(frozen=True, slots=True)
class SkipNonce:
    """Does nothing but use up its nonce: what the sender signed with later ones need not wait for one that is lost."""

    KIND: ClassVar[int] = 15


@dataclass(frozen=True, slots=True)
class Protection:
    """How the updates of a request are protected, beside its terms.

    `aggregation_settings`: of the rule that the terms name. `masked`: no single update is ever seen, only their sum;
    `exchange_window`: ms of block time for each step of the exchange of keys and shares, 1 when it is not masked.
    """

    aggregation_settings: Settings
    masked: bool
    exchange_window: Duration


@dataclass(frozen=True, slots=True)
class PublishProtected:
    """A data request whose updates are sealed or masked, and what they were charged is announced with them."""

    KIND: ClassVar[int] = 20
    terms: RequestTerms
    protection: Protection


@dataclass(frozen=True, slots=True)
class AnnounceProtected:
    """A provider's update of a protected request is ready, and what its data was charged when the mode charges it.

    The blob of an update that is not masked ends in the 32 bytes of its provider's id: a copy under another name is
    malformed. That of a masked one is what `fl` makes of it.
    """

    KIND: ClassVar[int] = 21
    update: AnnounceUpdate
    charge: Annotated[tuple[Charge, ...], Size(0, 1)]


@dataclass(frozen=True, slots=True)
class AggregateProtected:
    """The leader's aggregate of a protected request's round; like `AggregateRound`, recomputed by everybody.

    `rejected`, ascending: whose part is worth nothing by the request's rule, or who dealt wrong shares. `model` is
    empty, `model_bytes` 0 and `scores` empty when there is no aggregate: the round is void and tried again.
    """

    KIND: ClassVar[int] = 27
    request: Digest
    round: RoundNumber
    attempt: Attempt
    model: Annotated[bytes, Size(0, 32)]
    model_bytes: Annotated[int, Range(0, BLOB_BYTES_MAX)]
    scores: Annotated[tuple[UpdateScore, ...], Size(0, MEMBERS_MAX)]
    rejected: Annotated[tuple[Rejection, ...], Size(0, MEMBERS_MAX)]


Body = (
    RegisterMember
    | ApproveMember
    | PublishRequest
    | JoinRequest
    | AnnounceUpdate
    | AttestBlobs
    | AnchorRecords
    | Transfer
    | CancelRequest
    | AggregateRound
    | ReportEquivocation
    | ReportForDuty
    | DeclineRound
    | ReportAccuracy
    | SkipNonce
    | RotateKey
    | LeaveLeague
    | OpenBallot
    | Support
    | PublishProtected
    | AnnounceProtected
    | OfferMaskKeys
    | ShareMaskSecrets
    | AcceptShares
    | OpenShares
    | RevealShares
    | AggregateProtected
)


@dataclass(frozen=True)
class Transaction:
    """A signed statement. `sender`: the key it is signed with; the ledger says whose that is.

    `nonce` counts the organisation's transactions from 0 without gaps, so none runs twice.
    """

    sender: Key
    nonce: Amount
    body: Body
    signature: Annotated[bytes, Size(64, 64)]

    @cached_property
    def encoded(self) -> bytes:
        return encode(self)

    @cached_property
    def id(self) -> Hash32:
        """Over the signed content only: nobody makes a second id for it by another signature."""
        return digest("hanse/transaction", encode(Unsigned(self.sender, self.nonce, self.body)))

    def check_signature(self, chain_id: Hash32) -> None:
        """Raises InvalidTransaction when the sender did not sign this for this chain."""
        if not verify(NodeKey(self.sender), self.signature, chain_id, "transaction", self.id):
            raise InvalidTransaction(
                "signature", f"transaction {self.id.hex()[:16]} is not signed by its sender for this chain"
            )


@dataclass(frozen=True, slots=True)
class Unsigned:
    """What a transaction's id and signature cover."""

    sender: Key
    nonce: Amount
    body: Body


def sign_transaction(key: KeyPair, chain_id: Hash32, nonce: int, body: Body) -> Transaction:
    """A transaction signed with `key` for one chain."""
    identity = digest("hanse/transaction", encode(Unsigned(key.public, nonce, body)))
    return Transaction(key.public, nonce, body, key.sign(chain_id, "transaction", identity))


def parse_transaction(data: bytes) -> Transaction:
    """A transaction from untrusted bytes. Raises InvalidTransaction when too long, InvalidBytes when not canonical."""
    if len(data) > TRANSACTION_BYTES_MAX:
        raise InvalidTransaction(
            "size", f"a transaction of {len(data)} bytes, at most {TRANSACTION_BYTES_MAX} are allowed"
        )
    return decode(Transaction, data)
