"""Roles: who asks, who offers, and who only looks on; whoever looks on holds no seat and decides nothing."""

from dataclasses import replace

import pytest

from ledger.motions import ChangeRoles
from ledger.roles import EVERY_ROLE, Role, role_names, roles_of
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, RegisterMember, Support
from ledger.transactions import JoinRequest, PublishRequest, SkipNonce, Transfer
from tests.support.league import League, anchored, founders, genesis_of, terms
from tests.support.members import approve, carry, factory, let_in, member, put, totals

REQUESTER, PROVIDER = int(Role.REQUESTER), int(Role.PROVIDER)


def test_roles_have_names():
    for roles in range(4):
        assert roles_of(role_names(roles)) == roles
    for wrong in ([], ["king"], ["observer", "provider"]):
        with pytest.raises(ValueError, match="want requester, provider"):
            roles_of(wrong)


def test_a_requester_asks_and_a_provider_offers():
    league = League(4)
    alice = league.keys[0]
    asks = let_in(league, factory("asks"), REQUESTER).node
    offers = let_in(league, factory("offers"), PROVIDER).node
    assert league.refusal(asks, anchored(1)) == "role"
    assert league.refusal(offers, PublishRequest(terms())) == "role"
    league.say((alice, Transfer(league.chain.org_of(asks.public) or b"", 20_000, "")), (offers, anchored(1)))
    request = league.publish(asks, terms())
    assert league.refusal(asks, JoinRequest(request, "vibration", 1, ())) == "role"
    league.join(request, [offers])


def test_an_observer_follows_and_pays_and_leaves_and_that_is_all():
    league = League(4)
    alice = league.keys[0]
    eve = let_in(league, factory("eve"), roles=0)
    grace = factory("grace")
    league.say((grace.identity, grace.registration(league)), (alice, Transfer(eve.org, 9, "")))
    ballot = put(league, alice, ChangeRoles(eve.org, PROVIDER))
    for body in (
        anchored(1),
        PublishRequest(terms()),
        ApproveMember(grace.org),
        OpenBallot(ChangeRoles(alice.org, 0)),
        Support(ballot),
    ):
        assert league.refusal(eve.node, body) == "role"
    for body in (Transfer(alice.org, 9, ""), SkipNonce(), LeaveLeague(alice.org), league.equivocation(alice)):
        assert league.refusal(eve.node, body) == "accepted"


def test_an_observer_holds_no_seat_and_is_not_counted_among_the_voters():
    league = League(3)
    eve = let_in(league, factory("eve"), roles=0)
    assert (totals(league).members, totals(league).voters) == (4, 3)
    for _ in range(8):
        league.commit()
        assert eve.node.public not in league.chain.committee().members
    grace = factory("grace")
    league.say((grace.identity, grace.registration(league)))
    approve(league, grace.org)  # three of three voters, not of four members
    assert totals(league).voters == 4


def test_roles_change_by_ballot_and_with_them_the_seat():
    league = League(5)
    bob = league.key(league.chain.committee().members[0])
    carry(league, ChangeRoles(bob.org, 0))
    assert bob.public not in league.chain.committee().members
    assert totals(league).voters == 4
    assert league.is_member(bob)
    carry(league, ChangeRoles(bob.org, EVERY_ROLE))
    assert totals(league).voters == 5
    assert member(league, bob.org).roles == EVERY_ROLE


def test_a_league_founded_with_observers_seats_the_others():
    keys = founders(5)
    genesis = genesis_of(keys)
    watching = replace(genesis, members=(replace(genesis.members[0], roles=0), *genesis.members[1:]))
    assert keys[0].public not in watching.committee.members
    assert len(watching.committee.members) == 4


def test_a_candidate_names_the_roles_it_asks_for():
    league = League(4)
    eve = league.stranger("eve")
    league.say((eve, RegisterMember("eve", (), roles=PROVIDER)))
    approve(league, eve.org)
    assert member(league, eve.org).roles == PROVIDER
