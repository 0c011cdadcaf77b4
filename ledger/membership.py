"""Who is let in: registration from outside and approval by more than two thirds of the voters (DESIGN D1).

Who leaves, by itself or by a vote, is `departures.py`'s business.
"""

from collections.abc import Sequence
from dataclasses import replace

from ledger.entries import (
    CANDIDATES,
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
from ledger.keyring import check_new_key, take_key
from ledger.league_entries import FORMERS, Former, former_key
from ledger.state import BlockContext, State
from ledger.statements import ApproveMember, RegisterMember
from ledger.types import MEMBERS_MAX, OrgId


def is_member(state: State, org: OrgId | bytes) -> bool:
    return state.get(Member, member_key(org)) is not None


def is_voter(state: State, org: OrgId | bytes) -> bool:
    """A member with a role: it may be seated and has a vote on members and rules. Observers have not."""
    member = state.get(Member, member_key(org))
    return member is not None and member.roles != 0


def register(state: State, context: BlockContext, sender: OrgId, body: RegisterMember) -> None:
    """A stranger becomes a candidate with an account, so that its transactions have nonces too."""
    league = state.need(League, LEAGUE)
    limits = context.parameters
    if is_member(state, sender):
        raise InvalidTransaction("member", "the sender is a member already")
    if state.get(Candidate, candidate_key(sender)) is not None:
        raise InvalidTransaction("candidate", "the sender is registered already")
    waiting = state.scan(Candidate, CANDIDATES) if league.candidates else []
    expires_height = context.height + limits.registration_expiry_heights
    registered_now = sum(candidate.expires_height == expires_height for _, candidate in waiting)
    if registered_now >= limits.registrations_per_block_max:
        raise InvalidTransaction("full", f"{registered_now} registrations are in this block already")
    if body.key == sender:
        raise InvalidTransaction("key", "the key is the identity itself: leave it empty")
    key = body.key or sender
    if len(key) != 32:
        raise InvalidTransaction("key", f"a key of {len(key)} bytes, want 32, or none for the identity itself")
    check_new_key(state, context, sender, key, body.proof)
    _check_name(state, sender, body.name, waiting)
    if league.candidates >= limits.candidates_max or league.members + league.candidates >= MEMBERS_MAX:
        state.delete(candidate_key(_least_wanted(state, league, waiting)))
        league = replace(league, candidates=league.candidates - 1)
    candidate = Candidate(body.name, body.addresses, key, body.roles, expires_height, ())
    state.put(candidate_key(sender), candidate)
    if state.get(Account, account_key(sender)) is None:
        state.put(account_key(sender), Account(0, 0))
    state.put(LEAGUE, replace(league, candidates=league.candidates + 1))


def _check_name(state: State, sender: OrgId, name: str, waiting: Sequence[tuple[bytes, Candidate]]) -> None:
    """Raises InvalidTransaction when another has the name, waits for it, or had it before it left."""
    taken = [member.name for _, member in state.scan(Member, MEMBERS)]
    taken += [candidate.name for _, candidate in waiting]
    taken += [former.name for org, former in state.scan(Former, FORMERS) if org != sender]
    if name in taken:
        raise InvalidTransaction("name", f"the name {name!r} is taken")


def _least_wanted(state: State, league: League, waiting: Sequence[tuple[bytes, Candidate]]) -> bytes:
    """Who makes room when too many wait: the fewest approvals, then the longest wait. Raises InvalidTransaction.

    Keys cost nothing, so without this a stranger could fill all places, and nobody be let in for thousands of heights.
    Who has more approvals than a third of the voters can give stays: somebody honest wants it.
    """
    counted = [(_approvals(state, candidate), candidate.expires_height, org) for org, candidate in waiting]
    loose = [each for each in counted if 3 * each[0] <= league.voters]
    if not loose:
        raise InvalidTransaction("full", f"{league.candidates} candidates wait and {league.members} members are in")
    return min(loose)[2]


def approve(state: State, context: BlockContext, sender: OrgId, body: ApproveMember) -> None:
    """One voter's yes; the one that makes it more than two thirds lets the candidate in."""
    candidate = state.get(Candidate, candidate_key(body.candidate))
    if candidate is None:
        raise InvalidTransaction("candidate", f"nobody with key {body.candidate.hex()[:16]} waits for approval")
    if sender in candidate.approvals:
        raise InvalidTransaction("approved", "the sender has approved this candidate already")
    candidate = replace(candidate, approvals=with_voice(state, candidate.approvals, sender))
    state.put(candidate_key(body.candidate), candidate)
    if _is_wanted(state, candidate):
        _admit(state, context, body.candidate, candidate)


def with_voice(state: State, others: Sequence[bytes], sender: OrgId) -> tuple[bytes, ...]:
    """Those who said yes and one more, ascending. Members come and go: at the bound, who has no vote now makes room."""
    kept = [org for org in others if is_voter(state, org)] if len(others) == MEMBERS_MAX else others
    return tuple(sorted((*kept, sender)))


def _is_wanted(state: State, candidate: Candidate) -> bool:
    """More than two thirds of those who vote now."""
    return 3 * _approvals(state, candidate) > 2 * state.need(League, LEAGUE).voters


def _approvals(state: State, candidate: Candidate) -> int:
    """How many who vote now approved; who did and left since is not counted."""
    return sum(is_voter(state, org) for org in candidate.approvals)


def _admit(state: State, context: BlockContext, org: bytes, candidate: Candidate) -> None:
    epoch = state.need(Election, ELECTION).epoch
    league = state.need(League, LEAGUE)
    state.delete(candidate_key(org))
    member = Member(candidate.name, candidate.addresses, context.height, epoch, candidate.key, candidate.roles, 0)
    state.put(member_key(org), member)
    take_key(state, org, candidate.key, context.height + 1)
    # Newcomers begin at zero and who comes back with its old record: under a new name nothing is gained.
    if state.get(Standing, standing_key(org)) is None:
        state.put(standing_key(org), Standing(0, 0, 0, 0, 0, 0, 0))
    if state.get(Former, former_key(org)) is not None:
        state.delete(former_key(org))
    league = replace(league, members=league.members + 1, candidates=league.candidates - 1)
    state.put(LEAGUE, with_voters(league, int(candidate.roles != 0), context.height))


def with_voters(league: League, more: int, height: int) -> League:
    """So many voters more, or fewer."""
    return replace(league, voters=league.voters + more, electorate_height=height) if more else league


def admit_wanted(state: State, context: BlockContext) -> bool:
    """Let in a candidate that enough of the present voters want, after some have gone; whether there was one."""
    for org, candidate in state.scan(Candidate, CANDIDATES):
        if _is_wanted(state, candidate):
            _admit(state, context, org, candidate)
            return True
    return False


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
