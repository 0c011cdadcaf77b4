"""How fast each client of a simulation is: virtual seconds a step, for strategies that end training by time."""

import numpy as np


def pace_of(seed: int, client: int, middling_s: float, spread: float) -> float:
    """Seconds that a step takes this client; the same in every round and on every machine, whatever computes it.

    Evenly drawn on a scale of ratios from middling_s / sqrt(spread) to middling_s * sqrt(spread): the slowest client
    that may be takes `spread` times as long as the fastest.
    """
    place = float(np.random.default_rng([seed, client, 5]).uniform(-0.5, 0.5))
    pace: float = middling_s * spread**place
    return pace
