"""One round at one factory, from the global model to the update that leaves it. No network, no disk, no clock.

The node's worker process and the simulator both call `run_round`: what one of them does, the other does.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records, as_records
from fl.class_fit import fit_to_classes
from fl.delta_blob import apply_delta
from fl.dlmu import distance
from fl.evaluate import evaluate
from fl.fixed_point import LIMIT, SCALE_BITS, Floats, Ints, decode, encode, limit_in_steps
from fl.local_training import (
    Clock,
    Training,
    gradient_of,
    keeps_clips,
    personal_model,
    report_of,
    steps_planned,
    trained_from,
    unpacked_state,
)
from fl.models.registry import build
from fl.privacy.quantile import pack_clips
from fl.privacy.secure_random import SecureRandom
from fl.round_job import RoundJob, Table, batch_seed
from fl.round_outcome import Diagnostics, Metrics, RoundOutcome, Served
from fl.round_setup import Setup, setup_of
from fl.strategies.base import Layout, Strategy, Trained, View
from fl.strategies.registry import strategy
from fl.train import Progress
from fl.vectors import VectorMismatch, parameter_vector

__all__ = [
    "Diagnostics",
    "Metrics",
    "RoundJob",
    "RoundOutcome",
    "Served",
    "Table",
    "batch_seed",
    "first_model",
    "initial_model",
    "run_round",
    "served_model",
]


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
    setup: Setup | None = None,
    clock: Clock | None = None,
) -> RoundOutcome:
    """Train one round from the global vector `base_q`, int32 [vectors * n]; nothing given is changed.

    `setup`: `setup_of` this job or of another of its request, made here where it is None.

    `groups`, int64 [train records]: which records are one unit of privacy, where the terms' unit is not the record.

    `random`: where noise and samples come from; by default from the operating system. A seeded one protects nobody:
    it is for simulations and tests.

    `clock`: for strategies that end training by time, where the job names no pace.

    Raises ModelError, StrategyError and PrivacyRefused for a job that cannot be done here, LeftOut for a training that
    by the strategy's rule sends nothing this time, UnusableTable and VectorMismatch for inputs that do not fit the
    model, Diverged and NotEncodable for a result not fit to leave.
    """
    setup = setup or setup_of(job)
    mode, rule, model = setup.mode, setup.rule, setup.network
    records = as_records(*train).to(setup.device)
    tests = as_records(*test) if test is not None else None
    clips, state = unpacked_state(job, state)
    view = _view(job, setup, base_q, state, len(records))
    before = before_served = None
    if tests is not None:
        before = before_served = evaluate(model, tests, view.model)
        using = _served(rule, model, view.global_vector, state, view.layout, records)
        # Who serves the global model itself has it tested once.
        if not using.is_global:
            before_served = evaluate(model, tests, using.vector)

    start = rule.begin(view)
    by = Training(records, groups, clips, random or SecureRandom(), progress, clock)
    if mode.masked_only:
        made = gradient_of(job, model, start, by)
        return RoundOutcome(
            base_q.copy(),
            rule.weight(len(records), None),
            rule.finish(view, start, view.global_vector, None, None),
            Metrics(1, (made.loss,), (made.norm,), before, before_served, None),
            Diagnostics(start.beta, start.beta_asked, start.alpha, 0.0, start.warnings),
            mode.report,
            made.sums,
        )
    result = trained_from(start, job, mode, rule, model, by)
    # With a guarantee nothing that leaves may depend on raw statistics, so the strategy is not shown any.
    losses = () if mode.accounted else result.losses
    trained = Trained(result.vector, result.steps, steps_planned(job, mode, by), losses)
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
    personal, told = personal_model(job, rule, view, model, records)
    kept = rule.finish(view, start, uploaded, trained, personal)
    warnings = (*start.warnings, *told)
    return RoundOutcome(
        update_q,
        rule.weight(len(records), trained),
        pack_clips(result.clips, kept) if keeps_clips(job) else kept,
        Metrics(result.steps, result.losses, result.gradient_norms, before, before_served, after),
        Diagnostics(start.beta, start.beta_asked, start.alpha, distance(start.vector, model_uploaded), warnings),
        report_of(job, mode, rule, by),
        changes=changes,
    )


def served_model(
    job: RoundJob, global_q: Ints, state: bytes | None, train: Table | None = None, setup: Setup | None = None
) -> Served:
    """The model that the factory itself uses, of the newest global vector, int32 [vectors * n], and of its own state.

    `train`: the records that it is fitted to, where the strategy fits it to anything; without them it is not.
    `setup`: as `run_round` takes it.
    """
    _, own_state = unpacked_state(job, state)
    # Nothing leaves here: what is served may be made in any mode.
    setup = setup or setup_of(replace(job, allow_no_guarantee=True))
    records = as_records(*train) if train is not None else None
    vector = _global_vector(job, setup, global_q)
    return _served(setup.rule, setup.network, vector, own_state, setup.layout, records)


def _served(
    rule: Strategy, model: nn.Module, vector: Floats, state: bytes | None, layout: Layout, records: Records | None
) -> Served:
    served, share = rule.serve(vector, state, layout)
    if rule.unseen and records is not None:
        fitted = fit_to_classes(model, served, layout, records, rule.unseen)
        if fitted is not None:
            return Served(fitted, share, True)
    return Served(served, share, False)


def _view(job: RoundJob, setup: Setup, base_q: Ints, state: bytes | None, records: int) -> View:
    layout = setup.layout
    global_vector = _global_vector(job, setup, base_q)
    # A strategy from elsewhere that writes where it should not is found here and not in another round.
    global_vector.flags.writeable = False
    terms = job.epochs, job.batch, job.lr, job.momentum
    return View(global_vector, state, job.round_number, layout, *terms, records, job.deadline_s)


def _global_vector(job: RoundJob, setup: Setup, base_q: Ints) -> Floats:
    rule = setup.rule
    count = rule.vectors * setup.layout.count
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
