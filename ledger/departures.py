"""Who goes: a member that leaves or is expelled, and one whose roles change. What is begun with it is settled.

Its account, standing and keys stay on the ledger, so that it can be held to what it did and comes back as who it was.
"""

from dataclasses import replace

from ledger.entries import LEAGUE, Account, League, Member, Standing, account_key, member_key, standing_key
from ledger.errors import InvalidTransaction
from ledger.keyring import give_up_key
from ledger.league_entries import Cause, Former, former_key
from ledger.membership import is_member, with_voters
from ledger.requests import end_requests_of, open_requests_of, withdraw_provider
from ledger.rewards import deposit, withdraw
from ledger.roles import Role
from ledger.state import BlockContext, State
from ledger.statements import LeaveLeague
from ledger.types import OrgId


def leave(state: State, context: BlockContext, sender: OrgId, body: LeaveLeague) -> None:
    """The sender is no member from here on; rounds that it delivered to are still paid into its account."""
    own = open_requests_of(state, sender)
    if own:
        raise InvalidTransaction("requests", f"{len(own)} requests of the sender are open: cancel them first")
    if leaves_no_voter(state, sender):
        raise InvalidTransaction("last", "nobody would be left to vote: the last member that is no observer stays")
    if body.beneficiary != sender:
        if not is_member(state, body.beneficiary):
            raise InvalidTransaction("recipient", f"{body.beneficiary.hex()[:16]} is no member")
        balance = state.need(Account, account_key(sender)).balance
        withdraw(state, sender, balance)
        deposit(state, body.beneficiary, balance)
    remove(state, context, sender, Cause.LEFT)


def expel(state: State, context: BlockContext, org: bytes) -> None:
    """A member is put out: its open requests end as cancelled, its reputation is gone."""
    remove(state, context, org, Cause.EXPELLED)
    end_requests_of(state, context, org)
    standing = state.need(Standing, standing_key(org))
    state.put(standing_key(org), replace(standing, reputation=0))


def remove(state: State, context: BlockContext, org: bytes, cause: Cause) -> None:
    """Its seat, when it has one, ends with this block: see `election.close_height`."""
    member = state.need(Member, member_key(org))
    state.delete(member_key(org))
    give_up_key(state, member.key, context.height)
    state.put(former_key(org), Former(member.name, member.key, context.height, cause))
    league = state.need(League, LEAGUE)
    league = replace(league, members=league.members - 1)
    state.put(LEAGUE, with_voters(league, -int(member.roles != 0), context.height))
    withdraw_provider(state, context, org, "left the league" if cause is Cause.LEFT else "was expelled")


def change_roles(state: State, context: BlockContext, org: bytes, roles: int) -> None:
    """Requests that it published go on; offers of who is no provider any more do not."""
    member = state.need(Member, member_key(org))
    state.put(member_key(org), replace(member, roles=roles))
    more = int(roles != 0) - int(member.roles != 0)
    state.put(LEAGUE, with_voters(state.need(League, LEAGUE), more, context.height))
    if not roles & Role.PROVIDER:
        withdraw_provider(state, context, org, "is no provider any more")


def leaves_no_voter(state: State, org: bytes) -> bool:
    """Whether the league would have nobody to vote without this member."""
    member = state.get(Member, member_key(org))
    return member is not None and member.roles != 0 and state.need(League, LEAGUE).voters == 1
