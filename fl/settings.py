"""Settings that arrive as text (a request on the ledger, a configuration file) become typed values, or are refused.

What may be said is a frozen dataclass whose fields are annotated with a rule of this file: `Annotated[int, Whole(1, 9,
"what it means")]`. Holds no setting of any model or source.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")

# Settings come from other organisations: nothing legitimate is longer, and an error repeats what came.
TEXT_CHARS_MAX = 4096
SHOWN_CHARS_MAX = 80
# Nineteen digits hold every signed 64-bit integer; longer text would only feed int().
_WHOLE = re.compile(r"-?[0-9]{1,19}")
# What float() takes beside (1_0, digits of other scripts, nan) nobody means.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, both bounds included."""

    least: int
    most: int
    meaning: str

    def wanted(self) -> str:
        return f"a whole number in {self.least}..{self.most}"

    def parse(self, text: str) -> int:
        if not _WHOLE.fullmatch(text) or not self.least <= int(text) <= self.most:
            raise ValueError(self.wanted())
        return int(text)


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number, both bounds included."""

    least: float
    most: float
    meaning: str

    def wanted(self) -> str:
        return f"a number in {self.least:g}..{self.most:g}"

    def parse(self, text: str) -> float:
        if not _NUMBER.fullmatch(text) or not self.least <= float(text) <= self.most:
            raise ValueError(self.wanted())
        return float(text)


@dataclass(frozen=True, slots=True)
class Choice:
    """One word of a few."""

    options: tuple[str, ...]
    meaning: str

    def wanted(self) -> str:
        return f"one of {', '.join(self.options)}"

    def parse(self, text: str) -> str:
        if text not in self.options:
            raise ValueError(self.wanted())
        return text


@dataclass(frozen=True, slots=True)
class Wholes:
    """A list of whole numbers such as "8,150,150,4" or, with the separator x, "1x28x28"."""

    least: int
    most: int
    count_least: int
    count_most: int
    meaning: str
    separator: str = ","

    def wanted(self) -> str:
        count = str(self.count_least)
        if self.count_most != self.count_least:
            count += f" to {self.count_most}"
        return f"{count} whole numbers in {self.least}..{self.most} separated by {self.separator!r}"

    def parse(self, text: str) -> tuple[int, ...]:
        parts = [part.strip() for part in text.split(self.separator)]
        if not self.count_least <= len(parts) <= self.count_most:
            raise ValueError(self.wanted())
        if not all(_WHOLE.fullmatch(part) and self.least <= int(part) <= self.most for part in parts):
            raise ValueError(self.wanted())
        return tuple(int(part) for part in parts)


@dataclass(frozen=True, slots=True)
class Text:
    """Free text, empty text included."""

    chars_max: int
    meaning: str

    def wanted(self) -> str:
        return f"text of at most {self.chars_max} characters"

    def parse(self, text: str) -> str:
        if len(text) > self.chars_max:
            raise ValueError(self.wanted())
        return text


Rule = Whole | Number | Choice | Wholes | Text


@dataclass(frozen=True, slots=True)
class NoSettings:
    """Of what has nothing to set: whatever is given is refused."""


@dataclass(frozen=True, slots=True)
class SettingNote:
    """What a person is told about one setting: its default (None when it must be given), what is wanted, why."""

    name: str
    default: str | None
    wanted: str
    meaning: str


@cache
def _rules(kind: type) -> dict[str, Rule]:
    hints = get_type_hints(kind, include_extras=True)
    rules: dict[str, Rule] = {}
    for field in fields(kind):
        rule = next((note for note in getattr(hints[field.name], "__metadata__", ()) if isinstance(note, Rule)), None)
        assert rule is not None, f"{kind.__name__}.{field.name} has no rule"
        rules[field.name] = rule
    return rules


def parse_settings(kind: type[T], owner: str, given: Mapping[str, str], fault: type[Exception]) -> T:
    """The `kind` (a frozen dataclass) that the texts in `given` say; what is not given keeps its default.

    Raises `fault`, naming `owner`, for a setting that does not exist, is missing, or is not what is wanted.
    """
    rules = _rules(kind)  # type: ignore[arg-type]
    unknown = sorted(str(name)[:SHOWN_CHARS_MAX] for name in given.keys() - rules.keys())
    if unknown:
        raise fault(f"{owner} has no setting {', '.join(unknown)}; it has {', '.join(rules) or 'none'}")
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        rule = rules[field.name]
        if field.name not in given:
            if field.default is MISSING:
                raise fault(f"{owner} needs {field.name}: {rule.wanted()} ({rule.meaning})")
            continue
        values[field.name] = _parse_one(rule, owner, field.name, given[field.name], fault)
    return kind(**values)


def _parse_one(rule: Rule, owner: str, name: str, text: object, fault: type[Exception]) -> Any:
    if not isinstance(text, str) or len(text) > TEXT_CHARS_MAX:
        raise fault(f"{owner}: {name} is {repr(text)[:SHOWN_CHARS_MAX]}, want {rule.wanted()}, written as text")
    try:
        # In free text a blank may be meant (an alphabet holds one); round a number it is an accident.
        return rule.parse(text if isinstance(rule, Text) else text.strip())
    except ValueError as error:
        raise fault(f"{owner}: {name} is {text[:SHOWN_CHARS_MAX]!r}, want {error}") from None


def setting_text(rule: Rule, value: object) -> str:
    """The text that `rule` parses back into `value`."""
    if isinstance(rule, Wholes):
        assert isinstance(value, tuple)
        return rule.separator.join(str(part) for part in value)
    return str(value)


def setting_text_of(kind: type, name: str, settings: object) -> str:
    """The text that would be parsed into the present value of one setting of `settings`, a `kind`."""
    return setting_text(_rules(kind)[name], getattr(settings, name))


def setting_notes(kind: type) -> tuple[SettingNote, ...]:
    """A note on every setting of `kind`, in the order in which it declares them."""
    rules = _rules(kind)
    return tuple(
        SettingNote(
            name=field.name,
            default=None if field.default is MISSING else setting_text(rules[field.name], field.default),
            wanted=rules[field.name].wanted(),
            meaning=rules[field.name].meaning,
        )
        for field in fields(kind)
    )
