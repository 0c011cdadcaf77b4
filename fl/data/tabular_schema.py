"""What a table of one's own holds, declared in TOML: the features with their public ranges, and the label.

    label = "Machine failure"
    classes = ["0", "1"]              # as they stand in the file, in the order of the model's answers
    group = "Site"                    # optional: the site, machine or shift a record is from: group:Site can then be
                                      # the unit of privacy of a request
    overlap = false                   # true: rows were made of the same measurements, as those of overlapping windows
                                      # are; a single row is then no unit of privacy
    time = "Taken at"                 # optional: records are put in this order before the last are kept for testing
    time_unit = "s"                   # or "ms", since 1970: for a time column of numbers that is to date the records
    missing = "refuse"                # or "drop": rows with an empty or non-finite value
    delimiter = ","                   # CSV only

    [[features]]
    column = "Air temperature [K]"
    low = 290                         # sent to -1
    high = 310                        # sent to +1; log = true scales by the logarithm

    [[features]]
    column = "Type"
    values = ["L", "M", "H"]          # words: one input each, +1 for the one that is there, -1 for the others

Holds the schema and its checks; no data file is opened here.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fl.data.errors import DataError
from fl.data.scaling import PublicRange

SCHEMA_BYTES_MAX = 1024 * 1024
COLUMNS_MAX = 4096
VALUES_MAX = 1024
CLASSES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class WordColumn:
    """A column of words, one input for each that may stand there."""

    name: str
    values: tuple[str, ...]


Column = PublicRange | WordColumn


@dataclass(frozen=True, slots=True)
class Schema:
    """A table's columns, as declared."""

    label: str
    classes: tuple[str, ...]
    features: tuple[Column, ...]
    group: str | None = None
    time: str | None = None
    missing: Literal["refuse", "drop"] = "refuse"
    delimiter: str = ","
    time_unit: Literal["", "s", "ms"] = ""
    overlap: bool = False

    def columns(self) -> tuple[str, ...]:
        """Every column that must be in the file, once."""
        named = [column.name for column in self.features]
        named += [name for name in (self.label, self.group, self.time) if name is not None]
        return tuple(dict.fromkeys(named))

    def inputs(self) -> int:
        """How many numbers a record has."""
        return sum(1 if isinstance(column, PublicRange) else len(column.values) for column in self.features)


def read_schema(path: Path) -> Schema:
    """The schema in a TOML file. Raises DataError naming the file, the entry and what is wanted."""
    try:
        with path.open("rb") as file:
            text = file.read(SCHEMA_BYTES_MAX + 1)
        if len(text) > SCHEMA_BYTES_MAX:
            raise DataError.of_file(path, f"is larger than {SCHEMA_BYTES_MAX} bytes")
        return parse_schema(tomllib.loads(text.decode("utf-8")), str(path))
    except OSError as error:
        raise DataError.of_file(path, f"is the table's schema and cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError.of_file(path, f"is not TOML: {error}") from None


def parse_schema(table: Mapping[str, Any], where: str = "schema") -> Schema:
    """The schema that a TOML table says; `where` names it in errors. Raises DataError for what it cannot mean."""
    known = {"label", "classes", "features", "group", "overlap", "time", "time_unit", "missing", "delimiter"}
    _refuse_unknown(table, known, where)
    features = table.get("features")
    if not isinstance(features, list) or not 1 <= len(features) <= COLUMNS_MAX:
        raise DataError(f"{where}: features are {features!r:.60}, want 1 to {COLUMNS_MAX} tables [[features]]")
    columns = tuple(_column(entry, f"{where}: feature {i + 1}") for i, entry in enumerate(features))
    twice = sorted({c.name for c in columns if sum(other.name == c.name for other in columns) > 1})
    if twice:
        raise DataError(f"{where}: column {twice[0]!r} is a feature twice")
    missing, delimiter = table.get("missing", "refuse"), table.get("delimiter", ",")
    if missing not in ("refuse", "drop"):
        raise DataError(f"{where}: missing is {missing!r:.60}, want 'refuse' or 'drop'")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise DataError(f"{where}: delimiter is {delimiter!r:.60}, want one character")
    time_unit = table.get("time_unit", "")
    if time_unit not in ("", "s", "ms") or (time_unit and "time" not in table):
        raise DataError(f"{where}: time_unit is {time_unit!r:.60}, want 's' or 'ms', of the column that time names")
    overlap = table.get("overlap", False)
    if not isinstance(overlap, bool):
        raise DataError(f"{where}: overlap is {overlap!r:.60}, want true or false")
    schema = Schema(
        label=_text(table, "label", where),
        classes=_words(table.get("classes"), "classes", CLASSES_MAX, where),
        features=columns,
        group=_text(table, "group", where) if "group" in table else None,
        time=_text(table, "time", where) if "time" in table else None,
        missing=missing,
        delimiter=delimiter,
        time_unit=time_unit,
        overlap=overlap,
    )
    if any(column.name == schema.label for column in columns):
        raise DataError(f"{where}: column {schema.label!r} is the label and a feature, want one of the two")
    return schema


def _column(entry: object, where: str) -> Column:
    if not isinstance(entry, Mapping):
        raise DataError(f"{where} is {entry!r:.60}, want a table with column, low and high, or column and values")
    name = _text(entry, "column", where)
    if "values" in entry:
        _refuse_unknown(entry, {"column", "values"}, where)
        return WordColumn(name, _words(entry["values"], "values", VALUES_MAX, where))
    _refuse_unknown(entry, {"column", "low", "high", "log"}, where)
    bounds = [entry.get("low"), entry.get("high")]
    if any(isinstance(bound, bool) or not isinstance(bound, int | float) for bound in bounds):
        raise DataError(f"{where}, column {name!r}: low and high are {bounds}, want two numbers everybody may know")
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise DataError(f"{where}, column {name!r}: log is {log!r:.60}, want true or false")
    return PublicRange(name, float(entry["low"]), float(entry["high"]), log)


def _refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise DataError(f"{where} has no {', '.join(unknown)}; it may have {', '.join(sorted(known))}")


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: {key} is {value!r:.60}, want the name of a column")
    return value


def _words(value: object, key: str, most: int, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise DataError(f"{where}: {key} are {value!r:.60}, want a list of texts")
    if not 1 <= len(value) <= most or len(set(value)) != len(value):
        raise DataError(f"{where}: {key} are {len(value)} texts, want 1 to {most}, each once")
    return tuple(value)
