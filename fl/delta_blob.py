"""An update as blocks of changes to the model that its round began with: what a sender leaves out costs no bytes.

A block is a run of coordinates with one integer step and one width: every change is a small whole number of steps, so
reading it is exact and everybody gets the same vector. A step of 1 loses nothing; longer ones are a sender's rounding.
Only updates travel so, never a global model and never under masks. numpy only.

`"HQD" | version u8 | scale_bits u8 | 3 zero bytes | count u64 LE | blocks u32 LE | 4 zero bytes`, then by block
`start u64 LE | length u64 LE | step u32 LE | bits u8 | 3 zero bytes`, then by block its `length` changes in two's
complement of `bits` bits each, the lowest first, filled up with zeros to a whole byte.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.fixed_point import SCALE_BITS_MAX, Bytes, Ints, InvalidVector, unpack

MAGIC = b"HQD"
VERSION = 1
HEAD = struct.Struct("<3sBB3xQI4x")
LINE = struct.Struct("<QQIB3x")

BITS_LEAST, BITS_MOST = 2, 32
STEP_MAX = 2**31 - 1
# A layer is a block, or some tens of them; the table of more would be read longer than the model.
BLOCKS_MAX = 4096
# Coordinates whose bits lie spread out at a time, a byte each: 2 MiB. A multiple of 8, so that a piece ends in a byte.
PIECE = 1 << 16
# What the updates of a round may take once all of them are spread out, as whoever sums them does: some ten bytes on the
# wire stand for a vector of any length, so that senders of little must not fill a reader's memory.
SPREAD_BYTES_MAX = 2 << 30


@dataclass(frozen=True, slots=True)
class Block:
    """Changes `step * values` of the coordinates from `start` on; values: int32 [length], in `bits` bits each."""

    start: int
    values: Ints
    step: int
    bits: int


def is_delta(data: Bytes) -> bool:
    """Whether these bytes say that they are changes rather than a whole vector."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def may_be_changes(count: int, updates: int) -> bool:
    """Whether so many updates of `count` coordinates in a round may travel so: all of them at once fit in memory."""
    return 4 * count * updates <= SPREAD_BYTES_MAX


def delta_bytes(blocks: Iterable[Block]) -> int:
    """The length of the blob of these blocks."""
    return HEAD.size + sum(LINE.size + _payload_bytes(len(block.values), block.bits) for block in blocks)


def bits_for(values: Ints) -> int:
    """The least width that holds every value, int32 [n]."""
    if not len(values):
        return BITS_LEAST
    return max(BITS_LEAST, *(1 + int(end if end >= 0 else ~end).bit_length() for end in (values.min(), values.max())))


def exact_block(start: int, base: Ints, update: Ints) -> Block:
    """The changes from `base` to `update`, int32 [length] each, without loss.

    Raises ValueError where a change fits no int32.
    """
    change = np.subtract(update, base, dtype=np.int64)
    if len(change) and max(int(change.max()), -int(change.min())) >= 2**31:
        raise ValueError(f"a change of {int(np.abs(change).max())} steps, want less than {2**31}")
    values: Ints = change.astype(np.int32)
    return Block(start, values, 1, bits_for(values))


def pack_delta(blocks: Sequence[Block], count: int, scale_bits: int) -> bytes:
    """The blob of an update of `count` coordinates. Raises ValueError for blocks that no reader would take."""
    if not 0 <= scale_bits <= SCALE_BITS_MAX:
        raise ValueError(f"scale_bits {scale_bits}, want 0 to {SCALE_BITS_MAX}")
    parts = [HEAD.pack(MAGIC, VERSION, scale_bits, count, len(blocks))]
    parts += [LINE.pack(block.start, len(block.values), block.step, block.bits) for block in blocks]
    for block in blocks:
        if block.values.dtype != np.int32 or block.values.ndim != 1 or bits_for(block.values) > block.bits:
            raise ValueError(
                f"values are {block.values.dtype} of shape {block.values.shape}, want int32 of shape [n] "
                f"in {block.bits} bits"
            )
        parts.append(_packed(block.values, block.bits))
    blob = b"".join(parts)
    _lines(blob, count, scale_bits)
    return blob


def read_delta(data: Bytes, count: int, scale_bits: int) -> tuple[Block, ...]:
    """The blocks of a blob, ascending; values are views of `data` where the width allows it.

    Raises InvalidVector when it is no delta of `count` coordinates at `scale_bits`. Nothing is made before its length
    is known to be as stated, so what it costs is bounded by the bytes that came and by 4 bytes a coordinate.
    """
    blocks = []
    at = HEAD.size
    lines = _lines(data, count, scale_bits)
    at += LINE.size * len(lines)
    view = memoryview(data)
    for start, length, step, bits in lines:
        size = _payload_bytes(length, bits)
        blocks.append(Block(start, _unpacked(view[at : at + size], length, bits), step, bits))
        at += size
    return tuple(blocks)


def apply_delta(base: Ints, blocks: Sequence[Block], limit_q: int) -> Ints:
    """The update that the blocks make of `base`, int32 [count]: a new vector; coordinates in no block stay.

    Raises InvalidVector ("limit") for a coordinate beyond limit_q.
    """
    update: Ints = base.copy()
    for block in blocks:
        for begin in range(0, len(block.values), PIECE):
            place = slice(block.start + begin, block.start + min(begin + PIECE, len(block.values)))
            # Within 2^62 + 2^31: an int64 holds it.
            moved = block.values[begin : begin + PIECE].astype(np.int64) * block.step + base[place]
            low, high = int(moved.min()), int(moved.max())
            if low < -limit_q or high > limit_q:
                raise InvalidVector("limit", f"coordinates from {low} to {high}, want -{limit_q} to {limit_q}")
            update[place] = moved
    update.flags.writeable = False
    return update


def unpack_update(data: Bytes, base: Ints, scale_bits: int, limit_q: int) -> Ints:
    """The int32 vector of an update's blob, whole or as changes to `base`; shape [n] as the base. Nothing may write it.

    Raises InvalidVector, as `fl.fixed_point.unpack` does.
    """
    if not is_delta(data):
        return unpack(data, len(base), scale_bits, limit_q)
    return apply_delta(base, read_delta(data, len(base), scale_bits), limit_q)


def _lines(data: Bytes, count: int, scale_bits: int) -> list[tuple[int, int, int, int]]:
    """(start, length, step, bits) of each block. Raises InvalidVector unless the whole blob has the stated form."""
    size = len(data)
    if size < HEAD.size:
        raise InvalidVector("length", f"{size} bytes, want at least {HEAD.size}")
    magic, version, scale, stated, blocks = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise InvalidVector("magic", f"starts with {magic!r}, want {MAGIC!r}")
    spare = bytes(data[5:8]) + bytes(data[20:24])
    if version != VERSION or spare != bytes(7):
        raise InvalidVector("version", f"version {version}, spare bytes {spare.hex()}, want {VERSION} and zeros")
    if scale != scale_bits:
        raise InvalidVector("scale", f"{scale} scale bits, want {scale_bits}")
    if stated != count:
        raise InvalidVector("count", f"{stated} coordinates, want {count}")
    if blocks > BLOCKS_MAX:
        raise InvalidVector("block", f"{blocks} blocks, want at most {BLOCKS_MAX}")
    wanted = HEAD.size + LINE.size * blocks
    if size < wanted:
        raise InvalidVector("length", f"{size} bytes, want at least {wanted} for {blocks} blocks")
    lines = []
    free = 0
    for at in range(blocks):
        place = HEAD.size + LINE.size * at
        start, length, step, bits = line = LINE.unpack_from(data, place)
        if not (free <= start and 1 <= length <= count - start):
            raise InvalidVector("block", f"block {at} of {length} from {start}, want some within {free} to {count}")
        if not (1 <= step <= STEP_MAX and BITS_LEAST <= bits <= BITS_MOST):
            raise InvalidVector(
                "block",
                f"block {at} of {bits} bits in steps of {step}, want {BITS_LEAST} to {BITS_MOST} and 1 to {STEP_MAX}",
            )
        if bytes(data[place + LINE.size - 3 : place + LINE.size]) != bytes(3):
            raise InvalidVector("version", f"block {at} has spare bytes, want zeros")
        free = start + length
        wanted += _payload_bytes(length, bits)
        lines.append(line)
    if size != wanted:
        raise InvalidVector("length", f"{size} bytes, want {wanted}")
    return lines


def _payload_bytes(length: int, bits: int) -> int:
    return -(-length * bits // 8)


def _packed(values: Ints, bits: int) -> bytes:
    if bits in (8, 16, 32):
        return values.astype(f"<i{bits // 8}").tobytes()
    pieces = []
    for begin in range(0, len(values), PIECE):
        piece = np.ascontiguousarray(values[begin : begin + PIECE], "<i4").view(np.uint8).reshape(-1, 4)
        spread = np.unpackbits(piece, axis=1, bitorder="little")[:, :bits]
        pieces.append(np.packbits(spread.reshape(-1), bitorder="little").tobytes())
    return b"".join(pieces)


def _unpacked(data: memoryview, length: int, bits: int) -> Ints:
    """int32 [length]. Raises InvalidVector when the bits that fill up the last byte are no zeros."""
    if bits in (8, 16, 32):
        return np.frombuffer(data, f"<i{bits // 8}", length).astype(np.int32, copy=False)
    spare = len(data) * 8 - length * bits
    if spare and data[-1] >> (8 - spare):
        raise InvalidVector("version", f"the last {spare} bits of a block are not all zero")
    values = np.empty(length, np.int32)
    bytes_a_piece = PIECE * bits // 8
    for at, begin in enumerate(range(0, length, PIECE)):
        rows = min(PIECE, length - begin)
        raw = np.frombuffer(data[at * bytes_a_piece : (at + 1) * bytes_a_piece], np.uint8)
        spread: NDArray[np.uint8] = np.unpackbits(raw, count=rows * bits, bitorder="little").reshape(rows, bits)
        # The highest bit is the sign: it is repeated up to the 32nd.
        signs = np.repeat(spread[:, -1:], 32 - bits, axis=1)
        whole = np.packbits(np.concatenate((spread, signs), axis=1), axis=1, bitorder="little")
        values[begin : begin + rows] = whole.view("<i4").reshape(rows)
    return values
