"""What a height may make a member remember: the bounds that no attack of ordinary length reaches."""

from consensus import evidence, votes
from consensus.evidence import EvidenceFinder
from consensus.votes import SignatureChecks
from ledger.certificates import Vote, VoteKind
from ledger.types import Hash32
from tests.support import abstract_votes as abstract

COMMITTEE = abstract.members(4)
B, C = Hash32(b"b" * 32), Hash32(b"c" * 32)


def voted(view: int, block: Hash32 = B) -> Vote:
    return abstract.vote(COMMITTEE, 0, view, VoteKind.NOTARIZE, block)


def test_S14_what_is_remembered_of_a_height_is_bounded() -> None:
    finder = EvidenceFinder()
    for view in range(evidence.VOTES_REMEMBERED_MAX + 1):
        assert finder.note(voted(view)) is None
    # The vote past the bound was not remembered; every one before it still convicts.
    assert finder.note(voted(evidence.VOTES_REMEMBERED_MAX, C)) is None
    assert finder.note(voted(evidence.VOTES_REMEMBERED_MAX - 1, C)) is not None


def test_S2_signatures_remembered_are_bounded() -> None:
    verified = []

    def verify(vote: Vote) -> bool:
        verified.append(vote)
        return True

    checks = SignatureChecks(verify)
    for view in range(votes.SIGNATURES_REMEMBERED_MAX):
        assert checks.is_good(voted(view))
    assert checks.is_good(voted(0))
    assert len(verified) == votes.SIGNATURES_REMEMBERED_MAX
    # Full: the memory begins anew, and what was known is checked again, not refused.
    assert checks.is_good(voted(votes.SIGNATURES_REMEMBERED_MAX))
    assert checks.is_good(voted(0))
    assert len(verified) == votes.SIGNATURES_REMEMBERED_MAX + 2
    assert len(checks._good) == 2
