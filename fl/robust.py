"""Rules that bear a minority of bad updates: norm bound, trimmed mean, median, multi-Krum. Exact integers, numpy only.

None of them depends on the order of the updates. All but the norm bound ignore the weights: a rule that doubts what a
provider sends does not believe how much it should count for either. They serve a league whose factories are alike;
where each has classes of its own, what is rare looks like an attack (docs/results.md has figures). Who is not paid at
all is decided in `fl.inspection`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Annotated

import numpy as np

from fl.exact_sums import CHUNK, AggregateError, Wide, check_updates, rounded_share, squared_lengths, step_products
from fl.fixed_point import Ints
from fl.settings import NoSettings, Number

# A share of the updates counts in millionths, so that ten updates and a share of 0.3 make three everywhere.
MICRO = 1_000_000
# A factor below 1 in this many bits: with steps below 2^33 its products stay within an int64.
FACTOR_BITS = 30


@dataclass(frozen=True, slots=True)
class Updates:
    """What a round aggregates. base: int32 [n], what the round began with; vectors: int32 [n] each, within limit_q.

    previous: what the round before began with, None where there is none.
    """

    base: Ints
    vectors: Sequence[Ints]
    weights: Sequence[int]
    scale_bits: int
    limit_q: int
    previous: Ints | None = None


@dataclass(frozen=True, slots=True)
class NormBoundSettings:
    bound: Annotated[float, Number(0.0, 1e6, "longest step from the global model, L2; 0: told by times_median")] = 0.0
    times_median: Annotated[float, Number(0.01, 100.0, "longest step, in steps of median length")] = 1.0


@dataclass(frozen=True, slots=True)
class ShareSettings:
    share: Annotated[float, Number(0.0, 0.5, "share of bad updates to withstand, rounded down")] = 0.3


def norm_bound(settings: NormBoundSettings, updates: Updates) -> Ints:
    """The weighted mean, every step longer than the bound shortened to it: [Sun et al. 2019, arXiv 1911.07963].

    Shortened towards zero by a factor of 30 binary places, so that no step is longer than the bound afterwards.
    """
    base, vectors = updates.base, updates.vectors
    check_updates(vectors, updates.weights, updates.limit_q)
    factors = _shortening(settings, updates)
    total = sum(updates.weights)
    mean = np.empty(len(base), np.int32)
    for start in range(0, len(base), CHUNK):
        origin = base[start : start + CHUNK].astype(np.int64)
        sums = np.zeros(len(origin), np.int64)
        for vector, weight, factor in zip(vectors, updates.weights, factors, strict=True):
            step = vector[start : start + CHUNK] - origin
            if factor is not None:
                step = _shorter(step, factor)
            # Base and update lie within the limit, and so does what lies between them: no weight overflows.
            sums += (origin + step) * weight
        mean[start : start + CHUNK] = rounded_share(sums, total)
    return mean


def _shortening(settings: NormBoundSettings, updates: Updates) -> list[int | None]:
    """By update the factor of its step, in 2^-30; None for a step that may stay as long as it is."""
    lengths = squared_lengths(updates.base, updates.vectors)
    if settings.bound:
        bound = int(settings.bound * 2**updates.scale_bits)
    else:
        bound = isqrt(sorted(lengths)[(len(lengths) - 1) // 2]) * round(settings.times_median * MICRO) // MICRO
    # One more than the root rounded down: never shorter than the step is, so the result is never longer than the bound.
    return [None if length <= bound * bound else (bound << FACTOR_BITS) // (isqrt(length) + 1) for length in lengths]


def _shorter(step: Wide, factor: int) -> Wide:
    # Towards zero on both sides: a shift alone would make negative coordinates longer.
    shortened: Wide = np.sign(step) * ((np.abs(step) * factor) >> FACTOR_BITS)
    return shortened


def trimmed_mean(settings: ShareSettings, updates: Updates) -> Ints:
    """By coordinate the mean without the k greatest and the k least, k = floor(share * n): [Yin et al. 2018].

    arXiv 1803.01498. With at most k bad updates every coordinate lies between the least and the greatest of the good.
    """
    return _middle(updates, _bad(settings, len(updates.vectors)))


def median(settings: NoSettings, updates: Updates) -> Ints:
    """By coordinate the one in the middle, or the mean of the two there are: [Yin et al. 2018, arXiv 1803.01498]."""
    return _middle(updates, len(updates.vectors))


def _middle(updates: Updates, cut: int) -> Ints:
    """The mean of what is left of each coordinate when `cut` are taken off at either end; one or two stay at least."""
    vectors = updates.vectors
    check_updates(vectors, updates.weights, updates.limit_q)
    cut = min(cut, (len(vectors) - 1) // 2)
    count = len(vectors[0])
    middle = np.empty(count, np.int32)
    rows = np.empty((len(vectors), min(count, CHUNK)), np.int32)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        part = rows[:, : stop - start]
        for row, vector in zip(part, vectors, strict=True):
            row[:] = vector[start:stop]
        part.sort(axis=0)
        kept = part[cut : len(vectors) - cut]
        middle[start:stop] = rounded_share(kept.sum(axis=0, dtype=np.int64), len(kept))
    return middle


def multi_krum(settings: ShareSettings, updates: Updates) -> Ints:
    """The mean of the n - f updates that lie nearest to their n - f - 2 nearest: [Blanchard et al. 2017], 1703.02757.

    f = floor(share * n), at most floor((n - 3) / 2) as the theorem wants; fewer than three updates are all kept. Of
    updates that lie equally near, the one with the lesser SHA-256 comes first.
    """
    vectors = updates.vectors
    check_updates(vectors, updates.weights, updates.limit_q)
    bad = min(_bad(settings, len(vectors)), max(0, (len(vectors) - 3) // 2))
    near = len(vectors) - bad - 2
    chosen = list(vectors)
    if bad and near > 0:
        products = step_products([(updates.base, vector) for vector in vectors])
        scores = [_nearness(products, at, near) for at in range(len(vectors))]
        ranked = sorted(range(len(vectors)), key=lambda at: (scores[at], vector_name(vectors[at])))
        chosen = [vectors[at] for at in ranked[: len(vectors) - bad]]
    even = Updates(updates.base, chosen, [1] * len(chosen), updates.scale_bits, updates.limit_q)
    return _middle(even, 0)


def _nearness(products: list[list[int]], at: int, near: int) -> int:
    """The sum of the squared distances to the `near` nearest others."""
    others = (other for other in range(len(products)) if other != at)
    return sum(sorted(squared_distance(products, at, other) for other in others)[:near])


def squared_distance(products: list[list[int]], one: int, other: int) -> int:
    """|a - b|^2 from the products of steps with the same origin."""
    return products[one][one] + products[other][other] - 2 * products[one][other]


def vector_name(vector: Ints) -> bytes:
    """SHA-256 of the coordinates: what puts vectors in an order that does not depend on how they came."""
    return hashlib.sha256(np.ascontiguousarray(vector, "<i4").data).digest()


def _bad(settings: ShareSettings, count: int) -> int:
    if not count:
        raise AggregateError("no updates, want at least one")
    return round(settings.share * MICRO) * count // MICRO
