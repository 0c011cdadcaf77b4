"""Federated clustering and hierarchical aggregation as a rule: several models in one blob, exact integers, numpy only.

The global vector is [g | w_1 .. w_K]: a model of all, and one of each cluster. An update changes one of them, and that
tells where its sender belongs: the first while it does not know yet. The idea is [ENN]'s for machines of one kind in
many factories (Guo et al., 2022); groups are told by the directions of the updates, as in clustered
federated learning (Sattler et al., arXiv 1910.01991): who learns the same moves the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fl.exact_sums import CHUNK, Wide, step_products, weighted_mean
from fl.fixed_point import Ints
from fl.robust import FACTOR_BITS, Updates, vector_name
from fl.settings import Number, Whole

# Cosines and settings count in millionths; means of cosines a thousand times finer.
MICRO = 1_000_000
MEAN_FINER = 1_000
# So many quarters of a round's updates, and more, have to be of nobody's cluster for the groups to be found anew: in a
# round of beginning all are, and no quarter of liars keeps the others from being sorted.
QUARTERS_ANEW = 3


@dataclass(frozen=True, slots=True)
class ClusteredSettings:
    clusters: Annotated[int, Whole(2, 16, "how many groups there may be; fewer where fewer are told apart")] = 3
    mix: Annotated[
        float, Number(0.0, 1.0, "how much of the model of all goes into a cluster's; a large cluster takes less")
    ] = 0.2
    gap: Annotated[
        float, Number(0.0, 2.0, "how much nearer, as a cosine, updates of one group have to be for there to be groups")
    ] = 0.1


def vectors_of(settings: ClusteredSettings) -> int:
    return settings.clusters + 1


def clustered(settings: ClusteredSettings, updates: Updates) -> Ints:
    """[g | w_1 .. w_K] of one round later.

    g is the weighted mean of all models that were sent. Where at least three quarters of the updates are of g, the
    groups are found anew among those, and w_k is the mean of group k; else w_k is the mean of what changed w_k, and
    stays where nothing did. Every w_k that was made is drawn towards g by mix * (1 - its share of the records).
    Raises AggregateError for what `weighted_mean` refuses.
    """
    vectors = vectors_of(settings)
    base, limit = updates.base, updates.limit_q
    count = len(base) // vectors
    places = [work_place(base, vector, vectors) for vector in updates.vectors]
    models = [vector[place] for vector, place in zip(updates.vectors, places, strict=True)]
    everybody = weighted_mean(models, updates.weights, limit)
    slots = [place.start // count for place in places]
    new = [at for at, slot in enumerate(slots) if not slot]
    after = base.copy()
    after[:count] = everybody
    if 4 * len(new) >= QUARTERS_ANEW * len(slots):
        groups = _by_weight(
            [[new[at] for at in group] for group in _grouped(settings, base[:count], models, new)], updates
        )
        # A slot that no group takes is as good a model as any: that of all.
        for slot in range(1, vectors):
            after[slot * count : (slot + 1) * count] = everybody
    else:
        groups = [[at for at, slot in enumerate(slots) if slot == wanted] for wanted in range(1, vectors)]
    whole = sum(updates.weights)
    for slot, group in enumerate(groups, start=1):
        if group:
            weights = [updates.weights[at] for at in group]
            mean = weighted_mean([models[at] for at in group], weights, limit)
            share = round(settings.mix * MICRO) * (whole - sum(weights)) << FACTOR_BITS
            after[slot * count : (slot + 1) * count] = _drawn(mean, everybody, share // (MICRO * whole))
    return after


def work_place(base: Ints, update: Ints, vectors: int) -> slice:
    """Where an update's work is: the last of the vectors that it changes, the first when it changes none.

    A word about two clusters counts for one of them: nobody has two votes.
    """
    count = len(base) // vectors
    for slot in reversed(range(vectors)):
        place = slice(slot * count, (slot + 1) * count)
        if not slot or not np.array_equal(base[place], update[place]):
            return place
    raise AssertionError("the first slot is always taken")


def groups_of(products: Sequence[Sequence[int]], most: int, gap: float) -> list[list[int]]:
    """Which of m steps lie in one direction, told from their exact dot products [m][m]: ascending places, by group.

    What all have in common tells nobody apart, so the mean step is taken off first. Groups are joined by the mean
    cosine between them, the most alike first (average linkage); of the numbers of groups up to `most`, that one is
    taken after which this cosine falls the most. They count as groups only where the steps as they were lie nearer
    within them than between them, by a mean cosine of at least `gap`; else all are one. Ties fall to the first places:
    order them by something that all agree on.
    """
    joined = _joined(_cosines(_centred(products)), most)
    if joined is None or _apart(_cosines(products), joined) < round(gap * MICRO) * MEAN_FINER:
        return [list(range(len(products)))]
    return joined


def _joined(cosines: Wide, most: int) -> list[list[int]] | None:
    """The groups of the longest fall; None where there are too few steps to see one."""
    groups = [[at] for at in range(len(cosines))]
    sums = cosines.copy()
    best: tuple[int, list[list[int]]] | None = None
    last = MICRO * MEAN_FINER
    while len(groups) > 1:
        sizes = np.array([len(group) for group in groups])
        means = sums * MEAN_FINER // np.outer(sizes, sizes)
        np.fill_diagonal(means, np.iinfo(np.int64).min)
        one, other = sorted(divmod(int(means.argmax()), len(groups)))
        alike = int(means[one, other])
        # Everybody on its own is no grouping: it is so of any steps.
        if len(groups) <= most and len(groups) < len(cosines) and (best is None or last - alike >= best[0]):
            best = last - alike, [list(group) for group in groups]
        last = min(last, alike)
        groups[one] = sorted(groups[one] + groups.pop(other))
        sums[one] += sums[other]
        sums[:, one] += sums[:, other]
        sums = np.delete(np.delete(sums, other, 0), other, 1)
    return None if best is None else best[1]


def _apart(cosines: Wide, groups: Sequence[Sequence[int]]) -> int:
    """By how much the mean cosine of pairs within groups is above that of pairs between them, a thousandth of MICRO."""
    group_of = np.zeros(len(cosines), np.int64)
    for number, group in enumerate(groups):
        group_of[list(group)] = number
    same = np.equal.outer(group_of, group_of)
    pairs = np.tri(len(cosines), k=-1, dtype=bool)
    within, between = cosines[same & pairs], cosines[~same & pairs]
    if not len(within) or not len(between):
        return 0
    return int(within.sum()) * MEAN_FINER // len(within) - int(between.sum()) * MEAN_FINER // len(between)


def _centred(products: Sequence[Sequence[int]]) -> list[list[int]]:
    """Dot products of the steps less their mean, times m^2, from those of the steps themselves."""
    count = len(products)
    sums = [sum(row) for row in products]
    whole = sum(sums)
    return [
        [count * count * product - count * (sums[one] + sums[other]) + whole for other, product in enumerate(row)]
        for one, row in enumerate(products)
    ]


def _grouped(settings: ClusteredSettings, base: Ints, models: Sequence[Ints], new: Sequence[int]) -> list[list[int]]:
    """Groups of places in `new`, found the same whatever order the updates came in."""
    named = sorted(range(len(new)), key=lambda at: vector_name(models[new[at]]))
    products = step_products([(base, models[new[at]]) for at in named])
    return [sorted(named[at] for at in group) for group in groups_of(products, settings.clusters, settings.gap)]


def _by_weight(groups: list[list[int]], updates: Updates) -> list[list[int]]:
    """The heaviest first; of equal ones the one whose first vector by name comes first."""

    def rank(group: list[int]) -> tuple[int, bytes]:
        return -sum(updates.weights[at] for at in group), min(vector_name(updates.vectors[at]) for at in group)

    return sorted(groups, key=rank)


def _cosines(products: Sequence[Sequence[int]]) -> Wide:
    """int64 [m, m] in millionths, towards zero; 0 with a vector of length zero."""
    count = len(products)
    cosines: NDArray[np.int64] = np.zeros((count, count), np.int64)
    for one in range(count):
        for other in range(one):
            dot, lengths = products[one][other], products[one][one] * products[other][other]
            size = isqrt(MICRO * MICRO * dot * dot // lengths) if lengths else 0
            cosines[one, other] = cosines[other, one] = size if dot > 0 else -size
    return cosines


def _drawn(mean: Ints, everybody: Ints, factor: int) -> Ints:
    """mean + factor * 2^-30 * (everybody - mean), towards the mean; factor at most 2^30, so no product reaches 2^63."""
    drawn = np.empty(len(mean), np.int32)
    for start in range(0, len(mean), CHUNK):
        own = mean[start : start + CHUNK].astype(np.int64)
        apart = everybody[start : start + CHUNK] - own
        drawn[start : start + CHUNK] = own + np.sign(apart) * ((np.abs(apart) * factor) >> FACTOR_BITS)
    return drawn
