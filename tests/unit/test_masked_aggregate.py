"""The model from masked updates: the mean that open updates would give, exact steps, and refusals with reasons."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.aggregate import MICRO, AggregateError, aggregate_blobs, total_weight_max, weighted_mean
from fl.fixed_point import pack, unpack
from fl.masked_aggregate import (
    GRADIENT_BITS,
    NOISE_UNITS_MAX,
    STEP_WEIGHT_MAX,
    aggregate_masked,
    check_masked_rule,
    check_open_rule,
    factor,
    noisy_step,
    step_rate,
    summed_mean,
)
from tests.support.masked_round import masked_round, org, updates

LIMIT_Q, BITS = 512 << 20, 20


def aggregate(league, blobs, weights, rule="mean", asked=None):
    base = pack(np.zeros(league.context.count, np.int32), BITS)
    here = {org(at): weights[at] for at in blobs}
    return aggregate_masked(rule, asked or {}, base, league.context, league.members(blobs), here, BITS, LIMIT_Q)


@pytest.mark.parametrize("gone", [(), (3,), (0, 6)])
def test_the_mean_is_bit_for_bit_that_of_open_updates(gone):
    league, (vectors, weights) = masked_round(7, 500), updates(7, 500, LIMIT_Q)
    blobs = {at: league.masked(at, vectors[at], weights[at]) for at in range(7) if at not in gone}
    found = aggregate(league, blobs, weights)
    want = weighted_mean([vectors[at] for at in blobs], [weights[at] for at in blobs], LIMIT_Q)
    assert (unpack(found.blob, 500, BITS, LIMIT_Q) == want).all()
    assert found.qualities == (MICRO,) * len(blobs)


@pytest.mark.parametrize(("rule", "asked"), [("mean", {"vectors": "3"}), ("adam", {"lr": "0.5"})])
def test_vectors_behind_the_model_come_out_as_those_of_open_updates(rule, asked):
    league, (vectors, weights) = masked_round(4, 300), updates(4, 300, LIMIT_Q)
    blobs = {at: league.masked(at, vectors[at], weights[at]) for at in range(4)}
    base = pack(np.zeros(300, np.int32), BITS)
    opened = [(pack(vectors[at], BITS), weights[at]) for at in blobs]
    want = aggregate_blobs(rule, asked, base, opened, 300, BITS, LIMIT_Q)
    assert aggregate(league, blobs, weights, rule, asked).blob == want.blob


@given(st.lists(st.tuples(st.integers(-(2**31) + 1, 2**31 - 1), st.integers(1, 1000)), min_size=1, max_size=9))
@settings(deadline=None)
def test_the_mean_of_a_sum_rounds_as_the_weighted_mean_does(given_pairs):
    vectors = [np.array([value], np.int32) for value, _ in given_pairs]
    weights = [weight for _, weight in given_pairs]
    sums = np.array([sum(value * weight for value, weight in given_pairs)])
    assert summed_mean(sums, sum(weights), 2**31) == weighted_mean(vectors, weights)


def test_the_largest_sums_that_weights_allow_are_exact():
    most = total_weight_max(LIMIT_Q)
    sums = np.array([most * LIMIT_Q, -most * LIMIT_Q, 0])
    assert summed_mean(sums, most, LIMIT_Q).tolist() == [LIMIT_Q, -LIMIT_Q, 0]
    with pytest.raises(AggregateError, match="weights sum to"):
        summed_mean(sums, most + 1, LIMIT_Q)


@pytest.mark.parametrize("beyond", [1, -1])
def test_a_sum_that_no_updates_have_is_refused(beyond):
    with pytest.raises(AggregateError, match="somebody masked something else"):
        summed_mean(np.array([0, beyond * (10 * LIMIT_Q + 1)]), 10, LIMIT_Q)


def test_a_provider_that_masks_with_other_keys_spoils_the_round_and_no_model():
    league, (vectors, weights) = masked_round(4, 50), updates(4, 50, LIMIT_Q)
    stranger = masked_round(4, 50, "another deal")
    blobs = {at: league.masked(at, vectors[at], weights[at]) for at in range(3)}
    with pytest.raises(AggregateError, match=r"masked weights|something else"):
        aggregate(league, {**blobs, 3: stranger.masked(3, vectors[3], weights[3])}, weights)


def test_a_provider_that_masks_another_weight_is_refused():
    league, (vectors, weights) = masked_round(3, 9), updates(3, 9, LIMIT_Q)
    blobs = {at: league.masked(at, vectors[at], weights[at] + (at == 1)) for at in range(3)}
    with pytest.raises(AggregateError, match=f"weights sum to {sum(weights) + 1}, want {sum(weights)}"):
        aggregate(league, blobs, weights)


def test_weights_of_somebody_else_are_refused():
    league, (vectors, weights) = masked_round(3, 9), updates(3, 9, LIMIT_Q)
    blobs = {at: league.masked(at, vectors[at], weights[at]) for at in range(3)}
    base = pack(np.zeros(9, np.int32), BITS)
    with pytest.raises(AggregateError, match="same providers"):
        aggregate_masked("mean", {}, base, league.context, league.members(blobs), {org(0): 1}, BITS, LIMIT_Q)


rates = st.one_of(
    st.sampled_from(["1", "0.25", "0.1", "1000", "0.000000001"]), st.decimals("0.001", "9", places=3).map(str)
)
sums_of = st.integers(-(2**50), 2**50)


@given(st.integers(-LIMIT_Q, LIMIT_Q), sums_of, st.integers(2**26, 2**38 - 2**20), rates, st.integers(0, 24))
@settings(deadline=None)
def test_a_step_is_the_rounded_fraction(base, total, weight, text, bits):
    above, below = step_rate({"lr": text})
    exact = Fraction(above, below) * Fraction(total, weight << GRADIENT_BITS) * 2**bits
    want = base + floor(-exact + Fraction(1, 2))
    got = noisy_step(np.array([base], np.int32), np.array([total]), weight, (above, below), LIMIT_Q, bits)
    assert got.tolist() == [max(-LIMIT_Q, min(want, LIMIT_Q))]


def test_masked_gradients_step_the_model_together():
    league = masked_round(5, 3)
    gradients = [np.array([at << GRADIENT_BITS, -(at << GRADIENT_BITS), 0]) for at in range(5)]
    records = [10, 20, 30, 40, 50]
    blobs = {at: league.masked(at, gradients[at], records[at], factor("noisy-step", records[at])) for at in range(5)}
    found = aggregate(league, blobs, records, "noisy-step", {"lr": "1.5"})
    # 0 + 1 + 2 + 3 + 4 over 150 records, times 1.5.
    assert unpack(found.blob, 3, BITS, LIMIT_Q).tolist() == [-(10**5) - 4858, 10**5 + 4858, 0]


def test_a_step_out_of_the_models_range_ends_at_its_edge():
    """The sum is known when the step is taken: terms that lead nowhere must not be terms that pay nobody."""
    at_the_edge = np.array([-LIMIT_Q, LIMIT_Q, 0], np.int32)
    sums = np.array([1 << GRADIENT_BITS, -1 << GRADIENT_BITS, 0])
    assert noisy_step(at_the_edge, sums, 1, (1000, 1), LIMIT_Q, BITS).tolist() == [-LIMIT_Q, LIMIT_Q, 0]


@pytest.mark.parametrize("weight", [0, STEP_WEIGHT_MAX + 1])
def test_a_step_over_records_that_nobody_has_is_refused(weight):
    with pytest.raises(AggregateError, match="weights sum to"):
        noisy_step(np.zeros(1, np.int32), np.zeros(1, np.int64), weight, (1, 1), LIMIT_Q, BITS)


def test_a_sum_beyond_all_noise_is_refused():
    edge = (7 + NOISE_UNITS_MAX) << GRADIENT_BITS
    base = np.zeros(1, np.int32)
    noisy_step(base, np.array([edge]), 7, (1, 10**9), LIMIT_Q, 0)
    with pytest.raises(AggregateError, match="something else than an update"):
        noisy_step(base, np.array([edge + 1]), 7, (1, 10**9), LIMIT_Q, 0)


def test_the_widest_sums_and_rates_stay_exact():
    """Beyond an int64 on the way: Python's integers take over, and what does not fit the model stays at its edge."""
    edge = (STEP_WEIGHT_MAX + NOISE_UNITS_MAX) << GRADIENT_BITS
    base = np.zeros(2, np.int32)
    got = noisy_step(base, np.array([edge, -edge]), STEP_WEIGHT_MAX, (999_999_999, 10**9), LIMIT_Q, BITS)
    want = Fraction(999_999_999 * edge << BITS, 10**9 * STEP_WEIGHT_MAX << GRADIENT_BITS)
    assert got.tolist() == [floor(-want + Fraction(1, 2)), floor(want + Fraction(1, 2))]
    got = noisy_step(base, np.array([edge, -edge]), STEP_WEIGHT_MAX, (1000, 1), LIMIT_Q, 24)
    assert got.tolist() == [-LIMIT_Q, LIMIT_Q]


@pytest.mark.parametrize(
    "text", ["", "0", "0.0", "-1", "1e-3", "1000.1", "10000", ".5", "0.1234567891", "½", "1.", "٣"]
)
def test_a_rate_that_is_no_plain_decimal_is_refused(text):
    with pytest.raises(AggregateError, match="want a decimal"):
        step_rate({"lr": text})


def test_rules_that_compare_updates_are_refused_with_the_reason():
    check_masked_rule("mean", {})
    check_masked_rule("noisy-step", {"lr": "0.5"})
    for rule, asked, reason in (
        ("average", {}, "unknown rule 'average', want one of mean, adam, noisy-step"),
        ("mean", {"trim": "1"}, "mean has no setting trim"),
        ("mean", {"vectors": "0"}, "vectors is '0', want a whole number"),
        ("momentum", {"lr": "1"}, "needs the global model before the last, which masked rounds do not name"),
        ("adam", {"inspect": "true"}, "adam has no setting inspect"),
        ("noisy-step", {}, "lr is 'missing'"),
        ("noisy-step", {"lr": "1", "momentum": "1"}, "no setting momentum"),
    ):
        with pytest.raises(AggregateError, match=reason):
            check_masked_rule(rule, asked)


def test_robust_rules_are_refused_with_the_reason(monkeypatch):
    monkeypatch.setitem(__import__("fl.aggregate", fromlist=["RULES"]).RULES, "some-robust-rule", None)
    with pytest.raises(AggregateError, match="of masked updates only the sum is ever seen"):
        check_masked_rule("some-robust-rule", {})


def test_a_noisy_step_wants_masked_updates():
    check_open_rule("mean")
    with pytest.raises(AggregateError, match="want masked updates"):
        check_open_rule("noisy-step")
