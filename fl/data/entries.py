"""What stands under a name in a TOML table: taken out with its type, or refused with what came and what was wanted.

For tables that people write about their data. What the entries mean is the business of who asks for them.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from fl.data.errors import DataError

# An error repeats what came, and that may be a pasted file.
SHOWN_CHARS_MAX = 60


def shown(value: object) -> str:
    """What came, in few characters."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def refuse_unknown(table: Mapping[str, object], known: Collection[str], where: str) -> None:
    """Raises DataError naming what is not known, and the nearest name that is: it is most often a slip of a key."""
    unknown = sorted(str(name) for name in table if name not in known)
    if unknown:
        near = get_close_matches(unknown[0], list(known), n=1)
        hint = f", did you mean {near[0]}?" if near else ";"
        raise DataError(f"{where} has no {', '.join(unknown)}{hint} it may have {', '.join(sorted(known))}")


def text(table: Mapping[str, object], key: str, where: str, wanted: str, default: str | None = None) -> str:
    """Text that is not empty; without a default it has to be there."""
    value = table.get(key, default)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: {key} is {shown(value)}, want {wanted}")
    return value


def optional_text(table: Mapping[str, object], key: str, where: str, wanted: str) -> str | None:
    return text(table, key, where, wanted) if key in table else None


def choice(table: Mapping[str, object], key: str, options: tuple[str, ...], where: str, default: str = "") -> str:
    """One word of a few; without a default it has to be there."""
    value = table.get(key, default or None)
    if not isinstance(value, str) or value not in options:
        raise DataError(f"{where}: {key} is {shown(value)}, want {' or '.join(map(repr, options))}")
    return value


def flag(table: Mapping[str, object], key: str, where: str) -> bool:
    """True or false; false when it is not said."""
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise DataError(f"{where}: {key} is {shown(value)}, want true or false")
    return value


def whole(table: Mapping[str, object], key: str, least: int, most: int, where: str, default: int) -> int:
    """A whole number, both bounds included."""
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DataError(f"{where}: {key} is {shown(value)}, want a whole number in {least}..{most}")
    return value


def wholes(value: object, key: str, counts: tuple[int, int], least: int, most: int, where: str) -> tuple[int, ...]:
    """A list of whole numbers, as many as `counts` allows."""
    fits = isinstance(value, list) and counts[0] <= len(value) <= counts[1]
    if not fits or not all(type(each) is int and least <= each <= most for each in value):  # type: ignore[attr-defined]
        count = str(counts[0]) if counts[0] == counts[1] else f"{counts[0]} to {counts[1]}"
        raise DataError(f"{where}: {key} is {shown(value)}, want a list of {count} whole numbers in {least}..{most}")
    return tuple(value)  # type: ignore[arg-type]


def mapping(table: Mapping[str, object], key: str, values: tuple[str, ...], most: int, where: str) -> dict[str, str]:
    """A table of texts, each one of `values`; empty when it is not there."""
    found = table.get(key, {})
    if not isinstance(found, Mapping) or len(found) > most:
        raise DataError(f"{where}: {key} are {shown(found)}, want a table of at most {most} names")
    strange = next((name for name, value in found.items() if value not in values), None)
    if strange is not None:
        wanted = ", ".join(map(repr, values[:12]))
        raise DataError(f"{where}: {key} sends {strange!r} to {shown(found[strange])}, want one of {wanted}")
    return {str(name): str(value) for name, value in found.items()}


def words(value: object, key: str, most: int, where: str) -> tuple[str, ...]:
    """A list of texts, each once."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise DataError(f"{where}: {key} are {shown(value)}, want a list of texts")
    if not 1 <= len(value) <= most or len(set(value)) != len(value):
        raise DataError(f"{where}: {key} are {len(value)} texts, want 1 to {most}, each once")
    return tuple(value)
