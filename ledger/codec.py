"""Canonical bytes: msgpack of a frozen dataclass as an array in field order (DESIGN D2).

`decode(T, encode(x)) == x`, and `encode(decode(T, b)) == b` or `b` is refused. What a type annotation may say: `int`
(signed 64-bit), `bool`, `str`, `bytes`, `None` in a union, `tuple[T, ...]`, an `Enum` of ints, a frozen dataclass, a
`NewType` of these, and a union of dataclasses, which travels as `[KIND, body]` with the class's `KIND: ClassVar[int]`.
`Annotated[T, Size(least, most)]` bounds bytes (in bytes), text (in UTF-8 bytes) and tuples (in items);
`Annotated[int, Range(least, most)]` bounds integers. Dicts, floats and extension types do not exist here.

Bytes are read by type, piece after piece: a list where a number is due, or one item more than a tuple may have, ends
the reading before anything is made of it. So what a sender can make us set aside is what the type itself can hold.
"""

import hashlib
from collections.abc import Callable, Sequence
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
# msgpack copies what it reads on from; a message is rarely longer.
_PIECE_BYTES = 64 * 1024


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
Read = Callable[["_Source"], Any]


def encode(value: object) -> bytes:
    """Canonical bytes of a frozen dataclass. Raises InvalidBytes when a field breaks its own annotation."""
    return encode_union(value, type(value))


def decode(kind: type[T], data: bytes) -> T:
    """The `kind` that `data` is the canonical encoding of; anything else raises InvalidBytes."""
    value: T = _decode(kind, data, kind.__name__)
    return value


def encode_union(value: object, union: object) -> bytes:
    """Canonical bytes of one member of a union of dataclasses: `[KIND, body]`."""
    pack, _ = _coder(union)
    packed: bytes = msgpack.packb(pack(value), use_bin_type=True)
    return packed


def decode_union(union: object, data: bytes) -> Any:
    """The member of `union` that `data` encodes; raises InvalidBytes."""
    return _decode(union, data, "message")


def digest(tag: str, data: bytes) -> Hash32:
    """SHA-256 under a domain tag, so that bytes of one kind never pass for another: H(len(tag) ‖ tag ‖ data)."""
    name = tag.encode()
    return Hash32(hashlib.sha256(bytes([len(name)]) + name + data).digest())


# --- reading


class _Misfit(Exception):
    """What came is not what is due here. `path` grows from the inside out while it climbs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []

    def at(self, step: str) -> "_Misfit":
        self.path.append(step)
        return self


class _Pieces:
    """What msgpack reads its bytes from."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, n: int) -> bytes:
        piece = self._data[self._at : self._at + n]
        self._at += len(piece)
        return piece


class _Source:
    """msgpack, one token at a time. `take` makes no list: one that is not empty raises ValueError of msgpack's own."""

    __slots__ = ("_data", "list_size", "position", "take")

    def __init__(self, data: bytes) -> None:
        # Strings and bytes are bounded by what is there, so four bytes of length make nobody set gigabytes aside. Read
        # in pieces: what is refused at its first byte is not copied first.
        size = max(1, len(data))
        unpacker = msgpack.Unpacker(
            _Pieces(data),
            read_size=min(_PIECE_BYTES, size),
            raw=False,
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
            max_buffer_size=size,
        )
        self._data = data
        self.take: Callable[[], Plain] = unpacker.unpack
        self.list_size: Callable[[], int] = unpacker.read_array_header
        self.position: Callable[[], int] = unpacker.tell

    def next_byte(self) -> int:
        """The first byte of the next token, -1 at the end."""
        at = self.position()
        return self._data[at] if at < len(self._data) else -1


# msgpack specification: fixarray, array 16, array 32.
def _opens_list(first: int) -> bool:
    return 0x90 <= first <= 0x9F or first in (0xDC, 0xDD)


_NIL = 0xC0


def _decode(kind: Any, data: bytes, name: str) -> Any:
    pack, read = _coder(kind)
    source = _Source(data)
    try:
        value = read(source)
    except _Misfit as misfit:
        raise InvalidBytes(f"{name}{''.join(reversed(misfit.path))}: {misfit}") from None
    # An empty message, a length that is cut short: what is no token at all.
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise InvalidBytes(f"{name}: not msgpack: {error!r}"[:200]) from None
    if source.position() != len(data):
        raise InvalidBytes(f"{name}: {len(data) - source.position()} bytes too many")
    if msgpack.packb(pack(value), use_bin_type=True) != data:
        raise InvalidBytes(f"{name}: {len(data)} bytes that are not the canonical ones")
    return value


def _read_list_size(source: _Source, wanted: str) -> int:
    first = source.next_byte()
    if not _opens_list(first):
        raise _Misfit(f"want {wanted}, got " + ("the end" if first < 0 else f"a token of type 0x{first:02x}"))
    return source.list_size()


# --- one coder a type


_CODERS: dict[Any, tuple[Pack, Read]] = {}


def _coder(kind: Any) -> tuple[Pack, Read]:
    coder = _CODERS.get(kind)
    if coder is None:
        coder = _CODERS[kind] = _make_coder(kind)
    return coder


def _make_coder(kind: Any) -> tuple[Pack, Read]:
    plain, limits = _without_limits(kind)
    origin = get_origin(plain)
    if origin is tuple:
        item, dots = get_args(plain)
        assert dots is Ellipsis, f"{kind}: only tuple[T, ...] is a codec type"
        return _tuple_coder(_coder(item), [Size(0, LIST_ITEMS_MAX), *limits])
    if plain is int:
        return _bounded(_exact(int), [Range(INT_MIN, INT_MAX), *limits])
    if plain is str:
        return _bounded(_text_coder(), limits)
    if plain is bytes:
        return _bounded(_exact(bytes), limits)
    assert not limits, f"{kind}: only integers, bytes, text and tuples have bounds"
    if origin in (Union, UnionType):
        return _union_coder(get_args(plain))
    if is_dataclass(plain):
        return _dataclass_coder(plain)
    if isinstance(plain, type) and issubclass(plain, IntEnum):
        return _enum_coder(plain)
    if plain in (bool, NoneType):
        return _exact(plain)
    raise TypeError(f"{kind!r} is not a codec type")


def _without_limits(kind: Any) -> tuple[Any, list[Any]]:
    """What a NewType or Annotated stands for, and all limits on the way there."""
    limits: list[Any] = []
    while True:
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif get_origin(kind) is Annotated:
            kind, *found = get_args(kind)
            limits += found
        else:
            return kind, limits


def _exact(kind: type) -> tuple[Pack, Read]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise InvalidBytes(f"got {type(value).__name__}, want {kind.__name__}")
        return value

    def read(source: _Source) -> Any:
        try:
            value = source.take()
        except (ValueError, msgpack.exceptions.UnpackException) as error:
            raise _Misfit(f"want {kind.__name__}: {error!r}"[:200]) from None
        if type(value) is not kind:
            raise _Misfit(f"got {type(value).__name__}, want {kind.__name__}")
        return value

    return check, read


def _text_coder() -> tuple[Pack, Read]:
    check, read = _exact(str)

    def pack(value: Any) -> Plain:
        try:
            check(value).encode()
        except UnicodeEncodeError as error:
            raise InvalidBytes(f"text that is not Unicode: {error.reason} at {error.start}") from None
        return value

    return pack, read


def _bounded(coder: tuple[Pack, Read], limits: Sequence[Any]) -> tuple[Pack, Read]:
    """A coder of integers, bytes or text that keeps all of `limits`."""
    if not limits:
        return coder
    pack, read = coder
    least, most = max(limit.least for limit in limits), min(limit.most for limit in limits)

    def fault(value: Any) -> str | None:
        if type(value) is int:
            return None if least <= value <= most else f"value {value}, want {least} to {most}"
        size = len(value.encode()) if type(value) is str else len(value)
        return None if least <= size <= most else f"size {size}, want {least} to {most}"

    def pack_checked(value: Any) -> Plain:
        plain = pack(value)
        if (wrong := fault(plain)) is not None:
            raise InvalidBytes(f"field: {wrong}")
        return plain

    def read_checked(source: _Source) -> Any:
        value = read(source)
        if (wrong := fault(value)) is not None:
            raise _Misfit(wrong)
        return value

    return pack_checked, read_checked


def _tuple_coder(item: tuple[Pack, Read], limits: Sequence[Size]) -> tuple[Pack, Read]:
    pack_item, read_item = item
    least, most = max(limit.least for limit in limits), min(limit.most for limit in limits)

    def pack(value: Any) -> Plain:
        if type(value) is not tuple:
            raise InvalidBytes(f"got {type(value).__name__}, want tuple")
        if not least <= len(value) <= most:
            raise InvalidBytes(f"field: size {len(value)}, want {least} to {most}")
        return [pack_item(each) for each in value]

    def read(source: _Source) -> Any:
        size = _read_list_size(source, "a list")
        # Items are counted before any of them is built: a long list costs its sender, not us.
        if not least <= size <= most:
            raise _Misfit(f"size {size}, want {least} to {most}")
        items: list[Any] = []
        try:
            for _ in range(size):
                items.append(read_item(source))
        except _Misfit as misfit:
            raise misfit.at(f"[{len(items)}]") from None
        return tuple(items)

    return pack, read


def _union_coder(members: tuple[Any, ...]) -> tuple[Pack, Read]:
    kinds = [member for member in members if member is not NoneType]
    if len(kinds) == 1:
        return _optional(_coder(kinds[0]))
    by_kind = {member.KIND: member for member in kinds}
    assert len(by_kind) == len(kinds), "two members of a union share a KIND"

    def pack(value: Any) -> Plain:
        if type(value) not in kinds:
            raise InvalidBytes(f"got {type(value).__name__}, want one of {[k.__name__ for k in kinds]}")
        return [type(value).KIND, _coder(type(value))[0](value)]

    read_kind = _exact(int)[1]

    def read(source: _Source) -> Any:
        if _read_list_size(source, "[kind, body]") != 2:
            raise _Misfit("want [kind, body]")
        kind = read_kind(source)
        member = by_kind.get(kind)
        if member is None:
            raise _Misfit(f"unknown kind {kind}")
        try:
            return _coder(member)[1](source)
        except _Misfit as misfit:
            raise misfit.at(f".{member.__name__}") from None

    return _optional((pack, read)) if NoneType in members else (pack, read)


def _optional(coder: tuple[Pack, Read]) -> tuple[Pack, Read]:
    pack, read = coder

    def read_or_none(source: _Source) -> Any:
        return source.take() if source.next_byte() == _NIL else read(source)

    return lambda value: None if value is None else pack(value), read_or_none


def _dataclass_coder(kind: Any) -> tuple[Pack, Read]:
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]
    coders = [_coder(hints[name]) for name in names]
    packers = [(name, pack) for name, (pack, _) in zip(names, coders, strict=True)]
    readers = [read for _, read in coders]

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

    def read(source: _Source) -> Any:
        size = _read_list_size(source, f"the {len(readers)} fields of {kind.__name__}")
        if size != len(readers):
            raise _Misfit(f"got {size} fields, want the {len(readers)} fields of {kind.__name__}")
        values: list[Any] = []
        try:
            for read_field in readers:
                values.append(read_field(source))
        except _Misfit as misfit:
            raise misfit.at(f".{names[len(values)]}") from None
        try:
            return kind(*values)
        except InvalidBytes as error:
            raise _Misfit(str(error)) from None

    return pack, read


def _enum_coder(kind: type[IntEnum]) -> tuple[Pack, Read]:
    read_number = _exact(int)[1]

    def pack(value: Any) -> Plain:
        if type(value) is not kind:
            raise InvalidBytes(f"got {type(value).__name__}, want {kind.__name__}")
        return int(value)

    def read(source: _Source) -> Any:
        number = read_number(source)
        if number not in kind._value2member_map_:
            raise _Misfit(f"{number} is no {kind.__name__}")
        return kind(number)

    return pack, read
