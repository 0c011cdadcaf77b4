"""What noise costs to the second decimal: privacy loss distributions by dp-accounting, the optional extra `dp`.

For figures that people read, and as the oracle of our own accountant in tests. Nothing is charged by it: a budget that
depended on what is installed would not be the same on two machines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from fl.privacy.accountant import add_rdp, check_sigma, epsilon_of, rdp_poisson_gaussian

# Past this a guarantee means nothing and the library may work for hours: at sigma 0.01 it was stopped after minutes.
EPSILON_LOOKED_AT_MAX = 100.0


@dataclass(frozen=True, slots=True)
class SampledSteps:
    """`steps` noised sums; `rate` 1 is a plain Gaussian answer of sensitivity 1."""

    rate: float
    sigma: float
    steps: int


def is_installed() -> bool:
    return find_spec("dp_accounting") is not None


def tight_epsilon(parts: Sequence[SampledSteps], delta: float) -> float | None:
    """The least epsilon at `delta` of all parts together, zero-out adjacency, rounded up by the library's grid.

    None where the library is not installed, or where our own bound is above EPSILON_LOOKED_AT_MAX. Raises
    PrivacyRefused for a sigma that the accountant refuses too. Costs up to a second for each part.
    """
    parts = [part for part in parts if part.steps]
    for part in parts:
        check_sigma(part.sigma)
    bound = epsilon_of(add_rdp(*(rdp_poisson_gaussian(part.rate, part.sigma, part.steps) for part in parts)), delta)
    if not is_installed() or bound > EPSILON_LOOKED_AT_MAX:
        return None
    if not parts:
        return 0.0
    from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for part in parts:
        noise = GaussianDpEvent(part.sigma)
        # At rate 1 the library's sampled event would cost an integral for nothing.
        accountant.compose(noise if part.rate == 1.0 else PoissonSampledDpEvent(part.rate, noise), part.steps)
    # Both are upper bounds; the tighter is shown.
    return min(bound, float(accountant.get_epsilon(delta)))
