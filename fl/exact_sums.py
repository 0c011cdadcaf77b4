"""Sums of integer vectors that are exact on every machine: the weighted mean, dot products, all of them at once.

Vectors may be views of memory-mapped files: they are read in chunks. What is done with the sums is decided in
`fl.aggregate`, `fl.robust` and `fl.inspection`.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl.fixed_point import Ints

Wide: TypeAlias = NDArray[np.int64]

# 64 Ki coordinates: the int64 sums and products of a chunk (512 KiB each) stay in the processor's cache.
CHUNK = 1 << 16
# For matrices of steps: 64 vectors of 16 Ki coordinates in two halves of 8 bytes are 16 MiB.
GRAM_CHUNK = 1 << 14

INT64_MAX = 2**63 - 1
# The widest coordinate an int32 can hold, -2^31 included.
WIDEST = 2**31
# Whole numbers up to here are exact in a double, and so is every sum of them that stays below, in any order.
DOUBLE_EXACT = 2**53


class AggregateError(ValueError):
    """These updates cannot be aggregated as asked: the text says what came and what was wanted."""


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
    check_updates(vectors, weights, limit_q)
    total = sum(weights)
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
        # A mean lies between the least and the greatest of its parts, so it fits where they did.
        mean[start:stop] = rounded_share(chunk, total)
    return mean


def rounded_share(sums: Wide, total: int) -> Wide:
    """floor((2 s + total) / (2 total)) in place: s / total rounded to the nearest whole number, halves upwards."""
    sums *= 2
    sums += total
    sums //= 2 * total
    return sums


def check_updates(vectors: Sequence[Ints], weights: Sequence[int], limit_q: int) -> None:
    """Raises AggregateError unless there are vectors, int32 of one shape, each with a weight, none too heavy."""
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
    if sum(weights) > total_weight_max(limit_q):
        raise AggregateError(
            f"weights sum to {sum(weights)}, want at most {total_weight_max(limit_q)} with coordinates up to {limit_q}"
        )


def exact_dot(left: Wide, right: Wide) -> int:
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


def squared_lengths(base: Ints, vectors: Sequence[Ints]) -> list[int]:
    """Exactly |vector - base|^2 for each, all int32 of one shape [n]."""
    lengths = [0] * len(vectors)
    for start in range(0, len(base), CHUNK):
        origin = base[start : start + CHUNK].astype(np.int64)
        for at, vector in enumerate(vectors):
            step = vector[start : start + CHUNK] - origin
            lengths[at] += exact_dot(step, step)
    return lengths


def step_products(pairs: Sequence[tuple[Ints, Ints]]) -> list[list[int]]:
    """The exact dot products of all steps `to - from` with one another, for (from, to) int32 of one shape [n].

    Matrix products of doubles, which every machine computes fast, and which are exact here: every operand is a whole
    number and no sum reaches 2^53, so no order of adding can round.
    """
    count = len(pairs[0][0])
    totals = [[0] * len(pairs) for _ in pairs]
    steps = np.empty((len(pairs), min(count, GRAM_CHUNK)), np.int64)
    for start in range(0, count, GRAM_CHUNK):
        stop = min(start + GRAM_CHUNK, count)
        part = steps[:, : stop - start]
        for row, (origin, target) in zip(part, pairs, strict=True):
            np.subtract(target[start:stop], origin[start:stop], out=row, dtype=np.int64)
        for products, shift in _parts_of_products(part):
            for at, line in enumerate(products.tolist()):
                total = totals[at]
                for other, product in enumerate(line):
                    total[other] += int(product) << shift
    return totals


def _parts_of_products(steps: Wide) -> list[tuple[NDArray[np.float64], int]]:
    """Matrices whose sum, each shifted left by its number, is steps @ steps.T."""
    widest = max(int(steps.max()), -int(steps.min()))
    if widest * widest * steps.shape[1] <= DOUBLE_EXACT:
        whole = steps.astype(np.float64)
        return [(whole @ whole.T, 0)]
    # Halves within 2^16: a product is at most 2^32, and GRAM_CHUNK = 2^14 of them at most 2^46.
    high, low = (steps >> 16).astype(np.float64), (steps & 0xFFFF).astype(np.float64)
    mixed = high @ low.T
    return [(high @ high.T, 32), (mixed + mixed.T, 16), (low @ low.T, 0)]
