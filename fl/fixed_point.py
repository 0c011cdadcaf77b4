"""Model vectors as integers: float to int32 and back, and the bytes they travel in (DESIGN D4). numpy only.

A coordinate x becomes q = round_half_even(x * 2^scale_bits). What does not fit is an error at its sender:
nothing wraps and nothing is silently cut. Aggregation of such vectors is in `fl.aggregate`; names and shapes of
tensors are not kept here.

A blob is 16 bytes of head and then the coordinates:
`"HQV" | version u8 | scale_bits u8 | 3 zero bytes | count u64 LE | count * int32 LE`.
"""

import struct
from mmap import mmap
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = bytes | bytearray | memoryview | mmap
Ints: TypeAlias = NDArray[np.int32]
Floats: TypeAlias = NDArray[np.float32]

SCALE_BITS = 20
LIMIT = 512.0

MAGIC = b"HQV"
VERSION = 1
HEAD = struct.Struct("<3sBB3xQ")

# Below 0 the encoding would drop whole units, above 30 nothing but (-1, 1) is left of an int32.
SCALE_BITS_MAX = 30
# Floats are widened to 8 bytes for the rounding, so a chunk costs 1 MiB whatever the model's size.
CHUNK = 1 << 17


class NotEncodable(ValueError):
    """Our own vector holds NaN, infinity, or a coordinate beyond the limit: it must not be sent."""


class InvalidVector(ValueError):
    """A sender's bytes are no vector of the asked form. The text says what came and what was wanted.

    `code` is stable: "magic", "version", "scale", "count", "length" or "limit".
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def limit_in_steps(limit: float, scale_bits: int) -> int:
    """The largest |q| that a coordinate of magnitude `limit` encodes to.

    Raises ValueError when the two do not fit an int32 together.
    """
    if not 0 <= scale_bits <= SCALE_BITS_MAX:
        raise ValueError(f"scale_bits {scale_bits}, want 0 to {SCALE_BITS_MAX}")
    if not 0 < limit <= 2**31:
        raise ValueError(f"limit {limit}, want more than 0 and at most {2**31}")
    steps = int(limit * 2**scale_bits)
    if not 1 <= steps < 2**31:
        raise ValueError(f"limit {limit} at {scale_bits} scale bits is {steps} steps, want 1 to {2**31 - 1}")
    return steps


def encode(vector: NDArray[np.floating], scale_bits: int = SCALE_BITS, limit: float = LIMIT) -> Ints:
    """q[n] = round_half_even(vector[n] * 2^scale_bits), for float32 or float64 of shape [n].

    Raises NotEncodable, naming how many coordinates are not finite or beyond `limit`, and the largest.
    """
    if vector.ndim != 1 or vector.dtype not in (np.float32, np.float64):
        raise ValueError(f"vector is {vector.dtype} of shape {vector.shape}, want float32 or float64 of shape [n]")
    most = limit_in_steps(limit, scale_bits)
    encoded = np.empty(len(vector), np.int32)
    for start in range(0, len(vector), CHUNK):
        # A power of two times a double is exact, so the rounding below is the only one.
        steps = np.rint(vector[start : start + CHUNK].astype(np.float64) * 2.0**scale_bits)
        # Written so that NaN, which compares false with everything, is refused too.
        if not bool((np.abs(steps) <= most).all()):
            raise NotEncodable(_complaint(vector, scale_bits, limit))
        encoded[start : start + CHUNK] = steps
    return encoded


def _complaint(vector: NDArray[np.floating], scale_bits: int, limit: float) -> str:
    finite = np.isfinite(vector)
    broken = int(len(vector) - finite.sum())
    sizes = np.abs(vector[finite])
    beyond = int((np.rint(sizes.astype(np.float64) * 2.0**scale_bits) > limit_in_steps(limit, scale_bits)).sum())
    largest = float(sizes.max()) if sizes.size else 0.0
    return (
        f"{broken} of {len(vector)} coordinates are not finite and {beyond} lie beyond {limit:g}; "
        f"the largest finite one is {largest:g}"
    )


def decode(encoded: Ints, scale_bits: int = SCALE_BITS) -> Floats:
    """The float32 nearest to q * 2^-scale_bits, the same bits on every IEEE-754 machine."""
    # int32 to float32 rounds half to even once; the power of two that follows is exact.
    vector = encoded.astype(np.float32)
    vector *= np.float32(2.0**-scale_bits)
    return vector


def pack(encoded: Ints, scale_bits: int = SCALE_BITS) -> bytes:
    """The blob of a vector: 16 + 4n bytes."""
    if encoded.ndim != 1 or encoded.dtype != np.int32:
        raise ValueError(f"vector is {encoded.dtype} of shape {encoded.shape}, want int32 of shape [n]")
    if not 0 <= scale_bits <= SCALE_BITS_MAX:
        raise ValueError(f"scale_bits {scale_bits}, want 0 to {SCALE_BITS_MAX}")
    body = np.ascontiguousarray(encoded, dtype="<i4")
    return b"".join((HEAD.pack(MAGIC, VERSION, scale_bits, len(body)), body.data))


def unpack(data: Bytes, count: int, scale_bits: int, limit_q: int) -> Ints:
    """The int32 vector of shape [count] inside a blob: a read-only view of `data`, nothing is copied.

    Raises InvalidVector when it is not exactly `count` coordinates at `scale_bits`, each within [-limit_q, limit_q].
    """
    size = len(data)
    if size < HEAD.size:
        raise InvalidVector("length", f"{size} bytes, want {HEAD.size + 4 * count}")
    magic, version, scale, stated = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise InvalidVector("magic", f"starts with {magic!r}, want {MAGIC!r}")
    if version != VERSION:
        raise InvalidVector("version", f"version {version}, want {VERSION}")
    # Two blobs of one vector would have two digests, so the spare bytes are not free.
    if bytes(data[5:8]) != bytes(3):
        raise InvalidVector("version", f"spare bytes {bytes(data[5:8]).hex()}, want 000000")
    if scale != scale_bits:
        raise InvalidVector("scale", f"{scale} scale bits, want {scale_bits}")
    if stated != count:
        raise InvalidVector("count", f"{stated} coordinates, want {count}")
    if size != HEAD.size + 4 * count:
        raise InvalidVector("length", f"{size} bytes, want {HEAD.size + 4 * count}")
    vector: Ints = np.frombuffer(data, dtype="<i4", offset=HEAD.size, count=count)
    vector.flags.writeable = False
    if count:
        # Minimum and maximum instead of abs(): |-2^31| is no int32.
        low, high = int(vector.min()), int(vector.max())
        if low < -limit_q or high > limit_q:
            raise InvalidVector("limit", f"coordinates from {low} to {high}, want -{limit_q} to {limit_q}")
    return vector
