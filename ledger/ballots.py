"""Ballots: a motion, who supports it, and the moment when more than two thirds of the voters do.

What passes leaves a `Decision`, which can be proven; what does not is forgotten when its time is over. Who supports a
motion and has no vote any more when it is counted does not count.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ledger.entries import LEAGUE, League
from ledger.errors import InvalidTransaction
from ledger.governance import basis_of, carry_out, check_motion
from ledger.league_entries import BALLOTS, Ballot, Decision, ballot_key, decision_key
from ledger.membership import is_voter, with_voice
from ledger.motions import Expel, Motion
from ledger.state import BlockContext, State
from ledger.statements import OpenBallot, Support
from ledger.types import Hash32, OrgId

# One voice against one is no majority: in a league of two neither puts the other out.
EXPELLING_VOICES_MIN = 2


def voices_needed(state: State, motion: Motion) -> int:
    """How many voters must support a motion now: more than two thirds; the accused of an expulsion is left out."""
    voters = state.need(League, LEAGUE).voters
    if not isinstance(motion, Expel):
        return 2 * voters // 3 + 1
    others = voters - int(is_voter(state, motion.org))
    return max(2 * others // 3 + 1, EXPELLING_VOICES_MIN)


def voices(state: State, ballot: Ballot) -> tuple[OrgId, ...]:
    """Who supports a ballot and has a vote now."""
    accused = ballot.motion.org if isinstance(ballot.motion, Expel) else None
    return tuple(OrgId(org) for org in ballot.supporters if org != accused and is_voter(state, org))


def open_ballot(state: State, context: BlockContext, sender: OrgId, ballot_id: Hash32, body: OpenBallot) -> None:
    """Put a motion; who does supports it, so alone in a league it decides at once."""
    limits, league = context.parameters, state.need(League, LEAGUE)
    check_motion(state, context, sender, body.motion)
    others = state.scan(Ballot, BALLOTS) if league.ballots else []
    basis = basis_of(state, body.motion)
    for other_id, other in others:
        # One that was put before things changed can come to nothing only: it does not stand in the way of a new one.
        if (other.motion, other.basis) == (body.motion, basis):
            raise InvalidTransaction("open", f"ballot {other_id.hex()[:16]} is open on this very motion: support it")
    own = sum(other.opener == sender for _, other in others)
    if own >= limits.ballots_per_member_max:
        raise InvalidTransaction("full", f"{own} ballots of the sender are open, want them decided or expired first")
    # Whatever the parameters say, a third of the voters with a ballot each do not fill all places.
    if len(others) >= max(limits.ballots_open_max, league.voters // 3 + 1):
        _close(state, _least_wanted(state, others, own))
        league = state.need(League, LEAGUE)
    expires = context.height + limits.ballot_expiry_heights
    ballot = Ballot(sender, body.motion, context.height, expires, (sender,), basis)
    state.put(ballot_key(ballot_id), ballot)
    state.put(LEAGUE, replace(league, ballots=league.ballots + 1))
    _decide(state, context, ballot_id, ballot)


def _least_wanted(state: State, others: Sequence[tuple[bytes, Ballot]], own: int) -> bytes:
    """Which ballot makes room: of who has most of them open, the one with the fewest voices, then the oldest.

    Only for a member that has fewer open, this one included: some members, however they take turns, do not keep the
    others from putting anything. Raises InvalidTransaction.
    """
    counts = Counter(other.opener for _, other in others)
    most = max(counts.values())
    if most <= own + 1:
        raise InvalidTransaction("full", f"{len(others)} ballots are open already, {own} of them of the sender")
    least = (
        (len(voices(state, other)), other.opened_height, ballot_id)
        for ballot_id, other in others
        if counts[other.opener] == most
    )
    return min(least)[2]


def support(state: State, context: BlockContext, sender: OrgId, body: Support) -> None:
    """One voter's yes; the one that makes it more than two thirds carries the motion out."""
    ballot = state.get(Ballot, ballot_key(body.ballot))
    if ballot is None:
        raise InvalidTransaction("ballot", f"no ballot {body.ballot.hex()[:16]} is open")
    if sender in ballot.supporters:
        raise InvalidTransaction("supported", "the sender supports this ballot already")
    if isinstance(ballot.motion, Expel) and ballot.motion.org == sender:
        raise InvalidTransaction("accused", "the accused has no say in its expulsion")
    ballot = replace(ballot, supporters=with_voice(state, ballot.supporters, sender))
    state.put(ballot_key(body.ballot), ballot)
    _decide(state, context, body.ballot, ballot)


def _decide(state: State, context: BlockContext, ballot_id: bytes, ballot: Ballot) -> bool:
    """Carry a motion out when it has passed; whether it has."""
    carried = voices(state, ballot)
    if len(carried) < voices_needed(state, ballot.motion):
        return False
    _close(state, ballot_id)
    if basis_of(state, ballot.motion) == ballot.basis:
        moot = carry_out(state, context, ballot.motion)
    else:
        moot = "what it was to change has changed since it was opened"
    decision = Decision(ballot.opener, ballot.motion, ballot.opened_height, context.height, carried, moot)
    state.put(decision_key(ballot_id), decision)
    return True


def _close(state: State, ballot_id: bytes) -> None:
    league = state.need(League, LEAGUE)
    state.delete(ballot_key(ballot_id))
    state.put(LEAGUE, replace(league, ballots=league.ballots - 1))


def decide_carried(state: State, context: BlockContext) -> bool:
    """Decide a ballot that the present voters carry, after some have gone; whether there was one."""
    return any(_decide(state, context, ballot_id, ballot) for ballot_id, ballot in state.scan(Ballot, BALLOTS))


def forget_expired_ballots(state: State, height: int) -> None:
    """What too few wanted in time makes room for others."""
    if not state.need(League, LEAGUE).ballots:
        return
    for ballot_id, ballot in state.scan(Ballot, BALLOTS):
        if ballot.expires_height <= height:
            _close(state, ballot_id)
