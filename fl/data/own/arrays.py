"""The kind "arrays": an .npz file in which one array holds the records, whatever their shape, and another the labels.

    kind = "arrays"
    path = "windows.npz"
    test_path = "windows-test.npz"    # optional: a file to test on, instead of test_percent of this one
    array = "x"                       # [n, ...]: one record a place of its first dimension
    values = "numbers"                # or pixels (uint8), or codes (whole numbers below what `codes` says)
    low = -8.0                        # numbers only: sent to -1
    high = 8.0                        # sent to +1; log = true scales by the logarithm
    shape = [2, 1024]                 # optional: what one record has to be, so that all factories have the same
    label = "y"                       # [n]
    classes = ["0", "1", "2"]         # as they stand in the array, in the order of the model's answers
    labels = { "3" = "2", ... }       # optional: what stands in the array, each with its class; then nothing else may
    group = "machine"                 # optional, [n]; group:machine can then be the unit of privacy
    overlap = false                   # true: records share measurements, as overlapping windows do

Names and widths of columns are for the kind "npz"; here a record is one block of numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.data.entries import choice, flag, mapping, optional_text, text, whole, wholes, words
from fl.data.errors import DataError
from fl.data.growing import Division, GrowingSource
from fl.data.npz import NpzFile, open_npz
from fl.data.own.contents import Contents, Found, Survey, beside, grows_not
from fl.data.own.tables import numbers_found
from fl.data.scaling import PublicRange, scale
from fl.data.tables import PIXEL_MAX, Features, Split, Table
from fl.data.tabular import divided, groups_of, labels_of
from fl.data.tabular_files import Columns
from fl.data.tabular_schema import CLASSES_MAX, LABELS_MAX, public_range

ARRAY_NAME = "the name of an array"
DIMENSIONS_MAX = 4
SIDE_MAX = 2**24
CODES_MAX = 2**31


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """`declared`: the range of numbers; None for pixels, and for codes, which lie below `codes`."""

    path: Path
    test_path: Path | None
    array: str
    declared: PublicRange | None
    codes: int
    shape: tuple[int, ...]
    label: str
    classes: tuple[str, ...]
    labels: Mapping[str, str]
    group: str | None
    overlap: bool

    def load(self, division: Division) -> Split:
        return self.survey(division).split

    def survey(self, division: Division) -> Survey:
        train, found = self._read(self.path)
        if self.test_path is None:
            return Survey(divided(train, division, self.path), (_merged([found]),))
        test, also = self._read(self.test_path)
        return Survey(beside(train, test, self.path), (_merged([found, also]),))

    def growing(self, division: Division) -> GrowingSource:
        raise grows_not("arrays", "new records go into a table, or into another data directory")

    def _read(self, path: Path) -> tuple[Table, Found]:
        if not path.exists():
            raise DataError.of_file(path, "does not exist, want the .npz file that the block names")
        with open_npz(path) as file:
            features, found = self._features(file)
            columns = Columns(
                path,
                {name: file.array(name, 1, "iufbU") for name in (self.label, self.group) if name is not None},
                len(features),
                lambda row: f"row {row + 1}",
            )
        for name, cells in columns.cells.items():
            if len(cells) != len(features):
                raise DataError.of_file(path, f"{len(cells)} values, {self.array!r} has {len(features)} records", name)
        groups, group_names = groups_of(columns, self.group)
        labels = labels_of(columns, self.label, self.classes, self.labels)
        return Table(features, labels, self.classes, groups, group_names, self.group or "", self.overlap), found

    def _features(self, file: NpzFile) -> tuple[Features, Found]:
        array = file.array(self.array, None, "u" if self.declared is None and not self.codes else "iuf")
        if not 2 <= array.ndim <= DIMENSIONS_MAX or not array.size:
            reason = f"is {list(array.shape)}, want [records, ...] in 2 to {DIMENSIONS_MAX} dimensions, none of them 0"
            raise DataError.of_file(file.path, reason, self.array)
        if self.shape and array.shape[1:] != self.shape:
            reason = f"has records of {list(array.shape[1:])}, want {list(self.shape)}"
            raise DataError.of_file(file.path, reason, self.array)
        if self.declared is not None:
            return self._scaled(file, array, self.declared)
        if self.codes:
            return self._coded(file, array)
        if array.dtype != np.uint8:
            raise DataError.of_file(file.path, f"holds {array.dtype}, want uint8 for pixels of 0..255", self.array)
        return array.astype(np.uint8), Found(self.array, f"pixels of 0 to {PIXEL_MAX}", *_span(array))

    def _scaled(
        self, file: NpzFile, array: NDArray[np.generic], declared: PublicRange
    ) -> tuple[NDArray[np.float32], Found]:
        numbers = array.astype(np.float64)
        strange = np.argwhere(~np.isfinite(numbers))
        if len(strange):
            row, *position = (int(at) for at in strange[0])
            reason = f"row {row + 1}, position {position} has {numbers[tuple(strange[0])]}, want a finite number"
            raise DataError.of_file(file.path, f"{reason} ({len(strange)} such values)", self.array)
        scaled = scale(numbers.reshape(-1, 1), (declared,)).reshape(array.shape)
        return scaled, numbers_found(declared, numbers)

    def _coded(self, file: NpzFile, array: NDArray[np.generic]) -> tuple[NDArray[np.int64], Found]:
        if array.dtype.kind not in "iu":
            raise DataError.of_file(file.path, f"holds {array.dtype}, want whole numbers for codes", self.array)
        low, high = _span(array)
        if low < 0 or high >= self.codes:
            wrong = low if low < 0 else high
            raise DataError.of_file(file.path, f"holds the code {wrong:.0f}, want 0..{self.codes - 1}", self.array)
        return array.astype(np.int64), Found(self.array, f"codes of 0 to {self.codes - 1}", low, high)


@dataclass(frozen=True, slots=True)
class ArraysKind:
    keys: frozenset[str] = frozenset(
        {"path", "test_path", "array", "values", "low", "high", "log", "codes", "shape"}
        | {"label", "classes", "labels", "group", "overlap"}
    )
    summary: str = "an .npz file with one array of records of any shape, and one of labels"

    def parse(self, table: Mapping[str, Any], folder: Path, where: str) -> Contents:
        path, test = text(table, "path", where, "a file"), optional_text(table, "test_path", where, "a file")
        array = text(table, "array", where, ARRAY_NAME)
        values = choice(table, "values", ("numbers", "pixels", "codes"), where)
        allowed = {"numbers": {"low", "high", "log"}, "pixels": set(), "codes": {"codes"}}[values]
        strange = sorted(({"low", "high", "log", "codes"} & table.keys()) - allowed)
        if strange:
            raise DataError(f"{where}: {strange[0]} is set, and values are {values!r}, which have none")
        if values == "codes" and "codes" not in table:
            raise DataError(f"{where}: codes is missing, want how many codes there are: 65 for 0..64")
        classes = words(table.get("classes"), "classes", CLASSES_MAX, where)
        return ArrayFile(
            path=folder / path,
            test_path=None if test is None else folder / test,
            array=array,
            declared=public_range(table, array, where) if values == "numbers" else None,
            codes=whole(table, "codes", 2, CODES_MAX, where, 2) if values == "codes" else 0,
            shape=wholes(table["shape"], "shape", (1, 3), 1, SIDE_MAX, where) if "shape" in table else (),
            label=text(table, "label", where, ARRAY_NAME),
            classes=classes,
            labels=mapping(table, "labels", classes, LABELS_MAX, where),
            group=optional_text(table, "group", where, ARRAY_NAME),
            overlap=flag(table, "overlap", where),
        )


ARRAYS = ArraysKind()


def _span(array: NDArray[Any]) -> tuple[float, float]:
    return float(array.min()), float(array.max())


def _merged(parts: list[Found]) -> Found:
    lows, highs = [part.low for part in parts if part.low is not None], [p.high for p in parts if p.high is not None]
    return Found(parts[0].name, parts[0].declared, min(lows), max(highs), sum(part.outside for part in parts))
