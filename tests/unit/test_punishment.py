"""What contradicting oneself costs: a seat, a name, a share of the tokens; and that nobody earns by being caught."""

import pytest

from ledger import punishment
from ledger.entries import Seat
from ledger.motions import Pardon
from ledger.statements import LeaveLeague, OpenBallot
from ledger.types import MICRO
from tests.support.league import BALANCE, League
from tests.support.members import Factory, balance, carry, election, factory, let_in, standing


def seats(league: League) -> tuple[Seat, ...]:
    return election(league).seats


@pytest.mark.parametrize(("members", "share"), [(4, 100_000), (4, MICRO), (7, 333_333), (2, 1), (5, 0)])
def test_a_share_of_the_balance_goes_to_the_others_on_the_committee(members: int, share: int):
    league = League(members, slash_share=share)
    guilty = league.key(seats(league)[0].key)
    others = [seat.org for seat in seats(league)[1:]]
    part = BALANCE * share // MICRO // len(others)
    reporter = league.keys[-1]
    league.say((reporter, league.equivocation(guilty)))
    assert balance(league, guilty.org) == BALANCE - part * len(others)
    assert [balance(league, org) for org in others] == [BALANCE + part] * len(others)


def test_who_reports_itself_gains_nothing():
    league = League(4)
    guilty = league.keys[0]
    league.say((guilty, league.equivocation(guilty)))
    assert balance(league, guilty.org) < BALANCE
    assert standing(league, guilty.org).reputation == 0


def test_alone_in_a_league_there_is_nobody_to_pay():
    league = League(1)
    league.say((league.keys[0], league.equivocation(league.keys[0])))
    assert balance(league, league.keys[0].org) == BALANCE


def test_a_crime_under_a_key_that_was_given_up_hits_its_owner():
    league = League(4)
    alice = Factory("factory 0", league.keys[0], league.keys[0])
    league.commit()
    old = alice.rotate(league)
    league.say((league.keys[1], league.equivocation(old, height=2)))
    assert standing(league, alice.org).reputation == 0
    assert alice.node.public in league.chain.committee().members, "until the epoch is over"
    while election(league).epoch == 0:
        league.commit()
    assert alice.node.public not in league.chain.committee().members


def test_what_a_thief_signs_with_a_key_that_was_given_up_costs_its_owner_nothing():
    league = League(4)
    alice = Factory("factory 0", league.keys[0], league.keys[0])
    league.commit()
    stolen = alice.rotate(league)
    league.commit()
    assert league.refusal(league.keys[1], league.equivocation(stolen, height=3)) == "evidence"
    assert standing(league, alice.org).reputation > 0


def test_crimes_older_than_any_proof_that_rests_on_them_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(punishment, "EVIDENCE_HEIGHTS_MAX", 3)
    league = League(4)
    guilty = league.keys[0]
    for _ in range(6):
        league.commit()
    assert league.refusal(league.keys[1], league.equivocation(guilty, height=3)) == "evidence"
    league.say((league.keys[1], league.equivocation(guilty, height=4)))
    assert standing(league, guilty.org).reputation == 0


def test_who_has_left_is_punished_too_and_comes_back_to_it():
    league = League(5)
    eve = let_in(league, factory("eve"))
    league.say((eve.node, LeaveLeague(eve.org)))
    league.say((league.keys[0], league.equivocation(eve.node, height=league.chain.height)))
    assert standing(league, eve.org).punished_height == league.chain.height
    jailed = standing(league, eve.org).jailed_until_epoch
    let_in(league, eve)
    assert standing(league, eve.org).jailed_until_epoch == jailed > election(league).epoch


def test_jail_is_as_long_as_the_league_has_it():
    league = League(8, jail_epochs=2)
    guilty = league.key(seats(league)[0].key)
    league.say((league.keys[-1], league.equivocation(guilty)))
    assert standing(league, guilty.org).jailed_until_epoch == election(league).epoch + 1 + 2


def test_the_members_may_pardon():
    league = League(5)
    guilty = league.keys[0]
    league.say((league.keys[1], league.equivocation(guilty)))
    carry(league, Pardon(guilty.org), by=league.keys[1:5])
    assert standing(league, guilty.org).jailed_until_epoch == 0
    assert standing(league, guilty.org).reputation == 0, "a seat may be had again, the name is not cleared"
    assert league.refusal(league.keys[1], OpenBallot(Pardon(guilty.org))) == "jail"
    assert league.refusal(league.keys[1], league.equivocation(guilty, height=1)) == "evidence"
