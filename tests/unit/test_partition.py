"""Ways to divide one data set among factories: nothing twice, sizes and classes as promised."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.data.errors import DataError
from fl.partition import (
    Partition,
    divide,
    parse_partition,
    split_by_class,
    split_by_group,
    split_dirichlet,
    split_iid,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "partition-1000-balanced.json").read_text())
BALANCED = np.arange(1000, dtype=np.int64) % 10


def classes_held(parts, labels=BALANCED):
    return [len(np.unique(labels[part])) for part in parts]


def assert_disjoint(parts, records, covers):
    joined = np.concatenate(parts)
    assert len(np.unique(joined)) == len(joined)
    assert joined.min() >= 0
    assert joined.max() < records
    if covers:
        assert len(joined) == records


@pytest.mark.parametrize("written", ["iid", "class(2)", "class(3)"])
def test_the_published_splits_of_1000_records_have_the_reference_sizes(written):
    facts = GOLDEN[written]
    parts = divide(parse_partition(written), BALANCED, None, 10, np.random.default_rng(3))
    assert_disjoint(parts, 1000, covers=facts["covers_all"])
    assert sorted(len(part) for part in parts) == pytest.approx(facts["sizes"], abs=facts["size_tolerance"])
    assert classes_held(parts) == [facts["classes_per_client"]] * 10


def test_dirichlet_covers_everything_with_sizes_and_skew_like_the_reference():
    facts = GOLDEN["dirichlet(0.5)"]
    held = []
    for seed in range(10):
        parts = split_dirichlet(BALANCED, 10, 0.5, np.random.default_rng(seed))
        assert_disjoint(parts, 1000, covers=facts["covers_all"])
        assert max(len(part) for part in parts) <= 200
        held += classes_held(parts)
    assert facts["mean_classes"] - 2 < np.mean(held) < facts["mean_classes"] + 2


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=200),
    clients=st.integers(1, 12),
    alpha=st.sampled_from([0.05, 0.5, 100.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_iid_and_dirichlet_give_every_record_to_exactly_one_client(labels, clients, alpha, seed):
    values = np.array(labels, dtype=np.int64)
    if len(values) < clients:
        with pytest.raises(DataError, match="at least one each"):
            split_iid(len(values), clients, np.random.default_rng(seed))
        return
    parts = split_iid(len(values), clients, np.random.default_rng(seed))
    assert_disjoint(parts, len(values), covers=True)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    try:
        parts = split_dirichlet(values, clients, alpha, np.random.default_rng(seed))
    except DataError as refused:
        # Said after a hundred draws only, when there are hardly more records than clients, or hardly any mixing.
        assert "in each of 100 draws" in str(refused)  # noqa: PT017
        return
    assert_disjoint(parts, len(values), covers=True)
    assert min(map(len, parts)) >= 1


@settings(max_examples=60, deadline=None)
@given(
    per_class=st.lists(st.integers(40, 60), min_size=1, max_size=8),
    clients=st.integers(1, 10),
    data=st.data(),
    seed=st.integers(0, 2**32 - 1),
)
def test_class_k_gives_each_client_exactly_k_classes_in_equal_shards(per_class, clients, data, seed):
    labels = np.repeat(np.arange(len(per_class), dtype=np.int64), per_class)
    held = data.draw(st.integers(1, len(per_class)))
    parts = split_by_class(labels, clients, held, np.random.default_rng(seed))
    assert_disjoint(parts, len(labels), covers=clients * held % len(per_class) == 0)
    assert classes_held(parts, labels) == [held] * clients
    shards = -(-clients * held // len(per_class))
    for part in parts:
        for label, size in zip(*np.unique(labels[part], return_counts=True), strict=True):
            assert size - per_class[label] // shards in (0, 1)


def test_shards_left_over_are_dropped():
    parts = split_by_class(BALANCED, 3, 4, np.random.default_rng(0))
    # 12 shards of 10 classes: two a class, eight of them left over.
    assert [len(part) for part in parts] == [200, 200, 200]


def test_the_seed_decides_and_replays():
    for kind in (Partition("iid"), Partition("dirichlet", 0.5), Partition("class", 2)):
        once, again, other = (divide(kind, BALANCED, None, 5, np.random.default_rng(s)) for s in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(once, other, strict=True))


def test_small_alpha_means_few_classes():
    few, many = (
        np.mean(classes_held(split_dirichlet(BALANCED, 10, alpha, np.random.default_rng(1)))) for alpha in (0.1, 100)
    )
    assert few < 6
    assert many > 9


def test_groups_stay_whole_and_sizes_near():
    groups = np.repeat(np.arange(7, dtype=np.int64), [50, 10, 10, 10, 9, 8, 3])
    parts = split_by_group(groups, 3)
    assert_disjoint(parts, 100, covers=True)
    assert sorted(len(part) for part in parts) == [23, 27, 50]
    owners = [set(groups[part]) for part in parts]
    assert set.union(*owners) == set(range(7))
    assert sum(map(len, owners)) == 7
    with pytest.raises(DataError, match="7 groups for 8 clients"):
        split_by_group(groups, 8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "IID",
        "class",
        "class(0)",
        "class(2.5)",
        "dirichlet(0)",
        "dirichlet(1.2.3)",
        "group(2)",
        "class(-1)",
    ],
)
def test_a_way_that_is_not_known_is_refused(text):
    with pytest.raises(DataError, match="partition is"):
        parse_partition(text)


def test_what_cannot_be_divided_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="10 classes have records"):
        split_by_class(BALANCED, 5, 11, rng)
    with pytest.raises(DataError, match="class 0 has 1 records, want 2"):
        split_by_class(np.array([0, 1, 1, 1]), 4, 1, rng)
    with pytest.raises(DataError, match="does not say which site"):
        divide(Partition("group"), BALANCED, None, 2, rng)
