"""Small sensor tables and stores full of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.data.tables import Split, Table
from node.collector import layout_of
from node.record_store import ClosedPeriod, NewRecords, RecordStore

CLASSES = ("healthy", "inner", "outer", "ball")
HOUR_MS = 3_600_000


def table(count: int, seed: int = 0, width: int = 8) -> Table:
    """Classes that a small network tells apart in a few epochs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), count)
    features = rng.normal(size=(count, width)).astype(np.float32) + 2 * np.eye(len(CLASSES), width)[labels]
    return Table(features.astype(np.float32), labels.astype(np.int64), CLASSES)


def split(train: int = 60, test: int = 40, seed: int = 0) -> Split:
    return Split(table(train, seed), table(test, seed + 1000))


def times_from(first: int, count: int) -> NDArray[np.int64]:
    return np.arange(first, first + count, dtype=np.int64)


def new_records(rows: Table, first_time: int = 0) -> NewRecords:
    return NewRecords(rows.features, rows.labels, times_from(first_time, len(rows)))


def filled_store(path: Path, periods: int = 3, each: int = 13, seed: int = 0) -> tuple[RecordStore, list[ClosedPeriod]]:
    """A store with closed periods 1, 2, ... of `each` records, and its test records."""
    rows = table(periods * each, seed)
    store = RecordStore(path)
    store.declare(layout_of(rows))
    closed = []
    for period in range(1, periods + 1):
        part = rows.take(slice((period - 1) * each, period * each))
        begins = period * HOUR_MS
        closed.append(store.add_period(period, new_records(part, begins), begins, begins + HOUR_MS))
    test = table(40, seed + 1000)
    store.replace_test(test.features, test.labels)
    return store, closed
