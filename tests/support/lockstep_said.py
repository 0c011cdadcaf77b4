"""All that correct members ever said of one height, and what could still be certified with it.

A certificate can exist when enough correct members signed, whatever the liars sign on top. So what is possible here is
worse than what any member has seen, and a contradiction shows long before two members decide differently.
"""

from collections.abc import Collection

from ledger.certificates import Certificate, Committee, Vote, VoteKind
from ledger.types import Hash32, NodeKey

Key = tuple[int, VoteKind, Hash32]  # view, kind, block


def key_of(vote: Vote) -> Key:
    subject = vote.subject
    return subject.view, subject.kind, Hash32(subject.block)


class Said:
    """Votes of correct members by what they are about, and by who signed them. Proposals are votes of kind PROPOSE."""

    def __init__(self, committee: Committee, liars: Collection[NodeKey]) -> None:
        self._liars = frozenset(liars)
        self._enough = max(committee.quorum - len(liars), 1)
        self.votes: dict[Key, dict[NodeKey, Vote]] = {}
        self.of_member: dict[tuple[NodeKey, int], list[Vote]] = {}
        self.possible: dict[Key, None] = {}  # what could be certified, in the order in which it became so
        # The certificates taken apart already, kept so that their identities stay theirs.
        self._read: dict[int, Certificate] = {}

    def hear(self, vote: Vote) -> bool:
        """Returns whether a correct member said this for the first time."""
        voter = NodeKey(vote.voter)
        key = key_of(vote)
        heard = self.votes.setdefault(key, {})
        if voter in heard or voter in self._liars:
            return False
        heard[voter] = vote
        self.of_member.setdefault((voter, key[0]), []).append(vote)
        return True

    def completes(self, vote: Vote) -> bool:
        """Whether what this vote, just heard, is about became possible with it."""
        key = key_of(vote)
        if key in self.possible or key[1] is VoteKind.PROPOSE or len(self.votes[key]) < self._enough:
            return False
        self.possible[key] = None
        return True

    def unread(self, certificate: Certificate) -> list[Vote]:
        """The votes of a certificate that a correct member shows, the first time that it is met.

        A member may crash after it wrote a vote and before it sent it: then a certificate is the first to tell of it.
        """
        if id(certificate) in self._read:
            return []
        self._read[id(certificate)] = certificate
        return [Vote(certificate.subject, signed.voter, signed.signature) for signed in certificate.signatures]

    def notarized(self, before: int) -> list[Key]:
        """The notarizations of views before `before` that are possible."""
        return [key for key in self.possible if key[1] is VoteKind.NOTARIZE and key[0] < before]

    def gap(self, first: int, end: int) -> int | None:
        """The first view from `first` to before `end` whose nullification is not possible; None when all are."""
        for view in range(first, end):
            if (view, VoteKind.NULLIFY, NO_BLOCK) not in self.possible:
                return view
        return None


NO_BLOCK = Hash32(bytes(32))
