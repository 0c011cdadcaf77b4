"""Shares of classes as they are told, and how far factories differ by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.label_mix import FactoryMix, LabelMixError, differences, parsed_shares, told_shares
from fl.partition import divide, parse_partition


def test_shares_are_rounded_and_small_ones_left_out():
    assert told_shares({0: 497, 3: 503}, 10) == "0:50 3:50"
    assert told_shares({0: 940, 1: 49, 2: 11}, 10) == "0:90"
    assert told_shares({0: 940, 1: 50, 2: 10}, 10) == "0:90 1:10"
    assert told_shares({0: 940, 1: 49, 2: 11}, 1) == "0:94 1:5 2:1"
    # A hundred records more or less of a class do not show in tenths.
    assert told_shares({0: 5_000, 1: 5_100}, 10) == told_shares({0: 5_000, 1: 5_000}, 10)


def test_what_cannot_be_told_in_so_few_words_is_not_told_wrongly():
    with pytest.raises(LabelMixError, match="40 classes do not show in shares of 10 %"):
        told_shares(dict.fromkeys(range(40), 25), 10)
    with pytest.raises(LabelMixError, match="no labelled records"):
        told_shares({}, 10)


@given(st.dictionaries(st.integers(0, 30), st.integers(1, 10_000), min_size=1, max_size=8), st.sampled_from((1, 10)))
def test_what_is_told_is_read_back_within_half_a_step(counts, step):
    try:
        shares = parsed_shares(told_shares(counts, step))
    except LabelMixError:
        return
    total = sum(counts.values())
    for label, count in counts.items():
        assert abs(shares.get(label, 0) - 100 * count / total) <= step / 2 + 1e-9


@pytest.mark.parametrize(
    "text",
    ["", "0:50,1:50", "0:50  1:50", "1:50 0:50", "0:50 0:50", "0:0 1:100", "0:101", "0:10", "a:100", "0:100 " * 60],
)
def test_what_nobody_could_have_told_is_refused(text):
    with pytest.raises(LabelMixError):
        parsed_shares(text)


def mixes_of(split, clients=10, records=6_000):
    labels = np.random.default_rng(5).permutation(np.arange(records) % 10).astype(np.int64)
    parts = divide(parse_partition(split), labels, None, clients, np.random.default_rng(1))
    counts = [np.bincount(labels[part], minlength=10) for part in parts]
    weights = [{str(label): float(count) for label, count in enumerate(each) if count} for each in counts]
    return [FactoryMix(f"factory-{at}", len(part), weights[at]) for at, part in enumerate(parts)]


def test_distance_by_hand():
    north = FactoryMix("north", 100, {"a": 1.0})
    south = FactoryMix("south", 300, {"a": 1.0, "b": 1.0})
    found = differences([north, south])
    # All: a 250 of 400, b 150. North is 0.375 away, south 0.125.
    assert found.distance == pytest.approx(0.25)
    assert found.farthest == ("north", pytest.approx(0.375))
    assert (found.classes, found.held, dict(found.alone), found.largest_share) == (2, 1.5, {"b": "south"}, 0.75)


@pytest.mark.parametrize(
    ("split", "least", "most"),
    [("iid", 0.0, 0.1), ("dirichlet(0.5)", 0.3, 0.6), ("class(3)", 0.65, 0.75), ("class(2)", 0.79, 0.81)],
)
def test_the_papers_splits_lie_where_the_advice_parts_them(split, least, most):
    found = differences(mixes_of(split))
    assert least <= found.distance <= most
    # Told in tenths, they lie there too.
    told = [
        FactoryMix(
            mix.name,
            mix.records,
            {
                str(label): float(share)
                for label, share in parsed_shares(
                    told_shares({int(k): int(v) for k, v in mix.weights.items()}, 10)
                ).items()
            },
        )
        for mix in mixes_of(split)
    ]
    assert least <= differences(told).distance <= most + 0.05


def test_one_factory_differs_from_nobody():
    with pytest.raises(LabelMixError, match="want two at least"):
        differences([FactoryMix("north", 1, {"a": 1.0})])
    with pytest.raises(LabelMixError, match="south has 0 records"):
        differences([FactoryMix("north", 1, {"a": 1.0}), FactoryMix("south", 0, {"a": 1.0})])
