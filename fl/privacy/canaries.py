"""Records made to be noticed: what an audit plants in a table, and the tables it plants them in. Trains nothing.

A canary stands for the record that a guarantee must protect when all others are known to the attacker: the definition
asks for nothing less, so a canary may be as odd as a record can be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl.batches import UnusableTable

Table: TypeAlias = tuple[NDArray[Any], NDArray[np.int64]]
"""Features [n, ...] and labels int64 [n], as `fl.round` takes them."""

# A shock of ten times the usual, as a broken sensor gives it.
OUTLIER_TIMES = 10


@dataclass(frozen=True, slots=True)
class Planted:
    """Two tables that differ in one record: `present` is `absent` and the canary behind it.

    `canary` is that record alone, [1, ...].
    """

    present: Table
    absent: Table
    canary: Table


def public_table(seed: int, records: int, inputs: int = 20, classes: int = 4) -> Table:
    """Records that belong to nobody: float32 [records, inputs + 1] and labels; the last column is always 0.

    Classes are the largest of fixed linear scores with noise on them, so that a softmax learns most and not all of it.
    """
    rng = np.random.default_rng(seed)
    planes = np.random.default_rng(1).normal(size=(inputs, classes))
    features = np.zeros((records, inputs + 1), np.float32)
    features[:, :inputs] = rng.normal(size=(records, inputs))
    scores = features[:, :inputs] @ planes
    labels = (scores + rng.normal(size=scores.shape)).argmax(1).astype(np.int64)
    return features, labels


def plant(kind: str, table: Table, classes: int) -> Planted:
    """The last record of `table` becomes the canary; without it the table is one shorter.

    Raises UnusableTable for a table that has no room for such a canary.
    """
    features, labels = table
    if kind not in CANARIES:
        raise UnusableTable(f"canary {kind[:40]!r}, want one of {', '.join(CANARIES)}")
    if len(labels) < 2 or labels.ndim != 1 or classes < 2:
        raise UnusableTable(f"{len(labels)} records of {classes} classes, want at least 2 of 2, a label each")
    record, label = CANARIES[kind].make(features, labels, classes)
    canary = record[None].astype(features.dtype), np.array([label], np.int64)
    absent = features[:-1], labels[:-1]
    present = np.concatenate([absent[0], canary[0]]), np.concatenate([absent[1], canary[1]])
    return Planted(present, absent, canary)


@dataclass(frozen=True, slots=True)
class CanaryKind:
    summary: str
    make: Callable[[NDArray[Any], NDArray[np.int64], int], tuple[NDArray[Any], int]]


def _flipped(features: NDArray[Any], labels: NDArray[np.int64], classes: int) -> tuple[NDArray[Any], int]:
    """An ordinary record under another class."""
    return features[-1], int(labels[-1] + 1) % classes


def _outlier(features: NDArray[Any], labels: NDArray[np.int64], classes: int) -> tuple[NDArray[Any], int]:
    if features.dtype != np.float32:
        raise UnusableTable(f"features are {features.dtype}: an outlier of ten times the usual needs float32")
    return features[-1] * np.float32(OUTLIER_TIMES), int(labels[-1] + 1) % classes


def _alone(features: NDArray[Any], labels: NDArray[np.int64], classes: int) -> tuple[NDArray[Any], int]:
    """What it says stands where all others are silent: every trace there is its own. The sharpest of all."""
    flat = features.reshape(len(features), -1)
    silent = np.flatnonzero(~flat.any(0)) if features.dtype == np.float32 else np.empty(0, np.intp)
    if not len(silent):
        raise UnusableTable("no column of the features is 0 in all records, so that no record can be alone in one")
    record = np.zeros(flat.shape[1], np.float32)
    record[silent[0]] = max(1.0, float(np.linalg.norm(flat, axis=1).mean()))
    return record.reshape(features.shape[1:]), int(labels[-1])


CANARIES: dict[str, CanaryKind] = {
    "flipped": CanaryKind("an ordinary record under a wrong label", _flipped),
    "outlier": CanaryKind("a record of ten times the usual size under a wrong label", _outlier),
    "alone": CanaryKind("a record that is alone in using a feature", _alone),
}
