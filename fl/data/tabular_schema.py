"""What a table of one's own holds, declared in TOML: the features with their public ranges, and the label.

    label = "Machine failure"
    classes = ["0", "1"]              # as they stand in the file, in the order of the model's answers
    labels = { "2" = "1", ... }       # optional: what stands in the file, each with its class; then nothing else may
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

from fl.data.entries import choice, flag, mapping, optional_text, refuse_unknown, shown, text, words
from fl.data.errors import DataError
from fl.data.scaling import PublicRange

SCHEMA_BYTES_MAX = 1024 * 1024
COLUMNS_MAX = 4096
VALUES_MAX = 1024
CLASSES_MAX = 65_536
LABELS_MAX = 65_536
COLUMN_NAME = "the name of a column"


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
    labels: tuple[tuple[str, str], ...] = ()

    def columns(self) -> tuple[str, ...]:
        """Every column that must be in the file, once."""
        named = [column.name for column in self.features]
        named += [name for name in (self.label, self.group, self.time) if name is not None]
        return tuple(dict.fromkeys(named))

    def inputs(self) -> int:
        """How many numbers a record has."""
        return sum(1 if isinstance(column, PublicRange) else len(column.values) for column in self.features)


SCHEMA_KEYS = frozenset(
    {"label", "classes", "labels", "features", "group", "overlap", "time", "time_unit", "missing", "delimiter"}
)


def read_schema(path: Path) -> Schema:
    """The schema in a TOML file. Raises DataError naming the file, the entry and what is wanted."""
    return parse_schema(read_toml(path, "the table's schema"), str(path))


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file; `what` it is, for errors. Raises DataError for one that cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(SCHEMA_BYTES_MAX + 1)
        if len(text) > SCHEMA_BYTES_MAX:
            raise DataError.of_file(path, f"is larger than {SCHEMA_BYTES_MAX} bytes")
        return tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise DataError.of_file(path, f"is {what} and cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError.of_file(path, f"is not TOML: {error}") from None


def parse_schema(table: Mapping[str, Any], where: str = "schema") -> Schema:
    """The schema that a TOML table says; `where` names it in errors. Raises DataError for what it cannot mean."""
    refuse_unknown(table, SCHEMA_KEYS, where)
    if "features" not in table:
        raise DataError(f"{where}: features are missing, want 1 to {COLUMNS_MAX} tables [[features]]")
    features = table["features"]
    if not isinstance(features, list) or not 1 <= len(features) <= COLUMNS_MAX:
        raise DataError(f"{where}: features are {shown(features)}, want 1 to {COLUMNS_MAX} tables [[features]]")
    columns = tuple(_column(entry, f"{where}: feature {i + 1}") for i, entry in enumerate(features))
    twice = sorted({c.name for c in columns if sum(other.name == c.name for other in columns) > 1})
    if twice:
        raise DataError(f"{where}: column {twice[0]!r} is a feature twice")
    missing, delimiter = choice(table, "missing", ("refuse", "drop"), where, "refuse"), table.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise DataError(f"{where}: delimiter is {shown(delimiter)}, want one character")
    time_unit = table.get("time_unit", "")
    if time_unit not in ("", "s", "ms") or (time_unit and "time" not in table):
        raise DataError(f"{where}: time_unit is {shown(time_unit)}, want 's' or 'ms', of the column that time names")
    classes = words(table.get("classes"), "classes", CLASSES_MAX, where)
    schema = Schema(
        label=text(table, "label", where, COLUMN_NAME),
        classes=classes,
        features=columns,
        group=optional_text(table, "group", where, COLUMN_NAME),
        time=optional_text(table, "time", where, COLUMN_NAME),
        missing="drop" if missing == "drop" else "refuse",
        delimiter=delimiter,
        time_unit=time_unit,
        overlap=flag(table, "overlap", where),
        labels=tuple(mapping(table, "labels", classes, LABELS_MAX, where).items()),
    )
    if any(column.name == schema.label for column in columns):
        raise DataError(f"{where}: column {schema.label!r} is the label and a feature, want one of the two")
    return schema


def _column(entry: object, where: str) -> Column:
    if not isinstance(entry, Mapping):
        raise DataError(f"{where} is {shown(entry)}, want a table with column, low and high, or column and values")
    name = text(entry, "column", where, COLUMN_NAME)
    if "values" in entry:
        refuse_unknown(entry, {"column", "values"}, where)
        return WordColumn(name, words(entry["values"], "values", VALUES_MAX, where))
    refuse_unknown(entry, {"column", "low", "high", "log"}, where)
    return public_range(entry, name, f"{where}, column {name!r}")


def public_range(table: Mapping[str, Any], name: str, where: str) -> PublicRange:
    """What low, high and log say about the column or array called `name`."""
    bounds = [table.get("low"), table.get("high")]
    if any(isinstance(bound, bool) or not isinstance(bound, int | float) for bound in bounds):
        raise DataError(f"{where}: low and high are {bounds}, want two numbers everybody may know")
    try:
        return PublicRange(name, float(table["low"]), float(table["high"]), flag(table, "log", where))
    except OverflowError:
        raise DataError(f"{where}: low or high is a number of too many digits") from None
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
