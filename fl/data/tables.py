"""Records with their labels, as every source gives them and every trainer takes them. Checked once, at the door."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError

Features = NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.int64]

# What a feature may be: a measurement, a pixel of 0..255, the code of a character.
FEATURE_TYPES = (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int64))
PIXEL_MAX = 255


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`features` [n, ...]: float32 measurements, uint8 pixels or int64 codes; `labels` int64 [n]: places in `classes`.

    `groups`, where there are any, is int64 [n], places in `group_names`: the site, load or speaker a record is from;
    `grouped_by` says what they are, by the name under which a request can make them the unit of privacy. `overlap`:
    records share measurements with each other, so that one of them alone is no such unit.
    Raises DataError for other types, unequal lengths, a number that is not finite, an index out of range.
    """

    features: Features
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    groups: NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()
    grouped_by: str = ""
    overlap: bool = False

    def __post_init__(self) -> None:
        if self.features.ndim < 2 or self.features.dtype not in FEATURE_TYPES:
            raise DataError(
                f"features are {self.features.dtype} {list(self.features.shape)}, "
                "want [n, ...] in float32, uint8 or int64"
            )
        # Checked by way of a sum: no mask as large as the table is made for what is almost always sound.
        if self.features.dtype.kind == "f" and not np.isfinite(self.features.sum(dtype=np.float64)):
            _refuse_non_finite(self.features)
        _check_indices("labels", self.labels, len(self.features), self.classes)
        if self.groups is not None:
            _check_indices("groups", self.groups, len(self.features), self.group_names)
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise DataError(f"classes are {list(self.classes)[:8]}, want names that are different")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """The shape of one record."""
        return tuple(self.features.shape[1:])

    def inputs(self) -> NDArray[np.float32] | NDArray[np.int64]:
        """What a model is fed, [n, ...]: measurements and codes as they are, pixels as float32 in 0..1."""
        if self.features.dtype == np.uint8:
            return self.features.astype(np.float32) / np.float32(PIXEL_MAX)
        return self.features  # type: ignore[return-value]

    def take(self, rows: NDArray[np.intp] | slice) -> "Table":
        """The records at these positions, in this order (a slice shares memory)."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, features=self.features[rows], labels=self.labels[rows], groups=groups)

    def names_of_groups(self) -> tuple[str, ...] | None:
        """The name of every record's group; None when there are no groups."""
        return None if self.groups is None else tuple(self.group_names[place] for place in self.groups.tolist())

    def class_counts(self) -> NDArray[np.int64]:
        """int64 [classes]: how many records each class has."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a factory trains on, and what it tests on. Raises DataError when the two do not match."""

    train: Table
    test: Table

    def __post_init__(self) -> None:
        if self.train.classes != self.test.classes or self.train.record_shape != self.test.record_shape:
            raise DataError(
                f"train has records {self.train.record_shape} of {len(self.train.classes)} classes, "
                f"test {self.test.record_shape} of {len(self.test.classes)}: want the same"
            )


def join(tables: Sequence[Table]) -> Table:
    """All records of the tables, in order. Groups stay when every table has the same group names.

    Raises DataError when the tables differ in record shape, type or classes.
    """
    if not tables:
        raise DataError("no tables to join")
    first = tables[0]
    for other in tables[1:]:
        if (other.classes, other.record_shape, other.features.dtype) != (
            first.classes,
            first.record_shape,
            first.features.dtype,
        ):
            raise DataError(
                f"cannot join {other.features.dtype} records {other.record_shape} of {other.classes[:8]} "
                f"to {first.features.dtype} {first.record_shape} of {first.classes[:8]}"
            )
    features = np.concatenate([table.features for table in tables])
    labels = np.concatenate([table.labels for table in tables])
    groups = [table.groups for table in tables if table.groups is not None]
    overlap = any(table.overlap for table in tables)
    named = {(table.group_names, table.grouped_by) for table in tables}
    if len(groups) < len(tables) or len(named) > 1:
        return Table(features, labels, first.classes, overlap=overlap)
    return Table(features, labels, first.classes, np.concatenate(groups), *named.pop(), overlap)


def _check_indices(what: str, values: NDArray[np.int64], count: int, of_names: tuple[str, ...]) -> None:
    if values.dtype != np.int64 or values.shape != (count,):
        raise DataError(f"{what} are {values.dtype} {list(values.shape)}, want int64 [{count}]")
    if count and (int(values.min()) < 0 or int(values.max()) >= len(of_names)):
        wrong = int(np.flatnonzero((values < 0) | (values >= len(of_names)))[0])
        raise DataError(f"{what}: record {wrong} has {int(values[wrong])}, want 0..{len(of_names) - 1}")


def _refuse_non_finite(features: Features) -> None:
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        row, *column = (int(i) for i in bad[0])
        value = features[tuple(bad[0])]
        raise DataError(f"record {row}, position {column}: {value}, want a finite number ({len(bad)} such values)")
