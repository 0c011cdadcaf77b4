"""Confidence bounds against exact fractions and closed forms, and how often they are wrong."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.privacy.confidence import (
    Guesses,
    advantage_allowed,
    advantage_between,
    epsilon_at_least,
    epsilon_measurable,
    rate_at_least,
    rate_at_most,
    trials_for,
)


def exact_tail(hits, trials, rate):
    """P[Binomial >= hits] in fractions: the slow twin."""
    rate = Fraction(rate)
    return sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(hits, trials + 1))


@given(st.integers(1, 60), st.data(), st.sampled_from([0.025, 0.0125, 0.3]))
def test_a_bound_is_where_the_exact_tail_is_the_fault(trials, data, fault):
    hits = data.draw(st.integers(0, trials))
    low, high = rate_at_least(hits, trials, fault), rate_at_most(hits, trials, fault)
    assert 0.0 <= low <= hits / trials <= high <= 1.0
    if hits:
        assert float(exact_tail(hits, trials, low)) == pytest.approx(fault, rel=1e-6)
    if hits < trials:
        assert 1 - float(exact_tail(hits + 1, trials, high)) == pytest.approx(fault, rel=1e-6)


def test_all_hits_and_none_have_closed_forms():
    assert rate_at_least(10, 10, 0.05) == pytest.approx(0.05**0.1)
    assert rate_at_most(0, 500, 0.025) == pytest.approx(1 - 0.025 ** (1 / 500))
    assert rate_at_least(0, 10, 0.05) == 0.0
    assert rate_at_most(10, 10, 0.05) == 1.0
    # Far out: no coefficient overflows, no small tail is lost.
    assert rate_at_least(100_000, 100_000, 0.025) == pytest.approx(0.025**1e-5)
    for wrong in ((-1, 10, 0.05), (11, 10, 0.05), (0, 0, 0.05), (1, 10, 0.0)):
        with pytest.raises(ValueError, match="want 0 <= hits"):
            rate_at_least(*wrong)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.0])
def test_a_mechanism_of_epsilon_is_called_worse_in_one_of_twenty_audits_at_most(epsilon):
    """Randomised response is as revealing as (epsilon, 0) allows: every guess is right with e^eps / (1 + e^eps)."""
    rng = np.random.default_rng(11)
    right = math.exp(epsilon) / (1 + math.exp(epsilon))
    audits, trials = 2000, 60
    caught = rng.binomial(trials, right, audits)
    alarms = rng.binomial(trials, 1 - right, audits)
    bounds: dict[tuple[int, int], float] = {}
    wrong = 0
    for pair in zip(caught.tolist(), alarms.tolist(), strict=True):
        if pair not in bounds:
            bounds[pair] = epsilon_at_least(Guesses(pair[0], trials, pair[1], trials), 0.0)
        wrong += bounds[pair] > epsilon
    assert wrong / audits <= 0.05


def test_either_way_of_being_sure_counts():
    """Sure that the record was there, or sure that it was not: both refute."""
    present, absent = Guesses(50, 100, 0, 100), Guesses(100, 100, 50, 100)
    assert epsilon_at_least(present, 0.0) == pytest.approx(epsilon_at_least(absent, 0.0))
    assert epsilon_at_least(present, 0.0) > 2.0
    # A delta explains so many sure guesses.
    assert epsilon_at_least(present, 0.6) < 1.0


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 5.0])
def test_the_trials_asked_for_are_the_fewest_that_could_refute(epsilon):
    least = trials_for(epsilon, 1e-5)
    assert epsilon_measurable(least, 1e-5) > epsilon >= epsilon_measurable(least - 1, 1e-5)


def test_what_an_epsilon_allows():
    assert advantage_allowed(0.0, 0.0) == 0.0
    assert advantage_allowed(2.0, 0.0) == pytest.approx((math.e**2 - 1) / (math.e**2 + 1))
    assert advantage_allowed(1.0, 0.1) == pytest.approx((math.e - 1 + 0.2) / (math.e + 1))
    assert advantage_allowed(0.0, 1.0) == 1.0
    assert advantage_allowed(5000.0, 1e-5) == 1.0
    low, high = advantage_between(Guesses(70, 100, 30, 100))
    assert low < 0.4 < high
