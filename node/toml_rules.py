"""What a TOML file may say: frozen dataclasses whose fields carry a rule, read strictly.

`Annotated[int, Whole(1, 9, "what it means")]` says what is wanted and why; the same rule reads the value, words the
error, and writes the commented template. Knows no section of any file. Numbers with a point arrive as `Decimal`, so a
0.95 is exactly that.

`fl.settings` has rules with some of these names for what arrives as text, from a request on the ledger: those parse
text, and these take no text for a number.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")

# An error repeats what came, and that may be a pasted file.
SHOWN_CHARS_MAX = 80
# No configuration or request comes near it; a log given by mistake does.
FILE_BYTES_MAX = 256 * 1024
SCALAR_CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, both bounds included."""

    least: int
    most: int
    meaning: str

    def wanted(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, value: object, folder: Path) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise ValueError
        return value

    def from_text(self, text: str) -> object:
        return int(text)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A number from 0 to 1 with at most six places, kept in millionths: what nodes agree on is an integer."""

    meaning: str

    def wanted(self) -> str:
        return "a number from 0 to 1 with at most six decimal places"

    def read(self, value: object, folder: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise ValueError
        number = Decimal(value)
        if not number.is_finite() or not 0 <= number <= 1 or number * 10**6 % 1:
            raise ValueError
        return int(number * 10**6)

    def from_text(self, text: str) -> object:
        return Decimal(text)


@dataclass(frozen=True, slots=True)
class Seconds:
    """A length of time, written in seconds with at most three places and kept in milliseconds."""

    least_ms: int
    most_ms: int
    meaning: str

    def wanted(self) -> str:
        return f"seconds from {Decimal(self.least_ms) / 1000:f} to {Decimal(self.most_ms) / 1000:f}"

    def read(self, value: object, folder: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise ValueError
        number = Decimal(value)
        if not number.is_finite() or not self.least_ms <= number * 1000 <= self.most_ms or number * 1000 % 1:
            raise ValueError
        return int(number * 1000)

    def from_text(self, text: str) -> object:
        return Decimal(text)


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number between two bounds that stays text as it was written, for a reader that parses it itself."""

    least: str
    most: str
    meaning: str

    def wanted(self) -> str:
        return f"a number from {self.least} to {self.most}"

    def read(self, value: object, folder: Path) -> str:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise ValueError
        number = Decimal(value)
        if not number.is_finite() or not Decimal(self.least) <= number <= Decimal(self.most):
            raise ValueError
        return str(value)

    def from_text(self, text: str) -> object:
        return Decimal(text)


@dataclass(frozen=True, slots=True)
class Flag:
    meaning: str

    def wanted(self) -> str:
        return "true or false"

    def read(self, value: object, folder: Path) -> bool:
        if type(value) is not bool:
            raise ValueError
        return value

    def from_text(self, text: str) -> object:
        return {"true": True, "false": False}[text]


@dataclass(frozen=True, slots=True)
class Words:
    """Text of some bytes in UTF-8, on one line."""

    least: int
    most: int
    meaning: str

    def wanted(self) -> str:
        return f"text of {self.least} to {self.most} bytes on one line"

    def read(self, value: object, folder: Path) -> str:
        if not isinstance(value, str) or not self.least <= len(value.encode()) <= self.most or not _printable(value):
            raise ValueError
        return value

    def from_text(self, text: str) -> object:
        return text


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple[str, ...]
    meaning: str

    def wanted(self) -> str:
        return f"one of {', '.join(self.options)}"

    def read(self, value: object, folder: Path) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise ValueError
        return value

    def from_text(self, text: str) -> object:
        return text


@dataclass(frozen=True, slots=True)
class Place:
    """A path; a relative one counts from the folder of the file that names it. Empty text: None, not set."""

    meaning: str

    def wanted(self) -> str:
        return "a path"

    def read(self, value: object, folder: Path) -> Path | None:
        if not isinstance(value, str) or "\0" in value:
            raise ValueError
        return folder / Path(value).expanduser() if value else None

    def from_text(self, text: str) -> object:
        return text


@dataclass(frozen=True, slots=True)
class WordList:
    """A list of texts; in a variable of the environment separated by commas."""

    count_max: int
    chars_max: int
    meaning: str

    def wanted(self) -> str:
        return f"a list of at most {self.count_max} texts of 1 to {self.chars_max} characters"

    def read(self, value: object, folder: Path) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > self.count_max:
            raise ValueError
        if not all(isinstance(each, str) and 0 < len(each) <= self.chars_max and _printable(each) for each in value):
            raise ValueError
        return tuple(value)

    def from_text(self, text: str) -> object:
        return [part.strip() for part in text.split(",")] if text.strip() else []


@dataclass(frozen=True, slots=True)
class WordOrList:
    """One word of a few, or a list of texts."""

    options: tuple[str, ...]
    items: WordList
    meaning: str

    def wanted(self) -> str:
        return f"{' or '.join(repr(option) for option in self.options)}, or {self.items.wanted()}"

    def read(self, value: object, folder: Path) -> str | tuple[str, ...]:
        if isinstance(value, str) and value in self.options:
            return value
        return self.items.read(value, folder)

    def from_text(self, text: str) -> object:
        return text if text in self.options else self.items.from_text(text)


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of settings for a part that parses them itself: each value becomes the text that was written."""

    count_max: int
    meaning: str

    def wanted(self) -> str:
        return f"a table of at most {self.count_max} names with a text, number or true/false each"

    def read(self, value: object, folder: Path) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict) or len(value) > self.count_max:
            raise ValueError
        return tuple((name, _scalar_text(each)) for name, each in value.items())

    def from_text(self, text: str) -> object:
        raise ValueError


@dataclass(frozen=True, slots=True)
class WholeTable:
    """A table that another part reads from the same file by itself. It is taken as it is, an empty one for none.

    `example`: lines of such a table, for the template.
    """

    meaning: str
    example: tuple[str, ...]

    def wanted(self) -> str:
        return "a table"

    def read(self, value: object, folder: Path) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            raise ValueError
        return {name: _plain_value(each) for name, each in value.items()} or None

    def from_text(self, text: str) -> object:
        raise ValueError


Rule = Whole | Ratio | Seconds | Number | Flag | Words | Choice | Place | WordList | WordOrList | TextTable | WholeTable


def _printable(text: str) -> bool:
    """Names end up in logs, terminals and on the ledger: no control character gets in."""
    return all(character.isprintable() for character in text)


def _plain_value(value: object) -> object:
    """As `tomllib` gives it by itself: numbers with a point are floats again."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _plain_value(each) for name, each in value.items()}
    return [_plain_value(each) for each in value] if isinstance(value, list) else value


def _scalar_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, Decimal)) and len(str(value)) <= SCALAR_CHARS_MAX and _printable(str(value)):
        return str(value)
    raise ValueError


@cache
def rules_of(kind: type) -> dict[str, Rule]:
    """The rule of every field of a section; a field without one is not read from the file."""
    hints = get_type_hints(kind, include_extras=True)
    rules: dict[str, Rule] = {}
    for field in fields(kind):
        for note in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(note, Rule):
                rules[field.name] = note
    return rules


def shown(value: object) -> str:
    """What came, in few characters."""
    text = repr(str(value)) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def read_value(rule: Rule, value: object, folder: Path, where: str, fault: type[Exception]) -> Any:
    """What `value` says under `rule`; raises `fault` naming `where`, what came and what is wanted."""
    try:
        return rule.read(value, folder)
    except ValueError:
        raise fault(f"{where} is {shown(value)}, want {rule.wanted()} ({rule.meaning})") from None


def read_section(kind: type[T], table: object, folder: Path, where: str, fault: type[Exception]) -> T:
    """The section `kind` that `table` says; fields left out keep their default, unknown ones are refused."""
    rules = rules_of(kind)  # type: ignore[arg-type]
    if not isinstance(table, Mapping):
        raise fault(f"{where} is {shown(table)}, want a table with {', '.join(rules)}")
    refuse_unknown(table, rules, where, fault)
    values: dict[str, Any] = {}
    for field in _fields_of(kind):
        rule = rules.get(field.name)
        if rule is None:
            continue
        if field.name in table:
            values[field.name] = read_value(rule, table[field.name], folder, f"{where} {field.name}", fault)
        elif field.default is MISSING:
            raise fault(f"{where} {field.name} is missing, want {rule.wanted()} ({rule.meaning})")
    return kind(**values)


def _fields_of(kind: Any) -> tuple["Field[Any]", ...]:
    return fields(kind)


def refuse_unknown(
    table: Mapping[str, object], known: Mapping[str, object], where: str, fault: type[Exception]
) -> None:
    """Raises `fault` for a name that is not known, with the nearest one that is: it is most often a slip of a key."""
    unknown = sorted(table.keys() - known.keys())
    if not unknown:
        return
    from difflib import get_close_matches

    near = get_close_matches(unknown[0], list(known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
    raise fault(f"{where} has no {', '.join(shown(name).strip(chr(39)) for name in unknown)}; {hint}")


def read_toml(path: Path, fault: type[Exception]) -> dict[str, Any]:
    """The tables of a TOML file; raises `fault` naming the file, and the line of a mistake in it."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise fault(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > FILE_BYTES_MAX:
        raise fault(f"{path}: over {FILE_BYTES_MAX} bytes, want a TOML file")
    return parse_toml(content, str(path), fault)


def parse_toml(content: bytes, name: str, fault: type[Exception]) -> dict[str, Any]:
    """The tables of TOML text; `name` is what errors call it."""
    try:
        return tomllib.loads(content.decode(), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise fault(f"{name}: is not TOML: {error}") from None
