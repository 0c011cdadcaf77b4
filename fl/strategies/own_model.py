"""What a factory remembers between rounds: its own last model as uploaded, and DLMU's scaler. Bytes, no pickle.

Layout: `"HQS1" | SHA-256 of the rest | head length u32 LE | head, msgpack | count * float32 LE`.
"""

import hashlib
import math
import struct
from dataclasses import dataclass

import msgpack
import numpy as np

from fl.dlmu import distance, mix, mix_weight, scaler
from fl.fixed_point import Floats
from fl.settings import Number

MAGIC = b"HQS1"
HEAD_LENGTH = struct.Struct("<I")
# Three rounds in a row tell a factory that is drifting away from one unlucky round.
BETAS_KEPT = 3


class DamagedState(ValueError):
    """Stored state that is not what was stored, or belongs to another model."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """vector: w_prev, float32 [n], as uploaded. alpha: None until a training has moved the model.

    betas_asked: what the rule asked for in the last rounds before any guard, the newest last. drift: ||w_prev - start||
    of the last training, None unless the rule wants it.
    """

    vector: Floats
    alpha: float | None
    last_round: int
    betas_asked: tuple[float, ...] = ()
    drift: float | None = None

    def to_bytes(self) -> bytes:
        told = [len(self.vector), self.alpha, self.last_round, list(self.betas_asked)]
        # Without a drift the bytes are those of versions that knew none.
        head = msgpack.packb(told if self.drift is None else [*told, self.drift])
        body = b"".join((HEAD_LENGTH.pack(len(head)), head, np.ascontiguousarray(self.vector, "<f4").data))
        return MAGIC + hashlib.sha256(body).digest() + body


def own_model(data: bytes, count: int) -> OwnModel:
    """The own model that `data` holds. Raises DamagedState unless every byte is as it was stored and n is `count`."""
    fixed = len(MAGIC) + 32 + HEAD_LENGTH.size
    if len(data) < fixed or data[:4] != MAGIC:
        raise DamagedState(f"{len(data)} bytes starting with {data[:4]!r}, want {MAGIC!r} and more than {fixed} bytes")
    view = memoryview(data)
    if hashlib.sha256(view[36:]).digest() != data[4:36]:
        raise DamagedState("the bytes do not match their own SHA-256")
    (length,) = HEAD_LENGTH.unpack_from(data, 36)
    try:
        stored, alpha, last_round, betas, *drifts = msgpack.unpackb(view[fixed : fixed + length])
        (drift,) = map(float, drifts) if drifts else (None,)
        alpha = None if alpha is None else float(alpha)
        last_round, betas = int(last_round), tuple(float(beta) for beta in betas)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise DamagedState(f"the head is not msgpack: {error!r}") from None
    if stored != count or len(data) != fixed + length + 4 * count:
        raise DamagedState(f"a vector of {stored} coordinates, want {count}")
    vector = np.frombuffer(data, "<f4", count, fixed + length).astype(np.float32, copy=False)
    return OwnModel(vector, alpha, last_round, betas, drift)


def recall(state: bytes | None, count: int) -> tuple[OwnModel | None, tuple[str, ...]]:
    """The remembered model, or none and the reason: without it a factory starts from the global model, safely."""
    if state is None:
        return None, ()
    try:
        return own_model(state, count), ()
    except DamagedState as damage:
        return None, (f"the stored model of this factory is damaged ({damage}); starting from the global model",)


def remember(
    before: OwnModel | None, start: Floats, uploaded: Floats, tau: float, round_number: int, beta_asked: float
) -> OwnModel:
    """The memory after a round. alpha is set by the first training that moved the model, and kept from then on."""
    alpha = before.alpha if before is not None else None
    if alpha is None or not math.isfinite(alpha):
        alpha = scaler(start, uploaded, tau)
    betas = (*(before.betas_asked if before is not None else ()), beta_asked)
    return OwnModel(uploaded, alpha, round_number, betas[-BETAS_KEPT:])


SERVES = ("mix", "global", "own")
# How far a served model is fitted to a factory's own classes: at 1 % it gave up little of what it knew of the others,
# and was right on the own ones as often as at 0.3 % (docs/results.md).
UNSEEN = Number(0.0, 1.0, "share of records of any class that the served model still expects; 0: not fitted to the own")
UNSEEN_DEFAULT = 0.01


def served(global_vector: Floats, state: bytes | None, choice: str) -> tuple[Floats, float]:
    """The model a factory uses itself: the newest global model mixed with its own last one by DLMU's formula.

    No guard and no cap here: a served model starts no training, so it cannot lock anybody out of the league, and
    the factory's own records are what it is used on (FedAvg with this mix kept the global model whole and reached
    DLMU's accuracy on a factory's own class mix). `choice` is one of SERVES.
    """
    own, _ = recall(state, len(global_vector))
    if own is None or choice == "global" or not bool(np.isfinite(own.vector).all()):
        return global_vector.copy(), 0.0
    if choice == "own":
        return own.vector.copy(), 1.0
    beta = math.nan if own.alpha is None else mix_weight(distance(global_vector, own.vector), own.alpha)
    if math.isnan(beta):
        return global_vector.copy(), 0.0
    return mix(global_vector, own.vector, beta), beta
