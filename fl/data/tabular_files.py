"""Columns out of a CSV, Parquet or .npz file, as they stand there, and the place of every row. Gives no meaning.

What is no file (the rows of a database) becomes such columns too; `path` is then what a person calls it.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.data.cells import NotANumber, numbers_in
from fl.data.errors import DataError
from fl.data.npz import NpzFile, open_npz

# Ten thousand machines, once a second for some hours: beyond this a table wants a source of its own.
ROWS_MAX = 50_000_000
NAMES_SHOWN = 12
# The suffixes of each kind of file.
KINDS = {"csv": (".csv", ".txt", ".tsv"), "parquet": (".parquet", ".pq"), "npz": (".npz",)}

Cells = list[str] | NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """`cells` by column name, all of one length; `place(row)` is how a person finds the row ("line 12")."""

    path: Path | str
    cells: dict[str, Cells]
    rows: int
    place: Callable[[int], str]

    def numbers(self, name: str, because: str = "") -> NDArray[np.float64]:
        """A column, float64 [n]. Raises DataError naming the first cell that is no number, and why one is wanted."""
        cells = self.cells[name]
        if not isinstance(cells, list):
            return np.asarray(cells, dtype=np.float64)
        try:
            return numbers_in(cells)
        except NotANumber as error:
            reason = f"{self.place(error.row)} has {cells[error.row][:40]!r}, want {error.wanted}{because}"
            raise DataError.of_file(self.path, reason, name) from None


def read_columns(path: Path, wanted: Sequence[str], delimiter: str, kind: str | None = None) -> Columns:
    """The wanted columns of a file of a kind, one of KINDS; without one, its suffix says what it is.

    A column of an .npz file is a one-dimensional array, or "name:3", column 3 of a two-dimensional one. Raises
    DataError for a column that is missing, a line with other than the head's number of cells, and what is no such file.
    """
    kind = kind or kind_of(path)
    if kind == "parquet":
        from fl.data.parquet_columns import read_parquet

        return read_parquet(path, wanted)
    if kind == "npz":
        return _npz(path, wanted)
    try:
        # utf-8-sig: spreadsheets put a mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read_lines(path, file, wanted, delimiter)[0]
    except (OSError, UnicodeDecodeError) as error:
        raise not_csv(path, error) from None


def kind_of(path: Path) -> str:
    """One of KINDS, by the file's suffix. Raises DataError for another one."""
    suffix = path.suffix.lower()
    found = next((kind for kind, suffixes in KINDS.items() if suffix in suffixes), None)
    if found is None:
        wanted = ", ".join(suffix for suffixes in KINDS.values() for suffix in suffixes)
        raise DataError.of_file(path, f"ends in {suffix!r}, want one of {wanted}")
    return found


def refuse_missing(path: Path | str, wanted: Sequence[str], present: Sequence[str]) -> None:
    lacking = [name for name in wanted if name not in present]
    if lacking:
        shown = ", ".join(repr(name) for name in present[:NAMES_SHOWN]) + (
            ", ..." if len(present) > NAMES_SHOWN else ""
        )
        raise DataError.of_file(path, f"missing; the file has {len(present)} columns: {shown}", lacking[0])


def read_lines(
    path: Path,
    lines: Iterable[str],
    wanted: Sequence[str],
    delimiter: str,
    head: Sequence[str] = (),
    lines_before: int = 0,
) -> tuple[Columns, tuple[str, ...], int]:
    """The wanted columns of CSV text, the names of all columns, and how many lines were read.

    The names stand in the first line, unless `head` gives them: then `lines_before` lines of the file came before.
    Raises DataError as `read_columns` does; what the lines themselves raise goes through.
    """
    cells: dict[str, list[str]] = {name: [] for name in wanted}
    places: list[int] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        names = tuple(head) or tuple(next(reader, ()))
        if not names:
            raise DataError.of_file(path, "is empty, want a first line with the names of the columns")
        refuse_missing(path, wanted, names)
        twice = [name for name in wanted if names.count(name) > 1]
        if twice:
            raise DataError.of_file(path, f"stands {names.count(twice[0])} times in the first line", twice[0])
        takers = [(cells[name].append, names.index(name)) for name in wanted]
        for row in reader:
            if not row:
                continue
            line = lines_before + reader.line_num
            if len(row) != len(names):
                raise DataError.of_file(path, f"line {line} has {len(row)} cells, want {len(names)}")
            if len(places) == ROWS_MAX:
                raise DataError.of_file(path, f"has more than {ROWS_MAX} rows")
            places.append(line)
            for take, position in takers:
                take(row[position])
    except csv.Error as error:
        raise not_csv(path, error) from None
    columns = Columns(path, dict(cells), len(places), lambda row: f"line {places[row]}")
    return columns, names, lines_before + reader.line_num


def not_csv(path: Path, error: Exception) -> DataError:
    return DataError.of_file(path, f"cannot be read as CSV in UTF-8: {error}")


def _npz(path: Path, wanted: Sequence[str]) -> Columns:
    with open_npz(path) as file:
        cells: dict[str, Cells] = {name: _npz_column(file, name) for name in wanted}
    lengths = {name: len(column) for name, column in cells.items()}
    rows = lengths[wanted[0]]
    for name, length in lengths.items():
        if length != rows:
            raise DataError.of_file(path, f"{length} values, {wanted[0]!r} has {rows}", name)
    return Columns(path, cells, rows, lambda row: f"row {row + 1}")


def _npz_column(file: NpzFile, name: str) -> Cells:
    array, colon, position = name.rpartition(":")
    if name in file.names() or not colon or not (position.isascii() and position.isdecimal()):
        column = file.array(name, 1, "iufbU")
        # Words are read as those of a CSV file are, gaps included.
        return [str(cell) for cell in column.tolist()] if column.dtype.kind == "U" else column
    matrix = file.array(array, 2, "iufb")
    if int(position) >= matrix.shape[1]:
        raise DataError.of_file(file.path, f"{array!r} has the columns 0..{matrix.shape[1] - 1}", name)
    return matrix[:, int(position)]
