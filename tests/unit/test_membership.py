"""Who gets in: a registration that more than two thirds of the members approve, in time, under a name of its own."""

import pytest

from ledger import membership
from ledger.entries import CANDIDATES, LEAGUE, Candidate, candidate_key
from ledger.entries import League as Totals
from ledger.keys import KeyPair
from ledger.statements import ApproveMember, RegisterMember
from ledger.transactions import Transfer
from tests.support.league import League, anchored

REGISTER = RegisterMember("Kranbau Nord", ("/ip4/192.0.2.1/tcp/4001",))


def totals(league: League) -> Totals:
    found = league.chain.read(Totals, LEAGUE)
    assert found is not None
    return found


def registered(league: League, name: str = "eve") -> KeyPair:
    eve = league.stranger(name)
    league.say((eve, RegisterMember(f"works of {name}", ())))
    return eve


@pytest.mark.parametrize(
    ("members", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (9, 7), (10, 7)]
)
def test_more_than_two_thirds_of_the_members_let_a_candidate_in(members: int, needed: int):
    league = League(members)
    eve = registered(league)
    for at, key in enumerate(league.keys[:needed], start=1):
        assert not league.is_member(eve)
        league.say((key, ApproveMember(eve.org)))
        assert league.is_member(eve) is (at == needed)
    assert (totals(league).members, totals(league).candidates) == (members + 1, 0)


def test_a_newcomer_begins_with_nothing_and_is_seated_from_the_next_epoch_but_one_block():
    league = League(4)
    eve = registered(league)
    league.say(*[(key, ApproveMember(eve.org)) for key in league.keys[:3]])
    assert league.standing(eve).reputation == 0
    assert league.balance(eve) == 0
    assert eve.org not in league.chain.committee().members
    league.say((league.keys[0], Transfer(eve.org, 5, "welcome")), (eve, anchored(1)))
    league.say((eve, Transfer(league.keys[0].org, 5, "thanks")))


def test_three_newcomers_to_a_league_of_four_are_seated():
    league = League(4)
    for name in ("eve", "frank", "grace"):
        newcomer = registered(league, name)
        members = [key for key in league.keys if league.is_member(key)]
        league.say(*[(key, ApproveMember(newcomer.org)) for key in members[: 2 * len(members) // 3 + 1]])
    sizes = [len(league.chain.committee().members)]
    while sizes[-1] < 7:
        league.commit()
        sizes.append(len(league.chain.committee().members))
    assert sorted(set(sizes)) == [4, 5, 6, 7], "one newcomer an epoch, for one of four may lie"


def test_approving_twice_is_one_approval():
    league = League(4)
    eve = registered(league)
    league.say((league.keys[0], ApproveMember(eve.org)))
    assert league.refusal(league.keys[0], ApproveMember(eve.org)) == "approved"
    found = league.chain.read(Candidate, candidate_key(eve.org))
    assert found is not None
    assert found.approvals == (league.keys[0].org,)


def test_a_stranger_may_register_and_nothing_else():
    league = League(4)
    eve = league.stranger("eve")
    for body in (Transfer(league.keys[0].org, 1, ""), anchored(1), ApproveMember(eve.org)):
        assert league.refusal(eve, body) == "member"
    assert league.refusal(eve, REGISTER) == "accepted"


def test_a_candidate_waits_and_says_nothing_meanwhile():
    league = League(4)
    eve = registered(league)
    assert league.refusal(eve, anchored(1)) == "member"
    assert league.refusal(eve, ApproveMember(eve.org)) == "member"
    assert league.refusal(eve, REGISTER) == "candidate"
    assert league.refusal(league.keys[0], Transfer(eve.org, 1, "")) == "recipient"


def test_nobody_is_approved_who_did_not_register():
    league = League(4)
    assert league.refusal(league.keys[0], ApproveMember(league.stranger("eve").org)) == "candidate"


def test_a_member_does_not_register_again():
    league = League(4)
    assert league.refusal(league.keys[0], REGISTER) == "member"


@pytest.mark.parametrize("taken", ["factory 2", "works of eve"])
def test_a_name_of_a_member_or_a_candidate_is_taken(taken: str):
    league = League(4)
    registered(league)
    assert league.refusal(league.stranger("frank"), RegisterMember(taken, ())) == "name"


def test_a_registration_that_nobody_approves_is_forgotten_and_may_be_made_again():
    league = League(4, registration_expiry_heights=3)
    eve = registered(league)
    league.say((league.keys[0], ApproveMember(eve.org)))
    league.commit()
    assert totals(league).candidates == 1
    league.commit()
    assert totals(league).candidates == 0
    assert league.refusal(league.keys[1], ApproveMember(eve.org)) == "candidate"
    league.say((eve, RegisterMember("works of eve", ())))  # with its second nonce: the first is used for ever
    found = league.chain.read(Candidate, candidate_key(eve.org))
    assert found is not None
    assert found.approvals == ()


def test_candidates_are_bounded_and_so_are_members(monkeypatch: pytest.MonkeyPatch):
    league = League(4, candidates_max=2, registrations_per_block_max=1)
    eve, frank = registered(league, "eve"), registered(league, "frank")
    grace = league.stranger("grace")
    assert league.refusal(grace, REGISTER) == "accepted", "nobody has approved one of the two"
    for candidate in (eve, frank):
        league.say(*[(key, ApproveMember(candidate.org)) for key in league.keys[:2]])
    assert league.refusal(grace, REGISTER) == "full", "both are wanted by somebody honest"
    league.say((league.keys[2], ApproveMember(eve.org)))
    assert league.refusal(grace, REGISTER) == "accepted"
    monkeypatch.setattr(membership, "MEMBERS_MAX", 6)
    assert league.refusal(grace, REGISTER) == "full"
    assert len(list(league.chain.scan(Candidate, CANDIDATES))) == 1


def test_a_flood_of_registrations_keeps_nobody_out_for_long():
    # Sixty-four key pairs once closed the league for ten thousand heights.
    league = League(4, candidates_max=3, registrations_per_block_max=3)
    wanted = registered(league, "grace")
    league.say(*[(key, ApproveMember(wanted.org)) for key in league.keys[:2]])
    flood = [registered(league, f"mallory {number}") for number in range(10)]
    waiting = {org for org, _ in league.chain.scan(Candidate, CANDIDATES)}
    assert waiting == {wanted.org, flood[-1].org, flood[-2].org}
    assert totals(league).candidates == 3
    league.say((league.keys[2], ApproveMember(wanted.org)))
    assert league.is_member(wanted)
    assert (totals(league).members, totals(league).candidates) == (5, 2)


def test_a_block_takes_a_few_registrations_only():
    league = League(4, registrations_per_block_max=2)
    trial = league.trial()
    said = league.sign([(league.stranger(f"m{number}"), RegisterMember(f"m{number}", ())) for number in range(5)])
    assert [error.code for _, error in trial.apply_all(said)] == ["full"] * 3
