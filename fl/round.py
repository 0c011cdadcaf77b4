"""One round at one factory, from the global model to the update that leaves it. No network, no disk, no clock.

The node's worker process and the simulator both call `run_round`: what one of them does, the other does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records, as_records
from fl.class_fit import fit_to_classes
from fl.dlmu import distance
from fl.evaluate import Evaluation, evaluate
from fl.fixed_point import LIMIT, SCALE_BITS, Floats, Ints, decode, encode
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
from fl.round_vectors import as_it_travels, global_vector_of
from fl.strategies.base import Layout, Start, Strategy, Trained, View
from fl.strategies.registry import strategy
from fl.train import Progress
from fl.vectors import parameter_vector

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
    records = as_records(*train).to(setup.device)
    tests = as_records(*test) if test is not None else None
    clips, state = unpacked_state(job, state)
    view = _view(job, setup, base_q, state, len(records))
    before, before_served = _tested_before(setup, view, records, tests)
    start = setup.rule.begin(view)
    by = Training(records, groups, clips, random or SecureRandom(), progress, clock)
    begun = _Begun(base_q, view, start, by, tests, before, before_served)
    return _with_gradient(job, setup, begun) if setup.mode.masked_only else _with_update(job, setup, begun)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A round up to where it trains. before, before_served: how good the global and the served model are on `tests`;
    None without these."""

    base_q: Ints
    view: View
    start: Start
    by: Training
    tests: Records | None
    before: Evaluation | None
    before_served: Evaluation | None


def _tested_before(
    setup: Setup, view: View, records: Records, tests: Records | None
) -> tuple[Evaluation | None, Evaluation | None]:
    """The global model, and what the factory would use now."""
    if tests is None:
        return None, None
    on_global = evaluate(setup.network, tests, view.model)
    using = _served(setup.rule, setup.network, view.global_vector, view.state, view.layout, records)
    # Who serves the global model itself has it tested once.
    return on_global, on_global if using.is_global else evaluate(setup.network, tests, using.vector)


def _with_gradient(job: RoundJob, setup: Setup, begun: _Begun) -> RoundOutcome:
    """A gradient to be masked, in place of training and of an update."""
    view, start = begun.view, begun.start
    made = gradient_of(job, setup.network, start, begun.by)
    return RoundOutcome(
        begun.base_q.copy(),
        setup.rule.weight(view.records, None),
        setup.rule.finish(view, start, view.global_vector, None, None),
        Metrics(1, (made.loss,), (made.norm,), begun.before, begun.before_served, None),
        Diagnostics(start.beta, start.beta_asked, start.alpha, 0.0, start.warnings),
        setup.mode.report,
        made.sums,
    )


def _with_update(job: RoundJob, setup: Setup, begun: _Begun) -> RoundOutcome:
    """Training, and the update that comes of it."""
    mode, rule, model = setup.mode, setup.rule, setup.network
    view, start, by = begun.view, begun.start, begun.by
    result = trained_from(start, job, mode, rule, model, by)
    # With a guarantee nothing that leaves may depend on raw statistics, so the strategy is not shown any.
    losses = () if mode.accounted else result.losses
    trained = Trained(result.vector, result.steps, steps_planned(job, mode, by), losses)
    update_q, changes = as_it_travels(job, rule, view, begun.base_q, rule.upload(view, start, trained))
    # From here on the update is what everybody else will see of it: nothing private feeds the next round.
    uploaded = decode(update_q, job.scale_bits)
    model_uploaded = uploaded[: view.layout.count]
    after = evaluate(model, begun.tests, model_uploaded) if begun.tests is not None else None
    personal, told = personal_model(job, rule, view, model, by.records)
    kept = rule.finish(view, start, uploaded, trained, personal)
    warnings = (*start.warnings, *told)
    return RoundOutcome(
        update_q,
        rule.weight(view.records, trained),
        pack_clips(result.clips, kept) if keeps_clips(job) else kept,
        Metrics(result.steps, result.losses, result.gradient_norms, begun.before, begun.before_served, after),
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
    vector = global_vector_of(job, setup, global_q)
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
    global_vector = global_vector_of(job, setup, base_q)
    # A strategy from elsewhere that writes where it should not is found here and not in another round.
    global_vector.flags.writeable = False
    terms = job.epochs, job.batch, job.lr, job.momentum
    return View(global_vector, state, job.round_number, layout, *terms, records, job.deadline_s)
