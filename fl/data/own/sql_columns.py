"""What a database answers, made columns: numbers as numbers, everything else by its text, as CSV would have it."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.data.cells import text_of
from fl.data.errors import DataError
from fl.data.own.sql_open import Database, Row
from fl.data.tabular_files import ROWS_MAX, Cells, Columns, refuse_missing

WHOLE_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """A SELECT, the column that names its rows and orders them, and the columns that are wanted of them."""

    query: str
    key: str
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LastRow:
    """The last row read: how many rows came with and before it, its key, and a hash of what stood in it."""

    count: int
    key: object
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Selected:
    columns: Columns
    last: LastRow | None


def read_selection(database: Database, selection: Selection, after: LastRow | None = None) -> Selected:
    """All rows in the order of the key, or those that come after `after`; `last` goes on from there.

    Raises DataError for a column that is missing, a row without a key or with that of another, and values that are
    neither numbers nor texts nor times.
    """
    key = database.quoted(selection.key)
    rest = f"\n) hanse_rows{f' WHERE {key} > :hanse_after' if after else ''} ORDER BY {key}"
    values = {"hanse_after": after.key} if after else {}
    answer = database.rows("SELECT * FROM (\n", selection.query, rest, values)
    refuse_missing(database.name, (selection.key, *selection.wanted), answer.names)
    for name in (selection.key, *selection.wanted):
        if answer.names.count(name) > 1:
            raise DataError.of_file(database.name, f"is answered {answer.names.count(name)} times, want it once", name)
    at_key = answer.names.index(selection.key)
    takers = {
        name: (answer.names.index(name), _Gatherer(database.name, name, selection.key)) for name in selection.wanted
    }
    keys: list[object] = []
    last_row: Row | None = None
    for part in answer.parts:
        if len(keys) + len(part) > ROWS_MAX:
            raise DataError.of_file(database.name, f"answers more than {ROWS_MAX} rows")
        for row in part:
            _check_key(database.name, selection.key, row[at_key], keys[-1] if keys else after.key if after else None)
            keys.append(row[at_key])
        for position, gatherer in takers.values():
            gatherer.take([row[position] for row in part], keys)
        last_row = part[-1]
    columns = Columns(
        database.name,
        {name: gatherer.cells() for name, (_, gatherer) in takers.items()},
        len(keys),
        lambda row: f"the row with {selection.key} {keys[row]}",
    )
    if last_row is None:
        return Selected(columns, after)
    return Selected(columns, LastRow(len(keys) + (after.count if after else 0), keys[-1], _hash(last_row)))


def still_there(database: Database, selection: Selection, last: LastRow) -> bool:
    """Whether the rows up to the last that was read are as many as then, and that one is what it was."""
    key = database.quoted(selection.key)
    before = "SELECT COUNT(*) FROM (\n"
    rest, values = f"\n) hanse_rows WHERE {key} <= :hanse_last", {"hanse_last": last.key}
    counted = [row for part in database.rows(before, selection.query, rest, values).parts for row in part]
    if not counted or counted[0][0] != last.count:
        return False
    rest = f"\n) hanse_rows WHERE {key} = :hanse_last"
    found = [row for part in database.rows("SELECT * FROM (\n", selection.query, rest, values).parts for row in part]
    return len(found) == 1 and _hash(found[0]) == last.sha256


def _check_key(name: str, column: str, key: object, before: object) -> None:
    if key is None:
        raise DataError.of_file(name, "is empty in a row, want a value that names each row", column)
    if key == before:
        raise DataError.of_file(name, f"is {str(key)[:40]!r} in two rows, want a value that names one", column)


class _Gatherer:
    """One column, as it comes: numbers are kept as arrays while nothing else comes."""

    def __init__(self, name: str, column: str, key: str) -> None:
        self._name = name
        self._column = column
        self._key = key
        self._numbers: list[NDArray[np.generic]] = []
        self._texts: list[str] | None = None

    def take(self, values: list[object], keys: list[object]) -> None:
        """`keys`: of all rows so far, those of `values` last."""
        if self._texts is None and all(_is_number(value) for value in values):
            self._numbers.append(np.array(values))
            return
        if self._texts is None:
            self._texts = [text_of(value) or "" for part in self._numbers for value in part.tolist()]
            self._numbers = []
        first = len(keys) - len(values)
        for at, value in enumerate(values):
            text = text_of(value)
            if text is None:
                reason = f"the row with {self._key} {keys[first + at]} has {type(value).__name__}"
                raise DataError.of_file(self._name, f"{reason}, want a number, a text or a time", self._column)
            self._texts.append(text)

    def cells(self) -> Cells:
        if self._texts is not None:
            return self._texts
        return np.concatenate(self._numbers) if self._numbers else []


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and -WHOLE_MAX <= value <= WHOLE_MAX)


def _hash(row: Row) -> bytes:
    values = [bytes(value) if isinstance(value, memoryview) else value for value in row]
    return hashlib.sha256(repr(values).encode()).digest()
