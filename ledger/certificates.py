"""Votes, certificates and proofs of equivocation: signed facts about one height that anybody can check later.

How votes are collected and what may be voted is `consensus`'s business. Rules: research on Simplex, DESIGN D6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Annotated

from ledger.codec import Range, Size, digest, encode
from ledger.errors import InvalidCertificate
from ledger.keys import KeyPair, verify
from ledger.types import AMOUNT_MAX, COMMITTEE_MAX, ZERO_HASH, Hash32, NodeKey

Key = Annotated[bytes, Size(32, 32)]
Digest = Annotated[bytes, Size(32, 32)]
SignatureBytes = Annotated[bytes, Size(64, 64)]
Count = Annotated[int, Range(0, AMOUNT_MAX)]


class VoteKind(IntEnum):
    NOTARIZE = 1
    NULLIFY = 2
    FINALIZE = 3
    PROPOSE = 4  # a leader's signature under its proposal; never part of a certificate


@dataclass(frozen=True, slots=True)
class Subject:
    """What a vote is about. `block` is 32 zero bytes for NULLIFY. `committee` pins who may vote."""

    height: Count
    committee: Digest
    view: Count
    kind: VoteKind
    block: Digest


@dataclass(frozen=True, slots=True)
class Vote:
    """One member's signed vote."""

    subject: Subject
    voter: Key
    signature: SignatureBytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A voter's signature inside a certificate."""

    voter: Key
    signature: SignatureBytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum of votes for one subject, voters ascending and distinct."""

    subject: Subject
    signatures: Annotated[tuple[Signed, ...], Size(1, COMMITTEE_MAX)]


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two votes of one member that no correct member signs together (simplex rule 14)."""

    first: Vote
    second: Vote


@dataclass(frozen=True)
class Committee:
    """The members that agree on one height, by the keys they sign with, ascending."""

    members: Annotated[tuple[Key, ...], Size(1, COMMITTEE_MAX)]

    @property
    def faults(self) -> int:
        """f, how many may lie: (n - 1) // 3."""
        return (len(self.members) - 1) // 3

    @property
    def quorum(self) -> int:
        """q = n - f, never 2f + 1: with n = 5 or 6 the latter forks."""
        return len(self.members) - self.faults

    @cached_property
    def hash(self) -> Hash32:
        return digest("hanse/committee", encode(self))


def cast(key: KeyPair, chain_id: Hash32, subject: Subject) -> Vote:
    """`key`'s vote on `subject`."""
    return Vote(subject, key.public, key.sign(chain_id, "vote", encode(subject)))


def vote_is_signed(chain_id: Hash32, vote: Vote) -> bool:
    return verify(NodeKey(vote.voter), vote.signature, chain_id, "vote", encode(vote.subject))


def check_certificate(chain_id: Hash32, committee: Committee, certificate: Certificate) -> None:
    """Every signature is checked, not just enough of them: false witnesses would earn what they never did.

    Raises InvalidCertificate.
    """
    check_certificate_shape(committee, certificate)
    message = encode(certificate.subject)
    for signed in certificate.signatures:
        if not verify(NodeKey(signed.voter), signed.signature, chain_id, "vote", message):
            raise InvalidCertificate(f"signature of {signed.voter.hex()[:16]} does not verify")


def check_certificate_shape(committee: Committee, certificate: Certificate) -> None:
    """All that `check_certificate` asks but the signatures: subject, seats, order, count. Raises InvalidCertificate."""
    subject = certificate.subject
    if subject.committee != committee.hash:
        raise InvalidCertificate(f"height {subject.height}: certificate of another committee")
    if subject.kind is VoteKind.PROPOSE:
        raise InvalidCertificate("a proposal's signature is no vote")
    if (subject.block == ZERO_HASH) != (subject.kind is VoteKind.NULLIFY):
        raise InvalidCertificate(f"{subject.kind.name} with block {subject.block.hex()[:16]}")
    voters = [signed.voter for signed in certificate.signatures]
    if voters != sorted(set(voters)):
        raise InvalidCertificate("voters are not ascending and distinct")
    strangers = set(voters) - set(committee.members)
    if strangers:
        raise InvalidCertificate(f"{len(strangers)} voters have no seat")
    if len(voters) < committee.quorum:
        raise InvalidCertificate(f"{len(voters)} votes, want {committee.quorum} of {len(committee.members)}")


def certify(votes: Sequence[Vote]) -> Certificate:
    """The certificate of verified votes of distinct members on one subject."""
    ordered = sorted(votes, key=lambda vote: vote.voter)
    return Certificate(ordered[0].subject, tuple(Signed(vote.voter, vote.signature) for vote in ordered))


def contradicts(first: Vote, second: Vote) -> bool:
    """Simplex rule 14: what one correct member never signs. N with X, and N(b) with F(b'), are legal."""
    a, b = first.subject, second.subject
    if first.voter != second.voter or (a.height, a.committee, a.view) != (b.height, b.committee, b.view):
        return False
    if a.kind == b.kind:
        return a.kind is not VoteKind.NULLIFY and a.block != b.block
    return {a.kind, b.kind} == {VoteKind.NULLIFY, VoteKind.FINALIZE}


def check_equivocation(chain_id: Hash32, evidence: Equivocation) -> NodeKey:
    """The key of who is guilty. Raises InvalidCertificate when the two votes prove nothing."""
    if not contradicts(evidence.first, evidence.second):
        raise InvalidCertificate("the two votes do not contradict each other")
    for vote in (evidence.first, evidence.second):
        if not vote_is_signed(chain_id, vote):
            raise InvalidCertificate("a vote of the evidence is not signed by its voter")
    return NodeKey(evidence.first.voter)
