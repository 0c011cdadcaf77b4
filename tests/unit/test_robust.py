"""Rules that bear bad updates: exact against slow twins, in any order, and bounded by what honest factories sent."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.aggregate import RULES, AggregateError, aggregate_blobs, check_rule, rule_notes
from fl.exact_sums import CHUNK, GRAM_CHUNK, step_products
from fl.fixed_point import limit_in_steps, pack, unpack
from fl.robust import (
    NormBoundSettings,
    NoSettings,
    ShareSettings,
    Updates,
    median,
    multi_krum,
    norm_bound,
    trimmed_mean,
)

SCALE = 20
LIMIT_Q = limit_in_steps(512.0, SCALE)
ROBUST = sorted(name for name, rule in RULES.items() if rule.robust)


def drawn(seed, members, count, most=LIMIT_Q):
    rng = np.random.default_rng(seed)
    return [rng.integers(-most, most, count, np.int32, endpoint=True) for _ in range(members)]


def updates(vectors, base=None, weights=None):
    base = np.zeros(len(vectors[0]), np.int32) if base is None else base
    return Updates(base, vectors, weights or [1] * len(vectors), SCALE, LIMIT_Q)


def half_up(total, count):
    return floor(Fraction(2 * total + count, 2 * count))


def slow_trimmed(vectors, cut):
    columns = (sorted(column) for column in zip(*(vector.tolist() for vector in vectors), strict=True))
    kept = (column[cut : len(column) - cut] for column in columns)
    return [half_up(sum(column), len(column)) for column in kept]


def slow_krum(vectors, bad):
    plain = [vector.tolist() for vector in vectors]

    def distance(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    near = len(plain) - bad - 2
    scores = [sum(sorted(distance(a, b) for j, b in enumerate(plain) if j != i)[:near]) for i, a in enumerate(plain)]
    assert len(set(scores)) == len(scores)
    chosen = sorted(range(len(plain)), key=scores.__getitem__)[: len(plain) - bad]
    return [half_up(sum(column), len(chosen)) for column in zip(*(plain[i] for i in chosen), strict=True)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("members", [1, 2, 3, 6, 7])
def test_the_trimmed_mean_equals_its_slow_twin(members, share):
    vectors = drawn(members, members, CHUNK + 3, 50)[:]
    cut = min(floor(Fraction(str(share)) * members), (members - 1) // 2)
    assert trimmed_mean(ShareSettings(share), updates(vectors)).tolist() == slow_trimmed(vectors, cut)


@pytest.mark.parametrize("members", [1, 2, 5, 8])
def test_the_median_is_the_middle_or_the_mean_of_the_two(members):
    vectors = drawn(members, members, 500)
    assert median(NoSettings(), updates(vectors)).tolist() == slow_trimmed(vectors, (members - 1) // 2)


@pytest.mark.parametrize(("members", "most"), [(5, 3000), (7, LIMIT_Q), (10, LIMIT_Q)])
def test_multi_krum_equals_its_slow_twin_also_where_squares_pass_64_bits(members, most):
    vectors = drawn(members, members, 400, most)
    base = drawn(99, 1, 400, most)[0]
    bad = min(floor(0.3 * members), (members - 3) // 2)
    assert bad > 0
    assert multi_krum(ShareSettings(0.3), updates(vectors, base)).tolist() == slow_krum(vectors, bad)


@pytest.mark.parametrize("most", [1000, 2**24, 2**31 - 1])
def test_products_of_steps_are_exact_at_every_width_and_across_chunks(most):
    base, *vectors = drawn(5, 4, GRAM_CHUNK + 11, most)
    steps = [[int(q) - int(o) for q, o in zip(v.tolist(), base.tolist(), strict=True)] for v in vectors]
    want = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in steps] for a in steps]
    assert step_products([(base, vector) for vector in vectors]) == want


def test_products_of_the_widest_steps_are_exact():
    low, high = np.full(GRAM_CHUNK, -(2**31), np.int32), np.full(GRAM_CHUNK, 2**31 - 1, np.int32)
    step = 2**32 - 1
    assert step_products([(low, high), (high, low)]) == [
        [step * step * GRAM_CHUNK, -step * step * GRAM_CHUNK],
        [-step * step * GRAM_CHUNK, step * step * GRAM_CHUNK],
    ]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ROBUST), st.permutations(range(7)), st.integers(0, 50))
def test_no_order_of_the_updates_changes_a_bit_of_a_robust_rule(rule, order, seed):
    base, *vectors = drawn(seed, 8, 60)
    # Two alike, so that a tie has to be broken by what they are and not by where they stand.
    vectors[3] = vectors[5].copy()
    weights = [1, 20, 300, 4000, 50_000, 6, 70]

    def blob(places):
        pairs = [(pack(vectors[at]), weights[at]) for at in places]
        return aggregate_blobs(rule, {}, pack(base), pairs, 60, SCALE, LIMIT_Q).blob

    assert blob(order) == blob(range(7))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["trimmed-mean", "median"]), st.integers(0, 2**31))
def test_three_liars_of_ten_move_no_coordinate_beyond_the_honest_ones(seed, rule, lies_seed):
    honest = drawn(seed, 7, 40, 1000)
    liars = drawn(lies_seed, 3, 40, LIMIT_Q)
    given_updates = [(pack(vector), 1) for vector in honest + liars]
    settings_ = {"share": "0.3"} if rule == "trimmed-mean" else {}
    base = pack(np.zeros(40, np.int32))
    result = unpack(aggregate_blobs(rule, settings_, base, given_updates, 40, SCALE, LIMIT_Q).blob, 40, SCALE, LIMIT_Q)
    stacked = np.stack(honest)
    assert bool((stacked.min(0) <= result).all() and (result <= stacked.max(0)).all())


def test_multi_krum_leaves_three_far_ones_out():
    rng = np.random.default_rng(4)
    honest = [rng.integers(-100, 100, 50).astype(np.int32) for _ in range(7)]
    liars = [np.full(50, 10_000 + at, np.int32) for at in range(3)]
    kept = multi_krum(ShareSettings(0.3), updates([liars[0], *honest, *liars[1:]]))
    assert kept.tolist() == slow_trimmed(honest, 0)


@pytest.mark.parametrize("bound", [1.0, 100.0])
def test_no_step_counts_for_more_than_the_bound_and_short_ones_stay_as_they_are(bound):
    base, long, *_ = drawn(8, 2, 1000)
    short = base + 3
    limit = int(bound * 2**SCALE)
    alone = norm_bound(NormBoundSettings(bound), updates([long], base)).astype(object) - base
    length = int((alone**2).sum())
    # Towards zero loses less than one of each coordinate, and the factor less than 2^-29 of the length.
    assert limit * limit * 0.98 < length <= limit * limit
    assert norm_bound(NormBoundSettings(bound), updates([short], base)).tolist() == short.tolist()


def test_the_bound_is_as_exact_as_fractions_are():
    base, *vectors = drawn(9, 4, 200)
    weights = [3, 1, 10]
    bound = 2**SCALE * 40
    steps = [[int(q) - int(o) for q, o in zip(v.tolist(), base.tolist(), strict=True)] for v in vectors]
    lengths = [sum(x * x for x in step) for step in steps]
    shortened = []
    for step, length in zip(steps, lengths, strict=True):
        root = 0
        while (root + 2**20) ** 2 <= length:
            root += 2**20
        while (root + 1) ** 2 <= length:
            root += 1
        factor = Fraction((bound << 30) // (root + 1), 2**30) if length > bound * bound else Fraction(1)
        shortened.append([int(x * factor) for x in step])
    want = [
        half_up(sum(w * (o + step[at]) for w, step in zip(weights, shortened, strict=True)), sum(weights))
        for at, o in enumerate(base.tolist())
    ]
    assert norm_bound(NormBoundSettings(40.0), updates(vectors, base, weights)).tolist() == want


def test_without_a_bound_the_median_length_is_the_longest():
    base = np.zeros(4, np.int32)
    vectors = [np.array([length, 0, 0, 0], np.int32) for length in (100, 200, 90_000)]
    assert norm_bound(NormBoundSettings(), updates(vectors, base)).tolist()[0] in (166, 167)
    twice = norm_bound(NormBoundSettings(0.0, 2.0), updates(vectors, base)).tolist()[0]
    assert twice in (233, 234)


@pytest.mark.parametrize(
    ("rule", "given_settings", "fault"),
    [
        ("magic", {}, "unknown rule 'magic', want one of adam, .*mean, median, momentum, multi-krum, norm-bound"),
        ("mean", {"share": "0.1"}, "rule mean has no setting share"),
        ("trimmed-mean", {"share": "0.6"}, "share is '0.6', want a number in 0..0.5"),
        ("median", {"inspect": "maybe"}, "inspect is 'maybe', want one of true, false"),
    ],
)
def test_a_request_that_asks_for_what_is_not_there_is_told_so(rule, given_settings, fault):
    with pytest.raises(AggregateError, match=fault):
        check_rule(rule, given_settings)
    with pytest.raises(AggregateError, match=fault):
        aggregate_blobs(rule, given_settings, pack(np.zeros(12, np.int32)), [], 12, SCALE, LIMIT_Q)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_takes_what_its_notes_say_and_wants_an_update(rule):
    check_rule(rule, {note.name: note.default for note in rule_notes(rule) if note.default is not None})
    with pytest.raises(AggregateError, match="no updates, want at least one"):
        aggregate_blobs(rule, {}, pack(np.zeros(12, np.int32)), [], 12, SCALE, LIMIT_Q)
