"""What the state holds of protected requests: charges, exclusions, and the masked round in work.

A request's `transactions.Protection` lies beside it, under a key of its own. What belongs to a masked round in work is
gone when the round is over; what its sum was computed from stays, so that anybody can compute it again.
"""

from dataclasses import dataclass
from typing import Annotated

from ledger.codec import Range, Size
from ledger.fields import Count, Digest, Org, Orgs, Text
from ledger.protection import (
    MASKED_PROVIDERS_MAX,
    Attempt,
    Charge,
    OpenedShare,
    RevealedShare,
    RoundNumber,
    SealedShare,
    Share,
)
from ledger.types import OrgId


@dataclass(frozen=True, slots=True)
class Spent:
    """What one provider's data was charged for a request: in so many announcements, and the newest of them."""

    rounds: Count
    charge: Charge


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A provider that dealt wrong shares takes no further part in a request."""

    round: RoundNumber
    attempt: Attempt
    height: Count
    reason: Text


@dataclass(frozen=True, slots=True)
class MaskMember:
    """One member of U0. `seed_commitment` is empty until it has dealt (U1).

    `accepted`: it has said which of the shares it was dealt it can use. `complaints`: holders that could not use its
    shares, ascending; `answered`: it has opened all of these. `counted`: it is in U2. `revealed`: it has revealed the
    shares it holds; `known_shares`: how many of its own secret's shares the holders have revealed.
    """

    org: Org
    mask_key: Digest
    exchange_key: Digest
    seed_commitment: Annotated[bytes, Size(0, 32)]
    accepted: bool
    complaints: Orgs
    answered: bool
    counted: bool
    revealed: bool
    known_shares: Count


@dataclass(frozen=True, slots=True)
class MaskRound:
    """The exchange of the masked round in work. `members`: who has offered keys, ascending; U0 once `threshold` is set
    (0 before). A member holds the share of index 1 + its place among them."""

    round: RoundNumber
    attempt: Attempt
    threshold: Count
    members: Annotated[tuple[MaskMember, ...], Size(0, MASKED_PROVIDERS_MAX)]


@dataclass(frozen=True, slots=True)
class Dealing:
    """What one dealer dealt, ascending by holder, and what of it was opened upon complaints."""

    shares: Annotated[tuple[SealedShare, ...], Size(1, MASKED_PROVIDERS_MAX)]
    opened: Annotated[tuple[OpenedShare, ...], Size(0, MASKED_PROVIDERS_MAX)]


@dataclass(frozen=True, slots=True)
class Revealed:
    """What one holder revealed, ascending by dealer."""

    shares: Annotated[tuple[RevealedShare, ...], Size(1, MASKED_PROVIDERS_MAX)]


@dataclass(frozen=True, slots=True)
class IndexedShare:
    """A share and the point at which it was evaluated: 1 + its holder's place in U0."""

    index: Annotated[int, Range(1, MASKED_PROVIDERS_MAX)]
    share: Share


@dataclass(frozen=True, slots=True)
class MaskedMember:
    """One member of U2. `shares`: as many as the threshold asks for, by index ascending; of its seed when it delivered,
    of its mask key when it did not."""

    org: Org
    mask_key: Digest
    seed_commitment: Digest
    delivered: bool
    shares: Annotated[tuple[IndexedShare, ...], Size(1, MASKED_PROVIDERS_MAX)]


@dataclass(frozen=True, slots=True)
class MaskedInputs:
    """All that unmasking a round's sum takes beside its updates. `members`: U2, ascending."""

    threshold: Annotated[int, Range(1, MASKED_PROVIDERS_MAX)]
    members: Annotated[tuple[MaskedMember, ...], Size(1, MASKED_PROVIDERS_MAX)]


def protection_key(request: bytes) -> bytes:
    return b"protection/" + request


def charge_key(request: bytes, org: OrgId | bytes) -> bytes:
    return b"charge/" + request + org


def charges_prefix(request: bytes) -> bytes:
    return b"charge/" + request


def exclusion_key(request: bytes, org: OrgId | bytes) -> bytes:
    return b"excluded/" + request + org


def exclusions_prefix(request: bytes) -> bytes:
    return b"excluded/" + request


def masking_key(request: bytes) -> bytes:
    """The exchange of the round in work; gone when the round is over."""
    return b"masking/" + request


def dealing_key(request: bytes, dealer: OrgId | bytes) -> bytes:
    return b"dealing/" + request + dealer


def revealed_key(request: bytes, holder: OrgId | bytes) -> bytes:
    return b"revealed/" + request + holder


def unmasking_key(request: bytes, number: int, attempt: int) -> bytes:
    """The `MaskedInputs` of a closed round, beside its receipt."""
    return b"unmasking/" + request + number.to_bytes(4, "big") + attempt.to_bytes(2, "big")
