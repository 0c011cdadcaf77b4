"""Canonical bytes: msgpack of a frozen dataclass as an array in field order (DESIGN D2).

`decode(T, encode(x)) == x`, and `encode(decode(T, b)) == b` or `b` is refused. What a type annotation may say: `int`
(signed 64-bit), `bool`, `str`, `bytes`, `None` in a union, `tuple[T, ...]`, an `Enum` of ints, a frozen dataclass, a
`NewType` of these, and a union of dataclasses, which travels as `[KIND, body]` with the class's `KIND: ClassVar[int]`.
`Annotated[T, Size(least, most)]` bounds bytes (in bytes), text (in UTF-8 bytes) and tuples (in items);
`Annotated[int, Range(least, most)]` bounds integers. Dicts, floats and extension types do not exist here.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from types import NoneType, UnionType
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack

from ledger.errors import InvalidBytes
from ledger.types import Hash32

T = TypeVar("T")

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
# Items of a tuple that names no bound of its own: a sender's four bytes must not make us set aside gigabytes.
LIST_ITEMS_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Size:
    """Least and most bytes (of bytes and UTF-8 text) or items (of a tuple)."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Range:
    """Least and most value of an integer, both included."""

    least: int
    most: int


Plain = Any  # what msgpack knows: int, bool, str, bytes, None, list
Pack = Callable[[Any], Plain]
Unpack = Callable[[Plain, str], Any]


def encode(value: object) -> bytes:
    """Canonical bytes of a frozen dataclass. Raises InvalidBytes when a field breaks its own annotation."""
    pack, _ = _coder(type(value))
    packed: bytes = msgpack.packb(pack(value), use_bin_type=True)
    return packed


def decode(kind: type[T], data: bytes) -> T:
    """The `kind` that `data` is the canonical encoding of; anything else raises InvalidBytes."""
    try:
        plain = _plain(kind, data)
    except InvalidBytes as error:
        raise InvalidBytes(f"{kind.__name__}: {error}") from None
    _, unpack = _coder(kind)
    value: T = unpack(plain, kind.__name__)
    if encode(value) != data:
        raise InvalidBytes(f"{kind.__name__}: {len(data)} bytes that are not the canonical ones")
    return value


def encode_union(value: object, union: object) -> bytes:
    """Canonical bytes of one member of a union of dataclasses: `[KIND, body]`."""
    pack, _ = _coder(union)
    packed: bytes = msgpack.packb(pack(value), use_bin_type=True)
    return packed


def decode_union(union: object, data: bytes) -> Any:
    """The member of `union` that `data` encodes; raises InvalidBytes."""
    _, unpack = _coder(union)
    value = unpack(_plain(union, data), "message")
    if encode_union(value, union) != data:
        raise InvalidBytes(f"{type(value).__name__}: {len(data)} bytes that are not the canonical ones")
    return value


def digest(tag: str, data: bytes) -> Hash32:
    """SHA-256 under a domain tag, so that bytes of one kind never pass for another: H(len(tag) ‖ tag ‖ data)."""
    name = tag.encode()
    return Hash32(hashlib.sha256(bytes([len(name)]) + name + data).digest())


def _plain(kind: Any, data: bytes) -> Plain:
    """`data` as msgpack sees it. Lists longer than any of `kind` are refused before room is made for them."""
    try:
        return msgpack.unpackb(data, raw=False, max_map_len=0, max_ext_len=0, max_array_len=_longest_list(kind))
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise InvalidBytes(f"not msgpack: {error!r}"[:200]) from None


_LONGEST_LISTS: dict[Any, int] = {}


def _longest_list(kind: Any) -> int:
    """The most items of any list in the encoding of `kind`: of fields, of a bounded tuple, of `[KIND, body]`."""
    longest = _LONGEST_LISTS.get(kind)
    if longest is None:
        longest = _LONGEST_LISTS[kind] = _measure_lists(kind)
    return longest


def _measure_lists(kind: Any) -> int:
    if isinstance(kind, NewType):
        return _longest_list(kind.__supertype__)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        sizes = [limit.most for limit in arguments[1:] if isinstance(limit, Size)]
        if get_origin(arguments[0]) is tuple and sizes:
            return max(min(sizes), _longest_list(get_args(arguments[0])[0]))
        return _longest_list(arguments[0])
    if origin is tuple:
        return LIST_ITEMS_MAX
    if origin in (Union, UnionType):
        return max(2, *(_longest_list(member) for member in arguments))
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return max([len(fields(kind)), *(_longest_list(hints[each.name]) for each in fields(kind))])
    return 0


_CODERS: dict[Any, tuple[Pack, Unpack]] = {}


def _coder(kind: Any) -> tuple[Pack, Unpack]:
    coder = _CODERS.get(kind)
    if coder is None:
        coder = _CODERS[kind] = _make_coder(kind)
    return coder


def _make_coder(kind: Any) -> tuple[Pack, Unpack]:
    if isinstance(kind, NewType):
        return _coder(kind.__supertype__)
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *limits = get_args(kind)
        return _bounded(_coder(inner), limits)
    if origin is tuple:
        item, dots = get_args(kind)
        assert dots is Ellipsis, f"{kind}: only tuple[T, ...] is a codec type"
        return _tuple_coder(_coder(item))
    if origin in (Union, UnionType):
        return _union_coder(get_args(kind))
    if is_dataclass(kind):
        return _dataclass_coder(kind)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return _enum_coder(kind)
    if kind is int:
        return _bounded(_exact(int), [Range(INT_MIN, INT_MAX)])
    if kind is str:
        return _text_coder()
    if kind in (bool, bytes, NoneType):
        return _exact(kind)
    raise TypeError(f"{kind!r} is not a codec type")


def _text_coder() -> tuple[Pack, Unpack]:
    pack_any, unpack = _exact(str)

    def pack(value: Any) -> Plain:
        try:
            pack_any(value).encode()
        except UnicodeEncodeError as error:
            raise InvalidBytes(f"text that is not Unicode: {error.reason} at {error.start}") from None
        return value

    return pack, unpack


def _exact(kind: type) -> tuple[Pack, Unpack]:
    def unpack(plain: Plain, where: str) -> Any:
        if type(plain) is not kind:
            raise InvalidBytes(f"{where}: got {type(plain).__name__}, want {kind.__name__}")
        return plain

    return lambda value: unpack(value, kind.__name__), unpack


def _bounded(coder: tuple[Pack, Unpack], limits: list[Any]) -> tuple[Pack, Unpack]:
    pack, unpack = coder

    def check(value: Any, where: str) -> None:
        for limit in limits:
            if isinstance(limit, Range):
                size, what = value, "value"
            else:
                size = len(value.encode()) if isinstance(value, str) else len(value)
                what = "size"
            if not limit.least <= size <= limit.most:
                raise InvalidBytes(f"{where}: {what} {size}, want {limit.least} to {limit.most}")

    def pack_checked(value: Any) -> Plain:
        plain = pack(value)
        check(value, "field")
        return plain

    def unpack_checked(plain: Plain, where: str) -> Any:
        # Items are counted before any of them is built: a long list costs its sender, not us.
        if isinstance(plain, list):
            check(plain, where)
        value = unpack(plain, where)
        check(value, where)
        return value

    return pack_checked, unpack_checked


def _tuple_coder(item: tuple[Pack, Unpack]) -> tuple[Pack, Unpack]:
    pack_item, unpack_item = item

    def pack(value: Any) -> Plain:
        if type(value) is not tuple:
            raise InvalidBytes(f"got {type(value).__name__}, want tuple")
        return [pack_item(each) for each in value]

    def unpack(plain: Plain, where: str) -> Any:
        if type(plain) is not list:
            raise InvalidBytes(f"{where}: got {type(plain).__name__}, want a list")
        return tuple(unpack_item(each, f"{where}[{at}]") for at, each in enumerate(plain))

    return pack, unpack


def _union_coder(members: tuple[Any, ...]) -> tuple[Pack, Unpack]:
    optional = NoneType in members
    kinds = [member for member in members if member is not NoneType]
    if optional and len(kinds) == 1:
        pack_one, unpack_one = _coder(kinds[0])
        return (
            lambda value: None if value is None else pack_one(value),
            lambda plain, where: None if plain is None else unpack_one(plain, where),
        )
    by_kind = {member.KIND: member for member in kinds}
    assert len(by_kind) == len(kinds), "two members of a union share a KIND"

    def pack(value: Any) -> Plain:
        if value is None and optional:
            return None
        if type(value) not in kinds:
            raise InvalidBytes(f"got {type(value).__name__}, want one of {[k.__name__ for k in kinds]}")
        return [type(value).KIND, _coder(type(value))[0](value)]

    def unpack(plain: Plain, where: str) -> Any:
        if plain is None and optional:
            return None
        if type(plain) is not list or len(plain) != 2 or type(plain[0]) is not int:
            raise InvalidBytes(f"{where}: want [kind, body]")
        member = by_kind.get(plain[0])
        if member is None:
            raise InvalidBytes(f"{where}: unknown kind {plain[0]}")
        return _coder(member)[1](plain[1], f"{where}.{member.__name__}")

    return pack, unpack


def _dataclass_coder(kind: Any) -> tuple[Pack, Unpack]:
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]
    coders = [_coder(hints[name]) for name in names]
    packers = [(name, pack) for name, (pack, _) in zip(names, coders, strict=True)]
    unpackers = [(name, unpack) for name, (_, unpack) in zip(names, coders, strict=True)]

    def pack(value: Any) -> Plain:
        if type(value) is not kind:
            raise InvalidBytes(f"got {type(value).__name__}, want {kind.__name__}")
        packed = []
        for name, pack_field in packers:
            try:
                packed.append(pack_field(getattr(value, name)))
            except InvalidBytes as error:
                raise InvalidBytes(f"{kind.__name__}.{name}: {error}") from None
        return packed

    def unpack(plain: Plain, where: str) -> Any:
        if type(plain) is not list or len(plain) != len(unpackers):
            got = f"{len(plain)} fields" if type(plain) is list else type(plain).__name__
            raise InvalidBytes(f"{where}: got {got}, want the {len(unpackers)} fields of {kind.__name__}")
        try:
            return kind(
                *[unpack_field(each, name) for (name, unpack_field), each in zip(unpackers, plain, strict=True)]
            )
        except InvalidBytes as error:
            raise InvalidBytes(f"{where}.{error}") from None

    return pack, unpack


def _enum_coder(kind: type[IntEnum]) -> tuple[Pack, Unpack]:
    def pack(value: Any) -> Plain:
        if type(value) is not kind:
            raise InvalidBytes(f"got {type(value).__name__}, want {kind.__name__}")
        return int(value)

    def unpack(plain: Plain, where: str) -> Any:
        if type(plain) is not int or plain not in kind._value2member_map_:
            raise InvalidBytes(f"{where}: {plain!r} is no {kind.__name__}")
        return kind(plain)

    return pack, unpack
