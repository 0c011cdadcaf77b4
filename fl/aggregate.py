"""Exact aggregation: many integer vectors into one, the same bits on every machine (DESIGN D4). numpy, no float.

`aggregate_blobs` is what the leader computes and every committee member recomputes. A rule is a row in `RULES`.
Vectors may be views of memory-mapped files: they are read in chunks, and a few megabytes are all that is needed
beyond the inputs and the result. Who may deliver, and how many records count for whom, is decided elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TypeAlias

import numpy as np

from fl.fixed_point import Bytes, Ints, pack, unpack

MICRO = 1_000_000

# 64 Ki coordinates: the int64 sums and products of a chunk (512 KiB each) stay in the processor's cache.
CHUNK = 1 << 16

INT64_MAX = 2**63 - 1
# The widest coordinate an int32 can hold, -2^31 included.
WIDEST = 2**31


class AggregateError(ValueError):
    """These updates cannot be aggregated as asked: the text says what came and what was wanted."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The blob of the new global model, and the quality of each update in the order they were given (millionths)."""

    blob: bytes
    qualities: tuple[int, ...]


Rule: TypeAlias = Callable[[Mapping[str, str], Ints, Sequence[Ints], Sequence[int], int], Ints]
"""(settings, base, updates, weights, limit_q) -> the new vector, every |coordinate| at most limit_q."""


def total_weight_max(limit_q: int) -> int:
    """The largest sum of weights for which no step of `weighted_mean` can leave an int64.

    Largest number formed: 2*|sum n_k q_k| + W <= W * (2 * limit_q + 1).
    """
    return INT64_MAX // (2 * limit_q + 1)


def weighted_mean(vectors: Sequence[Ints], weights: Sequence[int], limit_q: int = WIDEST) -> Ints:
    """floor((2 * sum n_k q_k + W) / (2 W)) for every coordinate, W = sum n_k: [DLMU] Algorithm 1, line 7.

    `vectors` are int32 of one shape [n] with every |q| <= limit_q, `weights` integers of at least 1. Integer
    sums do not depend on their order, so neither does the result. Raises AggregateError for anything else, and
    when the weights could overflow.
    """
    _check(vectors, weights)
    total = sum(weights)
    if total > total_weight_max(limit_q):
        raise AggregateError(
            f"weights sum to {total}, want at most {total_weight_max(limit_q)} with coordinates up to {limit_q}"
        )
    count = len(vectors[0])
    mean = np.empty(count, np.int32)
    sums = np.empty(min(count, CHUNK), np.int64)
    terms = np.empty_like(sums)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        chunk, term = sums[: stop - start], terms[: stop - start]
        chunk.fill(0)
        for vector, weight in zip(vectors, weights, strict=True):
            # Named as int64 so that numpy widens before it multiplies.
            np.multiply(vector[start:stop], np.int64(weight), out=term, dtype=np.int64)
            chunk += term
        chunk *= 2
        chunk += total
        chunk //= 2 * total
        # A mean lies between the least and the greatest of its parts, so it fits where they did.
        mean[start:stop] = chunk
    return mean


def _check(vectors: Sequence[Ints], weights: Sequence[int]) -> None:
    if not vectors:
        raise AggregateError("no updates, want at least one")
    if len(vectors) != len(weights):
        raise AggregateError(f"{len(vectors)} updates with {len(weights)} weights, want one weight each")
    for at, (vector, weight) in enumerate(zip(vectors, weights, strict=True)):
        if vector.ndim != 1 or vector.dtype != np.int32 or len(vector) != len(vectors[0]):
            raise AggregateError(
                f"update {at} is {vector.dtype} of shape {vector.shape}, want int32 of shape [{len(vectors[0])}]"
            )
        if weight < 1:
            raise AggregateError(f"update {at} has weight {weight}, want at least 1")


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
        whole_length += _dot(whole, whole)
        for at, update in enumerate(updates):
            step = update[start : start + CHUNK] - origin
            agreements[at] += _dot(step, whole)
            lengths[at] += _dot(step, step)
    return [_cosine_micro(dot, length * whole_length) for dot, length in zip(agreements, lengths, strict=True)]


def _cosine_micro(dot: int, squared_lengths: int) -> int:
    if dot <= 0 or squared_lengths == 0:
        return 0
    # floor(sqrt(floor(x))) = floor(sqrt(x)), so this is the exact floor; Cauchy and Schwarz keep it within 10^6.
    return isqrt(MICRO * MICRO * dot * dot // squared_lengths)


def _dot(left: np.ndarray[tuple[int], np.dtype[np.int64]], right: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    """The exact dot product of two int64 vectors of at most CHUNK coordinates, each within +-2^32."""
    if not len(left):
        return 0
    bound = int(np.abs(left).max()) * int(np.abs(right).max()) * len(left)
    if bound <= INT64_MAX:
        return int(np.dot(left, right))
    # High and low halves: every product is at most 2^32 and CHUNK = 2^16 of them at most 2^48.
    left_high, left_low = left >> 16, left & 0xFFFF
    right_high, right_low = right >> 16, right & 0xFFFF
    high = int(np.dot(left_high, right_high))
    middle = int(np.dot(left_high, right_low)) + int(np.dot(left_low, right_high))
    low = int(np.dot(left_low, right_low))
    return (high << 32) + (middle << 16) + low


def _mean(
    settings: Mapping[str, str], base: Ints, updates: Sequence[Ints], weights: Sequence[int], limit_q: int
) -> Ints:
    if settings:
        raise AggregateError(f"rule mean has no setting {', '.join(sorted(settings))}")
    return weighted_mean(updates, weights, limit_q)


RULES: dict[str, Rule] = {
    "mean": _mean,
}


def aggregate_blobs(
    rule: str,
    settings: Mapping[str, str],
    base: Bytes,
    updates: Sequence[tuple[Bytes, int]],
    count: int,
    scale_bits: int,
    limit_q: int,
) -> Aggregated:
    """The new global model from the blobs of the old one and of the (update, weight) pairs.

    Raises InvalidVector for a blob that is no vector of `count` coordinates at `scale_bits` within limit_q,
    AggregateError for an unknown rule or setting, for no updates, and for weights that could overflow.
    """
    known = RULES.get(rule)
    if known is None:
        raise AggregateError(f"unknown rule {rule!r}, want one of {', '.join(sorted(RULES))}")
    origin = unpack(base, count, scale_bits, limit_q)
    vectors = [unpack(blob, count, scale_bits, limit_q) for blob, _ in updates]
    whole = known(settings, origin, vectors, [weight for _, weight in updates], limit_q)
    return Aggregated(pack(whole, scale_bits), tuple(quality(origin, vectors, whole)))
