"""The source "table" while its file grows: its rows as they stand there, their times, and no half-written line."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.data.csv_tail import Mark, read_tail
from fl.data.errors import DataError
from fl.data.growing import Division, GrowingTable
from fl.data.tabular import TabularSettings, division_of, records_of, schema_path, without_gaps
from fl.data.tabular_files import Cells, Columns, kind_of, read_columns
from fl.data.tabular_schema import Schema, read_schema

# 2^53 ms: the largest time that a record may bear, some 285 000 years from now.
TIME_MS_MAX = 2**53 - 1


class TableReader:
    """Reads a table again and again; of a CSV file only what is new, as long as all before it is what it was.

    `kind`: one of tabular_files.KINDS. `schema` is asked at every look; `beside`: files that it comes from.
    """

    def __init__(
        self, path: Path, kind: str, schema: Callable[[], Schema], division: Division, beside: tuple[Path, ...] = ()
    ) -> None:
        self.files = (path, *beside)
        self._path = path
        self._kind = kind
        self._schema = schema
        self._division = division
        self._mark: Mark | None = None
        self._records = 0

    def read(self, after: int = 0) -> GrowingTable | None:
        """The table as it is now, in the file's order, without its first `after` records where it can be told that they
        are those given before; None while it has no records.

        A time column says when each record was taken; it does not order them, for then a late row would rewrite
        history. A last line of CSV without its line end is taken to be still written at. Raises DataError as
        `tabular.load` does, and for a time that is none.
        """
        schema = self._schema()
        mark, goes_on = None, False
        if self._kind == "csv":
            known = self._mark if after and after == self._records else None
            columns, mark, goes_on = read_tail(self._path, schema, known)
        else:
            columns = read_columns(self._path, schema.columns(), schema.delimiter, self._kind)
        columns = without_gaps(columns, schema)
        first = after if goes_on else 0
        if not first and not columns.rows:
            return None
        records, times = records_of(columns, schema), times_of(columns, schema)
        self._mark, self._records = mark, first + len(records)
        return GrowingTable(self._path, records, times, self._division, columns.place, first)


def grow(settings: TabularSettings, path: Path) -> TableReader:
    """The source "table" as it grows: its schema lies in a file of its own."""
    described = schema_path(settings, path)
    return TableReader(path, kind_of(path), lambda: read_schema(described), division_of(settings), (described,))


def times_of(columns: Columns, schema: Schema) -> NDArray[np.int64] | None:
    """ms since 1970: of texts in ISO 8601 (UTC where they name no zone), of numbers whose unit the schema says.

    Numbers without a unit may be anything, a running number say: then the records have no times.
    """
    if schema.time is None:
        return None
    cells = columns.cells[schema.time]
    numbers = _numbers(cells)
    if schema.time_unit and numbers is None:
        reason = f"has texts, want numbers: time_unit is {schema.time_unit!r}"
        raise DataError.of_file(columns.path, reason, schema.time)
    if numbers is None:
        texts = [str(cell) for cell in cells]
        times = np.array([_milliseconds(columns, schema.time, row, text) for row, text in enumerate(texts)])
    elif schema.time_unit:
        times = np.rint(numbers * (1000 if schema.time_unit == "s" else 1))
    else:
        return None
    strange = np.flatnonzero(~((times >= 0) & (times <= TIME_MS_MAX)))
    if len(strange):
        row = int(strange[0])
        raise DataError.of_file(
            columns.path, f"{columns.place(row)} has {str(cells[row])[:40]!r}, want a time since 1970", schema.time
        )
    return times.astype(np.int64)


def _numbers(cells: Cells) -> NDArray[np.float64] | None:
    """None for cells that are not numbers, every one."""
    try:
        return np.asarray(cells, dtype=np.float64)
    except ValueError:
        return None


def _milliseconds(columns: Columns, name: str, row: int, cell: str) -> float:
    try:
        time = datetime.fromisoformat(cell.strip())
    except ValueError:
        reason = f"{columns.place(row)} has {cell[:40]!r}, want a time in ISO 8601, or a time_unit in the schema"
        raise DataError.of_file(columns.path, reason, name) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000
