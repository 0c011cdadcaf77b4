"""Codec dataclasses as JSON and back, strictly: bytes in lower-case hex, enums by name, nothing missing, nothing more.

For files that people keep and carry about. What is hashed and signed is always `codec`'s bytes; a value read here is
encoded once, so that every bound of its type holds.
"""

import json
from dataclasses import fields, is_dataclass
from enum import IntEnum
from types import NoneType, UnionType
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from ledger.codec import encode
from ledger.errors import InvalidBytes

T = TypeVar("T")


def read_json(text: str | bytes) -> Any:
    """JSON (RFC 8259) that means one thing only: no NaN or Infinity, no name twice in one object, of which other
    readers take the first. Raises InvalidBytes."""
    try:
        return json.loads(text, object_pairs_hook=once_each, parse_constant=_no_number)
    except RecursionError:
        raise InvalidBytes("not JSON: nested too deeply") from None
    except ValueError as error:
        raise InvalidBytes(f"not JSON: {error}"[:200]) from None


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these names. Raises ValueError when one of them stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:64]!r} stands twice in one object")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def to_json(value: Any) -> Any:
    """Plain dicts, lists, strings and numbers of a codec value."""
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [to_json(each) for each in value]
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    return value


def from_json(kind: type[T], plain: Any) -> T:
    """The dataclass that `plain` spells. Raises InvalidBytes naming the field, what came and what was wanted."""
    value: T = _parse(kind, plain, kind.__name__)
    encode(value)
    return value


def _parse(kind: Any, plain: Any, where: str) -> Any:
    if isinstance(kind, NewType):
        return _parse(kind.__supertype__, plain, where)
    origin = get_origin(kind)
    if origin is Annotated:
        return _parse(get_args(kind)[0], plain, where)
    if origin is tuple:
        if type(plain) is not list:
            raise InvalidBytes(f"{where}: got {type(plain).__name__}, want a list")
        return tuple(_parse(get_args(kind)[0], each, f"{where}[{at}]") for at, each in enumerate(plain))
    if origin in (Union, UnionType):
        members = [member for member in get_args(kind) if member is not NoneType]
        assert len(members) == 1, f"{kind}: only an optional value has a JSON form"
        return None if plain is None else _parse(members[0], plain, where)
    if is_dataclass(kind):
        return _parse_dataclass(kind, plain, where)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        if type(plain) is not str or plain not in kind.__members__:
            raise InvalidBytes(f"{where}: {plain!r}, want one of {', '.join(kind.__members__)}")
        return kind[plain]
    if kind is bytes:
        return _parse_hex(plain, where)
    if type(plain) is not kind:
        raise InvalidBytes(f"{where}: got {type(plain).__name__}, want {kind.__name__}")
    return plain


def _parse_dataclass(kind: Any, plain: Any, where: str) -> Any:
    if type(plain) is not dict:
        raise InvalidBytes(f"{where}: got {type(plain).__name__}, want an object")
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]
    unknown, missing = sorted(plain.keys() - set(names)), [name for name in names if name not in plain]
    if unknown or missing:
        wrong = [f"unknown {name}" for name in unknown] + [f"missing {name}" for name in missing]
        raise InvalidBytes(f"{where}: {', '.join(wrong)}"[:300])
    return kind(*[_parse(hints[name], plain[name], f"{where}.{name}") for name in names])


def _parse_hex(plain: Any, where: str) -> bytes:
    if type(plain) is not str:
        raise InvalidBytes(f"{where}: got {type(plain).__name__}, want hex")
    try:
        data = bytes.fromhex(plain)
    except ValueError:
        data = None
    # One value, one spelling: spaces and capitals are not ours.
    if data is None or data.hex() != plain:
        raise InvalidBytes(f"{where}: {plain[:32]!r} is not lower-case hex")
    return data
