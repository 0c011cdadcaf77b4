"""Noise that the providers of a masked round add together: how much each, against whom, and what it costs. No torch.

Every provider adds a discrete Gaussian of sigma / sqrt(h) clipping norms to its sum of clipped gradients, and only the
sum over those who delivered is ever seen. h is how many honest ones that sum holds at the least: as many as must
deliver for a round to be unmasked, less those who may collude (who know their own noise, or add none).

What holds: against everybody who sees the sums, together with any c providers, c = max(1, (n - 1) // 3) of the n who
were invited, (epsilon, delta) for one unit of every other provider. What does not: more than c colluding providers
leave the noise of fewer than h; whoever breaks the masks sees updates with 1/h of the variance. One provider's noise
alone is not enough for what is charged, and is not meant to be.

Sums of discrete Gaussians are no discrete Gaussian, but nearly: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387,
proposition 14) bound the Rényi divergence of order a by a D^2 / (2 h s^2) + tau d, for numbers of variance s^2, vectors
of d coordinates and distance D. tau is below 10 h exp(-pi^2 s^2): here s is a thousand steps at least, and tau is zero
in every digit that a float has. More honest noise than h's only hides more.
"""

import math
from dataclasses import dataclass

from fl.masked_aggregate import GRADIENT_BITS
from fl.privacy.accountant import MICRO, ZERO_RDP, Rdp, add_rdp, calibrate_sigma, rdp_gaussian
from fl.privacy.terms import DistributedSettings, PrivacyRefused
from fl.shamir import threshold

PARTICIPANTS_MIN = 3
# Of the own noise, in steps of a gradient: far below any that is accounted for, and far above where tau has digits.
DEVIATION_LEAST = 1 << 10


@dataclass(frozen=True, slots=True)
class NoiseShares:
    """Of a round with `participants`: at most `colluding` of them collude, at least `honest` noises are in the sum."""

    participants: int
    colluding: int
    honest: int


def noise_shares(participants: int, providers_min: int = 0, invited: int = 0) -> NoiseShares:
    """`participants`: who offered keys in this round, of `invited` (0: all did); `providers_min`: the request's.

    Those who collude may have kept others from offering: a third of all who were invited is counted. Raises
    PrivacyRefused.
    """
    if participants < PARTICIPANTS_MIN:
        raise PrivacyRefused(f"{participants} providers offered keys, want at least {PARTICIPANTS_MIN} to share noise")
    third = (max(participants, invited) - 1) // 3
    delivered = max(PARTICIPANTS_MIN, third + 2, threshold(participants), providers_min)
    # One's own noise hides nothing from oneself, so one is always counted among those who might look.
    colluding = max(1, third)
    return NoiseShares(participants, colluding, delivered - colluding)


def sum_multiplier(settings: DistributedSettings, rounds_max: int) -> float:
    """sigma of the honest sum, in clipping norms: a function of the request alone, for everybody leans on everybody's.

    Raises PrivacyRefused when no noise keeps the request's epsilon over `rounds_max` rounds.
    """
    if settings.sigma:
        return settings.sigma
    queries = rdp_gaussian(settings.accuracy_sigma, rounds_max) if settings.accuracy == "noisy" else ZERO_RDP
    return calibrate_sigma(settings.epsilon, settings.delta, 1.0, rounds_max, queries)


def own_multiplier(sigma: float, honest: int) -> float:
    """sigma / sqrt(honest), in whole millionths, rounded up: what one provider adds, and what it says it added."""
    squared = -(-(round(sigma * MICRO) ** 2) // honest)
    root = math.isqrt(squared)
    return (root if root * root == squared else root + 1) / MICRO


def own_variance(own: float) -> int:
    """Of a provider's noise in squared steps of 2^-GRADIENT_BITS, whole and rounded up. Raises PrivacyRefused."""
    variance = -(-(round(own * MICRO) ** 2 << 2 * GRADIENT_BITS) // MICRO**2)
    if variance < DEVIATION_LEAST**2:
        raise PrivacyRefused(f"own noise multiplier {own:g}, want at least {DEVIATION_LEAST / 2**GRADIENT_BITS:g}")
    return variance


def rdp_distributed(own: float, honest: int, parameters: int, steps: int = 1) -> Rdp:
    """Of `steps` sums in which `honest` providers each added noise of `own` clipping norms, at fl.privacy's orders.

    Raises PrivacyRefused for noise that nothing can be said about.
    """
    variance = own_variance(own)
    # The tau of the head of this file, by its largest term: exp gives 0.0 here, which is what it is.
    near = 10.0 * honest * math.exp(-(math.pi**2) * variance) * parameters * steps
    return add_rdp(rdp_gaussian(own * math.sqrt(honest), steps), (near,) * len(ZERO_RDP))


def check_distributed(privacy: str, strategy: str, rule: str, masked: bool) -> None:
    """Raises PrivacyRefused, with the reason, unless mode, strategy, rule and masks of a request belong together."""
    if privacy != "distributed":
        if rule == "noisy-step":
            raise PrivacyRefused(f"rule noisy-step sums noised gradients: want privacy mode distributed, not {privacy}")
        return
    if not masked:
        raise PrivacyRefused(
            "privacy mode distributed without masks: one provider's noise alone does not hide its update; want masked"
        )
    if rule != "noisy-step":
        raise PrivacyRefused(f"privacy mode distributed with rule {rule}: its updates are gradients, want noisy-step")
    if strategy != "fedavg":
        raise PrivacyRefused(
            f"privacy mode distributed with strategy {strategy}: no provider has a model of its own, want fedavg"
        )


def statement(shares: NoiseShares, epsilon: float, delta: float) -> str:
    """One sentence for people: against whom, with how many colluding, what."""
    return (
        f"epsilon {epsilon:.3g} at delta {delta:.0e} for one unit of any provider, against everybody "
        f"who sees the sums and up to {shares.colluding} of {shares.participants} providers colluding with them; "
        f"{shares.honest} honest noises are in every sum"
    )
