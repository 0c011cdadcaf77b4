"""JSON views of ledger values: nothing is lost on the way out, and nothing wrong gets in."""

import json
from dataclasses import fields
from enum import IntEnum
from types import UnionType
from typing import Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import Range, Size
from ledger.entries import Receipt, Request, Stage
from ledger.transactions import Body, JoinRequest, Setting, Transfer
from node.rpc.views import (
    InvalidView,
    _bare,
    _hints,
    body_from_json,
    from_json,
    kind_name,
    schema_of,
    to_json,
    unhex,
)
from tests.support.rpc_services import ALICE, BOB


def values_of(hint):
    """Any value of a codec type, small."""
    inner, limits = _bare(hint)
    bounds = next((limit for limit in limits if isinstance(limit, Range)), None)
    size = next((limit for limit in limits if isinstance(limit, Size)), Size(0, 8))
    most = min(size.most, max(size.least, 4))
    if inner is int:
        return st.integers(bounds.least, bounds.most) if bounds else st.integers(-(2**63), 2**63 - 1)
    if inner is bool:
        return st.booleans()
    if inner is bytes:
        return st.binary(min_size=size.least, max_size=most)
    if inner is str:
        return st.text(st.characters(codec="ascii"), min_size=size.least, max_size=most)
    if get_origin(inner) is tuple:
        return st.lists(values_of(get_args(inner)[0]), min_size=size.least, max_size=most).map(tuple)
    if isinstance(inner, type) and issubclass(inner, IntEnum):
        return st.sampled_from(list(inner))
    if get_origin(inner) in (Union, UnionType):
        return st.one_of([values_of(member) for member in get_args(inner)])
    return dataclasses_of(inner)


def dataclasses_of(kind):
    return st.builds(kind, **{field.name: values_of(_hints(kind)[field.name]) for field in fields(kind)})


@settings(max_examples=150, deadline=None)
@given(st.one_of([dataclasses_of(kind) for kind in get_args(Body)]))
def test_every_body_comes_back_from_its_json(body):
    plain = json.loads(json.dumps(to_json(body)))
    assert body_from_json(plain, unhex) == body


@settings(max_examples=50, deadline=None)
@given(dataclasses_of(Request) | dataclasses_of(Receipt))
def test_every_entry_comes_back_from_its_json(entry):
    plain = json.loads(json.dumps(to_json(entry)))
    assert from_json(type(entry), plain, "entry", unhex) == entry


def test_large_integers_are_text_and_both_forms_are_read():
    assert to_json(2**53 - 1) == 2**53 - 1
    assert to_json(2**53) == "9007199254740992"
    assert to_json(-(2**53)) == "-9007199254740992"
    plain = {"kind": "transfer", "to": BOB.org.hex(), "amount": "9007199254740991"}
    assert body_from_json(plain, unhex) == Transfer(BOB.org, 2**53 - 1, "")


def test_names_and_settings_read_well():
    assert to_json(Stage.AGGREGATING) == "aggregating"
    join = JoinRequest(bytes(32), "bearing", 5, (Setting("site", "north"),))
    assert to_json(join)["attributes"] == {"site": "north"}
    assert to_json(join)["kind"] == "join_request"
    plain = {"kind": "join_request", "request": "00" * 32, "data_type": "x", "record_count": 1}
    plain["attributes"] = {"b": "2", "a": "1"}
    assert body_from_json(plain, unhex).attributes == (Setting("a", "1"), Setting("b", "2"))
    # A name said twice would vanish in an object.
    twice = (Setting("eps", "1"), Setting("eps", "9"))
    assert to_json(twice) == [{"name": "eps", "value": "1"}, {"name": "eps", "value": "9"}]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "tranfer"}, "body.kind"),
        ({"amount": 0}, "body.amount: got 0, want 1 to"),
        ({"amount": 1.5}, "body.amount: got a fraction, want an integer"),
        ({"amount": True}, "body.amount"),
        ({"amount": None}, "body.amount: got null"),
        ({"to": "12"}, "body.to: got bytes 1, want 32 to 32"),
        ({"to": "zz" * 32}, "body.to"),
        ({"to": 5}, "body.to: got int, want hex text"),
        ({"memo": "x" * 257}, "body.memo: got bytes 257, want 0 to 256"),
        ({"memo": ["x"]}, "body.memo: got a list, want text"),
        ({"fee": 1}, "no field 'fee'"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_wanted(change, named):
    plain = {"kind": "transfer", "to": BOB.org.hex(), "amount": 5, "memo": ""} | change
    with pytest.raises(InvalidView) as caught:
        body_from_json(plain, unhex)
    assert named in str(caught.value)


def test_a_missing_field_is_named_unless_it_may_be_empty():
    with pytest.raises(InvalidView, match=r"body\.amount is missing"):
        body_from_json({"kind": "transfer", "to": BOB.org.hex()}, unhex)
    assert body_from_json({"kind": "transfer", "to": ALICE.org.hex(), "amount": 1}, unhex).memo == ""


@pytest.mark.parametrize("text", ["0", "0g", " 00", "00 ", "0 0", "٠٠"])
def test_only_hex_digits_are_hex(text):
    with pytest.raises(ValueError, match="hex"):
        unhex(text)


def test_schemas_name_every_field_of_every_body():
    for kind in get_args(Body):
        properties = schema_of(kind)["properties"]
        assert list(properties) == ["kind", *(field.name for field in fields(kind))]
        assert properties["kind"]["const"] == kind_name(kind)
