"""One client's part of a round, carried out by the round that nodes run. What every engine calls, wherever it runs."""

import torch

from fl.batches import as_records
from fl.devices import steady
from fl.evaluate import evaluate
from fl.fixed_point import Ints, decode, limit_in_steps, unpack
from fl.privacy.secure_random import SecureRandom
from fl.round import RoundJob, run_round, served_model
from fl.round_setup import setup_of
from fl.simulate.engines.base import ServeAnswer, ServeOrder, TrainAnswer, TrainOrder, Work
from fl.simulate.own_mix import CommonTest
from fl.simulate.terms import Terms
from fl.strategies.base import LeftOut


class ClientWork:
    """Trains and tests, one order after the other. Keeps the last global model that it was given and one network."""

    def __init__(self, work: Work) -> None:
        self._work = work
        device = torch.device(work.device)
        steady(device)
        self._setup = setup_of(job_of(work.terms, 0, 0, 0.0), device)
        self._limit_q = limit_in_steps(work.terms.limit, work.terms.scale_bits)
        self._common = CommonTest(work.test, device) if not work.own_tests else None
        self._base: tuple[bytes, Ints] | None = None
        # Without noise nothing is drawn from it.
        self._undrawn = SecureRandom(0)

    def train(self, base: bytes, order: TrainOrder) -> TrainAnswer:
        """Raises what `run_round` does."""
        terms = self._work.terms
        job = job_of(terms, order.round_number, order.batch_seed, order.noise, order.pace_s)
        rows = self._work.train[order.client]
        random = SecureRandom(order.noise_seed) if self._setup.mode.name != "none" else self._undrawn
        try:
            outcome = run_round(job, rows, None, self._vector(base), order.state, random=random, setup=self._setup)
        except LeftOut as left:
            nothing = (order.client, b"", 0, b"", len(rows[1]), left.steps, None, 0.0, 0.0, 0.0)
            return TrainAnswer(*nothing, left_out=str(left))
        except Exception as error:
            error.add_note(f"client {order.client}, round {order.round_number + 1}")
            raise
        losses = outcome.metrics.losses
        return TrainAnswer(
            order.client,
            outcome.blob(terms.scale_bits),
            outcome.weight,
            outcome.state,
            len(rows[1]),
            outcome.metrics.steps,
            losses[-1] if losses else None,
            outcome.diagnostics.beta,
            outcome.diagnostics.beta_asked,
            outcome.diagnostics.drift,
            outcome.diagnostics.warnings,
        )

    def serve(self, base: bytes, order: ServeOrder) -> ServeAnswer:
        terms, work = self._work.terms, self._work
        base_q = self._vector(base)
        using = served_model(job_of(terms, 0, 0, 0.0), base_q, order.state, work.records_of(order.client), self._setup)
        if self._common is None:
            own = as_records(*work.own_tests[order.client])
            on_global = evaluate(
                self._setup.network, own, decode(base_q[: self._setup.layout.count], terms.scale_bits)
            ).accuracy
            served = on_global if using.is_global else evaluate(self._setup.network, own, using.vector).accuracy
            return ServeAnswer(order.client, served, using.share, using.is_global, on_global)
        if using.is_global:
            return ServeAnswer(order.client, None, using.share, True)
        counts = work.class_counts[order.client]
        own_accuracy = self._common.own_accuracy(self._setup.network, using.vector, counts)
        return ServeAnswer(order.client, own_accuracy, using.share, False)

    def _vector(self, base: bytes) -> Ints:
        """The vector of the round's global model; unpacked once a round."""
        if self._base is None or self._base[0] is not base:
            work = self._work
            self._base = base, unpack(base, work.coordinates, work.terms.scale_bits, self._limit_q)
        return self._base[1]


def job_of(terms: Terms, round_number: int, batch_seed: int, noise: float, pace_s: float = 0.0) -> RoundJob:
    """The round as `run_round` wants it told. In a simulation nobody is harmed by a mode without a guarantee."""
    return RoundJob(
        model=terms.model,
        epochs=terms.epochs,
        batch=terms.batch,
        lr=terms.lr,
        momentum=terms.momentum,
        round_number=round_number,
        seed=batch_seed,
        strategy=terms.strategy,
        privacy=terms.privacy,
        arguments=terms.arguments,
        strategy_settings=terms.strategy_settings,
        privacy_settings=terms.privacy_settings,
        allow_no_guarantee=True,
        noise=noise,
        scale_bits=terms.scale_bits,
        limit=terms.limit,
        pace_s=pace_s,
    )
