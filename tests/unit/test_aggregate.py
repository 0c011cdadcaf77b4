"""Exact aggregation against a slow twin in Python's unbounded integers."""

from fractions import Fraction
from math import floor, isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.aggregate import (
    CHUNK,
    AggregateError,
    aggregate_blobs,
    quality,
    total_weight_max,
    weighted_mean,
)
from fl.fixed_point import InvalidVector, encode, limit_in_steps, pack, unpack

LIMIT_Q = limit_in_steps(512.0, 20)


def slow_mean(vectors, weights):
    total = sum(weights)
    columns = zip(*(vector.tolist() for vector in vectors), strict=True)
    return [
        floor(Fraction(2 * sum(w * q for w, q in zip(weights, column, strict=True)) + total, 2 * total))
        for column in columns
    ]


def slow_quality(base, updates, aggregate):
    origin, whole = base.tolist(), [a - b for a, b in zip(aggregate.tolist(), base.tolist(), strict=True)]
    results = []
    for update in updates:
        step = [u - b for u, b in zip(update.tolist(), origin, strict=True)]
        dot = sum(s * w for s, w in zip(step, whole, strict=True))
        lengths = sum(s * s for s in step) * sum(w * w for w in whole)
        results.append(isqrt(10**12 * dot * dot // lengths) if dot > 0 and lengths else 0)
    return results


def random_vectors(seed, members, count, most):
    rng = np.random.default_rng(seed)
    return [rng.integers(-most, most, count, np.int32, endpoint=True) for _ in range(members)]


# Past one chunk, so that its edge is crossed; the full int32 range, so that no product is small.
@pytest.mark.parametrize(("count", "most"), [(1, 5), (1000, LIMIT_Q), (CHUNK + 7, 2**31 - 1), (CHUNK, 3)])
def test_the_mean_equals_the_slow_twin(count, most):
    vectors = random_vectors(3, 5, count, most)
    weights = [1, 599, 2, 1000, 123_457]
    assert weighted_mean(vectors, weights).tolist() == slow_mean(vectors, weights)


def test_in_an_even_mean_nobodys_records_count():
    base, *vectors = random_vectors(4, 6, 500, LIMIT_Q)
    weights = [1, 599, 2, 1000, 123_457]
    blobs = [(pack(vector), weight) for vector, weight in zip(vectors, weights, strict=True)]
    made = aggregate_blobs("even-mean", {}, pack(base), blobs, 500, 20, LIMIT_Q)
    assert unpack(made.blob, 500, 20, LIMIT_Q).tolist() == slow_mean(vectors, [1] * 5)
    # Where all have as many records it is the mean, to the bit.
    alike = [(blob, 7) for blob, _ in blobs]
    mean = aggregate_blobs("mean", {}, pack(base), alike, 500, 20, LIMIT_Q)
    assert mean.blob == aggregate_blobs("even-mean", {}, pack(base), alike, 500, 20, LIMIT_Q).blob == made.blob


def test_halves_round_up_and_equal_weights_change_nothing():
    one, two = np.array([0, 1, -1, -3], np.int32), np.array([1, 2, 0, -4], np.int32)
    assert weighted_mean([one, two], [1, 1]).tolist() == [1, 2, 0, -3]
    assert weighted_mean([one, one, one], [7, 1, 3]).tolist() == one.tolist()


@settings(max_examples=30)
@given(st.permutations(range(6)), st.integers(0, 100))
def test_no_order_of_the_updates_changes_a_bit(order, seed):
    vectors = random_vectors(seed, 6, 50, LIMIT_Q)
    weights = [1, 20, 300, 4000, 50_000, 6]
    shuffled = weighted_mean([vectors[at] for at in order], [weights[at] for at in order])
    assert shuffled.tobytes() == weighted_mean(vectors, weights).tobytes()


@pytest.mark.parametrize("limit_q", [LIMIT_Q, 2**31 - 1])
def test_the_static_bound_is_reached_exactly_and_not_passed(limit_q):
    most = total_weight_max(limit_q)
    extreme = [np.array([limit_q, -limit_q], np.int32)] * 2
    assert weighted_mean(extreme, [most - 1, 1], limit_q).tolist() == [limit_q, -limit_q]
    with pytest.raises(AggregateError, match="want at most"):
        weighted_mean(extreme, [most, 1], limit_q)
    # One more than the bound would really leave an int64: the check is not merely careful.
    assert (most + 1) * (2 * limit_q + 1) > 2**63 - 1


@pytest.mark.parametrize(
    ("vectors", "weights"),
    [
        ([], []),
        ([np.zeros(3, np.int32)], [1, 2]),
        ([np.zeros(3, np.int32)], [0]),
        ([np.zeros(3, np.int32)], [-1]),
        ([np.zeros(3, np.int32), np.zeros(4, np.int32)], [1, 1]),
        ([np.zeros(3, np.int64)], [1]),
    ],
)
def test_updates_that_make_no_mean_are_refused(vectors, weights):
    with pytest.raises(AggregateError, match="want"):
        weighted_mean(vectors, weights)


@pytest.mark.parametrize("most", [3, 2**17, LIMIT_Q, 2**31 - 1])
def test_quality_equals_the_slow_twin(most):
    base, *updates = random_vectors(5, 4, CHUNK + 9, most)
    whole = weighted_mean(updates, [10, 20, 30])
    assert quality(base, updates, whole) == slow_quality(base, updates, whole)


def test_quality_of_steps_one_can_check_by_eye():
    base = np.array([10, 10], np.int32)
    whole = base + np.array([100, 0], np.int32)
    steps = [(5, 0), (0, 5), (-5, 0), (0, 0), (3, 3), (2**31 - 11, 0)]
    updates = [base + np.array(step, np.int32) for step in steps]
    assert quality(base, updates, whole) == [1_000_000, 0, 0, 0, 707_106, 1_000_000]
    assert quality(base, updates, base) == [0] * 6


def test_the_widest_steps_do_not_overflow():
    low, high = np.full(CHUNK + 1, -(2**31), np.int32), np.full(CHUNK + 1, 2**31 - 1, np.int32)
    assert quality(low, [high, low], high) == [1_000_000, 0]


def test_a_committee_member_recomputes_the_same_bytes_from_the_blobs():
    rng = np.random.default_rng(8)
    base, *updates = (encode(rng.normal(size=500).astype(np.float32)) for _ in range(4))
    entries = [(pack(update), records) for update, records in zip(updates, [100, 250, 650], strict=True)]
    mine = aggregate_blobs("mean", {}, pack(base), entries, 500, 20, LIMIT_Q)
    theirs = aggregate_blobs("mean", {}, bytearray(pack(base)), entries[::-1], 500, 20, LIMIT_Q)
    assert mine.blob == theirs.blob
    assert mine.qualities == theirs.qualities[::-1]
    assert unpack(mine.blob, 500, 20, LIMIT_Q).tolist() == slow_mean(updates, [100, 250, 650])


def test_unknown_rules_settings_and_bad_blobs_are_refused():
    base = pack(np.zeros(3, np.int32))
    with pytest.raises(AggregateError, match="unknown rule 'magic'"):
        aggregate_blobs("magic", {}, base, [(base, 1)], 3, 20, LIMIT_Q)
    with pytest.raises(AggregateError, match="no setting trim"):
        aggregate_blobs("mean", {"trim": "1"}, base, [(base, 1)], 3, 20, LIMIT_Q)
    with pytest.raises(InvalidVector):
        aggregate_blobs("mean", {}, base, [(base, 1), (base[:-1], 1)], 3, 20, LIMIT_Q)
