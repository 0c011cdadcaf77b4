"""When the rows of a table were taken: by texts in ISO 8601, by numbers since 1970, or by numbers that only order."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.tabular_files import Columns
from fl.data.tabular_schema import Schema

# 2^53 ms: the largest time that a record may bear, some 285 000 years from now.
TIME_MS_MAX = 2**53 - 1


def times_of(columns: Columns, schema: Schema) -> NDArray[np.int64] | None:
    """ms since 1970: of texts in ISO 8601 (UTC where they name no zone), of numbers whose unit the schema says.

    Numbers without a unit may be anything, a running number say: then the records have no times. Raises DataError as
    `moments_of` does, and for a time before 1970.
    """
    if schema.time is None or (not schema.time_unit and _numbers(columns, schema.time) is not None):
        return None
    moments = moments_of(columns, schema)
    if schema.time_unit:
        moments = np.rint(moments)
    strange = np.flatnonzero(~((moments >= 0) & (moments <= TIME_MS_MAX)))
    if len(strange):
        row = int(strange[0])
        cell = str(columns.cells[schema.time][row])[:40]
        raise DataError.of_file(columns.path, f"{columns.place(row)} has {cell!r}, want a time since 1970", schema.time)
    return moments.astype(np.int64)


def moments_of(columns: Columns, schema: Schema) -> NDArray[np.float64]:
    """float64 [n], what puts the rows in order: ms since 1970, or the numbers of a time column that has no unit.

    Raises DataError naming the first cell that is no number under a unit, or no time beside one that is no number.
    """
    assert schema.time is not None, "the schema names a time column"
    numbers = _numbers(columns, schema.time, schema.time_unit)
    if numbers is None:
        texts = [str(cell) for cell in columns.cells[schema.time]]
        return np.array([_milliseconds(columns, schema.time, row, text) for row, text in enumerate(texts)])
    with np.errstate(over="ignore"):
        return numbers * 1000 if schema.time_unit == "s" else numbers


def _numbers(columns: Columns, name: str, unit: str = "") -> NDArray[np.float64] | None:
    """None for cells that are not numbers, every one; with a unit such a cell is a fault."""
    if unit:
        return columns.numbers(name, f": time_unit is {unit!r}")
    try:
        return columns.numbers(name)
    except DataError:
        return None


def _milliseconds(columns: Columns, name: str, row: int, cell: str) -> float:
    try:
        time = datetime.fromisoformat(cell.strip())
    except ValueError:
        reason = f"{columns.place(row)} has {cell[:40]!r}, want a time in ISO 8601, or a time_unit in the schema"
        raise DataError.of_file(columns.path, reason, name) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000
