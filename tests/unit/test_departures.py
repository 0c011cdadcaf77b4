"""Leaving, being put out, and coming back as who one was; what was begun is settled, and no seat stays behind."""

import pytest

from ledger.entries import FINAL_STAGES, Fate, Stage
from ledger.league_entries import Cause, Former, KeyOwner, former_key, key_owner_key
from ledger.motions import ChangeRoles, Expel
from ledger.roles import Role
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, RegisterMember
from ledger.transactions import CancelRequest, JoinRequest, PublishRequest, Transfer
from tests.support.league import BALANCE, League, anchored, key_of, terms
from tests.support.members import (
    Factory,
    approve,
    balance,
    carry,
    election,
    factory,
    let_in,
    member,
    standing,
    totals,
    voters,
)
from tests.support.request_story import Story


def former(league: League, org: bytes) -> Former:
    found = league.chain.read(Former, former_key(org))
    assert found is not None
    return found


# --- leaving


def test_who_leaves_is_no_member_and_takes_its_tokens_along_or_leaves_them_to_somebody():
    league = League(5)
    alice, bob, carol, *_ = league.keys
    league.say((alice, LeaveLeague(carol.org)), (bob, LeaveLeague(bob.org)))
    assert not league.is_member(alice)
    assert not league.is_member(bob)
    assert (league.balance(alice), league.balance(bob), league.balance(carol)) == (0, BALANCE, 2 * BALANCE)
    assert (totals(league).members, totals(league).voters) == (3, 3)
    assert former(league, alice.org) == Former("factory 0", alice.org, league.chain.height, Cause.LEFT)
    for body in (anchored(1), Transfer(carol.org, 1, ""), LeaveLeague(carol.org)):
        assert league.refusal(bob, body) == "member"
    assert league.refusal(carol, Transfer(bob.org, 1, "")) == "recipient"


def test_tokens_are_not_left_to_who_could_not_spend_them():
    league = League(4)
    assert league.refusal(league.keys[0], LeaveLeague(key_of("stranger").org)) == "recipient"


@pytest.mark.parametrize("members", range(1, 9))
def test_the_seat_of_who_leaves_is_nobodys_from_the_next_height_on(members: int):
    league = League(members)
    goer = league.key(league.chain.committee().members[0])
    if members == 1:
        assert league.refusal(goer, LeaveLeague(goer.org)) == "last"
        return
    epoch = election(league).epoch
    league.say((goer, LeaveLeague(goer.org)))
    seats = election(league).seats
    assert goer.org not in {seat.org for seat in seats}
    assert goer.public not in league.chain.committee().members
    assert (election(league).epoch, election(league).epoch_start) == (epoch + 1, league.chain.height + 1)
    assert goer.org not in election(league).skipped
    league.commit()


def test_who_leaves_in_its_own_block_or_at_the_end_of_an_epoch_leaves_all_the_same():
    league = League(4)
    while league.chain.height % 4 != 3:
        league.commit()
    author = league.key(league.chain.leaders()[0])
    league.say((author, LeaveLeague(author.org)))
    assert author.public not in league.chain.committee().members
    again = league.reopened()
    assert again.committee() == league.chain.committee()
    again.check(league.build([], league.now + 1))


def test_a_leader_that_failed_and_leaves_in_the_same_block_is_charged_and_gone():
    league = League(7)
    dead = league.key(league.chain.leaders()[0])
    league.say((dead, LeaveLeague(dead.org)), failed_views=1)
    assert standing(league, dead.org).reputation < 500_000
    assert dead.org not in election(league).skipped


def test_a_member_without_a_seat_leaves_and_the_epoch_goes_on():
    league = League(5)
    goer = next(key for key in league.keys if key.org not in league.chain.seated())
    epoch = election(league).epoch
    league.say((goer, LeaveLeague(goer.org)))
    assert election(league).epoch == epoch


def test_the_last_one_that_votes_stays():
    league = League(3)
    last, *others = league.keys
    for key in others:
        carry(league, ChangeRoles(key.org, 0))
    assert league.refusal(last, LeaveLeague(last.org)) == "last"
    assert league.refusal(last, OpenBallot(ChangeRoles(last.org, 0))) == "last"
    league.say((others[0], LeaveLeague(last.org)))
    assert league.chain.seated() == (last.org,)


def test_who_has_requests_open_cancels_them_first():
    story = Story()
    league = story.league
    assert league.refusal(story.alice, LeaveLeague(story.alice.org)) == "requests"
    league.say((story.alice, CancelRequest(story.id)))
    assert league.refusal(story.alice, LeaveLeague(story.alice.org)) == "accepted"


# --- rounds that it took part in


def test_a_provider_that_leaves_is_not_waited_for_and_not_invited_again():
    story = Story(rounds_max=2)
    league = story.league
    stayers = [story.carol, story.dave]
    league.announce(story.id, stayers)
    assert story.stage is Stage.TRAINING
    league.say((story.bob, LeaveLeague(story.bob.org)))
    assert story.stage is Stage.ATTESTING
    league.attest(story.id, stayers)
    league.aggregate(story.id)
    [line] = [line for line in league.receipt(story.id, 1).lines if line.org == story.bob.org]
    assert (line.fate, line.reason, line.paid) == (Fate.DECLINED, "left the league", 0)
    assert [part.org for part in league.round(story.id).participants] == sorted(key.org for key in stayers)


def test_what_it_delivered_before_it_left_is_paid_into_its_account():
    story = Story()
    league = story.league
    league.announce(story.id, story.providers)
    league.say((story.bob, LeaveLeague(story.alice.org)))
    league.attest(story.id, story.providers, by=[story.alice, story.carol, story.dave])
    before = standing(league, story.bob.org)
    league.aggregate(story.id)
    assert balance(league, story.bob.org) == 200
    assert standing(league, story.bob.org).tokens_earned == 200
    assert standing(league, story.bob.org).reputation == before.reputation, "who is gone earns tokens only"


def test_when_all_providers_leave_the_round_is_void_and_the_request_ends():
    story = Story()
    league = story.league
    for key in story.providers[:2]:
        league.say((key, LeaveLeague(key.org)))
    carry(league, ChangeRoles(story.dave.org, int(Role.REQUESTER)))
    assert story.stage in FINAL_STAGES
    assert balance(league, story.alice.org) == BALANCE


def test_an_offer_to_an_open_request_goes_with_who_made_it():
    story = Story(joined=False, providers_max=3)
    league = story.league
    league.say((story.bob, JoinRequest(story.id, "vibration", 100, ())))
    league.say((story.bob, LeaveLeague(story.bob.org)))
    assert league.request(story.id).providers == ()


# --- expulsion


def test_an_expelled_member_loses_seat_voice_and_reputation_and_keeps_its_tokens():
    league = League(5)
    accused = league.key(league.chain.committee().members[0])
    carry(league, Expel(accused.org, "sells records"))
    assert not league.is_member(accused)
    assert accused.public not in league.chain.committee().members
    assert standing(league, accused.org).reputation == 0
    assert league.balance(accused) == BALANCE
    assert former(league, accused.org).cause is Cause.EXPELLED
    assert league.refusal(accused, anchored(1)) == "member"


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.TRAINING])
def test_requests_of_the_expelled_end_as_cancelled_and_the_escrow_returns(stage: Stage):
    story = Story(joined=stage is Stage.TRAINING)
    carry(story.league, Expel(story.alice.org, "never pays"))
    assert story.stage is Stage.CANCELLED
    assert story.league.request(story.id).outcome == "the requester is no member any more"
    assert balance(story.league, story.alice.org) == BALANCE


def test_what_was_delivered_to_the_expelled_is_settled_first():
    story = Story()
    league = story.league
    league.announce(story.id, story.providers)
    carry(league, Expel(story.alice.org, "never pays"))
    assert story.stage is not Stage.CANCELLED
    league.attest(story.id, story.providers)
    league.aggregate(story.id)
    assert story.stage is Stage.CANCELLED
    assert [balance(league, key.org) for key in story.providers] == [BALANCE + 200] * 3
    assert balance(league, story.alice.org) == BALANCE - 600


# --- coming back


def test_who_comes_back_is_who_it_was():
    league = League(4)
    eve = let_in(league, factory("eve"))
    league.say((league.keys[0], Transfer(eve.org, 50, "")), (eve.node, anchored(1)))
    league.say((league.keys[0], league.equivocation(eve.node)))
    before, nonce = standing(league, eve.org), league.chain.next_nonce(eve.org)
    league.say((eve.node, LeaveLeague(eve.org)))
    kept = balance(league, eve.org)
    assert league.refusal(eve.node, eve.registration(league)) == "key", "a node's key is no identity"
    let_in(league, eve)
    assert standing(league, eve.org) == before
    assert standing(league, eve.org).jailed_until_epoch > election(league).epoch
    assert balance(league, eve.org) == kept
    assert league.chain.next_nonce(eve.org) == nonce + 2, "leaving and registering are counted"
    assert league.chain.read(Former, former_key(eve.org)) is None
    assert member(league, eve.org).key == eve.node.public
    assert league.refusal(league.keys[0], league.equivocation(eve.node, height=3)) == "evidence", "paid for already"
    league.say((eve.node, anchored(2)))


def test_the_name_of_a_former_member_is_kept_for_it():
    league = League(4)
    eve = let_in(league, factory("eve"))
    league.say((eve.identity, LeaveLeague(eve.org)))
    grace = factory("grace")
    named = Factory("eve", grace.identity, grace.node)
    assert league.refusal(grace.identity, named.registration(league)) == "name"
    assert league.refusal(eve.identity, eve.registration(league)) == "accepted"


def test_who_comes_back_under_another_name_gives_up_the_old_one():
    league = League(4)
    eve = let_in(league, factory("eve"))
    league.say((eve.identity, LeaveLeague(eve.org)))
    let_in(league, Factory("eve & sons", eve.identity, eve.node))
    assert league.refusal(key_of("grace"), RegisterMember("eve", ())) == "accepted"


def test_who_comes_back_brings_its_last_key_or_a_new_one_and_none_that_it_gave_up():
    league = League(4)
    eve = let_in(league, factory("eve"))
    first = eve.rotate(league)
    last = eve.node
    league.say((eve.node, LeaveLeague(eve.org)))
    old = Factory("eve", eve.identity, first)
    assert league.refusal(eve.identity, old.registration(league)) == "key"
    fresh = Factory("eve", eve.identity, key_of("fresh"))
    assert league.refusal(eve.identity, fresh.registration(league)) == "accepted"
    let_in(league, eve)
    assert member(league, eve.org).key == last.public
    owner = league.chain.read(KeyOwner, key_owner_key(last.public))
    assert owner is not None
    assert owner.until_height == 0


def test_a_single_key_leaves_and_comes_back():
    league = League(5)
    alice, *others = league.keys
    league.say((alice, LeaveLeague(alice.org)))
    league.say((alice, RegisterMember("factory 0", ())))
    league.say(*[(key, ApproveMember(alice.org)) for key in others[:3]])
    assert league.is_member(alice)
    league.say((alice, anchored(1)))


def test_the_expelled_needs_the_approval_of_the_others_like_any_stranger():
    league = League(4)
    eve = let_in(league, factory("eve"))
    carry(league, Expel(eve.org, "sells records"))
    league.say((eve.identity, eve.registration(league)))
    assert league.refusal(eve.node, anchored(1)) == "member"
    approve(league, eve.org)
    assert standing(league, eve.org).reputation == 0


def test_a_request_of_who_is_no_requester_any_more_goes_on():
    story = Story()
    carry(story.league, ChangeRoles(story.alice.org, int(Role.PROVIDER)))
    assert story.stage is Stage.TRAINING
    assert story.league.refusal(story.alice, PublishRequest(terms())) == "role"
    assert story.league.refusal(story.alice, CancelRequest(story.id)) == "accepted"


@pytest.mark.parametrize("blocks_before", range(4))
def test_who_leaves_and_comes_back_in_one_block_sits_with_the_key_it_has_now(blocks_before: int):
    league = League(4)
    bob = Factory("factory 0", league.keys[0], league.keys[0])
    old = bob.rotate(league)
    for _ in range(blocks_before):
        league.commit()
    bob.node = key_of("bob's other machine")
    league.keys.append(bob.node)
    others = [key for key in voters(league) if league.chain.org_of(key.public) != bob.org]
    league.say(
        (bob.identity, LeaveLeague(bob.org)),
        (bob.identity, bob.registration(league)),
        *[(key, ApproveMember(bob.org)) for key in others],
    )
    assert {seat.org: seat.key for seat in election(league).seats} == {
        org: member.key for org, member in league.chain.members()
    }
    assert old.public not in league.chain.committee().members
    league.commit()
