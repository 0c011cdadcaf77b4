"""A masked update as bytes: a head, then 64-bit words that look like noise. The masks are in `fl.masking`. numpy only.

`"HQM" | version u8 | 4 zero bytes | count u64 LE | (count + 1) * u64 LE`: `count` coordinates of the model, and one
more word for the weight.
"""

import struct
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl.fixed_point import Bytes, InvalidVector

Words: TypeAlias = NDArray[np.uint64]

MAGIC = b"HQM"
VERSION = 1
HEAD = struct.Struct("<3sB4xQ")


def masked_bytes(count: int) -> int:
    """The length of the masked blob of a model of `count` coordinates."""
    return HEAD.size + 8 * (count + 1)


def new_masked(count: int) -> tuple[bytearray, Words]:
    """A blob of zeros and its words, uint64 [count + 1], to be written in place."""
    blob = bytearray(masked_bytes(count))
    HEAD.pack_into(blob, 0, MAGIC, VERSION, count)
    return blob, np.frombuffer(blob, "<u8", offset=HEAD.size)


def check_masked(data: Bytes, count: int) -> Words:
    """The words of a masked blob, uint64 [count + 1]: a read-only view, nothing is copied.

    Raises InvalidVector ("magic", "version", "count" or "length") when it is no masked blob of `count` coordinates.
    More cannot be said of one alone: every word is as likely as every other.
    """
    size, wanted = len(data), masked_bytes(count)
    if size < HEAD.size:
        raise InvalidVector("length", f"{size} bytes, want {wanted}")
    magic, version, stated = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise InvalidVector("magic", f"starts with {magic!r}, want {MAGIC!r}")
    if version != VERSION:
        raise InvalidVector("version", f"version {version}, want {VERSION}")
    # Two blobs of one update would have two digests, so the spare bytes are not free.
    if bytes(data[4:8]) != bytes(4):
        raise InvalidVector("version", f"spare bytes {bytes(data[4:8]).hex()}, want 00000000")
    if stated != count:
        raise InvalidVector("count", f"{stated} coordinates, want {count}")
    if size != wanted:
        raise InvalidVector("length", f"{size} bytes, want {wanted}")
    words: Words = np.frombuffer(data, "<u8", offset=HEAD.size)
    words.flags.writeable = False
    return words
