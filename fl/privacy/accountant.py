"""What noise costs: Rényi differential privacy at fixed whole orders, added up, and turned into (epsilon, delta).

Standard library only, floats, no state: what was spent is kept by whoever spends. Adjacency is zero-out (one unit's
contribution replaced by nothing, the number of units public), which costs the same as adding or removing a unit. All
figures are upper bounds; `fl.privacy.tight` gives the tight ones where its library is installed.

Sources: Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), equation for whole orders of the Poisson-sampled Gaussian;
Canonne, Kamath and Steinke 2020 (arXiv 2004.00010), proposition 12, for the conversion.
"""

import math
from collections.abc import Sequence
from functools import cache

from fl.privacy.terms import PrivacyRefused

# Whole orders only: the formula is a finite sum there. All small ones, for they decide at the epsilons in use; the
# large ones are for small epsilons (at delta 1e-5 an epsilon of 0.03 is decided near order 800).
RDP_ORDERS: tuple[int, ...] = (*range(2, 65), 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 768, 1024)
# Below this a single step tells nearly everything, and tight accountants do not end.
SIGMA_LEAST = 0.3
# Past this no model learns: a wish that needs more is refused rather than trained to chance.
SIGMA_MOST = 10_000.0
MICRO = 1_000_000
# Sums of up to 1024 terms of both signs of rounding, 100 000 rounds added: far below a millionth, and always upwards.
ROUNDING = 1.0 + 1e-9
# Of an epsilon that noise is chosen for: each round's cost is written down in billionths, rounded up, and the last of
# ten thousand must not fall a hair outside what was planned.
PLANNED_BELOW = 1e-5

Rdp = tuple[float, ...]
"""Rényi epsilons, one for each of RDP_ORDERS. Of two mechanisms on the same data: `add_rdp`."""

ZERO_RDP: Rdp = (0.0,) * len(RDP_ORDERS)


def rdp_poisson_gaussian(rate: float, sigma: float, steps: int) -> Rdp:
    """Of `steps` sums over batches that take in each unit with probability `rate`, clipped to 1, noise N(0, sigma²).

    Raises PrivacyRefused for a sigma below SIGMA_LEAST, ValueError for a rate or count that is none.
    """
    if not (0.0 < rate <= 1.0 and steps >= 0):
        raise ValueError(f"rate {rate} and {steps} steps, want a rate in (0, 1] and steps of at least 0")
    check_sigma(sigma)
    if rate == 1.0:
        return rdp_gaussian(sigma, steps)
    return tuple(steps * _sampled(order, rate, sigma) * ROUNDING for order in RDP_ORDERS)


def rdp_gaussian(sigma: float, count: int) -> Rdp:
    """Of `count` answers of sensitivity 1, each with noise N(0, sigma²). Raises as `rdp_poisson_gaussian`."""
    if count < 0:
        raise ValueError(f"{count} answers, want at least 0")
    check_sigma(sigma)
    return tuple(count * order / (2.0 * sigma * sigma) * ROUNDING for order in RDP_ORDERS)


def check_sigma(sigma: float) -> None:
    """Raises PrivacyRefused unless it is a noise multiplier that anything can be said about."""
    if not SIGMA_LEAST <= sigma <= SIGMA_MOST:
        raise PrivacyRefused(f"noise multiplier {sigma:g}, want {SIGMA_LEAST:g} to {SIGMA_MOST:g}")


def add_rdp(*vectors: Sequence[float]) -> Rdp:
    """What several mechanisms on the same data cost together, chosen one after the other or all at once."""
    for vector in vectors:
        if len(vector) != len(RDP_ORDERS) or not all(0.0 <= each < math.inf for each in vector):
            raise ValueError(f"{len(vector)} Rényi epsilons, want {len(RDP_ORDERS)} finite ones of at least 0")
    # A node adds in the order of its rounds, an auditor in his own: exact sums make the order not matter.
    return tuple(math.fsum(each) for each in zip(ZERO_RDP, *vectors, strict=True))


def epsilon_of(rdp: Sequence[float], delta: float) -> float:
    """The least epsilon that these Rényi epsilons give at `delta`, 0 at least. Raises ValueError for another delta."""
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta {delta}, want more than 0 and less than 1")
    if len(rdp) != len(RDP_ORDERS):
        raise ValueError(f"{len(rdp)} Rényi epsilons, want {len(RDP_ORDERS)}")
    if not any(rdp):
        return 0.0
    return max(0.0, min(_converted(order, each, delta) for order, each in zip(RDP_ORDERS, rdp, strict=True)))


def epsilon_micro(rdp: Sequence[float], delta: float) -> int:
    """`epsilon_of` in millionths, rounded up: what a charge says must never be too little."""
    return math.ceil(epsilon_of(rdp, delta) * MICRO)


def calibrate_sigma(
    epsilon: float, delta: float, rate: float, steps: int, other_rdp: Sequence[float] = ZERO_RDP
) -> float:
    """The least noise multiplier, a whole number of millionths, with which `steps` steps stay PLANNED_BELOW `epsilon`.

    `other_rdp`: what is spent beside the steps within the same epsilon. SIGMA_LEAST where less noise would do. Raises
    PrivacyRefused where SIGMA_MOST is not enough or the rest alone exceeds epsilon.
    """
    other = other_rdp or ZERO_RDP

    def enough(micro: int) -> bool:
        steps_rdp = rdp_poisson_gaussian(rate, micro / MICRO, steps)
        return epsilon_of(add_rdp(steps_rdp, other), delta) <= epsilon - PLANNED_BELOW

    low, high = round(SIGMA_LEAST * MICRO), round(SIGMA_MOST * MICRO)
    if enough(low):
        return low / MICRO
    # Doubling first: most answers lie below ten.
    upper = 2 * low
    while upper < high and not enough(upper):
        low, upper = upper, 2 * upper
    if upper >= high:
        if not enough(high):
            raise PrivacyRefused(
                f"epsilon {epsilon:g} at delta {delta:g} over {steps} steps of rate {rate:g} needs a noise multiplier "
                f"above {SIGMA_MOST:g}"
            )
        upper = high
    while upper - low > 1:
        middle = (low + upper) // 2
        low, upper = (low, middle) if enough(middle) else (middle, upper)
    return upper / MICRO


def _sampled(order: int, rate: float, sigma: float) -> float:
    """One step at a whole order: log sum_k C(a,k) (1-q)^(a-k) q^k exp((k² - k) / 2 sigma²), over a - 1."""
    kept, taken, spread = math.log1p(-rate), math.log(rate), 1.0 / (2.0 * sigma * sigma)
    terms = [
        chosen + (order - k) * kept + k * taken + k * (k - 1) * spread for k, chosen in enumerate(_log_binomials(order))
    ]
    largest = max(terms)
    total = largest + math.log(math.fsum(math.exp(each - largest) for each in terms))
    # At tiny rates the sum is 1 and a rounding: the cost is not less than nothing.
    return max(0.0, total) / (order - 1)


@cache
def _log_binomials(order: int) -> tuple[float, ...]:
    return tuple(math.log(math.comb(order, k)) for k in range(order + 1))


def _converted(order: int, rdp: float, delta: float) -> float:
    return rdp + math.log1p(-1.0 / order) - (math.log(delta) + math.log(order)) / (order - 1)
