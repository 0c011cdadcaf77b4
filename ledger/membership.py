"""Who may speak: registration from outside and approval by more than two thirds of the members (DESIGN D1)."""

from collections.abc import Sequence
from dataclasses import replace

from ledger.entries import (
    CANDIDATES,
    CANDIDATES_MAX,
    ELECTION,
    LEAGUE,
    MEMBERS,
    Account,
    Candidate,
    Election,
    League,
    Member,
    Standing,
    account_key,
    candidate_key,
    member_key,
    standing_key,
)
from ledger.errors import InvalidTransaction
from ledger.state import BlockContext, State
from ledger.transactions import ApproveMember, RegisterMember
from ledger.types import MEMBERS_MAX, OrgId

# A flood of registrations pushes out one that waits for its first approval no faster than this.
REGISTRATIONS_PER_BLOCK_MAX = 4


def is_member(state: State, org: OrgId | bytes) -> bool:
    return state.get(Member, member_key(org)) is not None


def register(state: State, context: BlockContext, sender: OrgId, body: RegisterMember, expiry_heights: int) -> None:
    """A stranger becomes a candidate with an empty account, so that its transactions have nonces too."""
    league = state.need(League, LEAGUE)
    if is_member(state, sender):
        raise InvalidTransaction("member", "the sender is a member already")
    if state.get(Candidate, candidate_key(sender)) is not None:
        raise InvalidTransaction("candidate", "the sender is registered already")
    waiting = state.scan(Candidate, CANDIDATES) if league.candidates else []
    expires_height = context.height + expiry_heights
    if sum(candidate.expires_height == expires_height for _, candidate in waiting) >= REGISTRATIONS_PER_BLOCK_MAX:
        raise InvalidTransaction("full", f"{REGISTRATIONS_PER_BLOCK_MAX} registrations are in this block already")
    taken = [member.name for _, member in state.scan(Member, MEMBERS)]
    taken += [candidate.name for _, candidate in waiting]
    if body.name in taken:
        raise InvalidTransaction("name", f"the name {body.name!r} is taken")
    if league.candidates >= CANDIDATES_MAX or league.members + league.candidates >= MEMBERS_MAX:
        state.delete(candidate_key(_least_wanted(league, waiting)))
        league = replace(league, candidates=league.candidates - 1)
    state.put(candidate_key(sender), Candidate(body.name, body.addresses, expires_height, ()))
    if state.get(Account, account_key(sender)) is None:
        state.put(account_key(sender), Account(0, 0))
    state.put(LEAGUE, replace(league, candidates=league.candidates + 1))


def _least_wanted(league: League, waiting: Sequence[tuple[bytes, Candidate]]) -> bytes:
    """Who makes room when too many wait: the fewest approvals, then the longest wait. Raises InvalidTransaction.

    Keys cost nothing, so without this a stranger could fill all places, and nobody be let in for thousands of heights.
    Who has more approvals than a third of the members can give stays: somebody honest wants it.
    """
    loose = [
        (len(candidate.approvals), candidate.expires_height, org)
        for org, candidate in waiting
        if 3 * len(candidate.approvals) <= league.members
    ]
    if not loose:
        raise InvalidTransaction("full", f"{league.candidates} candidates wait and {league.members} members are in")
    return min(loose)[2]


def approve(state: State, context: BlockContext, sender: OrgId, body: ApproveMember) -> None:
    """One member's yes; the one that makes it more than two thirds lets the candidate in."""
    candidate = state.get(Candidate, candidate_key(body.candidate))
    if candidate is None:
        raise InvalidTransaction("candidate", f"nobody with key {body.candidate.hex()[:16]} waits for approval")
    if sender in candidate.approvals:
        raise InvalidTransaction("approved", "the sender has approved this candidate already")
    league = state.need(League, LEAGUE)
    approvals = tuple(sorted((*candidate.approvals, sender)))
    if 3 * len(approvals) <= 2 * league.members:
        state.put(candidate_key(body.candidate), replace(candidate, approvals=approvals))
        return
    epoch = state.need(Election, ELECTION).epoch
    state.delete(candidate_key(body.candidate))
    state.put(member_key(body.candidate), Member(candidate.name, candidate.addresses, context.height, epoch))
    # Newcomers begin at zero: leaving and coming back under a new name gains nothing.
    state.put(standing_key(body.candidate), Standing(0, 0, 0, 0, 0, 0, 0))
    state.put(LEAGUE, replace(league, members=league.members + 1, candidates=league.candidates - 1))


def forget_expired(state: State, height: int) -> None:
    """Registrations that nobody approved in time make room for others."""
    league = state.need(League, LEAGUE)
    if not league.candidates:
        return
    expired = [org for org, candidate in state.scan(Candidate, CANDIDATES) if candidate.expires_height <= height]
    for org in expired:
        state.delete(candidate_key(org))
    if expired:
        state.put(LEAGUE, replace(league, candidates=league.candidates - len(expired)))
