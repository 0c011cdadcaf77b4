"""Proof that somebody contradicted itself, and what it costs: reputation, tokens, a seat for some epochs."""

from dataclasses import replace

from ledger.certificates import check_equivocation
from ledger.entries import ELECTION, Account, Election, Standing, account_key, standing_key
from ledger.errors import InvalidCertificate, InvalidTransaction
from ledger.league_entries import KeyOwner, key_owner_key
from ledger.rewards import deposit, withdraw
from ledger.state import BlockContext, State
from ledger.transactions import ReportEquivocation
from ledger.types import MICRO, OrgId

# How old a crime may be. As far as a light client skips: so long a signature of a committee must have its price, and
# older ones a thief of a key that was given up long ago cannot make up either.
EVIDENCE_HEIGHTS_MAX = 100_000


def punish(state: State, context: BlockContext, body: ReportEquivocation) -> None:
    """One punishment covers all that was done before it; under a key given up, and after leaving, it hits as well."""
    try:
        key = check_equivocation(context.chain_id, body.evidence)
    except InvalidCertificate as error:
        raise InvalidTransaction("evidence", str(error)) from None
    owner = state.get(KeyOwner, key_owner_key(key))
    if owner is None:
        raise InvalidTransaction("evidence", f"{key.hex()[:16]} is no key of a member")
    guilty = OrgId(owner.org)
    standing = state.need(Standing, standing_key(guilty))
    height = body.evidence.first.subject.height
    # What is signed with a key after it was given up is a thief's, and costs its owner nothing.
    latest = min(context.height, owner.until_height or context.height)
    earliest = max(standing.punished_height + 1, context.height - EVIDENCE_HEIGHTS_MAX)
    if not earliest <= height <= latest:
        wanted = f"of {earliest} to {latest}" if earliest <= latest else "none: its key was given up before"
        raise InvalidTransaction("evidence", f"evidence of height {height}, want one {wanted}")
    election = state.need(Election, ELECTION)
    jailed = max(standing.jailed_until_epoch, election.epoch + 1 + context.parameters.jail_epochs)
    punished = replace(standing, reputation=0, jailed_until_epoch=jailed, punished_height=context.height)
    state.put(standing_key(guilty), punished)
    _slash(state, context, guilty, [OrgId(seat.org) for seat in election.seats if seat.org != guilty])


def _slash(state: State, context: BlockContext, guilty: OrgId, others: list[OrgId]) -> None:
    """A share of the balance goes to the others on the committee, in equal parts; whoever reports it earns nothing."""
    balance = state.need(Account, account_key(guilty)).balance
    part = balance * context.parameters.slash_share // MICRO // len(others) if others else 0
    withdraw(state, guilty, part * len(others))
    for org in others:
        deposit(state, org, part)
