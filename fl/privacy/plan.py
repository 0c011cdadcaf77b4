"""What a request's noise is at one provider and what a round of it costs: decided once, before anything is charged.

Pure functions of public numbers: the request's terms, how many units of privacy the provider has, what its owner allows
to be told. Nothing here looks at a record. A Rényi cost depends on parameters that were fixed beforehand or come from
public numbers only, so what was spent may decide whether another round follows: the filter of Feldman and Zrnic 2021
(arXiv 2008.11193). The arithmetic is `accountant.py`'s, how often a unit is looked at `sampling.py`'s.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fl.privacy.accountant import (
    MICRO,
    PLANNED_BELOW,
    ZERO_RDP,
    Rdp,
    add_rdp,
    calibrate_sigma,
    check_sigma,
    epsilon_of,
    rdp_gaussian,
    rdp_poisson_gaussian,
)
from fl.privacy.sampling import Sampling, sampling
from fl.privacy.shared_noise import noise_shares, own_multiplier, rdp_distributed, sum_multiplier
from fl.privacy.terms import ACCURACIES, PrivacyRefused, SoundSettings, distributed_settings, sound_settings

PICO = 10**12


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a request at one provider: chosen once, kept for all its rounds.

    `sigma_micro`: noise multiplier of every step x 10^6. `query_micro`: deviation of the noise on the count of test
    records that are recognised, x 10^6; 0 when nothing noisy is told. `delta_pico`: delta x 10^12 at which the request
    costs at most `epsilon_micro` x 10^-6.
    """

    sigma_micro: int
    query_micro: int
    epsilon_micro: int
    delta_pico: int


@dataclass(frozen=True, slots=True)
class Sharing:
    """Mode distributed: of how many parameters the sum is, and how many honest providers' noises are in it at least."""

    parameters: int
    honest: int


@dataclass(frozen=True, slots=True)
class RoundCost:
    """One round under this noise: its steps over the provider's units, and one query where something noisy is told.

    `sharing`: None where the provider's own noise alone hides its update.
    """

    mode: str
    unit: str
    noise: Noise
    sampling: Sampling
    sharing: Sharing | None = None

    def rdp(self, rounds: int = 1) -> Rdp:
        """Of so many rounds alike."""
        noise = self.noise
        if self.sharing is None:
            return round_rdp(self.sampling, noise.sigma_micro, noise.query_micro, rounds)
        own, steps = noise.sigma_micro / MICRO, rounds * self.sampling.steps
        shared = rdp_distributed(own, self.sharing.honest, self.sharing.parameters, steps)
        return add_rdp(shared, query_rdp(noise.query_micro, rounds))

    def epsilon(self, rounds: int = 1) -> float:
        """Of so many rounds alike, at the request's delta."""
        return epsilon_of(self.rdp(rounds), self.noise.delta_pico / PICO)


def round_rdp(sampled: Sampling, sigma_micro: int, query_micro: int, rounds: int = 1) -> Rdp:
    """Of `rounds` rounds: the steps, and a query each unless its noise is 0. Raises PrivacyRefused for too little."""
    steps = rdp_poisson_gaussian(float(sampled.rate), sigma_micro / MICRO, rounds * sampled.steps)
    return add_rdp(steps, query_rdp(query_micro, rounds))


def query_rdp(query_micro: int, rounds: int) -> Rdp:
    """Of a noisy count a round; nothing for a noise of 0, which says that none was told."""
    return rdp_gaussian(query_micro / MICRO, rounds) if query_micro else ZERO_RDP


def round_cost(
    mode: str,
    settings: Mapping[str, str],
    units: int,
    batch: int,
    epochs: int,
    rounds: int,
    telling: str = "exact",
    kept: Noise | None = None,
) -> RoundCost:
    """What a round of mode sound costs a provider of `units` units under a request of `rounds` rounds at most.

    `telling`: the most its owner lets be told of its test records ("none" where it has none). `kept`: the noise that
    was chosen in an earlier round of the request, but for a delta that is too large for as many units as there are now;
    it is chosen now without. Raises PrivacyRefused when no noise, or not
    the one that the request names, keeps the request's epsilon.
    """
    if mode != "sound":
        raise PrivacyRefused(f"privacy mode {mode} costs nothing that could be counted")
    chosen = sound_settings(settings)
    sampled = sampling(units, batch, epochs)
    if kept is None:
        noise = _noise(chosen, sampled, rounds, telling)
    else:
        # More units than at first: what was little for each of them then may be too much now.
        noise = replace(kept, delta_pico=min(kept.delta_pico, delta_for(chosen.delta, sampled.units)))
    return RoundCost(mode, chosen.unit, noise, sampled)


def shared_cost(
    settings: Mapping[str, str],
    units: int,
    rounds: int,
    parameters: int,
    participants: int,
    providers_min: int,
    telling: str = "exact",
    invited: int = 0,
) -> RoundCost:
    """What a round of mode distributed costs: one sum over all units, noised by `participants` together,
    those of `invited` (0: all of them) who offered keys.

    The noise of the sum is the request's, for every provider leans on the others'; an own part of it is what a provider
    adds. Raises PrivacyRefused where it cannot be kept, or its delta says too little about so many units.
    """
    chosen = distributed_settings(settings)
    shares = noise_shares(participants, providers_min, invited)
    delta_pico = delta_for(chosen.delta, 1)
    if delta_for(chosen.delta, units) < delta_pico:
        raise PrivacyRefused(f"delta {chosen.delta:g} for {units} units, want less than 1 in {10 * units}")
    own = own_multiplier(sum_multiplier(chosen, rounds), shares.honest)
    query_micro = math.ceil(chosen.accuracy_sigma * MICRO) if told(chosen.accuracy, telling) == "noisy" else 0
    noise = Noise(round(own * MICRO), query_micro, _micro(chosen.epsilon), delta_pico)
    whole = Sampling(units, units, 1)
    return RoundCost("distributed", chosen.unit, noise, whole, Sharing(parameters, shares.honest))


def told(accuracy: str, telling: str) -> str:
    """What is told of the test records, when a request asks for `accuracy` and the owner allows `telling` at most.

    An owner who allows only the noisy figure tells nothing where the exact one is asked: what noise it would bear, the
    request does not say.
    """
    return accuracy if ACCURACIES.index(accuracy) <= ACCURACIES.index(telling) else "none"


def delta_for(delta: float, units: int) -> int:
    """`delta` x 10^12, or the most below 1 / (10 units): past that the promise could be kept by publishing a record."""
    return max(1, min(math.floor(delta * PICO * (1 + 1e-12)), (PICO // 10 - 1) // units))


def _noise(settings: SoundSettings, sampled: Sampling, rounds: int, telling: str) -> Noise:
    delta_pico = delta_for(settings.delta, sampled.units)
    delta, rate, steps = delta_pico / PICO, float(sampled.rate), rounds * sampled.steps
    query_micro = 0
    queries = ZERO_RDP
    if told(settings.accuracy, telling) == "noisy":
        query_micro = math.ceil(settings.accuracy_sigma * MICRO)
        queries = rdp_gaussian(query_micro / MICRO, rounds)
    if settings.sigma:
        check_sigma(settings.sigma)
        sigma = math.ceil(settings.sigma * MICRO) / MICRO
        spent = epsilon_of(add_rdp(rdp_poisson_gaussian(rate, sigma, steps), queries), delta)
        if spent > settings.epsilon - PLANNED_BELOW:
            raise PrivacyRefused(
                f"sigma {settings.sigma:g} spends epsilon {spent:.4g} in {rounds} rounds here, want at most "
                f"{settings.epsilon:g}"
            )
    else:
        sigma = calibrate_sigma(settings.epsilon, delta, rate, steps, queries)
    return Noise(round(sigma * MICRO), query_micro, _micro(settings.epsilon), delta_pico)


def _micro(epsilon: float) -> int:
    """In millionths, rounded down but for the last digit of a float."""
    return math.floor(epsilon * MICRO * (1 + 1e-12))
