"""How good an update is, told by where it leads: exact integers that all agree on. numpy only, no float.

What becomes of the figure (reputation, receipts) is decided elsewhere; what is no work at all in `fl.inspection`.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np

from fl.exact_sums import CHUNK, AggregateError, exact_dot
from fl.fixed_point import Ints

MICRO = 1_000_000
INT32_MAX = 2**31 - 1


def quality(base: Ints, updates: Sequence[Ints], aggregate: Ints) -> list[int]:
    """How far each update's step agrees with the step of the whole: floor(10^6 * cos(update - base, aggregate - base)).

    Exact for any int32 vectors of one shape [n]; below zero counts as 0, and so does a step of length zero.
    """
    for vector in (*updates, aggregate):
        if vector.shape != base.shape or vector.dtype != np.int32 or base.dtype != np.int32:
            raise AggregateError(f"{vector.dtype} of shape {vector.shape}, want int32 of shape {base.shape}")
    agreements = [0] * len(updates)
    lengths = [0] * len(updates)
    whole_length = 0
    for start in range(0, len(base), CHUNK):
        origin = base[start : start + CHUNK].astype(np.int64)
        whole = aggregate[start : start + CHUNK] - origin
        whole_length += exact_dot(whole, whole)
        for at, update in enumerate(updates):
            step = update[start : start + CHUNK] - origin
            agreements[at] += exact_dot(step, whole)
            lengths[at] += exact_dot(step, step)
    return [_cosine_micro(dot, length * whole_length) for dot, length in zip(agreements, lengths, strict=True)]


def _cosine_micro(dot: int, squared_lengths: int) -> int:
    if dot <= 0 or squared_lengths == 0:
        return 0
    # floor(sqrt(floor(x))) = floor(sqrt(x)), so this is the exact floor; Cauchy and Schwarz keep it within 10^6.
    return isqrt(MICRO * MICRO * dot * dot // squared_lengths)


def as_model(origin: Ints, vector: Ints, place: slice) -> Ints:
    """The step of an update, wherever its work is, taken from the model: so that all can be compared, int32 [n]."""
    model = origin[: (place.stop or 0) - (place.start or 0)]
    if not place.start:
        return vector[place]
    moved: Ints = np.empty(len(model), np.int32)
    for start in range(0, len(model), CHUNK):
        part = slice(place.start + start, place.start + min(start + CHUNK, len(model)))
        step = vector[part].astype(np.int64) - origin[part] + model[start : start + CHUNK]
        moved[start : start + CHUNK] = np.clip(step, -INT32_MAX, INT32_MAX)
    return moved
