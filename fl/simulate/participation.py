"""Who takes part in a round, and every other draw of a federation: all from one seed, none from the draw before."""

import hashlib

import numpy as np


def participants(seed: int, round_number: int, clients: int, per_round: int) -> tuple[int, ...]:
    """Places of the clients of round `round_number` (from 0), ascending; all of them where `per_round` is 0 or enough.

    Every client is as likely as every other, whoever was drawn before.
    """
    if not 0 < per_round < clients:
        return tuple(range(clients))
    drawn = np.random.default_rng([seed, round_number, 3]).choice(clients, per_round, replace=False)
    return tuple(sorted(drawn.tolist()))


def drawn(seed: int, what: str, *places: int) -> int:
    """53 bits that depend on the seed, on what they are for and on whom."""
    text = f"{what} {seed} {places}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11
