"""Seats and leaders (DESIGN D7): nobody rules, everybody leads, and all members compute the same."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import digest
from ledger.election import Candidacy, committee_of, first_election, leader_order, ranked, reseat, seat_count
from ledger.entries import ELECTION, Election, Seat, standing_key
from ledger.keys import KeyPair
from ledger.parameters import LeagueParameters
from ledger.transactions import ReportForDuty, Transfer
from ledger.types import MICRO, NodeKey, OrgId
from tests.support.league import League, founders


def org(number: int) -> OrgId:
    return OrgId(digest("test/org", number.to_bytes(4, "big")))


def candidates(reputations: list[int]) -> list[Candidacy]:
    return [Candidacy(org(at), NodeKey(org(at)), reputation, 0) for at, reputation in enumerate(reputations)]


def seated(*members: Candidacy) -> tuple[Seat, ...]:
    ordered = sorted(members, key=lambda each: each.org)
    return tuple(Seat(each.org, each.key, each.reputation, each.last_led, False) for each in ordered)


def elected(league: League) -> Election:
    found = league.chain.read(Election, ELECTION)
    assert found is not None
    return found


def authors(league: League, heights: int, failed_views: int = 0) -> list[bytes]:
    return [league.commit(failed_views=failed_views).block.header.author for _ in range(heights)]


@pytest.mark.parametrize("eligible", range(1, 41))
def test_seats_are_the_largest_three_k_and_one_up_to_31(eligible: int):
    seats = seat_count(eligible)
    assert seats <= min(eligible, 31)
    if eligible >= 4:
        assert seats % 3 == 1
        assert seats == 31 or seats + 3 > eligible
    else:
        assert seats == eligible


@pytest.mark.parametrize("members", range(1, 32))
def test_every_seat_leads_once_an_epoch_and_f_at_the_top_no_more_than_f_of_m(members: int):
    league = League(members)
    # A wide spread of reputations: under "the highest leads" the top would lead every height.
    count = len(elected(league).seats)
    election = elected(league)
    rich = tuple(replace(seat, reputation=MICRO - at * 1_000) for at, seat in enumerate(election.seats))
    election = replace(election, seats=rich)
    faults = committee_of(election).faults
    top = {seat.org for seat in rich[:faults]}
    led = []
    for height in range(1, count + 1):
        leader = leader_order(election)[0]
        led.append(leader)
        seats = tuple(
            replace(seat, led=True, last_led=height) if seat.org == leader else seat for seat in election.seats
        )
        election = replace(election, seats=seats)
    assert sorted(led) == sorted(seat.org for seat in rich)
    assert sum(leader in top for leader in led) <= faults
    assert led == [seat.org for seat in rich], "the higher reputation leads earlier"


def test_on_a_real_chain_every_member_leads_once_an_epoch():
    league = League(7)
    for epoch in range(3):
        assert elected(league).epoch == epoch
        assert sorted(authors(league, 7)) == sorted(key.org for key in league.keys)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_in_which_inputs_come_changes_nothing(reputations: list[int], shuffler: random.Random):
    members = candidates(reputations)
    shuffled = members[:]
    shuffler.shuffle(shuffled)
    assert ranked(members) == ranked(shuffled)
    current = seated(*members[: len(members) // 2 + 1])
    mixed = list(current)
    shuffler.shuffle(mixed)
    assert reseat(current, members) == reseat(mixed, shuffled)
    election = Election(0, 1, current, ())
    assert leader_order(election) == leader_order(replace(election, seats=tuple(mixed)))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_at_most_f_newcomers_are_seated_and_at_most_f_who_could_stay_are_not(data: st.DataObject):
    members = candidates(data.draw(st.lists(st.integers(0, MICRO), min_size=1, max_size=40)))
    held = data.draw(st.integers(1, min(31, len(members))))
    current = seated(*members[:held])
    able = members[data.draw(st.integers(0, held - 1)) :]
    seats_max = data.draw(st.integers(1, 31))
    seats = reseat(current, able, seats_max)
    assert [seat.org for seat in seats] == sorted({seat.org for seat in seats})
    assert {seat.org for seat in seats} <= {each.org for each in able}
    before, after = {seat.org for seat in current}, {seat.org for seat in seats}
    step = max(1, (held - 1) // 3)
    assert len(after - before) <= step
    assert len((before & {each.org for each in able}) - after) <= step
    assert len(seats) <= max(held, seat_count(len(able), seats_max))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_in_a_few_epochs_the_committee_is_as_large_as_it_should_be(data: st.DataObject):
    members = candidates(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=40)))
    seats_max = data.draw(st.integers(1, 31))
    seats = seated(*members[: data.draw(st.integers(1, min(31, len(members))))])
    sizes = []
    while len(seats) != seat_count(len(members), seats_max):
        sizes.append(len(seats))
        seats = reseat(seats, members, seats_max)
        assert len(sizes) <= 31, "a seat an epoch at least, once the better newcomers are in"
    assert sizes in (sorted(sizes), sorted(sizes, reverse=True))


@pytest.mark.parametrize("members", range(4, 31))
def test_a_league_grows_one_by_one_and_its_committee_with_it(members: int):
    before = reseat((), candidates([5] * members))
    after = reseat(before, candidates([5] * (members + 1)))
    assert len(after) - len(before) in (0, 1, 2, 3)
    assert seat_count(members) <= len(after) <= seat_count(members + 1)
    # Nobody who sits loses the seat to a newcomer of equal reputation without need.
    pushed_out = {seat.org for seat in before} - {seat.org for seat in after}
    assert len(pushed_out) <= (len(before) - 1) // 3


def test_equal_reputation_falls_back_to_who_led_longer_ago_and_then_to_the_id():
    one, two, three = (Candidacy(org(at), NodeKey(org(at)), 5, 0) for at in range(3))
    assert ranked([replace(one, last_led=9), replace(two, last_led=3)])[0].org == two.org
    assert [each.org for each in ranked([one, two, three])] == sorted(each.org for each in (one, two, three))


def test_reputation_counts_from_the_next_epoch_only():
    # Frozen at the epoch's start: nobody moves the order of the epoch in work.
    league = League(4)
    alice = league.key(league.chain.leaders()[3])
    state = league.chain.state()
    before = leader_order(elected(league))
    state.put(standing_key(alice.org), replace(league.standing(alice), reputation=MICRO))
    assert leader_order(state.need(Election, ELECTION)) == before


# --- leaders that fail


def test_a_leader_that_failed_its_view_is_skipped_to_the_end_and_loses_a_little():
    league = League(4)
    dead = league.key(league.chain.leaders()[0])
    before = league.standing(dead).reputation
    league.commit(failed_views=1)
    assert elected(league).skipped == (dead.org,)
    assert league.chain.leaders()[-1] == dead.org
    assert 0 < before - league.standing(dead).reputation < before // 8


@pytest.mark.parametrize(("members", "faults"), [(1, 0), (3, 0), (4, 1), (7, 2), (10, 3)])
def test_never_more_than_f_members_are_skipped(members: int, faults: int):
    league = League(members)
    league.commit(failed_views=members + 2)
    assert len(elected(league).skipped) == faults
    assert len(set(league.chain.leaders())) == members, "everybody can still lead"


def test_a_dead_leader_costs_one_view_change_and_not_one_a_turn():
    league = League(4)
    dead = league.chain.leaders()[0]
    league.commit(failed_views=1)
    # While it is silent the others lead, epoch after epoch, without another failed view.
    assert dead not in authors(league, 11)


def test_a_skipped_member_is_back_as_soon_as_it_speaks():
    league = League(4)
    dead = league.key(league.chain.leaders()[0])
    league.commit(failed_views=1)
    league.say((dead, Transfer(league.keys[0].org, 1, "")))
    assert elected(league).skipped == ()
    assert dead.org in authors(league, 4)


def test_a_skipped_member_without_anything_to_say_reports_for_duty():
    league = League(4)
    dead, other = league.key(league.chain.leaders()[0]), league.key(league.chain.leaders()[1])
    league.commit(failed_views=1)
    assert league.refusal(other, ReportForDuty(1)) == "skipped"
    league.say((dead, ReportForDuty(1)))
    assert elected(league).skipped == ()
    assert league.refusal(dead, ReportForDuty(2)) == "skipped"


def test_a_skipped_member_that_makes_a_block_all_the_same_is_back():
    league = League(4)
    dead = league.chain.leaders()[0]
    league.commit(failed_views=1)
    league.commit(failed_views=3)  # the other three fail, and it leads the fourth view
    assert league.chain.header(2).author == dead  # type: ignore[union-attr]
    assert dead not in elected(league).skipped


# --- jail


def jailed(league: League, guilty: KeyPair) -> None:
    reporter = next(key for key in league.keys if key is not guilty)
    league.say((reporter, league.equivocation(guilty)))


def test_who_equivocated_has_no_seat_for_as_long_as_it_is_jailed_and_then_one_again():
    league = League(8)
    guilty = next(key for key in league.keys if key.org in league.chain.committee().members)
    jailed(league, guilty)
    begins = elected(league).epoch + 1
    seen = {}
    while elected(league).epoch <= begins + LeagueParameters().jail_epochs + 1:
        league.commit()
        seen[elected(league).epoch] = guilty.org in league.chain.committee().members
    assert not any(seen[begins + passed] for passed in range(LeagueParameters().jail_epochs))
    # Free again, but with nothing to its name: the eighth member of seven seats waits behind the others.
    assert league.standing(guilty).jailed_until_epoch == begins + LeagueParameters().jail_epochs


def test_a_league_of_four_goes_on_with_three_and_takes_the_fourth_back():
    league = League(4)
    guilty = league.keys[0]
    jailed(league, guilty)
    while elected(league).epoch == 0:
        league.commit()
    assert guilty.org not in league.chain.committee().members
    assert len(league.chain.committee().members) == 3
    while elected(league).epoch < league.standing(guilty).jailed_until_epoch:
        league.commit()
    assert guilty.org in league.chain.committee().members


def test_a_league_whose_members_are_all_jailed_keeps_its_committee_and_its_cycle():
    league = League(1)
    (only,) = league.keys
    league.say((only, league.equivocation(only)))
    assert authors(league, 3) == [only.org] * 3
    assert elected(league).epoch == 4


def test_the_first_committee_does_not_depend_on_how_the_founders_are_listed():
    listed = [Candidacy(key.org, key.public, 5, 0) for key in founders(7)]
    assert first_election(listed, 31) == first_election(listed[::-1], 31)
