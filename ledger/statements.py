"""What is said about membership: registration and approval, keys, leaving, ballots. Bodies of transactions.

An organisation is its identity key for life; its node signs with a key that can be rotated. The identity signs what
must still be possible when the node's key is in other hands: registration, `RotateKey`, `LeaveLeague`.
"""

from dataclasses import dataclass
from typing import ClassVar

from ledger.codec import encode
from ledger.fields import Addresses, Digest, Key, Name, Org, OwnKey, OwnKeyProof, Roles
from ledger.keys import KeyPair, verify
from ledger.motions import Motion
from ledger.roles import EVERY_ROLE
from ledger.types import Hash32, NodeKey


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """What a node key signs to become an organisation's: nobody claims a key that is not its own."""

    org: Org
    key: Key


def prove_key(node: KeyPair, chain_id: Hash32, org: bytes) -> bytes:
    """The proof that `org` may name `node`'s key as its own; empty when it is the identity itself."""
    if node.public == org:
        return b""
    return node.sign(chain_id, "own-key", encode(KeyClaim(org, node.public)))


def key_is_proven(chain_id: Hash32, org: bytes, key: bytes, proof: bytes) -> bool:
    """Whether `key`'s holder agreed to sign for `org`. The identity needs no proof: it signs the transaction."""
    if key == org:
        return proof == b""
    return verify(NodeKey(key), proof, chain_id, "own-key", encode(KeyClaim(org, key)))


@dataclass(frozen=True, slots=True)
class RegisterMember:
    """An outsider asks to be let in [DLMU 3, stage 1]: the only transaction a stranger may send.

    The sender is its identity. `key`: what its node signs with, with `prove_key`'s proof; both are empty when that is
    the identity itself.
    """

    KIND: ClassVar[int] = 1
    name: Name
    addresses: Addresses
    key: OwnKey = b""
    proof: OwnKeyProof = b""
    roles: Roles = EVERY_ROLE


@dataclass(frozen=True, slots=True)
class ApproveMember:
    """A member's yes to a registration; more than two thirds of those who vote let the candidate in."""

    KIND: ClassVar[int] = 2
    candidate: Org


@dataclass(frozen=True, slots=True)
class RotateKey:
    """From the next height on, the sender's node signs with another key. Signed by the identity, and by it only.

    `proof`: `prove_key`'s. A key that was ever anybody's is refused.
    """

    KIND: ClassVar[int] = 16
    new_key: Key
    proof: OwnKeyProof


@dataclass(frozen=True, slots=True)
class LeaveLeague:
    """The sender goes. Its tokens go to `beneficiary`, or stay for its return when that is the sender itself."""

    KIND: ClassVar[int] = 17
    beneficiary: Org


@dataclass(frozen=True, slots=True)
class OpenBallot:
    """A motion is put to the members; its opener is its first supporter. The transaction's id names the ballot."""

    KIND: ClassVar[int] = 18
    motion: Motion


@dataclass(frozen=True, slots=True)
class Support:
    """A member's yes to a ballot. There is no no: what too few support is forgotten in time."""

    KIND: ClassVar[int] = 19
    ballot: Digest
