"""What a mode claims for a wished epsilon, as the very job that a provider would run: what an audit is given to refute.

Nothing is trained or attacked here. `none` and `paper` promise nothing themselves; what is claimed for them here is
what somebody might believe who adds the noise up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fl.privacy.accountant import MICRO, calibrate_sigma
from fl.privacy.audit import AuditPlan
from fl.privacy.modes import privacy_mode
from fl.privacy.plan import PICO, round_cost
from fl.privacy.sampling import sampling
from fl.privacy.terms import PrivacyRefused, SoundSettings
from fl.round import RoundJob

AUDITED = ("none", "paper", "sound")


@dataclass(frozen=True, slots=True)
class Claim:
    """`sigma`: the noise multiplier it rests on, 0 for none. `promised`: whether the mode itself makes the claim;
    `reason`: how epsilon was come by, for people."""

    plan: AuditPlan
    sigma: float
    promised: bool
    reason: str


def claim(job: RoundJob, epsilon: float, delta: float, records: int, rounds: int, trials: int) -> Claim:
    """What `job` claims for `records` records in `rounds` rounds: its noise is the least that fits the claim.

    A sigma in the job's privacy settings is kept. Raises PrivacyRefused where no noise fits, or for a mode whose
    single updates claim nothing.
    """
    mode = privacy_mode(job.privacy, allow_no_guarantee=True)
    if mode.name not in AUDITED:
        raise PrivacyRefused(
            f"privacy mode {mode.name} protects the sum of many providers' updates, and no update by itself; an audit "
            f"of rounds at one provider takes {', '.join(AUDITED)}"
        )
    mode.check(job.privacy_settings)
    job = replace(job, allow_no_guarantee=True)
    if mode.name == "sound":
        settings = {"epsilon": repr(epsilon), "delta": repr(delta), **job.privacy_settings}
        cost = round_cost("sound", settings, records, job.batch, job.epochs, rounds, telling="none")
        sigma, least = cost.noise.sigma_micro / MICRO, cost.noise.delta_pico / PICO
        job = replace(job, privacy_settings=settings, noise=sigma)
        plan = AuditPlan(job, rounds, cost.epsilon(rounds), least, trials)
        return Claim(plan, sigma, True, "the accountant's, over every step")
    if mode.name == "none":
        return Claim(AuditPlan(job, rounds, epsilon, delta, trials), 0.0, False, "nobody's: there is no noise at all")
    sampled = sampling(records, job.batch, 1)
    given = job.privacy_settings.get("sigma")
    sigma = float(given) if given else calibrate_sigma(epsilon, delta, float(sampled.rate), rounds * sampled.steps)
    job = replace(job, privacy_settings={**job.privacy_settings, "sigma": repr(sigma)})
    reason = "what the noise of the last epoch would be worth, if the others did not leave"
    return Claim(AuditPlan(job, rounds, epsilon, delta, trials), sigma, False, reason)


def settings_of(
    epsilon: float | None, delta: float | None, settings: Mapping[str, str], usual: float
) -> tuple[float, float]:
    """(epsilon, delta): those given, else those of the privacy settings, else `usual` and the default delta."""
    return (
        epsilon if epsilon is not None else float(settings.get("epsilon", usual)),
        delta if delta is not None else float(settings.get("delta", SoundSettings().delta)),
    )
