"""Reputation is earned slowly, lost by betrayal at once, and never leaves 0 .. 1 000 000."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.certificates import Equivocation
from ledger.reputation import after_absence, after_delivery, after_missed_view, data_credit, score
from ledger.transactions import ReportEquivocation
from ledger.types import MICRO
from tests.support.league import League, terms

micro = st.integers(0, MICRO)


@given(micro, micro, micro, micro)
def test_nothing_leaves_its_range(reputation: int, quality: int, data: int, duty: int):
    earned = score(quality, data, duty)
    assert 0 <= earned <= MICRO
    assert 0 <= after_delivery(reputation, earned) <= MICRO
    assert 0 <= after_absence(reputation) <= reputation
    assert 0 <= after_missed_view(reputation) <= reputation


@given(micro, micro, micro, micro)
def test_a_better_round_never_leads_to_less(reputation: int, other: int, earned: int, more: int):
    low, high = sorted((earned, more))
    assert after_delivery(reputation, low) <= after_delivery(reputation, high)
    less, better = sorted((reputation, other))
    assert after_delivery(less, earned) <= after_delivery(better, earned)


def test_half_of_the_past_is_forgotten_in_some_five_rounds():
    reputation = MICRO
    for _ in range(5):
        reputation = after_delivery(reputation, 0)
    assert MICRO * 48 // 100 < reputation < MICRO * 54 // 100


@given(st.lists(st.integers(1, 2**53 - 1), min_size=1, max_size=9))
def test_data_size_counts_against_the_others_and_saturates_at_twice_the_median(sizes: list[int]):
    credits = [data_credit(size, sizes) for size in sizes]
    assert all(0 <= credit <= MICRO for credit in credits)
    median = sorted(sizes)[(len(sizes) - 1) // 2]
    assert data_credit(2 * median, sizes) == data_credit(2**60, sizes) == MICRO
    assert data_credit(median, sizes) == MICRO // 2
    assert credits == [data_credit(size, sizes[::-1]) for size in sizes]


def test_a_provider_that_delivers_rises_and_one_that_stays_away_falls():
    league = League(4)
    requester, diligent, absent, _ = league.keys
    league.anchor([diligent, absent])
    request = league.publish(requester, terms(rounds_max=5, providers_min=1, providers_max=2))
    league.join(request, [diligent, absent])
    before = league.standing(diligent).reputation, league.standing(absent).reputation
    for _ in range(5):
        league.announce(request, [diligent])
        league.commit(after_ms=120_000)
        league.attest(request, [diligent])
        league.aggregate(request, quality=MICRO)
    diligently, absently = league.standing(diligent), league.standing(absent)
    assert diligently.reputation > before[0]
    assert absently.reputation < before[1]
    assert (diligently.rounds_delivered, diligently.rounds_missed) == (5, 0)
    assert (absently.rounds_delivered, absently.rounds_missed) == (0, 5)
    assert diligently.tokens_earned == 5 * 100 * 2
    assert absently.tokens_earned == 0


def test_who_attests_for_the_committee_earns_more_than_a_seated_member_that_does_not():
    league = League(4)
    requester, *providers = league.keys
    league.anchor(providers)
    request = league.publish(requester, terms())
    league.join(request, providers)
    league.announce(request, providers)
    idle, *busy = providers
    league.attest(request, providers, by=[requester, *busy])
    league.aggregate(request)
    assert league.standing(idle).reputation < league.standing(busy[0]).reputation


def test_equivocation_costs_everything_at_once():
    league = League(4)
    reporter, guilty, *_ = league.keys
    league.say((reporter, league.equivocation(guilty)))
    assert league.standing(guilty).reputation == 0
    assert league.standing(guilty).jailed_until_epoch > 8
    assert league.standing(reporter).reputation == 500_000


def test_one_crime_is_punished_once_and_the_next_one_again():
    league = League(4)
    reporter, guilty, *_ = league.keys
    first = league.equivocation(guilty)
    league.say((reporter, first))
    until = league.standing(guilty).jailed_until_epoch
    assert league.refusal(reporter, first) == "evidence"
    for _ in range(4):
        league.commit()
    league.say((reporter, league.equivocation(guilty)))
    assert league.standing(guilty).jailed_until_epoch > until


@pytest.mark.parametrize("ahead", [2, 10_000])
def test_evidence_of_a_height_that_is_not_there_yet_is_refused(ahead: int):
    # A member that signs the far future could otherwise be punished for it again and again.
    league = League(4)
    reporter, guilty, *_ = league.keys
    assert league.refusal(reporter, league.equivocation(guilty, height=league.chain.height + ahead)) == "evidence"


def test_evidence_against_a_stranger_or_with_a_forged_vote_is_refused():
    league = League(4)
    assert league.refusal(league.keys[0], league.equivocation(league.stranger("eve"))) == "evidence"
    real = league.equivocation(league.keys[1]).evidence
    forged = Equivocation(real.first, type(real.second)(real.second.subject, real.second.voter, bytes(64)))
    assert league.refusal(league.keys[0], ReportEquivocation(forged)) == "evidence"
