"""Which updates of a round are no work: steps of nothing, of the last round again, of noise, of somebody else's.

Exact integer tests on the vectors alone, so that a whole committee names the same ones; numpy only, no float. All of
them compare with the other updates of the round and need an honest majority. Each is far from where honest updates
lie, in leagues whose factories hold different classes too: who is hit is not paid, so a free rider that hides better
is the lesser harm (figures: docs/results.md). How the others become one model is `fl.robust`'s business.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from fl.exact_sums import step_products
from fl.fixed_point import Ints
from fl.robust import squared_distance

# Below this there is no majority to compare with.
COMPARED_LEAST = 3
# An honest factory with a hundredth of the others' records makes a step of 0.4 % of theirs (MNIST, one step of SGD for
# their hundred): what is far below that is nothing, and what is far above it the same from the other side.
IDLE_RATIO = 10_000
OUTSIZED_RATIO = 10_000
# Two honest factories of one kind come as near as a tenth of their step (MNIST, two digits each, 600 records) and, with
# sixty times the records, might as near as this: a copy that hides behind more noise has to go.
COPY_RATIO = 100
COPY_RATIO_OF_MEDIAN = 5
# As near to the last movement as 26 degrees, and far nearer than the others (honest ones: at most 1.4 times as near).
REPEAT_COSINE_PERCENT = 90
REPEAT_RATIO = 3
# Noise has a cosine of about 1/sqrt(n) with anything: within four of that with all others, most of whom have 24 with
# somebody (honest ones have 14 at least, in sound mode about 3, all of them).
NOISE_DEVIATIONS = 4
USEFUL_DEVIATIONS = 24
# Of squared sines and cosines.
SCALE = 10**12


class Reason(StrEnum):
    """Why an update is rejected, as the ledger says it."""

    IDLE = "idle: next to no step"
    REPEATED = "repeats the last movement"
    COPY = "copy of another update"
    OUTSIZED = "outsized step"
    NOISE = "noise: like nobody's step"


def inspect(
    base: Ints, vectors: Sequence[Ints], previous: Ints | None = None, known_for: Sequence[int] | None = None
) -> tuple[tuple[int, Reason], ...]:
    """(place, reason) of every update to reject, ascending. All int32 [n]; `previous`: the global model before `base`.

    Two updates that are copies of each other are both rejected: sealed as they are, neither can be the victim. Only
    where everybody has known one for longer, as `known_for` says of each (None: all are new), the other is rejected
    alone.
    """
    if not vectors:
        return ()
    pairs = [(base, vector) for vector in vectors]
    moved = previous is not None
    if previous is not None:
        pairs.append((previous, base))
    products = step_products(pairs)
    lengths = [products[at][at] for at in range(len(vectors))]
    rejected = dict.fromkeys((at for at, length in enumerate(lengths) if not length), Reason.IDLE)
    stepping = [at for at, length in enumerate(lengths) if length]
    found: dict[int, Reason] = {}
    known = known_for or [0] * len(vectors)
    for pair in _copies(products, stepping):
        newest = min(known[at] for at in pair)
        found |= dict.fromkeys((at for at in pair if known[at] == newest), Reason.COPY)
    if len(stepping) >= COMPARED_LEAST:
        for at in _noise(products, stepping, len(base)):
            found[at] = Reason.NOISE
        if moved:
            for at in _repeats(products, stepping):
                found[at] = Reason.REPEATED
        middle = sorted(lengths[at] for at in stepping)[(len(stepping) - 1) // 2]
        for at in stepping:
            if lengths[at] > middle * OUTSIZED_RATIO**2:
                found[at] = Reason.OUTSIZED
            elif lengths[at] * IDLE_RATIO**2 < middle:
                found[at] = Reason.IDLE
    rejected.update(found)
    return tuple(sorted(rejected.items()))


def _copies(products: list[list[int]], steps: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs that lie next to each other."""
    distances = {(a, b): squared_distance(products, a, b) for a in steps for b in steps if a < b}
    middle = sorted(distances.values())[len(distances) // 2] if len(steps) >= COMPARED_LEAST else None
    if middle == 0:
        # Most are the very same: steps of so few digits that it is the terms which make them so.
        return
    for (a, b), distance in distances.items():
        shorter = min(products[a][a], products[b][b])
        alike = middle is not None and distance * COPY_RATIO_OF_MEDIAN**2 <= middle
        # Two alone have nobody to compare with: only the very same bytes are certain.
        if distance == 0 or (alike and distance * COPY_RATIO**2 <= shorter):
            yield a, b


def _repeats(products: list[list[int]], steps: list[int]) -> Iterator[int]:
    """Those that lie in the direction of the last movement of the global model, much nearer than most."""
    last = len(products) - 1
    movement = products[last][last]
    if not movement:
        return
    sines = {}
    for at in steps:
        whole = products[at][at] * movement
        sines[at] = (whole - products[at][last] ** 2) * SCALE // whole
    middle = sorted(sines.values())[(len(steps) - 1) // 2]
    near = SCALE - SCALE * REPEAT_COSINE_PERCENT**2 // 100**2
    yield from (
        at for at in steps if products[at][last] > 0 and sines[at] <= near and sines[at] * REPEAT_RATIO**2 <= middle
    )


def _noise(products: list[list[int]], steps: list[int], count: int) -> Iterator[int]:
    """Those that have to do with nobody's step, where most others have much to do with somebody's."""
    nearest = {
        at: max(
            products[at][other] ** 2 * count * SCALE // (products[at][at] * products[other][other])
            for other in steps
            if other != at
        )
        for at in steps
    }
    for at in steps:
        others = sorted(nearest[other] for other in steps if other != at)
        useful = others[(len(others) - 1) // 2] > USEFUL_DEVIATIONS**2 * SCALE
        if useful and nearest[at] < NOISE_DEVIATIONS**2 * SCALE:
            yield at
