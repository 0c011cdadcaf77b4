"""Votes of one height on their way to certificates: which are kept, how many, and that each signature is checked once.

What may be voted is `machine`'s business; what two votes prove is `evidence`'s.
"""

from collections.abc import Callable, Iterator

from ledger.certificates import Certificate, Committee, Vote, VoteKind, certify, check_certificate_shape
from ledger.errors import InvalidCertificate
from ledger.types import ZERO_HASH, NodeKey

# Signatures remembered as good: all votes of 31 members in 128 views. Past that we check again: only time is lost.
SIGNATURES_REMEMBERED_MAX = 16_384
# A correct member signs one vote a view and kind; a second, different one is evidence; a third tells nothing new.
VOTES_PER_MEMBER_MAX = 2


class SignatureChecks:
    """Checks votes through `verify` and remembers the good ones, so that a vote inside a certificate costs nothing."""

    def __init__(self, verify: Callable[[Vote], bool]) -> None:
        self._verify = verify
        self._good: set[Vote] = set()

    def is_good(self, vote: Vote) -> bool:
        if vote in self._good:
            return True
        if not self._verify(vote):
            return False
        self.trust(vote)
        return True

    def trust(self, vote: Vote) -> None:
        """Our own signature, or one that was checked before it went to the journal."""
        if len(self._good) >= SIGNATURES_REMEMBERED_MAX:
            self._good.clear()
        self._good.add(vote)

    def check(self, committee: Committee, certificate: Certificate) -> None:
        """As `ledger.certificates.check_certificate`. Raises InvalidCertificate."""
        check_certificate_shape(committee, certificate)
        for vote in votes_of(certificate):
            if not self.is_good(vote):
                raise InvalidCertificate(f"signature of {vote.voter.hex()[:16]} does not verify")


class VoteBox:
    """Counts votes of one height. At most two different ones are kept per member, view and kind (simplex rule 2)."""

    def __init__(self, committee: Committee) -> None:
        self._quorum = committee.quorum
        # (view, kind) -> block -> voter -> vote
        self._votes: dict[tuple[int, VoteKind], dict[bytes, dict[bytes, Vote]]] = {}

    def has_room(self, vote: Vote) -> bool:
        """Whether the vote would be counted. Ask before its signature is checked: the answer is cheaper."""
        by_block = self._votes.get((vote.subject.view, vote.subject.kind), {})
        if vote.voter in by_block.get(vote.subject.block, {}):
            return False
        return sum(vote.voter in voters for voters in by_block.values()) < VOTES_PER_MEMBER_MAX

    def add(self, vote: Vote) -> Certificate | None:
        """Count a vote whose signature is good. Returns the certificate when this vote is the one that completes it."""
        if not self.has_room(vote):
            return None
        subject = vote.subject
        voters = self._votes.setdefault((subject.view, subject.kind), {}).setdefault(subject.block, {})
        voters[vote.voter] = vote
        return certify(list(voters.values())) if len(voters) == self._quorum else None

    def drop_below(self, view: int, nullified: Callable[[int], bool]) -> None:
        """Forget notarize and nullify votes of views below `view`, and finalize votes of those that were nullified.

        Finalize votes of other old views stay: a notarization moves everybody on before it is finalized.
        """
        for key in list(self._votes):
            old, kind = key
            if old < view and (kind is not VoteKind.FINALIZE or nullified(old)):
                del self._votes[key]


def votes_of(certificate: Certificate) -> Iterator[Vote]:
    """The votes a certificate is made of."""
    for signed in certificate.signatures:
        yield Vote(certificate.subject, signed.voter, signed.signature)


def voters_of(certificate: Certificate) -> tuple[NodeKey, ...]:
    return tuple(NodeKey(signed.voter) for signed in certificate.signatures)


def vote_shape_error(committee: Committee, vote: Vote) -> str | None:
    """Why no member of the committee can have meant this vote; None when it is well formed."""
    subject = vote.subject
    if subject.kind is VoteKind.PROPOSE:
        return "a proposal's signature is no vote"
    if subject.committee != committee.hash:
        return f"a vote for committee {subject.committee.hex()[:16]}, want {committee.hash.hex()[:16]}"
    if (subject.block == ZERO_HASH) != (subject.kind is VoteKind.NULLIFY):
        return f"a {subject.kind.name} vote with block {subject.block.hex()[:16]}"
    if vote.voter not in committee.members:
        return f"a vote of {vote.voter.hex()[:16]}, who has no seat"
    return None
