"""Canonical bytes: one encoding for a value, and everything else refused before it costs anything."""

import tracemalloc
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, NewType, Union, get_args, get_origin, get_type_hints

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import journal, messages
from ledger import blocks, certificates, chain, entries, genesis, state_tree, transactions
from ledger.codec import INT_MAX, INT_MIN, Range, Size, decode, decode_union, digest, encode, encode_union
from ledger.errors import InvalidBytes


class Colour(IntEnum):
    RED = 1
    BLUE = 7


Metres = NewType("Metres", int)


@dataclass(frozen=True, slots=True)
class Point:
    KIND: ClassVar[int] = 1
    x: int
    y: Metres


@dataclass(frozen=True, slots=True)
class Label:
    KIND: ClassVar[int] = 9
    text: Annotated[str, Size(1, 4)]


@dataclass(frozen=True, slots=True)
class Sample:
    count: Annotated[int, Range(0, 10)]
    on: bool
    name: str
    key: Annotated[bytes, Size(2, 2)]
    colour: Colour
    items: Annotated[tuple[int, ...], Size(0, 3)]
    point: Point | None
    either: Point | Label


SAMPLE = Sample(3, True, "ähm", b"ab", Colour.BLUE, (1, 2), Point(-1, Metres(5)), Label("hi"))
PLAIN = [3, True, "ähm", b"ab", 7, [1, 2], [-1, 5], [9, ["hi"]]]


def packed(plain: object) -> bytes:
    data: bytes = msgpack.packb(plain, use_bin_type=True)
    return data


def changed(at: int, value: object) -> bytes:
    return packed([value if place == at else each for place, each in enumerate(PLAIN)])


def test_a_dataclass_travels_as_the_array_of_its_fields():
    assert encode(SAMPLE) == packed(PLAIN)
    assert decode(Sample, packed(PLAIN)) == SAMPLE


@pytest.mark.parametrize(
    ("at", "value", "named"),
    [
        (0, 11, "count"),
        (0, -1, "count"),
        (0, True, "count"),
        (0, 1.0, "count"),
        (0, "3", "count"),
        (0, None, "count"),
        (1, 1, "on"),
        (2, b"hm", "name"),
        (3, "ab", "key"),
        (3, b"abc", "key"),
        (3, b"a", "key"),
        (4, 2, "colour"),
        (4, True, "colour"),
        (5, [1, 2, 3, 4], "items"),
        (5, None, "items"),
        (5, [True], "items"),
        (6, [1], "point"),
        (6, [1, 2, 3], "point"),
        (6, [1, None], "point"),
        (7, None, "either"),
        (7, [2, ["hi"]], "either"),
        (7, [True, [1, 2]], "either"),
        (7, [9, [""]], "either"),
        (7, [9, ["hallo"]], "either"),
        (7, [9, ["äöü"]], "either"),  # six bytes: text is bounded in bytes, not in characters
        (7, [9, ["hi"], 0], "either"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(at: int, value: object, named: str):
    with pytest.raises(InvalidBytes, match=rf"Sample\.{named}"):
        decode(Sample, changed(at, value))


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (b"", "nothing"),
        (packed(PLAIN)[:-1], "cut"),
        (packed(PLAIN) + b"\x00", "trailing"),
        (packed([*PLAIN, 0]), "one field more"),
        (packed(PLAIN[:-1]), "one field less"),
        (packed({"count": 3}), "a map"),
        (b"\xc1", "never used by msgpack"),
        (packed(msgpack.ExtType(4, b"")), "an extension"),
        (packed(msgpack.Timestamp(1)), "a time"),
        (changed(2, "x").replace(b"\xa1x", b"\xa1\xff"), "not UTF-8"),
    ],
)
def test_bytes_that_are_no_value_are_refused(damaged: bytes, why: str):
    with pytest.raises(InvalidBytes):
        decode(Sample, damaged)


@pytest.mark.parametrize(
    ("short", "longer"),
    [
        (b"\x03", b"\xcc\x03"),  # 3 as uint8
        (b"\x03", b"\xcd\x00\x03"),
        (b"\x03", b"\xd3" + bytes(7) + b"\x03"),  # 3 as a signed 64-bit integer
        (b"\xc4\x02ab", b"\xc5\x00\x02ab"),
        (b"\xa4\xc3\xa4hm", b"\xd9\x04\xc3\xa4hm"),
        (b"\x92\x01\x02", b"\xdc\x00\x02\x01\x02"),
        (b"\x98", b"\xdc\x00\x08"),
    ],
)
def test_a_second_way_to_write_the_same_value_is_refused(short: bytes, longer: bytes):
    canonical = packed(PLAIN)
    assert short in canonical
    other = canonical.replace(short, longer, 1)
    assert msgpack.unpackb(other) == PLAIN, "msgpack takes it for the same"
    with pytest.raises(InvalidBytes, match="canonical"):
        decode(Sample, other)


@pytest.mark.parametrize("value", [INT_MIN, INT_MAX, 0, -33, 2**32])
def test_integers_of_64_bits_travel(value: int):
    assert decode(Point, encode(Point(value, Metres(0)))) == Point(value, Metres(0))


@pytest.mark.parametrize("value", [INT_MAX + 1, INT_MIN - 1, 2**70, True, 1.0, "1", None])
def test_what_is_no_64_bit_integer_is_neither_written_nor_read(value: Any):
    with pytest.raises(InvalidBytes):
        encode(Point(value, Metres(0)))
    if not (type(value) is int and value > 2**64):
        if value == INT_MIN - 1:
            return  # msgpack has no form for it
        with pytest.raises(InvalidBytes):
            decode(Point, packed([value, 0]))


def test_text_that_is_not_unicode_is_refused_when_written():
    # A lone surrogate comes out of JSON easily: it must be the caller's mistake, not a crash.
    with pytest.raises(InvalidBytes, match="Unicode"):
        encode(Label("\ud800"))


def test_subclasses_and_lists_do_not_pass_for_their_betters():
    class Small(int):
        pass

    with pytest.raises(InvalidBytes):
        encode(Point(Small(1), Metres(0)))
    with pytest.raises(InvalidBytes, match="tuple"):
        encode(Sample(3, True, "", b"ab", Colour.RED, [1], None, Label("a")))  # type: ignore[arg-type]


def test_a_union_travels_with_its_kind_and_only_its_members_do():
    union = Point | Label
    assert encode_union(Label("a"), union) == packed([9, ["a"]])
    assert decode_union(union, packed([1, [2, 3]])) == Point(2, Metres(3))
    for wrong in ([2, [1, 2]], [1], [1, [2, 3], 4], 1, None, ["1", [2, 3]], [1, ["a"]]):
        with pytest.raises(InvalidBytes):
            decode_union(union, packed(wrong))
    with pytest.raises(InvalidBytes):
        encode_union(SAMPLE, union)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * 200_000,  # depth
        (b"\xdd\x00\x3f\x00\x00") * 1_000 + b"\xc0" * 0x3F0000,  # lists of four million, each in the last
        b"\xdc\x10\x00" + (b"\xdc\x0f\xff" + b"\x90" * 4095) * 1000,  # four million lists, each allowed to be there
        b"\x92\x09\x91\xdc\x00\x40" + (b"\xdc\x0f\xa0" + b"\x91\x90" * 4000) * 512,  # where blocks are due
        b"\xdd\xff\xff\xff\xff",  # a list of four thousand million
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",  # bytes that do not come
        b"\xdb\xff\xff\xff\xff",
    ],
    ids=["deep", "deep and long", "many", "many inside", "list", "map", "bytes", "text"],
)
def test_a_bomb_costs_its_sender_only(bomb: bytes):
    tracemalloc.start()
    try:
        with pytest.raises(InvalidBytes):
            decode_union(messages.Message, bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_long_list_is_counted_before_its_items_are_made():
    with pytest.raises(InvalidBytes, match=r"items.*size 5"):
        decode(Sample, changed(5, ["never looked at"] * 5))


def test_a_digest_depends_on_its_tag_and_where_it_ends():
    assert digest("ab", b"c") != digest("a", b"bc")
    assert len(digest("", b"")) == 32


# --- every type that travels or is stored


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that a type's annotations allow, the ends of every range included."""
    if isinstance(kind, NewType):
        return values_of(kind.__supertype__)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _within(arguments[0], arguments[1:])
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin in (Union, UnionType):
        return st.one_of([values_of(member) for member in arguments])
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return st.sampled_from(list(kind))
    return {
        int: st.integers(INT_MIN, INT_MAX),
        bool: st.booleans(),
        str: st.text(max_size=5),
        bytes: st.binary(max_size=5),
        NoneType: st.none(),
    }[kind]


def _within(inner: Any, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if isinstance(inner, NewType):
        inner = inner.__supertype__
    if get_origin(inner) is Annotated:
        arguments = get_args(inner)
        inner, limits = arguments[0], (*arguments[1:], *limits)
    least, most = max(limit.least for limit in limits), min(limit.most for limit in limits)
    if inner is int:
        return st.integers(least, most) | st.sampled_from([least, most])
    if inner is bytes:
        return st.binary(min_size=least, max_size=min(most, least + 40))
    if inner is str:
        return st.text("ab", min_size=least, max_size=min(most, least + 5))
    return st.lists(values_of(get_args(inner)[0]), min_size=least, max_size=min(most, least + 2)).map(tuple)


def travelling_types() -> list[type]:
    modules = (transactions, certificates, blocks, entries, genesis, state_tree, messages, journal)
    found = [chain.Head]
    for module in modules:
        for value in vars(module).values():
            if is_dataclass(value) and isinstance(value, type) and value.__module__ == module.__name__:
                found.append(value)
    skipped = {state_tree.StateTree, state_tree.TreeUpdate, journal.Replayed}
    return [kind for kind in found if kind not in skipped and not kind.__name__.startswith("_")]


@pytest.mark.parametrize("kind", travelling_types(), ids=lambda kind: kind.__name__)
def test_every_type_comes_back_as_it_went_and_in_one_form_only(kind: type):
    @settings(max_examples=4, deadline=None)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        value = data.draw(values_of(kind))
        encoded = encode(value)
        assert decode(kind, encoded) == value
        # One bit somewhere: another value, or refused; never the same value in a second form.
        at = data.draw(st.integers(0, 8 * len(encoded) - 1))
        damaged = bytearray(encoded)
        damaged[at // 8] ^= 1 << at % 8
        try:
            other = decode(kind, bytes(damaged))
        except InvalidBytes:
            return
        assert other != value
        assert encode(other) == bytes(damaged)

    holds()


@pytest.mark.parametrize("union", [transactions.Body, messages.Message, journal.JournalRecord])
def test_members_of_a_union_have_kinds_of_their_own(union: Any):
    kinds = [member.KIND for member in get_args(union)]
    assert len(set(kinds)) == len(kinds)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_garbage_is_refused_or_is_canonical(data: bytes):
    try:
        message = decode_union(messages.Message, data)
    except InvalidBytes:
        return
    assert encode_union(message, messages.Message) == data
