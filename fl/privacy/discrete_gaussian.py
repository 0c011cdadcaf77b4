"""Whole numbers with exactly the discrete Gaussian distribution: P(x) proportional to exp(-x^2 / 2 S), S whole.

The rejection sampler of Canonne, Kamath and Steinke 2020 (arXiv 2004.00010, algorithms 2 and 3), many numbers at once.
It is exact although it computes with doubles: a coin of probability p is a uniform number with as many binary digits as
it takes to tell it from p. Nearly always 64 and a double that is right to ERROR are enough; where they are not, the
digits go on and p is computed to as many.
"""

from collections.abc import Callable
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fl.privacy.secure_random import SecureRandom

Longs = NDArray[np.int64]
Words = NDArray[np.uint64]
Coins = NDArray[np.bool_]

# Candidates drawn at a time: some ten arrays of 512 KiB.
BLOCK = 1 << 16
# What a double of exp(-g) may be wrong by: its last digits are 2^-53, the few operations before it cost a few more.
ERROR = 2.0**-40
# Beyond it the products of two deviations leave what a double holds exactly.
VARIANCE_MAX = 1 << 80
# The deviation's largest power of two still leaves room for 45 times itself in an int64.
GEOMETRIC_MOST = 45
WIDE = Context(prec=60)
# e^-j in 64 binary digits, j from 1 on: what a uniform word is compared with.
THRESHOLDS = np.array(
    [int(WIDE.multiply(Decimal(-j).exp(WIDE), 2**64).to_integral_value(ROUND_FLOOR)) for j in range(1, GEOMETRIC_MOST)],
    np.uint64,
)


def discrete_gaussian(variance: int, count: int, random: SecureRandom) -> Longs:
    """`count` independent numbers, int64. `variance`: S, whole, at least 1; theirs is S, a hair less for the least.

    Raises ValueError for a variance it cannot draw from.
    """
    if not 1 <= variance <= VARIANCE_MAX:
        raise ValueError(f"variance {variance}, want 1 to 2^{VARIANCE_MAX.bit_length() - 1}")
    drawn = np.empty(count, np.int64)
    done = 0
    while done < count:
        # Three of five candidates stay at least.
        found = _candidates(variance, min(BLOCK, 2 * (count - done) + 16), random)
        taken = min(len(found), count - done)
        drawn[done : done + taken] = found[:taken]
        done += taken
    return drawn


def _candidates(variance: int, count: int, random: SecureRandom) -> Longs:
    """Up to `count` numbers: discrete Laplace ones of scale t = 2^bits, thinned out to the Gaussian."""
    # The power of two next to the deviation: a scale of 0.7 to 1.5 of it costs few rejections, and needs no division.
    bits = max(0, (isqrt(2 * variance).bit_length() - 1))
    low = _low_digits(bits, count, random)
    whole = _geometric(random.words(len(low)), random)
    sizes = low + (whole << bits)
    negative = (random.words(len(sizes)) >> np.uint64(63)).astype(bool)
    # Zero has no sign: without this it would come twice as often.
    kept = ~(negative & (sizes == 0))
    sizes, negative = sizes[kept], negative[kept]
    # exp(-(|y| - S/t)^2 / 2S)
    scale = 1 << bits
    costs = (sizes - variance / scale) ** 2 / (2.0 * variance)

    def exactly(at: int) -> Fraction:
        return Fraction((int(sizes[at]) * scale - variance) ** 2, 2 * variance * scale * scale)

    stay = _coins(costs, exactly, random)
    signed = np.where(negative, -sizes, sizes)
    kept_numbers: Longs = signed[stay]
    return kept_numbers


def _low_digits(bits: int, count: int, random: SecureRandom) -> Longs:
    """u below 2^bits with probability proportional to exp(-u / 2^bits)."""
    if bits == 0:
        return np.zeros(count, np.int64)
    uniform = (random.words(count) >> np.uint64(64 - bits)).astype(np.int64)
    stay = _coins(uniform.astype(np.float64) * 2.0**-bits, lambda at: Fraction(int(uniform[at]), 1 << bits), random)
    return uniform[stay]


def _geometric(words: Words, random: SecureRandom) -> Longs:
    """v with probability proportional to e^-v: how many of e^-1, e^-2, ... lie above a uniform number."""
    ascending = THRESHOLDS[::-1]
    found = len(ascending) - np.searchsorted(ascending, words, side="right")
    # A word that equals a threshold's digits lies above or below it by the digits that follow.
    for at in np.flatnonzero(np.isin(words, THRESHOLDS) | (words == 0)):
        found[at] = _geometric_exactly(int(words[at]), random)
    return found.astype(np.int64)


def _geometric_exactly(word: int, random: SecureRandom) -> int:
    digits = _Digits(word, random)
    found = 0
    while digits.below(Fraction(found + 1)):
        found += 1
    return found


def _coins(costs: NDArray[np.float64], exactly: Callable[[int], Fraction], random: SecureRandom) -> Coins:
    """True with probability exp(-cost), for each; `exactly(at)` is that cost as a fraction."""
    words = random.words(len(costs))
    uniform = words * 2.0**-64
    chances = np.exp(-costs)
    heads: Coins = uniform < chances
    for at in np.flatnonzero(np.abs(uniform - chances) <= ERROR):
        heads[at] = _Digits(int(words[at]), random).below(exactly(int(at)))
    return heads


class _Digits:
    """A uniform number in [0, 1) whose binary digits are drawn as they are needed; the first 64 are given."""

    def __init__(self, word: int, random: SecureRandom) -> None:
        self._value, self._length, self._random = word, 64, random

    def below(self, cost: Fraction) -> bool:
        """Whether it lies below exp(-cost)."""
        if cost == 0:
            return True
        while True:
            # Thirty decimal digits more than it has binary ones, so that the last place never decides.
            context = Context(prec=self._length // 3 + 30)
            # Every operation by this context: an operator would round to the 28 digits of the default one.
            chance = context.divide(Decimal(-cost.numerator), Decimal(cost.denominator)).exp(context)
            scaled = context.multiply(chance, Decimal(1 << self._length))
            doubt = context.scaleb(scaled, 5 - context.prec)
            if self._value + 1 <= context.subtract(scaled, doubt):
                return True
            if self._value >= context.add(scaled, doubt):
                return False
            self._value = self._value << 64 | int(self._random.words(1)[0])
            self._length += 64
