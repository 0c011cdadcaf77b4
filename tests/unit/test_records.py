"""Canonical sensor records and their leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import InvalidBytes
from ledger.merkle import leaf_hash
from ledger.records import UNLABELLED, SensorRecord, ValueType, packed_records, parse_record, record_leaves

times = st.integers(0, 2**53 - 1)


@given(st.integers(0, 2**40), times, st.binary(min_size=24, max_size=24), st.integers(UNLABELLED, 2**31 - 1))
def test_the_quick_way_gives_the_codecs_bytes(period, time, values, label):
    record = SensorRecord(period, 7, time, ValueType.FLOAT32, (2, 3), values, label)
    (packed,) = packed_records(period, ValueType.FLOAT32, (2, 3), [(7, time, values, label)])
    assert packed == encode(record)
    assert record_leaves(period, ValueType.FLOAT32, (2, 3), [(7, time, values, label)]) == [record.leaf]
    assert record.leaf == leaf_hash(packed)
    assert parse_record(packed) == record


def test_every_part_of_a_record_is_in_its_leaf():
    record = SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1)
    others = [
        SensorRecord(4, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1),
        SensorRecord(3, 5, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1),
        SensorRecord(3, 4, 1_001, ValueType.FLOAT32, (2,), bytes(8), 1),
        SensorRecord(3, 4, 1_000, ValueType.INT64, (1,), bytes(8), 1),
        SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (1, 2), bytes(8), 1),
        SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(7) + b"\1", 1),
        SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 2),
    ]
    assert len({record.leaf, *(other.leaf for other in others)}) == len(others) + 1


@pytest.mark.parametrize("length", [0, 7, 9, 16])
def test_values_of_another_length_than_declared_are_refused(length):
    with pytest.raises(InvalidBytes, match="want 8"):
        SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(length), 1)


def test_damaged_bytes_are_no_record():
    data = encode(SensorRecord(3, 4, 1_000, ValueType.FLOAT32, (2,), bytes(8), 1))
    for at in range(len(data)):
        with pytest.raises(InvalidBytes):
            parse_record(data[:at])
    with pytest.raises(InvalidBytes):
        parse_record(data + b"\0")
