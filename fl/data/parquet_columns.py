"""Columns of a Parquet file: numbers as numbers, everything else by its text, as CSV would have it. Needs pyarrow."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl.data.cells import text_of
from fl.data.errors import DataError
from fl.data.tabular_files import ROWS_MAX, Cells, Columns, refuse_missing

if TYPE_CHECKING:
    from pyarrow import ChunkedArray


def read_parquet(path: Path, wanted: Sequence[str]) -> Columns:
    """The wanted columns. Raises DataError for one that is missing or there twice, for values that are neither numbers
    nor words nor times, for a file that is damaged, and where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError.of_file(path, "is Parquet, want pyarrow to read it: pip install 'hanse[data]'") from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        refuse_missing(path, wanted, names)
        twice = [name for name in wanted if names.count(name) > 1]
        if twice:
            raise DataError.of_file(path, f"is there {names.count(twice[0])} times, want it once", twice[0])
        if file.metadata.num_rows > ROWS_MAX:
            raise DataError.of_file(path, f"has {file.metadata.num_rows} rows, want at most {ROWS_MAX}")
        table = file.read(columns=list(wanted))
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise DataError.of_file(path, f"cannot be read as Parquet: {error}") from None
    cells = {name: _cells(path, name, table.column(name)) for name in wanted}
    return Columns(path, cells, table.num_rows, _place)


def _place(row: int) -> str:
    return f"row {row + 1}"


def _cells(path: Path, name: str, column: "ChunkedArray") -> Cells:
    from pyarrow import ArrowException, string, types

    if (types.is_integer(column.type) or types.is_floating(column.type)) and not column.null_count:
        return np.asarray(column.to_numpy())
    if types.is_duration(column.type):
        raise DataError.of_file(path, f"is {column.type}, want numbers, words or times", name)
    try:
        if types.is_timestamp(column.type) or types.is_date(column.type) or types.is_time(column.type):
            # Python has no times of nanoseconds, and none beyond the year 9999.
            column = column.cast(string())
        values = column.to_pylist()
    # What words are not in UTF-8 shows when they are made words of Python.
    except (ValueError, OverflowError, ArrowException) as error:
        raise DataError.of_file(path, f"cannot be read: {error}", name) from None
    texts = [text_of(value) for value in values]
    if None in texts:
        row = texts.index(None)
        reason = f"{_place(row)} has {type(values[row]).__name__}, want a number, a text or a time"
        raise DataError.of_file(path, reason, name)
    return [text for text in texts if text is not None]
