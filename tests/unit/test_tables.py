"""A table is checked once, when it is made; what is in it can be trusted after that."""

import numpy as np
import pytest

from fl.data.errors import DataError
from fl.data.tables import Split, Table, join


def table(rows=4, classes=("a", "b"), columns=3, dtype=np.float32, **more):
    labels = np.arange(rows, dtype=np.int64) % len(classes)
    return Table(np.arange(rows * columns).reshape(rows, columns).astype(dtype), labels, classes, **more)


def test_inputs_are_what_a_model_is_fed():
    assert table().inputs().dtype == np.float32
    assert table(dtype=np.int64).inputs().dtype == np.int64
    pixels = Table(np.array([[[[0, 255]]]], dtype=np.uint8), np.zeros(1, dtype=np.int64), ("a",))
    assert pixels.inputs().tolist() == [[[[0.0, 1.0]]]]
    assert pixels.record_shape == (1, 1, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(value):
    features = np.zeros((4, 3), dtype=np.float32)
    features[2, 1] = value
    with pytest.raises(DataError, match=r"record 2, position \[1\]"):
        Table(features, np.zeros(4, dtype=np.int64), ("a",))


def test_sums_that_overflow_are_no_reason_to_refuse():
    large = np.full((3, 2), 3e38, dtype=np.float32)
    assert len(Table(large, np.zeros(3, dtype=np.int64), ("a",))) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": np.zeros((4, 3))}, "float64"),
        ({"features": np.zeros(4, dtype=np.float32)}, "want"),
        ({"labels": np.zeros(3, dtype=np.int64)}, r"want int64 \[4\]"),
        ({"labels": np.zeros(4, dtype=np.int32)}, "int32"),
        ({"labels": np.array([0, 1, 2, 0])}, r"record 2 has 2, want 0\.\.1"),
        ({"labels": np.array([0, -1, 0, 0])}, "record 1 has -1"),
        ({"classes": ("a", "a")}, "different"),
        ({"groups": np.array([0, 0, 0, 1]), "group_names": ("x",)}, "groups: record 3 has 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    good = {
        "features": np.zeros((4, 3), dtype=np.float32),
        "labels": np.zeros(4, dtype=np.int64),
        "classes": ("a", "b"),
    }
    with pytest.raises(DataError, match=said):
        Table(**(good | change))


def test_take_and_join_keep_records_labels_and_groups_together():
    grouped = table(groups=np.array([0, 1, 0, 1]), group_names=("x", "y"))
    part = grouped.take(np.array([3, 0]))
    assert part.features.tolist() == [[9, 10, 11], [0, 1, 2]]
    assert (part.labels.tolist(), part.groups.tolist()) == ([1, 0], [1, 0])
    both = join([part, grouped])
    assert both.groups.tolist() == [1, 0, 0, 1, 0, 1]
    assert both.class_counts().tolist() == [3, 3]
    assert join([grouped, table()]).groups is None


def test_tables_that_differ_are_not_joined_and_make_no_split():
    for other in (table(columns=2), table(classes=("a", "c")), table(dtype=np.int64)):
        with pytest.raises(DataError, match="cannot join"):
            join([table(), other])
    with pytest.raises(DataError, match="want the same"):
        Split(train=table(), test=table(columns=2))
    with pytest.raises(DataError, match="no tables"):
        join([])
