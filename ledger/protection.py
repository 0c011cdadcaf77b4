"""What is said of protected requests beside their terms: what data was charged, the exchange of a masked round.

The shapes, and the commitment that binds a share to who dealt it and who holds it. Which of it may be said when is
`masked_rounds.py`'s business, the arithmetic of masks `fl`'s. A masked round goes through these sets of providers, each
within the one before: U0 offered keys, U1 dealt shares, U2 accepted them (only their masks count), S delivered.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from ledger.codec import Range, Size, digest, encode
from ledger.fields import Amount, Digest, Name, Org, Orgs, Positive, Text
from ledger.types import MEMBERS_MAX, Hash32

# Every member of a masked round deals a share to every other: at 64 a dealing is half of what a transaction may be, and
# a round leaves a megabyte of them on everybody's disk.
MASKED_PROVIDERS_MAX = 64
# Two who know their own part know each other's from the sum.
MASKED_PROVIDERS_MIN = 3
# A value below 2^256 + 297, big-endian: the field that seeds and keys of 32 bytes fit in.
SHARE_BYTES = 33
SALT_BYTES = 16
# Two shares with their salts and the tag of what seals them are 114 bytes; the rest is room for another sealing.
SEALED_BYTES_MAX = 192

RoundNumber = Annotated[int, Range(1, 10_000)]
Attempt = Annotated[int, Range(0, 100)]
ExchangedKey = Annotated[bytes, Size(32, 32)]  # X25519 (RFC 7748)
Share = Annotated[bytes, Size(SHARE_BYTES, SHARE_BYTES)]
Salt = Annotated[bytes, Size(SALT_BYTES, SALT_BYTES)]


@dataclass(frozen=True, slots=True)
class Charge:
    """What a provider's data set was charged for one round: what an auditor needs to compute it again.

    `mode`: of privacy; `unit`: what one change of is hidden, "record" or "group:<column>". `noise_micro`: noise
    multiplier of this provider's own noise in each step, times 10^6. A step takes each of the `units` with the
    probability batch / units; `steps`: noised steps of this round. `query_noise_micro`: noise multiplier of this
    round's noisy query of the accuracy, 0 without one. `epsilon_micro`, `delta_pico`: spent in this request, this round
    included, times 10^6 and 10^12.
    """

    mode: Name
    unit: Text
    noise_micro: Positive
    batch: Positive
    units: Positive
    steps: Amount
    query_noise_micro: Amount
    epsilon_micro: Amount
    delta_pico: Amount


@dataclass(frozen=True, slots=True)
class Rejection:
    """A provider whose part of a round the rule of the request found worth nothing, and why."""

    provider: Org
    reason: Annotated[str, Size(1, 64)]


class SecretKind(IntEnum):
    """Which of a provider's two secrets a share is of. Never both of one provider become known."""

    SEED = 0  # of its self-mask: revealed when its update is in the sum
    MASK_KEY = 1  # of its pairwise masks: revealed when its update is not


@dataclass(frozen=True, slots=True)
class OfferMaskKeys:
    """A provider takes part in this attempt with these fresh public keys: of pairwise masks, and of sealing shares."""

    KIND: ClassVar[int] = 22
    request: Digest
    round: RoundNumber
    attempt: Attempt
    mask_key: ExchangedKey
    exchange_key: ExchangedKey


@dataclass(frozen=True, slots=True)
class SealedShare:
    """One holder's shares of a dealer's two secrets, readable to the holder only, and commitments to both."""

    holder: Org
    sealed: Annotated[bytes, Size(1, SEALED_BYTES_MAX)]
    seed_share_commitment: Digest
    key_share_commitment: Digest


@dataclass(frozen=True, slots=True)
class ShareMaskSecrets:
    """A dealer's shares for every member of U0, itself included, ascending by holder."""

    KIND: ClassVar[int] = 23
    request: Digest
    round: RoundNumber
    attempt: Attempt
    seed_commitment: Digest
    shares: Annotated[tuple[SealedShare, ...], Size(1, MASKED_PROVIDERS_MAX)]


@dataclass(frozen=True, slots=True)
class AcceptShares:
    """A holder opened what it was dealt. `refused`: dealers whose share does not open or match, ascending."""

    KIND: ClassVar[int] = 24
    request: Digest
    round: RoundNumber
    attempt: Attempt
    refused: Orgs


@dataclass(frozen=True, slots=True)
class OpenedShare:
    """The shares that a complaint is about, for everybody to read."""

    holder: Org
    seed_share: Share
    seed_salt: Salt
    key_share: Share
    key_salt: Salt


@dataclass(frozen=True, slots=True)
class OpenShares:
    """A dealer's answer to all complaints about it, ascending by holder."""

    KIND: ClassVar[int] = 25
    request: Digest
    round: RoundNumber
    attempt: Attempt
    opened: Annotated[tuple[OpenedShare, ...], Size(1, MASKED_PROVIDERS_MAX)]


@dataclass(frozen=True, slots=True)
class RevealedShare:
    dealer: Org
    share: Share
    salt: Salt


@dataclass(frozen=True, slots=True)
class RevealShares:
    """A holder's shares, ascending by dealer: of the seed of who is in S, of the mask key of who is in U2 and not in S.

    Which kind a share is, is not said: the ledger checks it against the commitment of the one that is due.
    """

    KIND: ClassVar[int] = 26
    request: Digest
    round: RoundNumber
    attempt: Attempt
    shares: Annotated[tuple[RevealedShare, ...], Size(1, MASKED_PROVIDERS_MAX)]


@dataclass(frozen=True, slots=True)
class CommittedShare:
    """What a share's commitment covers."""

    request: Digest
    round: RoundNumber
    attempt: Attempt
    dealer: Org
    holder: Org
    kind: SecretKind
    share: Share
    salt: Salt


def share_commitment(
    request: bytes, number: int, attempt: int, dealer: bytes, holder: bytes, kind: SecretKind, share: bytes, salt: bytes
) -> Hash32:
    """What a dealer publishes of one share: it binds the share to this attempt, both sides and the kind of secret.

    The salt keeps the share hidden until it is revealed. `share`: 33 bytes, `salt`: 16. Raises InvalidBytes for
    anything of another size.
    """
    return digest(
        "hanse/mask-share", encode(CommittedShare(request, number, attempt, dealer, holder, kind, share, salt))
    )


def threshold(members: int) -> int:
    """Shares that bring a secret back: more than two thirds of U0, so that a third that colludes learns nothing."""
    return 2 * members // 3 + 1


def vanished_max(members: int) -> int:
    """How many of U0 may vanish or lie: a round goes on without them."""
    return (members - 1) // 3


# u-coordinates of the points of small order on Curve25519 and its twist (RFC 7748, section 6.1): with one of these for
# a key every shared secret is zero, so whoever offers one would stop all others from masking.
_FIELD = 2**255 - 19
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


def is_usable_key(key: bytes) -> bool:
    """Whether an X25519 key shares a secret with others at all."""
    return int.from_bytes(key, "little") % 2**255 % _FIELD not in _SMALL_ORDER


assert MASKED_PROVIDERS_MAX <= MEMBERS_MAX
