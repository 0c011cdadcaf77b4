"""Finds members that contradict themselves among the votes and proposals of one height (simplex rule 14).

Two notarize votes, two finalize votes or two proposals for different blocks of one view; a nullify and a finalize
vote of one view. Nothing else: a correct member may notarize and nullify a view, or finalize what it did not notarize.
"""

from ledger.certificates import Equivocation, Vote, VoteKind, contradicts

# Votes remembered of one height: four kinds of 31 members in 64 views. A height that takes more views has other worries
# than one more culprit, and every vote of the views already remembered is still compared.
VOTES_REMEMBERED_MAX = 4 * 31 * 64


class EvidenceFinder:
    """Feed it votes whose signatures are good; it speaks once about each guilty member."""

    def __init__(self) -> None:
        self._first: dict[tuple[bytes, int, VoteKind], Vote] = {}
        self._guilty: set[bytes] = set()

    def contradicted(self, vote: Vote) -> Vote | None:
        """A remembered vote that this one contradicts, of a member not yet reported. Needs no good signature yet."""
        if vote.voter in self._guilty:
            return None
        subject = vote.subject
        kinds = [subject.kind]
        if subject.kind is VoteKind.NULLIFY:
            kinds.append(VoteKind.FINALIZE)
        elif subject.kind is VoteKind.FINALIZE:
            kinds.append(VoteKind.NULLIFY)
        for kind in kinds:
            first = self._first.get((vote.voter, subject.view, kind))
            if first is not None and contradicts(first, vote):
                return first
        return None

    def note(self, vote: Vote) -> Equivocation | None:
        """Remember a well-signed vote; the evidence if it is the one that convicts its voter."""
        first = self.contradicted(vote)
        if first is not None:
            self._guilty.add(vote.voter)
            return Equivocation(first, vote)
        if len(self._first) < VOTES_REMEMBERED_MAX:
            self._first.setdefault((vote.voter, vote.subject.view, vote.subject.kind), vote)
        return None
