"""The kinds "csv", "parquet" and "npz": columns, one record a row, described as in tabular_schema.py.

kind = "csv"
path = "press.csv"
test_path = "press-2025.csv"      # optional: a file to test on, instead of test_percent of this one
label = "State"
classes = ["ok", "worn"]
[[features]]
column = "Heat"
low = 0
high = 100
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fl.data.entries import optional_text, text
from fl.data.errors import DataError
from fl.data.growing import Division, GrowingSource
from fl.data.own.contents import Contents, Found, Kind, Survey, beside
from fl.data.scaling import PublicRange
from fl.data.tables import Split
from fl.data.tabular import divided, table_of, without_gaps
from fl.data.tabular_files import KINDS, Columns, read_columns
from fl.data.tabular_growing import TableReader
from fl.data.tabular_schema import SCHEMA_KEYS, Schema, WordColumn, parse_schema


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of columns; `test_path` is another of the same form, None when the test records are part of it."""

    kind: str
    path: Path
    test_path: Path | None
    schema: Schema

    def load(self, division: Division) -> Split:
        train = self._read(self.path)
        test = None if self.test_path is None else self._read(self.test_path)
        return split_columns(train, test, self.schema, division)

    def survey(self, division: Division) -> Survey:
        test = None if self.test_path is None else self._read(self.test_path)
        return surveyed(self._read(self.path), test, self.schema, division)

    def growing(self, division: Division) -> GrowingSource:
        if self.test_path is not None:
            raise DataError.of_file(self.path, "grows, and is tested on its own records: want no test_path")
        return TableReader(self.path, self.kind, lambda: self.schema, division)

    def _read(self, path: Path) -> Columns:
        if not path.exists():
            raise DataError.of_file(path, f"does not exist, want the {self.kind} file that the block names")
        return read_columns(path, self.schema.columns(), self.schema.delimiter, self.kind)


@dataclass(frozen=True, slots=True)
class TableKind:
    name: str
    keys: frozenset[str]
    summary: str

    def parse(self, table: Mapping[str, Any], folder: Path, where: str) -> Contents:
        path, test = text(table, "path", where, "a file"), optional_text(table, "test_path", where, "a file")
        schema = parse_schema({key: table[key] for key in SCHEMA_KEYS & table.keys()}, where)
        return TableFile(self.name, folder / path, None if test is None else folder / test, schema)


_COMMON = (SCHEMA_KEYS - {"delimiter"}) | {"path", "test_path"}
TABLES: Mapping[str, Kind] = {
    "csv": TableKind("csv", _COMMON | {"delimiter"}, "a table in lines of text; it may grow"),
    "parquet": TableKind("parquet", _COMMON, "a table in columns; needs pyarrow"),
    "npz": TableKind("npz", _COMMON, 'numpy arrays of one length, a column each; "name:3" is column 3 of a matrix'),
}
assert TABLES.keys() == KINDS.keys()


def split_columns(columns: Columns, test: Columns | None, schema: Schema, division: Division) -> Split:
    """The split that columns mean, with their test records in columns apart or, None, among them."""
    train = table_of(columns, schema)
    if test is None:
        return divided(train, division, columns.path)
    return beside(train, table_of(test, schema), columns.path)


def surveyed(columns: Columns, test: Columns | None, schema: Schema, division: Division) -> Survey:
    """The split that columns mean, how their numbers lie in the declared ranges, and how many rows have gaps."""
    split = split_columns(columns, test, schema, division)
    tables = [columns] if test is None else [columns, test]
    kept = [without_gaps(table, schema) for table in tables]
    left_out = sum(table.rows for table in tables) - sum(table.rows for table in kept)
    return Survey(split, tuple(_found(kept, column) for column in schema.features), left_out)


def _found(tables: list[Columns], column: PublicRange | WordColumn) -> Found:
    if isinstance(column, WordColumn):
        return Found(column.name, ", ".join(column.values))
    numbers = np.concatenate([columns.numbers(column.name) for columns in tables])
    return numbers_found(column, numbers)


def numbers_found(declared: PublicRange, numbers: np.ndarray[Any, np.dtype[np.floating]]) -> Found:
    """`numbers` of any shape, at least one."""
    outside = int(np.count_nonzero((numbers < declared.low) | (numbers > declared.high)))
    said = f"{declared.low:g} to {declared.high:g}" + (", by the logarithm" if declared.log else "")
    return Found(declared.name, said, float(numbers.min()), float(numbers.max()), outside)
