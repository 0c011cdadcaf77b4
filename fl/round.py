"""One round at one factory, from the global model to the update that leaves it. No network, no disk, no clock.

The node's worker process and the simulator both call `run_round`: what one of them does, the other does.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records, as_records
from fl.class_fit import fit_to_classes
from fl.delta_blob import Block, apply_delta, delta_bytes, pack_delta
from fl.dlmu import distance
from fl.evaluate import Evaluation, evaluate
from fl.fixed_point import HEAD, LIMIT, SCALE_BITS, Floats, Ints, decode, encode, limit_in_steps, pack
from fl.masking import Longs
from fl.models.registry import build
from fl.models.shapes import parameter_shapes
from fl.privacy.accountant import epsilon_of, rdp_poisson_gaussian
from fl.privacy.distributed import DistributedPlan, NoisedGradient, distributed_gradient
from fl.privacy.modes import (
    Mode,
    PrivacyRefused,
    PrivacyReport,
    distributed_settings,
    paper_settings,
    privacy_mode,
    sound_settings,
)
from fl.privacy.paper import paper_train
from fl.privacy.quantile import pack_clips, unpack_clips
from fl.privacy.sampling import sampling
from fl.privacy.secure_random import SecureRandom
from fl.privacy.shared_noise import check_distributed
from fl.privacy.sound import SoundPlan, sound_train
from fl.privacy.strategies import check_strategy_privacy
from fl.strategies.base import Layout, Start, Strategy, Trained, View
from fl.strategies.registry import strategy
from fl.train import Bent, Diverged, LocalPlan, Progress, TrainResult, local_train
from fl.vectors import VectorMismatch, parameter_vector

Table: TypeAlias = tuple[NDArray[Any], NDArray[np.int64]]
"""Features [n, ...] (float32, uint8 or int64) and labels int64 [n]."""


@dataclass(frozen=True, slots=True)
class RoundJob:
    """A round as plain values: what the request says, and what the provider allows.

    `round_number` counts from 0. `seed` is the factory's own and orders its mini-batches together with the round.
    `noise`: the noise multiplier that the factory was charged for, in the modes that are accounted; 0 leaves it to the
    request, when that names one; in mode distributed it is the factory's own part of the noise and must be given.
    `units`: how many units of privacy it was charged with, public even where some are not
    there any more; 0: as many as there are.
    """

    model: str
    epochs: int
    batch: int
    lr: float
    momentum: float
    round_number: int
    seed: int
    strategy: str = "fedavg"
    privacy: str = "none"
    arguments: Mapping[str, str] = field(default_factory=dict)
    strategy_settings: Mapping[str, str] = field(default_factory=dict)
    privacy_settings: Mapping[str, str] = field(default_factory=dict)
    allow_no_guarantee: bool = False
    noise: float = 0.0
    units: int = 0
    scale_bits: int = SCALE_BITS
    limit: float = LIMIT


@dataclass(frozen=True, slots=True)
class Metrics:
    """How training went, and how good three models are on the factory's test table (None without one).

    start: the global model the round was given; served: what the factory would use before the round; update: what
    it uploads. Losses and norms per epoch are raw statistics of the records: they stay in the factory.
    """

    steps: int
    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    start: Evaluation | None
    served: Evaluation | None
    update: Evaluation | None


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """beta: share of the own last model in the start; beta_asked: before the guards; alpha: the scaler after the
    round's start; drift: ||update - start|| (L2); warnings: sentences for the factory's owner."""

    beta: float
    beta_asked: float
    alpha: float | None
    drift: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """update_q: int32 [vectors * n], to be packed and uploaded. state: to be kept for the request's next round.

    weight: how much the strategy lets the update count.
    gradient_q: int64 [n], in mode distributed: what is masked in place of an update, and leaves in no other way. The
    update_q beside it is the global model that everybody has.
    changes: what leads from the global vector to update_q, where the strategy lets it travel so.
    """

    update_q: Ints
    weight: int
    state: bytes
    metrics: Metrics
    diagnostics: Diagnostics
    privacy: PrivacyReport
    gradient_q: Longs | None = None
    changes: tuple[Block, ...] | None = None

    def blob(self, scale_bits: int) -> bytes:
        """The update as it leaves the factory unmasked: as changes, where they are shorter than the whole."""
        whole = HEAD.size + 4 * len(self.update_q)
        if self.changes is None or delta_bytes(self.changes) >= whole:
            return pack(self.update_q, scale_bits)
        return pack_delta(self.changes, len(self.update_q), scale_bits)


class Served(NamedTuple):
    """vector: float32 [n]. share: of the factory's own model in it. fitted: to the classes of its own records.

    It saw the records without noise where it is fitted: it is for the factory alone.
    """

    vector: Floats
    share: float
    fitted: bool

    @property
    def is_global(self) -> bool:
        """Whether it is the global model, and nothing of the factory's own."""
        return not self.share and not self.fitted


def initial_model(
    model: str,
    arguments: Mapping[str, str],
    seed: int,
    scale_bits: int = SCALE_BITS,
    limit: float = LIMIT,
    rule: Strategy | None = None,
) -> Ints:
    """The first global vector, int32 [vectors * n] of `rule`, [n] without; the same for the same arguments.

    Raises ModelError and NotEncodable.
    """
    first = parameter_vector(build(model, arguments, seed))
    return encode(first if rule is None else rule.initial(first), scale_bits, limit)


def first_model(job: RoundJob, seed: int) -> Ints:
    """The global vector that round 0 of this job begins with. Raises ModelError, StrategyError, NotEncodable."""
    rule = strategy(job.strategy, job.strategy_settings)
    return initial_model(job.model, job.arguments, seed, job.scale_bits, job.limit, rule)


def run_round(
    job: RoundJob,
    train: Table,
    test: Table | None,
    base_q: Ints,
    state: bytes | None,
    progress: Progress | None = None,
    random: SecureRandom | None = None,
    groups: NDArray[np.int64] | None = None,
) -> RoundOutcome:
    """Train one round from the global vector `base_q`, int32 [vectors * n]; nothing given is changed.

    `groups`, int64 [train records]: which records are one unit of privacy, where the terms' unit is not the record.

    `random`: where noise and samples come from; by default from the operating system. A seeded one protects nobody:
    it is for simulations and tests.

    Raises ModelError, StrategyError and PrivacyRefused for a job that cannot be done here, UnusableTable and
    VectorMismatch for inputs that do not fit the model, Diverged and NotEncodable for a result not fit to leave.
    """
    mode = privacy_mode(job.privacy, job.allow_no_guarantee)
    mode.check(job.privacy_settings)
    rule = strategy(job.strategy, job.strategy_settings)
    check_strategy_privacy(rule, mode)
    records = as_records(*train)
    tests = as_records(*test) if test is not None else None
    model = build(job.model, job.arguments, seed=0)
    clips, state = _unpacked(job, state)
    view = _view(job, rule, base_q, state, len(records))
    before = before_served = None
    if tests is not None:
        before = before_served = evaluate(model, tests, view.model)
        using = _served(rule, model, view.global_vector, state, view.layout, records)
        # Who serves the global model itself has it tested once.
        if not using.is_global:
            before_served = evaluate(model, tests, using.vector)

    start = rule.begin(view)
    by = _Training(records, groups, clips, random or SecureRandom(), progress)
    if mode.masked_only:
        made = _gradient(job, model, start, by)
        return RoundOutcome(
            base_q.copy(),
            rule.weight(len(records), None),
            rule.finish(view, start, view.global_vector, None, None),
            Metrics(1, (made.loss,), (made.norm,), before, before_served, None),
            Diagnostics(start.beta, start.beta_asked, start.alpha, 0.0, start.warnings),
            mode.report,
            made.sums,
        )
    result = _train(job, mode, rule, model, start, by)
    # With a guarantee nothing that leaves may depend on raw statistics, so the strategy is not shown any.
    losses = () if mode.accounted else result.losses
    trained = Trained(result.vector, result.steps, _steps_planned(job, mode, by), losses)
    update_q = encode(_whole(rule, view, rule.upload(view, start, trained)), job.scale_bits, job.limit)
    changes = None
    if rule.sends_changes:
        limit_q = limit_in_steps(job.limit, job.scale_bits)
        changes = rule.changes(view, base_q, update_q, job.scale_bits, limit_q)
        if changes is not None:
            update_q = apply_delta(base_q, changes, limit_q)
    # From here on the update is what everybody else will see of it: nothing private feeds the next round.
    uploaded = decode(update_q, job.scale_bits)
    model_uploaded = uploaded[: view.layout.count]
    after = evaluate(model, tests, model_uploaded) if tests is not None else None
    personal, told = _personal(job, rule, view, model, records)
    kept = rule.finish(view, start, uploaded, trained, personal)
    warnings = (*start.warnings, *told)
    return RoundOutcome(
        update_q,
        rule.weight(len(records), trained),
        pack_clips(result.clips, kept) if _keeps_clips(job) else kept,
        Metrics(result.steps, result.losses, result.gradient_norms, before, before_served, after),
        Diagnostics(start.beta, start.beta_asked, start.alpha, distance(start.vector, model_uploaded), warnings),
        _report(job, mode, rule, by),
        changes=changes,
    )


def served_model(job: RoundJob, global_q: Ints, state: bytes | None, train: Table | None = None) -> Served:
    """The model that the factory itself uses, of the newest global vector, int32 [vectors * n], and of its own state.

    `train`: the records that it is fitted to, where the strategy fits it to anything; without them it is not.
    """
    _, own_state = _unpacked(job, state)
    rule = strategy(job.strategy, job.strategy_settings)
    layout = _layout(job)
    model = build(job.model, job.arguments, seed=0)
    records = as_records(*train) if train is not None else None
    return _served(rule, model, _global_vector(job, rule, layout, global_q), own_state, layout, records)


def _served(
    rule: Strategy, model: nn.Module, vector: Floats, state: bytes | None, layout: Layout, records: Records | None
) -> Served:
    served, share = rule.serve(vector, state, layout)
    if rule.unseen and records is not None:
        fitted = fit_to_classes(model, served, layout, records, rule.unseen)
        if fitted is not None:
            return Served(fitted, share, True)
    return Served(served, share, False)


def batch_seed(seed: int, round_number: int) -> int:
    """The seed of a round's mini-batches, 63 bits: other batches in every round, the same ones in every replay."""
    digest = hashlib.sha256(f"batches {seed} {round_number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _layout(job: RoundJob) -> Layout:
    return Layout(parameter_shapes(job.model, job.arguments))


def _view(job: RoundJob, rule: Strategy, base_q: Ints, state: bytes | None, records: int) -> View:
    layout = _layout(job)
    global_vector = _global_vector(job, rule, layout, base_q)
    # A strategy from elsewhere that writes where it should not is found here and not in another round.
    global_vector.flags.writeable = False
    return View(global_vector, state, job.round_number, layout, job.epochs, job.batch, job.lr, job.momentum, records)


def _global_vector(job: RoundJob, rule: Strategy, layout: Layout, base_q: Ints) -> Floats:
    count = rule.vectors * layout.count
    if base_q.shape != (count,) or base_q.dtype != np.int32:
        whom = job.model if rule.vectors == 1 else f"{job.model}, {rule.vectors} vectors of strategy {rule.name}"
        raise VectorMismatch(
            f"global model is {base_q.dtype} of shape {base_q.shape}, want int32 of shape [{count}] for {whom}"
        )
    most = limit_in_steps(job.limit, job.scale_bits)
    low, high = int(base_q.min()), int(base_q.max())
    if low < -most or high > most:
        raise VectorMismatch(f"global model has coordinates from {low} to {high}, want -{most} to {most}")
    return decode(base_q, job.scale_bits)


def _whole(rule: Strategy, view: View, uploaded: Floats) -> Floats:
    """What a strategy uploads, checked: other members take no other shape."""
    if uploaded.shape != view.global_vector.shape or uploaded.dtype != np.float32:
        raise VectorMismatch(
            f"strategy {rule.name} uploads {uploaded.dtype} of shape {uploaded.shape}, "
            f"want float32 of shape [{len(view.global_vector)}]"
        )
    return uploaded


def _personal(
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


def _steps_planned(job: RoundJob, mode: Mode, by: "_Training") -> int:
    if mode.name == "sound":
        return sampling(job.units or _units(job, by), job.batch, job.epochs).steps
    return job.epochs * -(-len(by.records) // job.batch)


def _steps_max(job: RoundJob, mode: Mode, start: Start, by: "_Training") -> int:
    """After how many steps training ends, 0 for all. An epoch is what the request says of it, not what records do."""
    if not 0 < start.epochs_max < job.epochs:
        return start.steps_max
    in_epochs = _steps_planned(job, mode, by) // job.epochs * start.epochs_max
    return min(in_epochs, start.steps_max or in_epochs)


@dataclass(frozen=True, slots=True)
class _Training:
    """What a round trains on and with, whatever the mode."""

    records: Records
    groups: NDArray[np.int64] | None
    past_clips: tuple[float, ...]
    random: SecureRandom
    progress: Progress | None


def _train(job: RoundJob, mode: Mode, rule: Strategy, model: nn.Module, start: Start, by: _Training) -> TrainResult:
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
    return local_train(model, start.vector, by.records, plain, by.progress, bent)


def _gradient(job: RoundJob, model: nn.Module, start: Start, by: _Training) -> NoisedGradient:
    """One gradient over all records instead of training. Raises PrivacyRefused for a strategy with own models."""
    check_distributed(job.privacy, job.strategy, "noisy-step", masked=True)
    settings = distributed_settings(job.privacy_settings)
    groups = None if settings.unit == "record" else by.groups
    units_of(settings.unit, len(by.records), groups)
    plan = DistributedPlan(job.noise, settings.clip)
    return distributed_gradient(model, start.vector, by.records, plan, by.random, groups, by.progress)


def _units(job: RoundJob, by: _Training) -> int:
    unit = sound_settings(job.privacy_settings).unit
    return units_of(unit, len(by.records), None if unit == "record" else by.groups)


def _sound_plan(
    job: RoundJob, rule: Strategy, by: _Training, steps_max: int = 0
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


def _report(job: RoundJob, mode: Mode, rule: Strategy, by: _Training) -> PrivacyReport:
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


def _keeps_clips(job: RoundJob) -> bool:
    return job.privacy == "sound" and sound_settings(job.privacy_settings).clip_rule != "fixed"


def _unpacked(job: RoundJob, state: bytes | None) -> tuple[tuple[float, ...], bytes | None]:
    """What private clipping and the strategy each kept of the last round."""
    return unpack_clips(state) if _keeps_clips(job) else ((), state)
