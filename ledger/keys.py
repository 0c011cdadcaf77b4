"""Ed25519 identities (RFC 8032): sign and verify under a chain id and a kind; sealed boxes to an organisation.

A key is its 32-byte seed. Where it lies on disk is `node/identity.py`'s business.
"""

from dataclasses import dataclass, field

from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519, crypto_sign_ed25519_sk_to_curve25519
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey, VerifyKey

from ledger.codec import digest
from ledger.errors import InvalidBytes
from ledger.types import Hash32, NodeKey, OrgId, Signature


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An organisation's key. `seed`: 32 secret bytes; never printed."""

    seed: bytes = field(repr=False)
    org: OrgId

    @classmethod
    def from_seed(cls, seed: bytes) -> "KeyPair":
        if len(seed) != 32:
            raise ValueError(f"an Ed25519 seed has 32 bytes, got {len(seed)}")
        return cls(seed, OrgId(bytes(SigningKey(seed).verify_key)))

    @property
    def public(self) -> NodeKey:
        """The public key: what a node is addressed by and what its votes and transactions are checked with."""
        return NodeKey(self.org)

    def sign(self, chain_id: Hash32, kind: str, message: bytes) -> Signature:
        """Sign `message` as a `kind` of this chain: a signature for one chain or kind is none for another."""
        return Signature(SigningKey(self.seed).sign(sign_bytes(chain_id, kind, message)).signature)

    def open_sealed(self, sealed: bytes) -> bytes:
        """What `seal` closed for this organisation; raises InvalidBytes when it was not for us or was changed."""
        secret = PrivateKey(crypto_sign_ed25519_sk_to_curve25519(self.seed + self.org))
        try:
            return SealedBox(secret).decrypt(sealed)
        except CryptoError as error:
            raise InvalidBytes(f"a sealed box of {len(sealed)} bytes is not for this key: {error}") from None


def sign_bytes(chain_id: Hash32, kind: str, message: bytes) -> bytes:
    """The 32 bytes that are signed: a digest over the chain id, the kind and the message."""
    return digest(f"hanse/sign/{kind}", chain_id + message)


def verify(key: bytes, signature: bytes, chain_id: Hash32, kind: str, message: bytes) -> bool:
    """Whether `signature` is `key`'s over `message`. Damaged keys and signatures are simply False."""
    try:
        VerifyKey(key).verify(sign_bytes(chain_id, kind, message), signature)
    except (CryptoError, ValueError, TypeError):
        return False
    return True


def seal(org: OrgId, message: bytes) -> bytes:
    """Encrypt to an organisation so that only it can read (libsodium sealed box on the X25519 form of its key).

    Raises InvalidBytes when `org` is no Ed25519 key.
    """
    try:
        return SealedBox(PublicKey(crypto_sign_ed25519_pk_to_curve25519(org))).encrypt(message)
    except CryptoError as error:
        raise InvalidBytes(f"{org.hex()[:16]} is no Ed25519 key: {error}") from None
