"""Canonical sensor records and their leaves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import InvalidBytes
from ledger.merkle import leaf_hash
from ledger.records import (
    UNLABELLED,
    SaltedRecord,
    SensorRecord,
    ValueType,
    packed_records,
    parse_record,
    record_leaves,
)

times = st.integers(0, 2**53 - 1)


@given(st.integers(0, 2**40), times, st.binary(min_size=24, max_size=24), st.integers(UNLABELLED, 2**31 - 1))
@pytest.mark.parametrize("salt", [None, bytes(range(16))])
def test_the_quick_way_gives_the_codecs_bytes(salt, period, time, values, label):
    fields = (period, 7, time, ValueType.FLOAT32, (2, 3), values, label)
    record = SensorRecord(*fields) if salt is None else SaltedRecord(*fields, salt)
    salts = None if salt is None else {7: salt}.__getitem__
    (packed,) = packed_records(period, ValueType.FLOAT32, (2, 3), [(7, time, values, label)], salts)
    assert packed == encode(record)
    assert record_leaves(period, ValueType.FLOAT32, (2, 3), [(7, time, values, label)], salts) == [record.leaf]
    assert record.leaf == leaf_hash(packed)
    assert parse_record(packed) == record


def test_every_part_of_a_record_is_in_its_leaf():
    record = SaltedRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1, bytes(16))
    others = [
        replace(record, period=4),
        replace(record, index=5),
        replace(record, time=1_001),
        replace(record, values_type=ValueType.INT64, shape=(1,)),
        replace(record, shape=(1, 2)),
        replace(record, values=bytes(7) + b"\1"),
        replace(record, label=2),
        replace(record, salt=bytes(15) + b"\1"),
        SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1),
    ]
    assert len({record.leaf, *(other.leaf for other in others)}) == len(others) + 1


@pytest.mark.parametrize("length", [0, 7, 9, 16])
def test_values_of_another_length_than_declared_are_refused(length):
    with pytest.raises(InvalidBytes, match="want 8"):
        SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(length), 1)


@pytest.mark.parametrize(
    "record",
    [
        SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1),
        SaltedRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1, bytes(16)),
    ],
)
def test_damaged_bytes_are_no_record(record):
    data = encode(record)
    for at in range(len(data)):
        with pytest.raises(InvalidBytes):
            parse_record(data[:at])
    with pytest.raises(InvalidBytes):
        parse_record(data + b"\0")


@pytest.mark.parametrize("salt", [b"", bytes(15), bytes(17)])
def test_a_salt_of_another_length_is_refused(salt):
    with pytest.raises(InvalidBytes):
        parse_record(encode(SaltedRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1, salt)))
