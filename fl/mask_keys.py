"""The keys behind the masks of one round: what two providers share, what one keeps, and how its shares travel.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439). Every key is bound to league, request, round,
attempt and the organisations it belongs to, so none serves twice. Secrets are drawn and kept elsewhere: nothing here
draws randomness. The masks themselves are in `fl.masking`.
"""

import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fl.shamir import SHARE_BYTES, WrongShare, check_share

KEY_BYTES = 32
SALT_BYTES = 16
# Every key seals one message, so the nonce may be fixed.
NONCE = bytes(12)
TAG_BYTES = 16

_PLACE = struct.Struct("<32s32sQQQ")
_DEALT = struct.Struct(f"{SHARE_BYTES}s{SALT_BYTES}s{SHARE_BYTES}s{SALT_BYTES}s")

SEALED_BYTES = _DEALT.size + TAG_BYTES


@dataclass(frozen=True, slots=True)
class MaskContext:
    """What the masks of a round are bound to. `league` and `request`: 32 bytes; `count`: coordinates of the model."""

    league: bytes
    request: bytes
    round: int
    attempt: int
    count: int

    def __post_init__(self) -> None:
        if len(self.league) != 32 or len(self.request) != 32:
            raise ValueError(f"league of {len(self.league)} and request of {len(self.request)} bytes, want 32 each")
        if min(self.round, self.attempt) < 0 or self.count < 1:
            raise ValueError(f"round {self.round}, attempt {self.attempt}, {self.count} coordinates: want 0, 0, 1 on")

    def named(self, purpose: bytes, *orgs: bytes) -> bytes:
        """Bytes that no other purpose, round or organisations share: every part but the purpose has a fixed length."""
        if any(len(org) != 32 for org in orgs):
            raise ValueError(f"organisations of {[len(org) for org in orgs]} bytes, want 32 each")
        place = _PLACE.pack(self.league, self.request, self.round, self.attempt, self.count)
        return b"hanse masking 1 " + purpose + b"\0" + place + b"".join(orgs)


@dataclass(frozen=True, slots=True)
class DealtShare:
    """What a dealer gives one holder: a share of its self-mask's seed and one of its mask key, with their salts."""

    seed_share: bytes
    seed_salt: bytes
    key_share: bytes
    key_salt: bytes


def public_key(private: bytes) -> bytes:
    """The X25519 public key, 32 bytes, of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def pair_seed(own_private: bytes, other_public: bytes, context: MaskContext, first: bytes, second: bytes) -> bytes:
    """The 32-byte seed that `first` and `second` (organisations, in either order) share: equal on both sides."""
    low, high = sorted((first, second))
    if low == high:
        raise ValueError("an organisation shares no mask with itself")
    return _derived(_shared_secret(own_private, other_public), context.named(b"pair", low, high))


def self_seed(seed: bytes, context: MaskContext, org: bytes) -> bytes:
    """The 32-byte seed of the mask that `org` adds alone, from the secret it shared out."""
    return _derived(seed, context.named(b"self", org))


def seed_commitment(seed: bytes, context: MaskContext, org: bytes) -> bytes:
    """32 bytes that fix `org`'s self seed and say nothing of it: 256 random bits need no salt."""
    if len(seed) != KEY_BYTES:
        raise ValueError(f"seed of {len(seed)} bytes, want {KEY_BYTES}")
    return hashlib.sha256(context.named(b"seed commitment", org) + seed).digest()


def seal_share(
    dealt: DealtShare, own_private: bytes, other_public: bytes, context: MaskContext, dealer: bytes, holder: bytes
) -> bytes:
    """The shares as only `holder` can read them, SEALED_BYTES long; the keys are the exchange keys of this attempt.

    Deal once: another message under the same keys would be under the same key stream.
    """
    name = context.named(b"share", dealer, holder)
    key = _derived(_shared_secret(own_private, other_public), name)
    plain = _DEALT.pack(dealt.seed_share, dealt.seed_salt, dealt.key_share, dealt.key_salt)
    return ChaCha20Poly1305(key).encrypt(NONCE, plain, name)


def open_share(
    sealed: bytes, own_private: bytes, other_public: bytes, context: MaskContext, dealer: bytes, holder: bytes
) -> DealtShare:
    """What `dealer` sealed for `holder`. Raises WrongShare for bytes it did not, or that hold no shares."""
    if len(sealed) != SEALED_BYTES:
        raise WrongShare(f"sealed share of {len(sealed)} bytes, want {SEALED_BYTES}")
    name = context.named(b"share", dealer, holder)
    key = _derived(_shared_secret(own_private, other_public), name)
    try:
        dealt = DealtShare(*_DEALT.unpack(ChaCha20Poly1305(key).decrypt(NONCE, sealed, name)))
    except InvalidTag:
        raise WrongShare("the sealed share does not open") from None
    check_share(dealt.seed_share)
    check_share(dealt.key_share)
    return dealt


def _shared_secret(own_private: bytes, other_public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(own_private).exchange(
            X25519PublicKey.from_public_bytes(other_public)
        )
    except ValueError:
        if len(own_private) != KEY_BYTES or len(other_public) != KEY_BYTES:
            raise ValueError(f"keys of {len(own_private)} and {len(other_public)} bytes, want 32 each") from None
        # A public key of small order: RFC 7748 gives zeros, and the library refuses them. Whoever offers one gives away
        # only what it shares with us, which it could as well publish; refusing would let it stop everybody's round.
        return bytes(KEY_BYTES)


def _derived(secret: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)
