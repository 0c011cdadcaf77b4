"""Rules momentum and adam: whole numbers only, so a twin in Python's own integers must give the very same ones."""

from fractions import Fraction
from math import floor, isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.aggregate import AggregateError, aggregate_blobs, check_rule
from fl.exact_sums import weighted_mean
from fl.fixed_point import decode, pack, unpack
from fl.robust import Updates
from fl.server_steps import FINER, MICRO, AdamSettings, MomentumSettings, adam, momentum
from fl.strategies.fedadam import FedAdam

BITS, LIMIT_Q = 20, 512 << 20
TINY = st.integers(-50, 50)
WIDE = st.integers(-LIMIT_Q, LIMIT_Q)
COORDINATE = TINY | WIDE


def ints(values):
    return np.array(values, np.int32)


def rounded(ratio):
    return floor(ratio + Fraction(1, 2))


def within(number):
    return max(-LIMIT_Q, min(LIMIT_Q, number))


@given(
    st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), min_size=1, max_size=8),
    st.sampled_from([0.3, 1.0, 0.000001, 10.0]),
    st.sampled_from([0.0, 0.9, 0.999999]),
    st.booleans(),
)
def test_momentum_is_its_twin_in_whole_numbers(rows, lr, kept, first_round):
    before, base, one, other = (ints(column) for column in zip(*rows, strict=True))
    mean = weighted_mean([one, other], [3, 5], LIMIT_Q).tolist()
    got = momentum(
        MomentumSettings(lr, kept), Updates(base, [one, other], [3, 5], BITS, LIMIT_Q, None if first_round else before)
    )
    share, again = round(lr * MICRO), round(kept * MICRO)
    for at, (last, now) in enumerate(zip(before.tolist(), base.tolist(), strict=True)):
        step = share * (mean[at] - now) + (0 if first_round else again * (now - last))
        assert got[at] == within(now + rounded(Fraction(step, MICRO)))


@given(
    st.lists(
        st.tuples(COORDINATE, COORDINATE, st.integers(0, 50) | st.integers(0, LIMIT_Q), COORDINATE, COORDINATE),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([0.03, 10.0, 0.000001]),
    st.sampled_from([0.0, 0.9, 0.999999]),
    st.sampled_from([0.0, 0.99]),
    st.sampled_from([0.001, 1.0, 0.000001]),
)
def test_adam_is_its_twin_in_whole_numbers(rows, lr, beta1, beta2, tau):
    model, first, second, one, other = (ints(column) for column in zip(*rows, strict=True))
    # What the updates say behind the model is not looked at.
    junk = np.resize(one, 2 * len(model))
    got = adam(
        AdamSettings(lr, beta1, beta2, tau),
        Updates(
            np.concatenate([model, first, second]),
            [np.concatenate([one, junk]), np.concatenate([other, -junk])],
            [3, 5],
            BITS,
            LIMIT_Q,
        ),
    )
    mean = weighted_mean([one, other], [3, 5], LIMIT_Q).tolist()
    eta, kept, kept_square = (round(each * MICRO) for each in (lr, beta1, beta2))
    floor_of_root = max(1, round(tau * MICRO) * FINER * 2**BITS // MICRO)
    for at, now in enumerate(model.tolist()):
        step = within((mean[at] - now) * FINER)
        m = rounded(Fraction(kept * int(first[at]) + (MICRO - kept) * step, MICRO))
        r = isqrt((kept_square * int(second[at]) ** 2 + (MICRO - kept_square) * step**2) // MICRO)
        assert got[len(model) + at] == within(m)
        assert got[2 * len(model) + at] == within(r)
        # Two roundings, the first down: at most one step beside the exact quotient.
        exact = Fraction(eta * m * 2**BITS, (r + floor_of_root) * MICRO)
        assert abs(got[at] - within(now + rounded(exact))) <= 1


def test_roots_next_to_a_square_are_not_off_by_one():
    roots = [2**15, 46340, 2**26 - 1, 2**28 + 12345, LIMIT_Q - 1, LIMIT_Q]
    base = ints([0] * len(roots) + [0] * len(roots) + roots)
    unmoved = adam(AdamSettings(0.1, 0.9, 0.999999, 0.001), Updates(base, [base], [1], BITS, LIMIT_Q))
    kept = unmoved[2 * len(roots) :].tolist()
    assert kept == [isqrt(999_999 * root**2 // MICRO) for root in roots]


def test_a_mean_that_forgets_a_hundredth_a_round_does_not_stand_still():
    """Of a step of a thousandth the root falls to a tenth in as many rounds as it should: 0.99^(k / 2) = 0.1 at 458."""
    base = ints([0, 0, round(0.001 * FINER * 2**BITS)])
    start, rounds = int(base[2]), 0
    while base[2] * 10 > start:
        base = adam(AdamSettings(), Updates(base, [base], [1], BITS, LIMIT_Q))
        rounds += 1
    assert 457 <= rounds <= 462


def test_the_first_vector_begins_as_the_paper_says_and_a_blob_goes_round():
    rule = FedAdam.from_settings({"tau": "0.01"})
    start = rule.initial(np.array([0.5, -1.0], np.float32))
    assert start.tolist() == pytest.approx([0.5, -1.0, 0.0, 0.0, 0.01 * FINER, 0.01 * FINER])
    base = pack(np.rint(start * 2**BITS).astype(np.int32), BITS)
    update = np.rint((start + np.float32(0.25)) * 2**BITS).astype(np.int32)
    made = aggregate_blobs("adam", {"lr": "0.1", "tau": "0.01"}, base, [(pack(update, BITS), 9)], 6, BITS, LIMIT_Q)
    model = decode(unpack(made.blob, 6, BITS, LIMIT_Q))
    # m = 0.025, r = sqrt(0.99 * 0.01^2 + 0.01 * 0.25^2)
    moved = 0.1 * 0.025 / ((0.99 * 0.01**2 + 0.01 * 0.25**2) ** 0.5 + 0.01)
    assert model[:2].tolist() == pytest.approx([0.5 + moved, -1.0 + moved], abs=2e-6)
    # Judged by the model alone: a step in its direction is of full quality.
    assert made.qualities == (1_000_000,)


@pytest.mark.parametrize(
    ("rule", "settings", "fault"),
    [
        ("momentum", {"lr": "0"}, "lr is '0', want a number in 1e-06..10"),
        ("momentum", {"momentum": "1"}, "momentum is '1'"),
        ("adam", {"tau": "0"}, "tau is '0'"),
        ("adam", {"vectors": "3"}, "rule adam has no setting vectors"),
        ("mean", {"vectors": "0"}, "vectors is '0', want a whole number in 1..64"),
    ],
)
def test_settings_that_make_no_step_are_refused(rule, settings, fault):
    with pytest.raises(AggregateError, match=fault):
        check_rule(rule, settings)


def test_a_vector_that_is_no_whole_number_of_models_is_refused():
    blob = pack(np.zeros(7, np.int32), BITS)
    for rule, settings in (("adam", {}), ("mean", {"vectors": "2"})):
        with pytest.raises(AggregateError, match=r"7 coordinates, want [23] vectors of one length"):
            aggregate_blobs(rule, settings, blob, [(blob, 1)], 7, BITS, LIMIT_Q)
