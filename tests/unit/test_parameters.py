"""What a league sets for itself: within ranges in which it can work, by ballot, from a height on, for what follows."""

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, get_type_hints

import pytest

from ledger.codec import Range
from ledger.entries import Stage
from ledger.errors import InvalidBytes, InvalidGenesis
from ledger.genesis import check_genesis, genesis_from_json, genesis_to_json
from ledger.governance import NOTICE_HEIGHTS
from ledger.league_entries import SCHEDULED_MAX, Decision, decision_key
from ledger.motions import ChangeParameters
from ledger.parameters import LeagueParameters, contradiction
from ledger.statements import OpenBallot, Support
from ledger.transactions import PublishRequest, sign_transaction
from tests.support.league import BALANCE, League, founders, genesis_of, terms
from tests.support.members import carry, put
from tests.support.request_story import Story

PLAIN = LeagueParameters()
HINTS: dict[str, Any] = get_type_hints(LeagueParameters, include_extras=True)


def change(league: League, ahead: int = NOTICE_HEIGHTS, **values: int) -> ChangeParameters:
    return ChangeParameters(replace(PLAIN, **values), league.chain.height + 1 + ahead)


def bounds(name: str) -> Range:
    return next(limit for limit in HINTS[name].__metadata__ if isinstance(limit, Range))


@pytest.mark.parametrize("name", [field.name for field in fields(LeagueParameters)])
def test_every_parameter_has_a_range_and_what_is_outside_has_no_bytes(name: str):
    league, limit = League(4), bounds(name)
    assert limit.least <= getattr(PLAIN, name) <= limit.most
    for wrong in (limit.least - 1, limit.most + 1):
        motion = ChangeParameters(replace(PLAIN, **{name: wrong}), 100)
        with pytest.raises(InvalidBytes, match=name):
            _ = sign_transaction(league.keys[0], league.chain.chain_id, 0, OpenBallot(motion)).encoded
        with pytest.raises(InvalidGenesis, match=name):
            check_genesis(genesis_of(founders(1), **{name: wrong}))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"requests_open_max": 4}, "requests_per_member_max 8"),
        ({"ballots_open_max": 3}, "ballots_per_member_max 4"),
        ({"candidates_max": 3}, "registrations_per_block_max 4"),
        ({"duration_max": 500}, "join_window_min 1000"),
        ({"round_deadline_min": 10_000, "duration_max": 9_000}, "round_deadline_min 10000"),
        ({"attest_window_min": 10_000, "duration_max": 9_000}, "attest_window_min 10000"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(values: dict[str, int], named: str):
    league = League(4)
    assert named in (contradiction(replace(PLAIN, **values)) or "")
    assert league.refusal(league.keys[0], OpenBallot(change(league, **values))) == "parameters"
    with pytest.raises(InvalidGenesis, match=named):
        check_genesis(genesis_of(founders(1), **values))


def test_parameters_are_in_the_genesis_file_and_those_left_out_are_as_usual():
    genesis = genesis_of(founders(2), reward_min=3, jail_epochs=2)
    assert genesis_from_json(genesis_to_json(genesis)) == genesis
    assert League(4, reward_min=3).chain.parameters() == replace(PLAIN, reward_min=3)


@pytest.mark.parametrize(("founded", "wanted", "code"), [(10_000, 999, "parameters"), (10_000, 1_000, "accepted")])
def test_ballots_stay_open_long_enough_for_people_to_be_asked(founded: int, wanted: int, code: str):
    league = League(4, ballot_expiry_heights=founded)
    assert league.refusal(league.keys[0], OpenBallot(change(league, ballot_expiry_heights=wanted))) == code


def test_what_founders_gave_ballots_may_stay_and_does_not_become_less():
    league = League(4, ballot_expiry_heights=40)
    for heights, code in ((39, "parameters"), (40, "accepted"), (41, "accepted")):
        motion = change(league, ballot_expiry_heights=heights, reward_min=5)
        assert league.refusal(league.keys[0], OpenBallot(motion)) == code


def test_leagues_of_older_protocols_keep_the_bounds_that_they_were_founded_under():
    league = League(4, protocol=2)
    assert league.refusal(league.keys[0], OpenBallot(change(league, ballot_expiry_heights=8))) == "accepted"


def test_a_change_holds_from_its_height_on_and_not_before():
    league = League(4)
    motion = change(league, ahead=12, reward_min=5)
    carry(league, motion)
    assert [each.from_height for each in league.chain.schedule().changes] == [motion.from_height]
    while league.chain.height + 1 < motion.from_height:
        assert league.chain.parameters() == PLAIN
        assert league.refusal(league.keys[0], PublishRequest(terms(price=4))) == "accepted"
        league.commit()
    assert league.chain.parameters().reward_min == 5
    assert league.refusal(league.keys[0], PublishRequest(terms(price=4))) == "terms"
    assert league.refusal(league.keys[0], PublishRequest(terms(price=5))) == "accepted"
    league.commit()
    assert league.chain.schedule().changes == ()
    assert league.chain.parameters().reward_min == 5


def test_nobody_is_surprised_by_a_change():
    league = League(4)
    assert league.refusal(league.keys[0], OpenBallot(change(league, ahead=NOTICE_HEIGHTS - 1))) == "height"
    motion = change(league, ahead=NOTICE_HEIGHTS, reward_min=5)
    ballot = put(league, league.keys[0], motion)
    for _ in range(20):
        league.commit()
    league.say((league.keys[1], Support(ballot)))
    league.say((league.keys[2], Support(ballot)))
    # It passed long after the height it named, and begins as much later.
    [scheduled] = league.chain.schedule().changes
    assert scheduled.from_height == league.chain.height + NOTICE_HEIGHTS


def test_what_is_decided_later_takes_the_place_of_what_would_begin_with_it_or_after():
    league = League(4)
    carry(league, change(league, ahead=100, reward_min=2))
    carry(league, change(league, ahead=200, reward_min=3))
    assert [each.parameters.reward_min for each in league.chain.schedule().changes] == [2, 3]
    carry(league, change(league, ahead=150, reward_min=4))
    assert [each.parameters.reward_min for each in league.chain.schedule().changes] == [2, 4]
    carry(league, change(league, ahead=50, reward_min=5))
    assert [each.parameters.reward_min for each in league.chain.schedule().changes] == [5]


def test_of_two_changes_put_at_once_the_second_does_not_undo_the_first():
    league = League(4)
    first = put(league, league.keys[0], change(league, ahead=50, reward_min=5))
    second = put(league, league.keys[1], change(league, ahead=60, jail_epochs=1))
    league.say((league.keys[1], Support(first)), (league.keys[2], Support(first)))
    league.say((league.keys[0], Support(second)), (league.keys[2], Support(second)))
    decided = league.chain.read(Decision, decision_key(second))
    assert decided is not None
    assert "changed" in decided.moot
    [scheduled] = league.chain.schedule().changes
    assert (scheduled.parameters.reward_min, scheduled.parameters.jail_epochs) == (5, PLAIN.jail_epochs)


def test_changes_that_wait_are_bounded():
    league = League(1)
    for number in range(SCHEDULED_MAX):
        put(league, league.keys[0], change(league, ahead=1_000 + 10 * number, reward_min=2 + number))
    ballot = put(league, league.keys[0], change(league, ahead=5_000, reward_min=99))
    decided = league.chain.read(Decision, decision_key(ballot))
    assert decided is not None
    assert "wait for their heights" in decided.moot
    assert len(league.chain.schedule().changes) == SCHEDULED_MAX


def test_the_chain_is_opened_again_right_at_a_change():
    league = League(4)
    motion = change(league, reward_min=5)
    carry(league, motion)
    while league.chain.height + 1 < motion.from_height:
        league.commit()
    for _ in range(2):
        again = league.reopened()
        assert again.parameters() == league.chain.parameters()
        again.check(league.build([], league.now + 1))
        league.commit()


# --- what each of them rules


@pytest.mark.parametrize("name", ["join_window", "round_deadline", "attest_window"])
def test_terms_keep_to_the_bounds_of_durations(name: str):
    league = League(4, **{f"{name}_min": 20_000, "duration_max": 1_000_000})
    alice = league.keys[0]
    for duration, code in ((19_999, "terms"), (20_000, "accepted"), (1_000_000, "accepted"), (1_000_001, "terms")):
        assert league.refusal(alice, PublishRequest(terms(**{name: duration}))) == code


def test_a_request_keeps_what_it_was_published_under():
    story = Story(limits={"void_rounds_max": 2, "aggregation_max": 60_000})
    league = story.league
    carry(league, change(league, void_rounds_max=5, aggregation_max=90_000, reward_min=50))
    for _ in range(NOTICE_HEIGHTS):
        league.commit()
    assert league.chain.parameters().void_rounds_max == 5
    league.announce(story.id, story.providers)
    league.attest(story.id, story.providers)
    assert league.request(story.id).deadline == league.now + 60_000
    league.commit(after_ms=60_000)
    assert league.request(story.id).stage is Stage.FAILED
    assert league.balance(story.bob) == BALANCE + 200, "at the price it was published with"


def test_void_rounds_in_a_row_end_a_request_as_the_league_has_it():
    story = Story(limits={"void_rounds_max": 1})
    story.league.commit(after_ms=200_000)
    story.league.commit(after_ms=200_000)
    request = story.league.request(story.id)
    assert (request.stage, request.outcome) == (Stage.FAILED, "1 rounds in a row with too few deliveries")


@pytest.mark.parametrize(("seats_max", "wanted"), [(4, 4), (5, 4), (7, 7), (31, 10)])
def test_the_committee_shrinks_to_its_new_size_in_steps(seats_max: int, wanted: int):
    league = League(10)
    carry(league, change(league, seats_max=seats_max))
    sizes = [len(league.chain.committee().members)]
    for _ in range(45):
        league.commit()
        sizes.append(len(league.chain.committee().members))
    assert sizes[-1] == wanted
    assert all(0 <= before - after <= max(1, (before - 1) // 3) for before, after in pairwise(sizes))
