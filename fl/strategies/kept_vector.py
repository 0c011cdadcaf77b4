"""A vector that a factory keeps beside its own last model: a control variate, a personal model, a head. Bytes.

Layout: `"HQS2" | SHA-256 of the rest | length of the own model's bytes u32 LE | those | count * float32 LE`.
"""

import hashlib
import struct

import numpy as np

from fl.fixed_point import Floats
from fl.strategies.own_model import DamagedState

MAGIC = b"HQS2"
OWN_LENGTH = struct.Struct("<I")
FIXED = len(MAGIC) + 32 + OWN_LENGTH.size


def keep(own_state: bytes, vector: Floats) -> bytes:
    """The state of both: what `OwnModel.to_bytes` made, or nothing, and a vector float32 [count]."""
    body = b"".join((OWN_LENGTH.pack(len(own_state)), own_state, np.ascontiguousarray(vector, "<f4").data))
    return MAGIC + hashlib.sha256(body).digest() + body


def kept_vector(data: bytes, count: int) -> tuple[bytes, Floats]:
    """What `keep` was given. Raises DamagedState unless every byte is as it was stored and the vector has `count`."""
    if len(data) < FIXED or data[:4] != MAGIC:
        raise DamagedState(f"{len(data)} bytes starting with {data[:4]!r}, want {MAGIC!r} and {FIXED} bytes at least")
    view = memoryview(data)
    if hashlib.sha256(view[36:]).digest() != data[4:36]:
        raise DamagedState("the bytes do not match their own SHA-256")
    (length,) = OWN_LENGTH.unpack_from(data, 36)
    if len(data) != FIXED + length + 4 * count:
        raise DamagedState(f"{len(data) - FIXED} bytes of {length} and a vector, want a vector of {count} coordinates")
    vector = np.frombuffer(data, "<f4", count, FIXED + length).astype(np.float32, copy=False)
    return data[FIXED : FIXED + length], vector


def kept(state: bytes | None, count: int, what: str) -> tuple[bytes | None, Floats | None, tuple[str, ...]]:
    """(state of the own model, the vector, warnings): None for what there is not. Damage costs a warning, no more.

    `what` the vector is, for the factory's owner. One that is not finite is damage too.
    """
    if state is None:
        return None, None, ()
    try:
        own_state, vector = kept_vector(state, count)
        if not bool(np.isfinite(vector).all()):
            raise DamagedState("it is not finite")
    except DamagedState as damage:
        return None, None, (f"the stored {what} of this factory is damaged ({damage}); starting without it",)
    return own_state or None, vector, ()
