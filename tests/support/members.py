"""Factories whose identity is kept apart from what their node signs with, let in, voting and leaving, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.entries import ELECTION, LEAGUE, Account, Election, Member, Standing, account_key, member_key, standing_key
from ledger.entries import League as Totals
from ledger.keys import KeyPair
from ledger.motions import Expel, Motion
from ledger.roles import EVERY_ROLE
from ledger.statements import ApproveMember, OpenBallot, RegisterMember, RotateKey, Support, prove_key
from ledger.types import Hash32, OrgId
from tests.support.league import League, key_of


@dataclass
class Factory:
    """An organisation from outside: `identity` is cold, `node` signs from day to day."""

    name: str
    identity: KeyPair
    node: KeyPair

    @property
    def org(self) -> OrgId:
        return self.identity.org

    def registration(self, league: League, roles: int = EVERY_ROLE) -> RegisterMember:
        proof = prove_key(self.node, league.chain.chain_id, self.org)
        return RegisterMember(self.name, (), self.node.public, proof, roles)

    def rotation(self, league: League, new: KeyPair) -> RotateKey:
        return RotateKey(new.public, prove_key(new, league.chain.chain_id, self.org))

    def rotate(self, league: League, number: int = 1) -> KeyPair:
        """A new node key, final; returns the old one."""
        old, new = self.node, key_of(f"node {number} of {self.name}")
        league.keys.append(new)
        league.say((self.identity, self.rotation(league, new)))
        self.node = new
        return old


def factory(name: str) -> Factory:
    return Factory(name, key_of(f"identity of {name}"), key_of(f"node 0 of {name}"))


def let_in(league: League, one: Factory, roles: int = EVERY_ROLE) -> Factory:
    """Register and approve; the league's founders must be voters."""
    if one.node not in league.keys:
        league.keys.append(one.node)
    league.say((one.identity, one.registration(league, roles)))
    approve(league, one.org)
    return one


def approve(league: League, org: OrgId) -> None:
    needed = 2 * totals(league).voters // 3 + 1
    league.say(*[(key, ApproveMember(org)) for key in voters(league)[:needed]])


def voters(league: League) -> list[KeyPair]:
    """Node keys of the members that are no observers, ascending by organisation."""
    return [league.key(member.key) for _, member in league.chain.members() if member.roles]


def put(league: League, opener: KeyPair, motion: Motion) -> Hash32:
    """Open a ballot; its id."""
    return league.say((opener, OpenBallot(motion))).block.transactions[0].id


def carry(league: League, motion: Motion, by: Sequence[KeyPair] | None = None) -> Hash32:
    """Open a ballot and support it until it is decided; `by`: who does, all voters but the accused unless told."""
    accused = motion.org if isinstance(motion, Expel) else None
    willing = list(by or [key for key in voters(league) if league.chain.org_of(key.public) != accused])
    ballot = put(league, willing[0], motion)
    for key in willing[1:]:
        if league.refusal(key, Support(ballot)) != "accepted":
            break
        league.say((key, Support(ballot)))
    return ballot


def totals(league: League) -> Totals:
    found = league.chain.read(Totals, LEAGUE)
    assert found is not None
    return found


def election(league: League) -> Election:
    found = league.chain.read(Election, ELECTION)
    assert found is not None
    return found


def member(league: League, org: bytes) -> Member:
    found = league.chain.read(Member, member_key(org))
    assert found is not None
    return found


def balance(league: League, org: bytes) -> int:
    found = league.chain.read(Account, account_key(org))
    return found.balance if found else 0


def standing(league: League, org: bytes) -> Standing:
    found = league.chain.read(Standing, standing_key(org))
    assert found is not None
    return found
