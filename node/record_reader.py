"""Reading records out of the SQLite file as numpy arrays: for the store itself and, read-only, for the worker process.

Needs no torch, writes nothing. The file's form: `node/record_store.py`.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledger.errors import CorruptStore
from ledger.records import ValueType
from node.record_errors import RecordStoreError, RecordStoreFull, RecordStoreLocked
from node.record_groups import GROUPED_BY, read_groups

# A period's close is the longest write there is: well under a second for 100 000 records.
LOCK_WAIT_S = 10.0

DTYPES: dict[ValueType, np.dtype[Any]] = {
    ValueType.FLOAT32: np.dtype("<f4"),
    ValueType.UINT8: np.dtype("u1"),
    ValueType.INT64: np.dtype("<i8"),
}

Values = NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """What every record of a store looks like: its values and the names its labels index."""

    values_type: ValueType
    shape: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.values_type]

    def to_text(self) -> str:
        form = {"type": self.values_type.name, "shape": list(self.shape), "classes": list(self.classes)}
        return json.dumps(form, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> "RecordLayout":
        form = json.loads(text)
        return cls(ValueType[form["type"]], tuple(form["shape"]), tuple(form["classes"]))


@dataclass(frozen=True, slots=True, eq=False)
class RecordArrays:
    """`features` [n, ...] in the store's type, `labels` int64 [n]; read-only views."""

    features: Values
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors, said so that an operator knows what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _explanation(path, error) from error


def _explanation(path: Path, error: sqlite3.DatabaseError) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    # A limit on file sizes (RLIMIT_FSIZE, a quota) shows as a failed write, not as a full disk.
    writing = (
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    )
    if primary == sqlite3.SQLITE_FULL or code in writing:
        return RecordStoreFull(f"{path}: no room to write ({error}); free some space, nothing stored is lost")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RecordStoreLocked(f"{path}: another process has kept it locked for {LOCK_WAIT_S:.0f} s")
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return RecordStoreError(f"{path}: cannot be opened or written: {error}")
    return CorruptStore(f"{path}: {error}; restore the file from a copy, it is not what was written")


class RecordReader:
    """Read-only eyes on a store that another process may be writing. One thread at a time; close it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            # As a URI, so that a missing file is an error and not a new, empty store.
            self._file = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_WAIT_S)

    def layout(self) -> RecordLayout:
        with explained(self.path):
            return read_layout(self._file, self.path)

    def records(self, periods: Sequence[int]) -> RecordArrays:
        """All records of these periods, by period and place. Raises RecordStoreError for a period that has none."""
        with explained(self.path):
            return read_records(self._file, self.path, periods)

    def groups(self, periods: Sequence[int], column: str) -> NDArray[np.int64]:
        """int64 [n]: the group of every record of these periods, for a source that groups them by `column`.

        Raises RecordStoreError when it groups them otherwise, or some bear no group.
        """
        with explained(self.path):
            row = self._file.execute("SELECT value FROM meta WHERE name = ?", (f"note/{GROUPED_BY}",)).fetchone()
            by = row[0] if row is not None else ""
            if by != column:
                raise RecordStoreError(f"{self.path}: records are grouped by {by or 'nothing'}, want {column}")
            return read_groups(self._file, self.path, periods)

    def test_records(self) -> RecordArrays:
        with explained(self.path):
            return read_test(self._file, self.path)

    def version(self) -> int:
        """Another number after every change of the file by anybody else (SQLite's data_version)."""
        with explained(self.path):
            (version,) = self._file.execute("PRAGMA data_version").fetchone()
            return int(version)

    def close(self) -> None:
        self._file.close()


def read_layout(file: sqlite3.Connection, path: Path) -> RecordLayout:
    row = file.execute("SELECT value FROM meta WHERE name = 'layout'").fetchone()
    if row is None:
        raise RecordStoreError(f"{path}: holds no records yet")
    try:
        return RecordLayout.from_text(row[0])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStore(f"{path}: the layout of its records is damaged: {error!r}") from None


def read_records(file: sqlite3.Connection, path: Path, periods: Sequence[int]) -> RecordArrays:
    layout = read_layout(file, path)
    parts: list[bytes] = []
    labels: list[int] = []
    for period in periods:
        with closing(
            file.execute("SELECT reading, label FROM records WHERE period = ? ORDER BY place", (period,))
        ) as rows:
            found = rows.fetchall()
        if not found:
            raise RecordStoreError(f"{path}: no records of period {period}")
        parts += [reading for reading, _ in found]
        labels += [label for _, label in found]
    return _arrays(path, layout, parts, labels)


def read_test(file: sqlite3.Connection, path: Path) -> RecordArrays:
    layout = read_layout(file, path)
    rows = file.execute("SELECT reading, label FROM test_records ORDER BY place").fetchall()
    return _arrays(path, layout, [reading for reading, _ in rows], [label for _, label in rows])


def _arrays(path: Path, layout: RecordLayout, parts: list[bytes], labels: list[int]) -> RecordArrays:
    try:
        features = np.frombuffer(b"".join(parts), layout.dtype).reshape(len(parts), *layout.shape)
        indices = np.array(labels, np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise CorruptStore(f"{path}: records that are not {layout.dtype} {list(layout.shape)}: {error}") from None
    if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < len(layout.classes)):
        raise RecordStoreError(f"{path}: labels {indices.min()}..{indices.max()}, want 0..{len(layout.classes) - 1}")
    return RecordArrays(features, indices, layout.classes)
