"""What a motion needs to be put, and what it does once it has passed; parameters and protocols that wait for a height.

No organisation decides alone: everything here happens by a ballot. How one runs is `ballots.py`'s business.
"""

from dataclasses import replace

from ledger.codec import digest, encode
from ledger.departures import change_roles, expel, leaves_no_voter
from ledger.entries import ELECTION, Election, Member, Standing, member_key, standing_key
from ledger.errors import InvalidTransaction
from ledger.league_entries import (
    PARAMETERS,
    PROTOCOL,
    SCHEDULE,
    SCHEDULED_MAX,
    Protocol,
    Schedule,
    ScheduledParameters,
    ScheduledProtocol,
)
from ledger.motions import ActivateProtocol, ChangeParameters, ChangeRoles, Expel, Motion, Pardon
from ledger.parameters import LeagueParameters, contradiction
from ledger.state import BlockContext, State
from ledger.types import Hash32, OrgId

# So far ahead of the block that it is put in, or passes in, a change may begin at the earliest: nobody is surprised by
# rules that hold for what it has just signed.
NOTICE_HEIGHTS = 8


def check_motion(state: State, context: BlockContext, opener: OrgId, motion: Motion) -> None:
    """Raises InvalidTransaction when the motion could never be carried out, or says nothing new."""
    match motion:
        case Expel():
            _need_member(state, motion.org)
            if motion.org == opener:
                raise InvalidTransaction("accused", "nobody expels itself: LeaveLeague is for that")
        case ChangeRoles():
            member = _need_member(state, motion.org)
            if member.roles == motion.roles:
                raise InvalidTransaction("roles", f"{member.name!r} has these roles already")
            if motion.roles == 0 and leaves_no_voter(state, motion.org):
                raise InvalidTransaction("last", "nobody would be left to vote")
        case Pardon():
            standing = state.get(Standing, standing_key(motion.org))
            if standing is None or standing.jailed_until_epoch <= state.need(Election, ELECTION).epoch:
                raise InvalidTransaction("jail", f"{motion.org.hex()[:16]} is not jailed")
        case ChangeParameters():
            wrong = contradiction(motion.parameters)
            if wrong is not None:
                raise InvalidTransaction("parameters", wrong)
            _check_ballots_go_on(context, motion.parameters)
            _check_notice(context, motion.from_height)
        case ActivateProtocol():
            following = state.need(Protocol, PROTOCOL).version + 1
            if motion.version != following:
                raise InvalidTransaction("version", f"protocol {motion.version}, the next one is {following}")
            _check_notice(context, motion.from_height)


def _need_member(state: State, org: bytes) -> Member:
    member = state.get(Member, member_key(org))
    if member is None:
        raise InvalidTransaction("member", f"{org.hex()[:16]} is no member")
    return member


def _check_ballots_go_on(context: BlockContext, parameters: LeagueParameters) -> None:
    """What founders put into their genesis may stay, but not become less."""
    heights, before = parameters.ballot_expiry_heights, context.parameters.ballot_expiry_heights
    least = min(context.rules.ballot_expiry_least, before)
    if heights < least:
        raise InvalidTransaction("parameters", f"ballot_expiry_heights {heights}, want at least {least}")


def _check_notice(context: BlockContext, from_height: int) -> None:
    earliest = context.height + NOTICE_HEIGHTS
    if from_height < earliest:
        raise InvalidTransaction("height", f"from height {from_height} on, the earliest is {earliest}")


def basis_of(state: State, motion: Motion) -> Hash32:
    """What a motion would change, as it is now: who supported it did not mean anything else."""
    match motion:
        case Expel() | ChangeRoles():
            member = state.get(Member, member_key(motion.org))
            seen = b"" if member is None else encode(replace(member, key=bytes(32), rotated_until=0))
        case Pardon():
            standing = state.get(Standing, standing_key(motion.org))
            seen = b"" if standing is None else str(standing.jailed_until_epoch).encode()
        case ChangeParameters():
            seen = encode(_last_decided(state))
        case ActivateProtocol():
            seen = encode(state.need(Protocol, PROTOCOL))
    return digest("hanse/basis", seen)


def _last_decided(state: State) -> LeagueParameters:
    changes = state.need(Schedule, SCHEDULE).changes
    return changes[-1].parameters if changes else state.need(LeagueParameters, PARAMETERS)


def carry_out(state: State, context: BlockContext, motion: Motion) -> str:
    """Do what was decided. Returns why nothing came of it, empty when something did."""
    match motion:
        case Expel():
            expel(state, context, motion.org)
        case ChangeRoles():
            if motion.roles == 0 and leaves_no_voter(state, motion.org):
                return "nobody would be left to vote"
            change_roles(state, context, motion.org, motion.roles)
        case Pardon():
            standing = state.need(Standing, standing_key(motion.org))
            state.put(standing_key(motion.org), replace(standing, jailed_until_epoch=0))
        case ChangeParameters():
            return _schedule(state, _from_height(context, motion.from_height), motion.parameters)
        case ActivateProtocol():
            upcoming = ScheduledProtocol(_from_height(context, motion.from_height), motion.version)
            state.put(PROTOCOL, replace(state.need(Protocol, PROTOCOL), scheduled=upcoming))
    return ""


def _from_height(context: BlockContext, wanted: int) -> int:
    """Ballots take their time: what passes late begins as much later."""
    return max(wanted, context.height + NOTICE_HEIGHTS)


def _schedule(state: State, from_height: int, parameters: LeagueParameters) -> str:
    """What is newly decided takes the place of all that was to begin with it or after it."""
    earlier = [each for each in state.need(Schedule, SCHEDULE).changes if each.from_height < from_height]
    if len(earlier) == SCHEDULED_MAX:
        return f"{SCHEDULED_MAX} changes wait for their heights already"
    state.put(SCHEDULE, Schedule((*earlier, ScheduledParameters(from_height, parameters))))
    return ""


def enter_height(state: State, height: int) -> tuple[LeagueParameters, Protocol]:
    """What holds at this height: parameters and protocol whose time has come take effect."""
    schedule = state.need(Schedule, SCHEDULE)
    due = [each for each in schedule.changes if each.from_height <= height]
    if due:
        state.put(PARAMETERS, due[-1].parameters)
        state.put(SCHEDULE, Schedule(schedule.changes[len(due) :]))
    protocol = state.need(Protocol, PROTOCOL)
    if protocol.scheduled is not None and protocol.scheduled.from_height <= height:
        protocol = Protocol(protocol.scheduled.version, protocol.scheduled.from_height, None)
        state.put(PROTOCOL, protocol)
    return state.need(LeagueParameters, PARAMETERS), protocol
