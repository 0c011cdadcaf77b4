"""Ballots: more than two thirds of who votes when it is counted, one voice each, and no organisation above others."""

from dataclasses import replace

import pytest

from ledger.ballots import voices, voices_needed
from ledger.codec import encode
from ledger.entries import MEMBERS, Candidate, Member, candidate_key
from ledger.league_entries import BALLOTS, Ballot, Decision, ballot_key, decision_key
from ledger.motions import ChangeParameters, ChangeRoles, Expel, Pardon
from ledger.parameters import LeagueParameters
from ledger.roles import Role
from ledger.state_tree import verify_present
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, Support
from ledger.types import MEMBERS_MAX, Hash32
from tests.support.league import League, key_of
from tests.support.members import carry, factory, let_in, member, put, totals, voters


def decision(league: League, ballot: bytes) -> Decision | None:
    return league.chain.read(Decision, decision_key(ballot))


def ballot_of(league: League, ballot: bytes) -> Ballot:
    found = league.chain.read(Ballot, ballot_key(ballot))
    assert found is not None
    return found


def reward(league: League, least: int = 7) -> ChangeParameters:
    return ChangeParameters(LeagueParameters(reward_min=least), league.chain.height + 100)


@pytest.mark.parametrize(("members", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7)])
def test_more_than_two_thirds_of_the_voters_decide(members: int, needed: int):
    league = League(members)
    motion = reward(league)
    ballot = put(league, league.keys[0], motion)
    for at, key in enumerate(league.keys[1:needed], start=2):
        assert decision(league, ballot) is None
        league.say((key, Support(ballot)))
        assert (decision(league, ballot) is not None) is (at == needed)
    passed = decision(league, ballot)
    assert passed is not None
    assert passed.supporters == tuple(key.org for key in league.keys[:needed])
    assert (passed.motion, passed.moot, passed.decided_height) == (motion, "", league.chain.height)
    assert league.chain.read(Ballot, ballot_key(ballot)) is None
    assert totals(league).ballots == 0


@pytest.mark.parametrize(("members", "needed"), [(3, 2), (4, 3), (5, 3), (6, 4), (7, 5)])
def test_the_accused_is_not_asked_and_not_counted(members: int, needed: int):
    league = League(members)
    *others, accused = league.keys
    ballot = put(league, others[0], Expel(accused.org, "sells records"))
    assert league.refusal(accused, Support(ballot)) == "accused"
    assert voices_needed(league.chain.state(), Expel(accused.org, "")) == needed
    for key in others[1:needed]:
        assert league.is_member(accused)
        league.say((key, Support(ballot)))
    assert not league.is_member(accused)


def test_of_two_members_neither_puts_the_other_out_and_nobody_itself():
    league = League(2)
    one, other = league.keys
    ballot = put(league, one, Expel(other.org, "quarrel"))
    assert league.is_member(other)
    assert league.refusal(other, Support(ballot)) == "accused"
    assert league.refusal(one, OpenBallot(Expel(one.org, "enough"))) == "accused"


def test_nobody_has_two_voices():
    league = League(4)
    ballot = put(league, league.keys[0], reward(league))
    assert league.refusal(league.keys[0], Support(ballot)) == "supported"
    league.say((league.keys[1], Support(ballot)))
    assert league.refusal(league.keys[1], Support(ballot)) == "supported"


def test_a_ballot_that_is_not_open_is_not_supported():
    league = League(4)
    assert league.refusal(league.keys[0], Support(bytes(32))) == "ballot"
    passed = carry(league, reward(league))
    assert league.refusal(league.keys[3], Support(passed)) == "ballot"


def test_who_has_no_vote_any_more_is_not_counted():
    league = League(7)
    leaver, demoted, *rest = league.keys
    motion = reward(league)
    ballot = put(league, leaver, motion)
    league.say((demoted, Support(ballot)), (rest[0], Support(ballot)), (rest[1], Support(ballot)))
    league.say((leaver, LeaveLeague(leaver.org)))
    carry(league, ChangeRoles(demoted.org, 0), by=[*rest, demoted])
    # Five vote now, two of the four supporters among them.
    assert set(voices(league.chain.state(), ballot_of(league, ballot))) == {rest[0].org, rest[1].org}
    league.say((rest[2], Support(ballot)))
    assert decision(league, ballot) is None
    league.say((rest[3], Support(ballot)))
    passed = decision(league, ballot)
    assert passed is not None
    assert passed.supporters == tuple(sorted(key.org for key in rest[:4]))


def test_what_the_remaining_voters_carry_is_decided_when_the_others_have_gone():
    league = League(7)
    goers, stayers = league.keys[:2], league.keys[2:]
    ballot = put(league, stayers[0], reward(league))
    league.say(*[(key, Support(ballot)) for key in stayers[1:4]])
    league.say((goers[0], LeaveLeague(goers[0].org)))
    assert decision(league, ballot) is None, "four of six"
    league.say((goers[1], LeaveLeague(goers[1].org)))
    assert decision(league, ballot) is not None, "four of five"


def test_a_candidate_that_the_remaining_voters_want_is_let_in_when_the_others_have_gone():
    league = League(7)
    goers, stayers = league.keys[:2], league.keys[2:]
    eve = factory("eve")
    league.say((eve.identity, eve.registration(league)))
    league.say(*[(key, ApproveMember(eve.org)) for key in stayers[:4]])
    league.say(*[(key, LeaveLeague(key.org)) for key in goers])
    assert member(league, eve.org).joined_height == league.chain.height
    assert totals(league).voters == 6


def test_what_too_few_support_is_forgotten_in_time_and_may_be_put_again():
    league = League(4, ballot_expiry_heights=8)
    motion = reward(league)
    ballot = put(league, league.keys[0], motion)
    assert league.refusal(league.keys[1], OpenBallot(motion)) == "open"
    for _ in range(7):
        league.commit()
    assert totals(league).ballots == 1
    league.commit()
    assert totals(league).ballots == 0
    assert league.refusal(league.keys[1], Support(ballot)) == "ballot"
    assert decision(league, ballot) is None
    assert league.refusal(league.keys[1], OpenBallot(motion)) == "accepted"


def test_one_members_ballots_leave_room_for_others():
    league = League(4, ballots_per_member_max=2, ballots_open_max=3)
    for least in (2, 3):
        put(league, league.keys[0], reward(league, least))
    assert league.refusal(league.keys[0], OpenBallot(reward(league, 4))) == "full"
    put(league, league.keys[1], reward(league, 5))
    assert league.refusal(league.keys[1], OpenBallot(reward(league, 6))) == "full"
    assert totals(league).ballots == len(list(league.chain.scan(Ballot, BALLOTS))) == 3


def test_some_members_do_not_keep_the_others_from_putting_anything():
    league = League(7, ballots_per_member_max=3, ballots_open_max=6)
    one, other, third, *_ = league.keys
    ballots = [
        put(league, key, reward(league, 10 * at + least)) for at, key in enumerate((one, other)) for least in (2, 3, 4)
    ]
    league.say((third, Support(ballots[0])))
    fresh = put(league, third, reward(league, 99))
    left = {ballot for ballot, _ in league.chain.scan(Ballot, BALLOTS)}
    assert left == {*ballots, fresh} - {ballots[1]}, "the oldest of those with the fewest voices, of who has most"
    put(league, third, reward(league, 98))
    assert league.refusal(third, OpenBallot(reward(league, 97))) == "full", "now all have as many"
    assert totals(league).ballots == 6


@pytest.mark.parametrize("members", [4, 7, 10])
def test_a_third_of_the_voters_never_fills_all_places_however_few_a_league_allows(members: int):
    league = League(members, ballots_per_member_max=1, ballots_open_max=1)
    *liars, honest = league.keys[: (members - 1) // 3 + 1]
    for at, liar in enumerate(liars):
        put(league, liar, reward(league, 2 + at))
    ballot = put(league, honest, Expel(liars[0].org, "keeps the others from putting anything"))
    assert totals(league).ballots == len(liars) + 1
    for key in league.keys[len(liars) + 1 :]:
        if league.refusal(key, Support(ballot)) == "accepted":
            league.say((key, Support(ballot)))
    assert not league.is_member(liars[0])


def test_a_ballot_that_can_come_to_nothing_any_more_does_not_stand_in_the_way_of_a_new_one():
    league = League(7)
    alice, bob, carol, *_ = league.keys
    stale = put(league, alice, ChangeRoles(bob.org, int(Role.PROVIDER)))
    carry(league, ChangeRoles(bob.org, int(Role.REQUESTER)))
    fresh = put(league, carol, ChangeRoles(bob.org, int(Role.PROVIDER)))
    assert ballot_of(league, fresh).basis != ballot_of(league, stale).basis
    assert league.refusal(alice, OpenBallot(ChangeRoles(bob.org, int(Role.PROVIDER)))) == "open"
    for key in voters(league):
        if league.refusal(key, Support(fresh)) == "accepted":
            league.say((key, Support(fresh)))
    assert member(league, bob.org).roles == Role.PROVIDER


def test_voices_of_members_that_have_gone_make_room_for_those_of_others():
    league = League(4)
    gone = tuple(sorted(key_of(f"gone {at}").org for at in range(MEMBERS_MAX)))
    ballot = put(league, league.keys[0], reward(league))
    stranger = factory("dora")
    league.say((stranger.identity, stranger.registration(league)))
    trial = league.trial()
    trial.state.put(ballot_key(ballot), replace(ballot_of(league, ballot), supporters=gone))
    candidate = trial.state.need(Candidate, candidate_key(stranger.org))
    trial.state.put(candidate_key(stranger.org), replace(candidate, approvals=gone))
    bob = league.keys[1]
    for transaction in league.sign([(bob, Support(ballot)), (bob, ApproveMember(stranger.org))]):
        trial.apply(transaction)
    assert trial.state.need(Ballot, ballot_key(ballot)).supporters == (bob.org,)
    assert trial.state.need(Candidate, candidate_key(stranger.org)).approvals == (bob.org,)
    trial.block(0)


def test_motions_that_can_come_to_nothing_are_not_put():
    league = League(4)
    alice, bob, *_ = league.keys
    stranger = factory("eve").org
    for motion, code in (
        (Expel(stranger, "who?"), "member"),
        (ChangeRoles(stranger, 1), "member"),
        (ChangeRoles(bob.org, 3), "roles"),
        (Pardon(bob.org), "jail"),
        (Pardon(stranger), "jail"),
    ):
        assert league.refusal(alice, OpenBallot(motion)) == code


def test_what_has_changed_since_is_not_done_in_the_name_of_who_supported_something_else():
    league = League(7)
    bob = league.keys[1]
    ballot = put(league, league.keys[0], ChangeRoles(bob.org, int(Role.PROVIDER)))
    other = carry(league, ChangeRoles(bob.org, int(Role.REQUESTER)))
    assert decision(league, other).moot == ""  # type: ignore[union-attr]
    for key in league.keys[1:5]:
        league.say((key, Support(ballot)))
    passed = decision(league, ballot)
    assert passed is not None
    assert "changed" in passed.moot
    assert member(league, bob.org).roles == Role.REQUESTER


def test_a_member_that_came_back_is_not_expelled_for_its_former_self():
    league = League(7)
    eve = let_in(league, factory("eve"))
    ballot = put(league, league.keys[0], Expel(eve.org, "sells records"))
    league.say((eve.node, LeaveLeague(eve.org)))
    let_in(league, eve)
    for key in voters(league):
        if league.refusal(key, Support(ballot)) == "accepted":
            league.say((key, Support(ballot)))
    assert league.chain.read(Member, MEMBERS + eve.org) is not None
    assert "changed" in decision(league, ballot).moot  # type: ignore[union-attr]


def test_a_decision_can_be_proven():
    league = League(4)
    ballot = carry(league, reward(league))
    found = decision(league, ballot)
    key = decision_key(Hash32(ballot))
    assert verify_present(league.chain.state_root, key, encode(found), league.chain.prove(key))


def test_alone_in_a_league_one_decides_at_once():
    league = League(1)
    ballot = put(league, league.keys[0], reward(league))
    assert decision(league, ballot) is not None
