"""How a factory trains in a round, by mode of privacy: plainly, as the paper says, or noised in every step.

From the start that a strategy chose to a trained vector, or to one noised gradient. What becomes of it: `fl.round`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records
from fl.fixed_point import Floats
from fl.privacy.accountant import epsilon_of, rdp_poisson_gaussian
from fl.privacy.distributed import DistributedPlan, NoisedGradient, distributed_gradient
from fl.privacy.modes import (
    Mode,
    PrivacyRefused,
    PrivacyReport,
    distributed_settings,
    paper_settings,
    sound_settings,
)
from fl.privacy.paper import paper_train
from fl.privacy.quantile import unpack_clips
from fl.privacy.sampling import sampling
from fl.privacy.secure_random import SecureRandom
from fl.privacy.shared_noise import check_distributed
from fl.privacy.sound import SoundPlan, sound_train
from fl.round_job import RoundJob, batch_seed
from fl.strategies.base import LeftOut, Start, Strategy, StrategyError, View
from fl.train import Bent, Diverged, LocalPlan, Over, Progress, TrainResult, local_train

Clock: TypeAlias = Callable[[], float]
"""Seconds since some moment, never going back."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a round trains on and with, whatever the mode."""

    records: Records
    groups: NDArray[np.int64] | None
    past_clips: tuple[float, ...]
    random: SecureRandom
    progress: Progress | None
    clock: Clock | None = None


def steps_planned(job: RoundJob, mode: Mode, by: Training) -> int:
    """How many steps the request's epochs are, whatever a strategy limits; public in modes with a guarantee."""
    if mode.name == "sound":
        return sampling(job.units or _units(job, by), job.batch, job.epochs).steps
    return job.epochs * -(-len(by.records) // job.batch)


def _steps_max(job: RoundJob, mode: Mode, start: Start, by: Training) -> int:
    """After how many steps training ends, 0 for all. An epoch is what the request says of it, not what records do."""
    limits = [start.steps_max]
    if 0 < start.epochs_max < job.epochs:
        limits.append(steps_planned(job, mode, by) // job.epochs * start.epochs_max)
    if start.seconds:
        if mode.name != "none":
            raise PrivacyRefused(f"privacy mode {mode.name} with a strategy that ends training by time, want mode none")
        if job.pace_s:
            limits.append(int(start.seconds / job.pace_s))
            if not limits[-1]:
                raise LeftOut(f"no step within {start.seconds:g} s, a step takes {job.pace_s:g} s here")
    return min((limit for limit in limits if limit), default=0)


def _over(job: RoundJob, start: Start, by: Training) -> Over | None:
    """When a clock, and not the pace of a simulation, ends training."""
    if not start.seconds or job.pace_s:
        return None
    if by.clock is None:
        raise StrategyError(f"training ends after {start.seconds:g} s, but there is neither clock nor pace here")
    clock, ends_at = by.clock, by.clock() + start.seconds
    return lambda: clock() >= ends_at


def trained_from(
    start: Start, job: RoundJob, mode: Mode, rule: Strategy, model: nn.Module, by: Training
) -> TrainResult:
    """Training as the mode has it. Raises what its trainers do."""
    bent = Bent(correction=start.correction)
    steps_max = _steps_max(job, mode, start, by)
    if mode.name == "sound":
        plan, groups = _sound_plan(job, rule, by, steps_max)
        return sound_train(model, start.vector, by.records, plan, by.random, groups, by.progress, bent)
    order = batch_seed(job.seed, job.round_number)
    plain = LocalPlan(job.epochs, job.batch, job.lr, job.momentum, order, rule.objective.proximal, steps_max)
    if mode.name == "paper":
        settings = paper_settings(job.privacy_settings)
        return paper_train(model, start.vector, by.records, plain, settings, by.random, by.progress, bent)
    return local_train(model, start.vector, by.records, plain, by.progress, bent, _over(job, start, by))


def gradient_of(job: RoundJob, model: nn.Module, start: Start, by: Training) -> NoisedGradient:
    """One gradient over all records instead of training. Raises PrivacyRefused for a strategy with own models."""
    check_distributed(job.privacy, job.strategy, "noisy-step", masked=True)
    settings = distributed_settings(job.privacy_settings)
    groups = None if settings.unit == "record" else by.groups
    units_of(settings.unit, len(by.records), groups)
    plan = DistributedPlan(job.noise, settings.clip)
    return distributed_gradient(model, start.vector, by.records, plan, by.random, groups, by.progress)


def _units(job: RoundJob, by: Training) -> int:
    unit = sound_settings(job.privacy_settings).unit
    return units_of(unit, len(by.records), None if unit == "record" else by.groups)


def _sound_plan(
    job: RoundJob, rule: Strategy, by: Training, steps_max: int = 0
) -> tuple[SoundPlan, NDArray[np.int64] | None]:
    """The plan that was charged for, and the groups that are its units."""
    settings = sound_settings(job.privacy_settings)
    groups = None if settings.unit == "record" else by.groups
    units = _units(job, by)
    sigma = job.noise or settings.sigma
    if not sigma:
        raise PrivacyRefused("privacy mode sound without a noise multiplier: the node decides it before it is charged")
    plan = SoundPlan(
        settings,
        sigma,
        sampling(job.units or units, job.batch, job.epochs),
        job.epochs,
        job.lr,
        job.momentum,
        rule.objective.proximal,
        by.past_clips,
        steps_max,
    )
    return plan, groups


def report_of(job: RoundJob, mode: Mode, rule: Strategy, by: Training) -> PrivacyReport:
    """What may be said of this round alone; what all rounds cost is for whoever charges them."""
    if mode.name != "sound":
        return mode.report
    plan, _ = _sound_plan(job, rule, by)
    cost = rdp_poisson_gaussian(float(plan.sampling.rate), plan.sigma, plan.sampling.steps)
    return replace(mode.report, epsilon=epsilon_of(cost, plan.settings.delta))


def units_of(unit: str, records: int, groups: NDArray[np.int64] | None) -> int:
    """How many units of privacy the records are. Raises PrivacyRefused when they bear no groups and should."""
    if unit == "record":
        return records
    if groups is None:
        raise PrivacyRefused(f"the unit of privacy is {unit}, but the records here bear no groups")
    return len(np.unique(groups))


def personal_model(
    job: RoundJob, rule: Strategy, view: View, model: nn.Module, records: Records
) -> tuple[Floats | None, tuple[str, ...]]:
    """The second training of a strategy that has one: on the records as they are, for this factory alone.

    A training that diverges costs a warning: the update, which is made by then, must not depend on it.
    """
    wanted = rule.personal(view)
    if wanted is None:
        return None, ()
    order = batch_seed(job.seed, job.round_number)
    plan = LocalPlan(wanted.epochs, job.batch, job.lr, job.momentum, order, wanted.mu)
    try:
        return local_train(model, wanted.start, records, plan, bent=Bent(origin=wanted.origin)).vector, ()
    except Diverged as error:
        return None, (f"the training of this factory's own model diverged ({error}); the last one stays",)


def keeps_clips(job: RoundJob) -> bool:
    """Whether private clipping goes on from the last round."""
    return job.privacy == "sound" and sound_settings(job.privacy_settings).clip_rule != "fixed"


def unpacked_state(job: RoundJob, state: bytes | None) -> tuple[tuple[float, ...], bytes | None]:
    """What private clipping and the strategy each kept of the last round."""
    return unpack_clips(state) if keeps_clips(job) else ((), state)
