"""A sensor record as it is anchored: its canonical bytes and its leaf in the period's tree [ANCHOR Algorithm 2].

The leaf is RFC 6962's over the canonical bytes, so a record says its own period, place, time, form, values and label:
none can be changed, moved or relabelled. It says a salt too, that nobody can guess: else who knows all records of a
period but one could try guesses at that one until the root fits. Periods that were closed before there were salts
have records without. Where records lie is `node/record_store.py`'s business.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Annotated, TypeAlias

import msgpack

from ledger.codec import Range, Size, decode, encode
from ledger.errors import InvalidBytes
from ledger.merkle import leaf_hash, leaf_hashes
from ledger.types import AMOUNT_MAX, Hash32

# A second of 8 channels at 20 kHz in float32 is 640 KB; a longer stretch is several records.
VALUES_BYTES_MAX = 1024 * 1024
# A record's canonical bytes: its values and some words about them.
RECORD_BYTES_MAX = VALUES_BYTES_MAX + 4096
DIMENSIONS_MAX = 8
# A tree of 2^22 leaves is 256 MB of hashes while it is built; who collects more in an hour closes periods sooner.
PERIOD_RECORDS_MAX = 2**22
UNLABELLED = -1
# As hard to guess as a key: nobody tries 2^128 salts beside each guess at a record.
SALT_BYTES = 16
LABEL_MAX = 2**31 - 1

# msgpack's head of a list of the seven fields of SensorRecord; a salted record has eight.
UNSALTED_HEAD = b"\x97"

Count = Annotated[int, Range(0, AMOUNT_MAX)]


class ValueType(IntEnum):
    """What `values` holds, little-endian."""

    FLOAT32 = 0
    UINT8 = 1
    INT64 = 2

    @property
    def bytes_each(self) -> int:
        return {ValueType.FLOAT32: 4, ValueType.UINT8: 1, ValueType.INT64: 8}[self]


Shape = Annotated[tuple[Annotated[int, Range(1, VALUES_BYTES_MAX)], ...], Size(1, DIMENSIONS_MAX)]


@dataclass(frozen=True, slots=True)
class SensorRecord:
    """One record. `index`: its place in the period, from 0. `time`: ms since 1970. `label`: a class, or UNLABELLED.

    Raises InvalidBytes when `values` is not as long as `values_type` and `shape` say.
    """

    period: Count
    index: Annotated[int, Range(0, PERIOD_RECORDS_MAX - 1)]
    time: Count
    values_type: ValueType
    shape: Shape
    values: Annotated[bytes, Size(1, VALUES_BYTES_MAX)]
    label: Annotated[int, Range(UNLABELLED, LABEL_MAX)]

    def __post_init__(self) -> None:
        want = values_bytes(self.values_type, self.shape)
        if len(self.values) != want:
            raise InvalidBytes(
                f"record {self.index} of period {self.period}: {len(self.values)} bytes of values, want {want}"
            )

    @property
    def leaf(self) -> Hash32:
        """Its leaf hash in the period's tree."""
        return leaf_hash(encode(self))


@dataclass(frozen=True, slots=True)
class SaltedRecord(SensorRecord):
    """A record of a period whose leaves are salted."""

    salt: Annotated[bytes, Size(SALT_BYTES, SALT_BYTES)]


Salts: TypeAlias = Callable[[int], bytes]
"""The salt of the record at an index of a period, SALT_BYTES long."""


def values_bytes(values_type: ValueType, shape: tuple[int, ...]) -> int:
    """How many bytes the values of one record of this form take."""
    return values_type.bytes_each * prod(shape)


def parse_record(data: bytes) -> SensorRecord:
    """A record from untrusted bytes, salted or of the time before. Raises InvalidBytes."""
    if data[:1] == UNSALTED_HEAD:
        return decode(SensorRecord, data)
    return decode(SaltedRecord, data)


def packed_records(
    period: int,
    values_type: ValueType,
    shape: tuple[int, ...],
    rows: Iterable[tuple[int, int, bytes, int]],
    salts: Salts | None,
) -> Iterator[bytes]:
    """The canonical bytes of every (index, time, values, label) row, in order: the quick way for a whole period.

    `salts`: None for a period of the time before there were any. Nothing is checked here, so that a damaged row has
    bytes too, only others than were anchored.
    """
    form = list(shape)
    pack = msgpack.Packer(use_bin_type=True).pack
    kind = int(values_type)
    for index, time, values, label in rows:
        salt = () if salts is None else (salts(index),)
        yield pack([period, index, time, kind, form, values, label, *salt])


def record_leaves(
    period: int,
    values_type: ValueType,
    shape: tuple[int, ...],
    rows: Iterable[tuple[int, int, bytes, int]],
    salts: Salts | None,
) -> list[Hash32]:
    """`SensorRecord.leaf` of every row, in order, unchecked."""
    return leaf_hashes(packed_records(period, values_type, shape, rows, salts))
