"""What a wish for privacy costs and what is left of the learning: figures and warnings before anything is trained.

Public numbers only. `hanse dp plan` prints this; a trial on simulated data is `fl/privacy/trial.py`'s.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fl.privacy.accountant import MICRO
from fl.privacy.plan import PICO, RoundCost, round_cost, shared_cost
from fl.privacy.terms import PrivacyRefused
from fl.privacy.tight import SampledSteps, tight_epsilon

# Measured with the MNIST digits at 14 x 14 and ten providers of 600 records: 0.035 cost 6 points of accuracy, 0.09
# cost 11 (the same for one and for five epochs a round), and past 1 nothing was learnt.
DROWNING_FELT = 0.02
DROWNING_HEAVY = 0.15
DROWNING_LOST = 1.0
# Seeing the model makes a guess about one record e^epsilon times as likely at most: past this that is no bound.
EPSILON_WEAK = 10.0
RATE_HIGH = 0.1


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request would ask of a provider of `units` units of privacy, `providers` in all, for a model of so many
    `parameters`."""

    mode: str
    settings: Mapping[str, str]
    units: int
    batch: int
    epochs: int
    rounds: int
    parameters: int
    providers: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """Epsilons at the request's delta: of one round, of all, and of all by the tight accountant (None without it).

    `drowning`: how long the noise of all steps and providers together is, over the longest way that all clipped
    gradients could go; the smaller the better.
    """

    cost: RoundCost
    epsilon_round: float
    epsilon: float
    epsilon_tight: float | None
    drowning: float
    expected: str
    warnings: tuple[str, ...]


def outlook(wish: Wish) -> Outlook:
    """Raises PrivacyRefused when no noise keeps the wish, ValueError for numbers that are none."""
    if wish.mode == "distributed":
        cost = shared_cost(wish.settings, wish.units, wish.rounds, wish.parameters, wish.providers, 0)
    elif wish.mode == "sound":
        cost = round_cost(wish.mode, wish.settings, wish.units, wish.batch, wish.epochs, wish.rounds)
    else:
        raise PrivacyRefused(f"privacy mode {wish.mode} promises nothing that noise could be planned for")
    steps, sigma = wish.rounds * cost.sampling.steps, cost.noise.sigma_micro / MICRO
    batch = cost.sampling.batch
    # Independent noises add up by squares: over parameters, steps and providers.
    noise = sigma * math.sqrt(wish.parameters * steps * wish.providers)
    drowning = noise / (steps * batch * wish.providers)
    return Outlook(
        cost,
        cost.epsilon(),
        cost.epsilon(wish.rounds),
        _tight(cost, wish.rounds),
        drowning,
        _expected(drowning),
        tuple(_warnings(wish, cost)),
    )


def _tight(cost: RoundCost, rounds: int) -> float | None:
    noise = cost.noise
    sigma = noise.sigma_micro / MICRO * (math.sqrt(cost.sharing.honest) if cost.sharing is not None else 1.0)
    parts = [SampledSteps(float(cost.sampling.rate), sigma, rounds * cost.sampling.steps)]
    if noise.query_micro:
        parts.append(SampledSteps(1.0, noise.query_micro / MICRO, rounds))
    return tight_epsilon(parts, noise.delta_pico / PICO)


def _expected(drowning: float) -> str:
    if drowning < DROWNING_FELT:
        return "little is lost to the noise"
    if drowning < DROWNING_HEAVY:
        return "some points of accuracy go to the noise, in our measurements 3 to 15"
    if drowning < DROWNING_LOST:
        return "much is lost to the noise: try more records, a larger batch, fewer epochs, a smaller model"
    return "nothing will be learnt: the noise is longer than any way the training could go"


def _warnings(wish: Wish, cost: RoundCost) -> list[str]:
    sigma, found = cost.noise.sigma_micro / MICRO, []
    epsilon = cost.noise.epsilon_micro / MICRO
    if epsilon > EPSILON_WEAK:
        found.append(f"epsilon {epsilon:g} allows odds of e^{epsilon:g} about a single unit: that hides little")
    if wish.mode == "sound" and float(cost.sampling.rate) > RATE_HIGH:
        found.append(
            f"a step looks at {float(cost.sampling.rate):.0%} of the units: a smaller batch hides more, or more records"
        )
    if wish.mode == "sound" and wish.epochs > 1:
        once = round_cost(wish.mode, wish.settings, wish.units, wish.batch, 1, wish.rounds).noise.sigma_micro / MICRO
        if once < 0.8 * sigma:
            found.append(
                f"one epoch a round would need noise {once:.3g} instead of {sigma:.3g}, at 1/{wish.epochs} of the work"
            )
    if cost.noise.delta_pico < 1e-5 * PICO * 0.999 and wish.mode == "sound":
        found.append(
            f"delta is {cost.noise.delta_pico / PICO:.2g}: below 1 / (10 units), and never above the request's"
        )
    return found
