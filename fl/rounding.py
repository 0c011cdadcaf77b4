"""Rounding the changes of a block to few levels, by NNADQ (Chen et al., IJCAI 2023, 3.2) in whole numbers. numpy only.

NNADQ picks the number of levels that balances bytes against exactness: of a block whose largest change is d there are
s = floor(max(sqrt(ln 4 * 32 / weight * d), 1)) on either side of nothing. Blocks that move a lot get more of them.
"""

from math import floor, log, sqrt

import numpy as np

from fl.delta_blob import BITS_MOST, Block, bits_for, exact_block
from fl.fixed_point import Ints

# Of a coordinate that is not rounded: the paper's REPR.
FLOAT_BITS = 32


def levels(largest: float, weight: float) -> int:
    """How many levels of change there are on either side of none, for a block whose largest change is `largest`.

    `weight`: what bytes weigh against exactness, more than 0; the less, the more levels.
    """
    return floor(max(sqrt(log(4) * FLOAT_BITS / weight * largest), 1.0))


def rounded_block(start: int, base: Ints, update: Ints, most: int, limit_q: int) -> Block:
    """The changes from `base` to `update`, int32 [length] each, rounded to the nearest of `most` levels on either side.

    Without loss where the changes are no more than `most` steps anyway. No coordinate leaves limit_q by its rounding:
    at the edge it goes the other way.
    """
    change = np.subtract(update, base, dtype=np.int64)
    largest = int(np.abs(change).max(initial=0))
    if largest <= most:
        return exact_block(start, base, update)
    step = -(-largest // most)
    sizes = (2 * np.abs(change) + step) // (2 * step)
    values = np.sign(change) * sizes
    beyond = np.abs(base + values * step) > limit_q
    values -= np.sign(values) * beyond
    narrow: Ints = values.astype(np.int32)
    return Block(start, narrow, step, bits_for(narrow))


def levels_of_bits(bits: int) -> int:
    """The most levels on either side that so many bits hold."""
    return (1 << (min(bits, BITS_MOST) - 1)) - 1
