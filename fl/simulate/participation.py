"""Who takes part in a round: drawn from the seed and the round alone, never from the draw before."""

import numpy as np


def participants(seed: int, round_number: int, clients: int, per_round: int) -> tuple[int, ...]:
    """Places of the clients of round `round_number` (from 0), ascending; all of them where `per_round` is 0 or enough.

    Every client is as likely as every other, whoever was drawn before.
    """
    if not 0 < per_round < clients:
        return tuple(range(clients))
    drawn = np.random.default_rng([seed, round_number, 3]).choice(clients, per_round, replace=False)
    return tuple(sorted(drawn.tolist()))
