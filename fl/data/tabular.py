"""The source "table": a CSV, Parquet or .npz file of one's own, read as its schema (tabular_schema.py) declares."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fl.data.cells import is_not_finite
from fl.data.errors import DataError
from fl.data.growing import Division
from fl.data.scaling import PublicRange, scale
from fl.data.tables import Split, Table
from fl.data.tabular_files import Cells, Columns, read_columns
from fl.data.tabular_schema import Schema, WordColumn, read_schema
from fl.data.tabular_times import moments_of
from fl.settings import Choice, Text, Whole

# An error names this many rows, and counts the others.
ROWS_NAMED = 5


@dataclass(frozen=True, slots=True)
class TabularSettings:
    schema: Annotated[str, Text(1024, "the schema's TOML file, from the table's folder; empty: NAME.schema.toml")] = ""
    test_percent: Annotated[int, Whole(1, 90, "share of the records to test on")] = 30
    split: Annotated[str, Choice(("last", "random"), "which records to test on")] = "last"
    seed: Annotated[int, Whole(0, 2**32 - 1, "for the random split")] = 0


def load(settings: TabularSettings, path: Path | None) -> Split:
    """float32 [n, inputs] in -1..1. With split=last the records are in the file's order, or in that of the time column.

    Raises DataError naming the file, the column, the row, what came and what was wanted: for columns that are missing,
    values that are no numbers, times that are none, words and classes that are not declared, gaps (unless the schema
    drops them).
    """
    assert path is not None
    return divided(read_table(path, read_schema(schema_path(settings, path))), division_of(settings), path)


def divided(table: Table, division: Division, path: Path | str) -> Split:
    """The records to train on, and those to test on. Raises DataError when one of the two would have none."""
    tested = division.tested(len(table), begun_with=len(table))
    if not 0 < np.count_nonzero(tested) < len(table):
        raise DataError.of_file(path, f"{len(table)} records, want enough to train and to test on")
    return Split(train=table.take(np.flatnonzero(~tested)), test=table.take(np.flatnonzero(tested)))


def schema_path(settings: TabularSettings, path: Path) -> Path:
    return path.parent / (settings.schema or f"{path.name}.schema.toml")


def division_of(settings: TabularSettings) -> Division:
    return Division(settings.test_percent, "random" if settings.split == "random" else "last", settings.seed)


def read_table(path: Path, schema: Schema, kind: str | None = None) -> Table:
    """All records of the file, by time when the schema names a time column. Raises DataError as `load` does."""
    return table_of(read_columns(path, schema.columns(), schema.delimiter, kind), schema)


def table_of(columns: Columns, schema: Schema) -> Table:
    """All records of the columns, by time when the schema names a time column. Raises DataError as `load` does."""
    columns = without_gaps(columns, schema)
    if not columns.rows:
        raise DataError.of_file(columns.path, "has no records")
    table = records_of(columns, schema)
    return table if schema.time is None else table.take(np.argsort(moments_of(columns, schema), kind="stable"))


def records_of(columns: Columns, schema: Schema) -> Table:
    """The records that rows without gaps mean, in their order. Raises DataError as `load` does."""
    features = np.concatenate([_inputs(columns, column) for column in schema.features], axis=1)
    labels = labels_of(columns, schema.label, schema.classes, dict(schema.labels))
    groups, group_names = groups_of(columns, schema.group)
    return Table(features, labels, schema.classes, groups, group_names, schema.group or "", schema.overlap)


def labels_of(columns: Columns, name: str, classes: tuple[str, ...], labels: Mapping[str, str]) -> NDArray[np.int64]:
    """int64 [n]: the place in `classes` of every row's class; what stands in the column is one, or is sent to one."""
    if not labels:
        return places_of(columns, name, classes)
    sent_to = np.array([classes.index(each) for each in labels.values()], dtype=np.int64)
    return sent_to[places_of(columns, name, tuple(labels))]


def groups_of(columns: Columns, name: str | None) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Every row's group, a place in the names that follow, by a column of words; nothing without a column."""
    if name is None:
        return None, ()
    names, places = np.unique(np.array(texts_of(columns.cells[name])), return_inverse=True)
    return places.astype(np.int64), tuple(str(each) for each in names)


def _inputs(columns: Columns, column: PublicRange | WordColumn) -> NDArray[np.float32]:
    if isinstance(column, WordColumn):
        places = places_of(columns, column.name, column.values)
        return np.where(places[:, None] == np.arange(len(column.values)), 1.0, -1.0).astype(np.float32)
    return scale(columns.numbers(column.name)[:, None], (column,))


def texts_of(cells: Cells) -> list[str]:
    """The cells as words. A whole number is written without a point, whatever type a file gave it."""
    if isinstance(cells, list):
        return [cell.strip() for cell in cells]
    if cells.dtype.kind == "f":
        return [str(int(cell)) if float(cell).is_integer() else str(cell) for cell in cells.tolist()]
    if cells.dtype.kind == "b":
        return [str(int(cell)) for cell in cells.tolist()]
    return [str(cell) for cell in cells.tolist()]


def places_of(columns: Columns, name: str, words: tuple[str, ...]) -> NDArray[np.int64]:
    """int64 [n]: the place of every cell in `words`."""
    place_of = {word: place for place, word in enumerate(words)}
    texts = texts_of(columns.cells[name])
    places = np.array([place_of.get(text, -1) for text in texts], dtype=np.int64)
    strange = np.flatnonzero(places < 0)
    if len(strange):
        row = int(strange[0])
        wanted = ", ".join(repr(word) for word in words[:12])
        reason = f"{columns.place(row)} has {texts[row][:40]!r}, want one of {wanted} ({len(strange)} such rows)"
        raise DataError.of_file(columns.path, reason, name)
    return places


def without_gaps(columns: Columns, schema: Schema) -> Columns:
    """The rows that have a value in every column. Raises DataError naming the others, unless the schema drops them."""
    gaps = np.zeros(columns.rows, dtype=bool)
    numeric = {column.name for column in schema.features if isinstance(column, PublicRange)}
    first_gap: str | None = None
    for name in schema.columns():
        cells = columns.cells[name]
        if isinstance(cells, list):
            empty = np.array([not cell.strip() for cell in cells], dtype=bool)
        else:
            empty = ~np.isfinite(cells) if cells.dtype.kind == "f" else np.zeros(columns.rows, dtype=bool)
        if name in numeric and isinstance(cells, list):
            filled = ["0" if gap else cell for gap, cell in zip(empty, cells, strict=True)]
            in_full = Columns(columns.path, {name: filled}, columns.rows, columns.place)
            empty |= ~np.isfinite(in_full.numbers(name))
        elif name == schema.time and isinstance(cells, list):
            empty |= np.array([is_not_finite(cell) for cell in cells], dtype=bool)
        if empty.any() and first_gap is None:
            first_gap = name
        gaps |= empty
    if first_gap is None:
        return columns
    rows = np.flatnonzero(gaps)
    if schema.missing == "refuse":
        named = ", ".join(columns.place(int(row)) for row in rows[:ROWS_NAMED])
        more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
        reason = f'{named}{more}: empty or not finite, want a value (missing = "drop" leaves such rows out)'
        raise DataError.of_file(columns.path, reason, first_gap)
    kept = np.flatnonzero(~gaps)
    cells_kept: dict[str, Cells] = {
        name: [cells[row] for row in kept] if isinstance(cells, list) else cells[kept]
        for name, cells in columns.cells.items()
    }
    return Columns(columns.path, cells_kept, len(kept), lambda row: columns.place(int(kept[row])))
