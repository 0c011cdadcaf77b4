"""A noised sum of gradients as bytes, from the training process to the masks: it never leaves the provider. numpy only.

`"HQG" | version u8 | bits u8 | 3 zero bytes | count u64 LE | count * int64 LE`, in steps of 2^-bits.
"""

import struct

import numpy as np

from fl.fixed_point import Bytes, InvalidVector
from fl.masked_aggregate import GRADIENT_BITS
from fl.masking import Longs

MAGIC = b"HQG"
VERSION = 1
HEAD = struct.Struct("<3sBB3xQ")


def pack_gradient(sums: Longs) -> bytes:
    """The blob of int64 [n]: 16 + 8n bytes."""
    if sums.ndim != 1 or sums.dtype != np.int64:
        raise ValueError(f"sums are {sums.dtype} of shape {sums.shape}, want int64 of shape [n]")
    head = HEAD.pack(MAGIC, VERSION, GRADIENT_BITS, len(sums))
    return b"".join((head, np.ascontiguousarray(sums, "<i8").data))


def unpack_gradient(data: Bytes, count: int) -> Longs:
    """The sums, int64 [count]: a read-only view, nothing is copied. Raises InvalidVector for anything else."""
    wanted = HEAD.size + 8 * count
    if len(data) != wanted:
        raise InvalidVector("length", f"{len(data)} bytes, want {wanted}")
    magic, version, bits, stated = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise InvalidVector("magic", f"starts with {magic!r}, want {MAGIC!r}")
    if version != VERSION or bytes(data[5:8]) != bytes(3):
        raise InvalidVector("version", f"version {version}, spare bytes {bytes(data[5:8]).hex()}, want {VERSION}")
    if bits != GRADIENT_BITS:
        raise InvalidVector("scale", f"{bits} bits, want {GRADIENT_BITS}")
    if stated != count:
        raise InvalidVector("count", f"{stated} coordinates, want {count}")
    sums: Longs = np.frombuffer(data, "<i8", offset=HEAD.size)
    sums.flags.writeable = False
    return sums
