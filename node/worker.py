"""The training process, `python -m node.worker [--threads N] [--nice N]`: the only part of the node to import torch.

Jobs come in on stdin, answers leave on what was stdout; whatever a library prints goes to stderr, so it cannot break a
frame. It ends when stdin does: a node that is gone, however it went, leaves no orphan behind. Records are read straight
from the SQLite file and kept between rounds while the file stays the same.
"""

import argparse
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from fl.batches import UnusableTable, as_records
from fl.evaluate import Evaluation, evaluate
from fl.fitting import check_fit
from fl.fixed_point import InvalidVector, NotEncodable, decode, limit_in_steps, pack, unpack
from fl.gradient_blob import pack_gradient
from fl.models.errors import ModelError
from fl.models.registry import build
from fl.models.shapes import parameter_count
from fl.privacy.modes import PrivacyRefused, privacy_mode, unit_column
from fl.privacy.secure_random import SecureRandom
from fl.privacy.telling import noisy_accuracy
from fl.round import RoundJob, initial_model, run_round, served_model
from fl.strategies.base import LeftOut, StrategyError
from fl.strategies.registry import strategy
from fl.train import Diverged
from fl.vectors import VectorMismatch
from ledger.errors import CorruptStore, InvalidBytes
from ledger.transactions import Setting
from node.record_errors import RecordStoreError
from node.record_reader import RecordArrays, RecordReader
from node.worker_protocol import (
    CONFUSION_CELLS_MAX,
    Answer,
    Evaluate,
    Evaluated,
    InitialModel,
    Job,
    JobFailed,
    ModelForm,
    ModelMade,
    ModelServed,
    Progress,
    RoundTrained,
    Score,
    ServeModel,
    TrainingTerms,
    TrainRound,
    answer_frame,
    parse_job,
    read_frame,
)

MICRO = 1_000_000
REASON_CHARS_MAX = 1000

# What each fault is called in an answer; the first row that fits counts.
FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (ModelError, "model"),
    (StrategyError, "strategy"),
    (PrivacyRefused, "privacy"),
    (Diverged, "diverged"),
    (NotEncodable, "diverged"),
    (LeftOut, "late"),
    (UnusableTable, "data"),
    (VectorMismatch, "model"),
    (InvalidVector, "model"),
    (RecordStoreError, "store"),
    (CorruptStore, "store"),
    (MemoryError, "memory"),
    (ValueError, "settings"),
)


class RecordCache:
    """The last training and test records read, valid while nobody has written to the file."""

    def __init__(self) -> None:
        self._reader: RecordReader | None = None
        self._version = 0
        self._training: tuple[tuple[int, ...], RecordArrays] | None = None
        self._test: RecordArrays | None = None

    def training(self, store: str, periods: tuple[int, ...]) -> RecordArrays:
        reader = self._open(store)
        if self._training is None or self._training[0] != periods:
            # The old ones go first: two copies of a large table may be more than there is memory for.
            self._training = None
            self._training = (periods, reader.records(periods))
        return self._training[1]

    def groups(self, store: str, periods: tuple[int, ...], column: str) -> NDArray[np.int64]:
        """int64 [records]: which of them are one unit of privacy."""
        return self._open(store).groups(periods, column)

    def test(self, store: str) -> RecordArrays | None:
        """None when the factory keeps no test records."""
        reader = self._open(store)
        if self._test is None:
            self._test = reader.test_records()
        return self._test if len(self._test) else None

    def _open(self, store: str) -> RecordReader:
        if self._reader is None or self._reader.path != Path(store):
            self._forget()
            self._reader = RecordReader(Path(store))
            self._version = self._reader.version()
        elif self._reader.version() != self._version:
            self._version = self._reader.version()
            self._training = self._test = None
        return self._reader

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._training = self._test = None


class Worker:
    """Does one job after the other. `answer` sends."""

    def __init__(self, answer: Callable[[Answer], None]) -> None:
        self._answer = answer
        self._records = RecordCache()

    def do(self, job: Job) -> None:
        """Carry the job out and send its last answer; a job that fails leaves the worker as it was."""
        try:
            match job:
                case InitialModel():
                    answer: Answer = self._initial_model(job)
                case TrainRound():
                    answer = self._train(job)
                case Evaluate():
                    answer = self._evaluate(job)
                case ServeModel():
                    answer = self._serve(job)
        except Exception as error:  # whatever a plug-in or library does, the node hears of it
            code = next((word for kind, word in FAULTS if isinstance(error, kind)), "bug")
            if code == "bug":
                sys.excepthook(type(error), error, error.__traceback__)
            answer = JobFailed(code, f"{error or repr(error)}"[:REASON_CHARS_MAX])
        self._answer(answer)

    def _initial_model(self, job: InitialModel) -> ModelMade:
        form = job.form
        rule = strategy(job.strategy, _words(job.strategy_settings))
        vector = initial_model(form.model, _words(form.arguments), job.seed, form.scale_bits, form.limit, rule)
        return ModelMade(pack(vector, form.scale_bits))

    def _train(self, job: TrainRound) -> RoundTrained:
        records = self._records.training(job.store, job.periods)
        test = self._records.test(job.store)
        if privacy_mode(job.terms.privacy, allow_no_guarantee=True).accounted:
            _check_fit(job.terms.form, records)
        column = unit_column(job.terms.privacy, _words(job.terms.privacy_settings))
        outcome = run_round(
            _round_job(job.terms),
            (records.features, records.labels),
            None if test is None else (test.features, test.labels),
            _vector(job.terms.form, job.base),
            job.state,
            lambda epoch, epochs, loss: self._answer(Progress(epoch, epochs, _micro(loss))),
            groups=None if column is None else self._records.groups(job.store, job.periods, column),
            clock=time.monotonic,
        )
        metrics, diagnostics = outcome.metrics, outcome.diagnostics
        epsilon = outcome.privacy.epsilon
        made = outcome.gradient_q
        return RoundTrained(
            outcome.blob(job.terms.form.scale_bits) if made is None else pack_gradient(made),
            outcome.weight,
            len(records),
            outcome.state,
            _score(metrics.start),
            _score(metrics.served),
            _score(metrics.update),
            metrics.steps,
            tuple(repr(float(loss)) for loss in metrics.losses),
            repr(float(diagnostics.beta)),
            repr(float(diagnostics.drift)),
            tuple(warning[:REASON_CHARS_MAX] for warning in diagnostics.warnings),
            outcome.privacy.guarantee,
            None if epsilon is None else repr(float(epsilon)),
            *_told(job.terms, metrics.start),
        )

    def _evaluate(self, job: Evaluate) -> Evaluated:
        test = self._records.test(job.store)
        if test is None:
            raise RecordStoreError(f"{job.store} keeps no test records")
        model = _vector(job.form, job.model)[: _model_count(job.form)]
        score = _score(_tested(job.form, test, decode(model, job.form.scale_bits)))
        assert score is not None
        return Evaluated(score)

    def _serve(self, job: ServeModel) -> ModelServed:
        form = job.terms.form
        own = self._records.training(job.store, job.periods) if job.periods else None
        train = None if own is None else (own.features, own.labels)
        vector, share, _ = served_model(_round_job(job.terms), _vector(form, job.base), job.state, train)
        test = self._records.test(job.store)
        score = _score(_tested(form, test, vector)) if test is not None else None
        return ModelServed(np.ascontiguousarray(vector, "<f4").tobytes(), repr(float(share)), score)


def _tested(form: ModelForm, test: RecordArrays, vector: Any) -> Evaluation:
    model = build(form.model, _words(form.arguments), seed=0)
    return evaluate(model, as_records(test.features, test.labels), vector)


def _check_fit(form: ModelForm, records: RecordArrays) -> None:
    model = build(form.model, _words(form.arguments), seed=0)
    check_fit(model, records.features.shape[1:], records.features.dtype, len(records.classes))


def _model_count(form: ModelForm) -> int:
    return parameter_count(form.model, _words(form.arguments))


def _vector(form: ModelForm, blob: bytes) -> Any:
    """int32 [form.parameters], the model first. Raises InvalidVector, VectorMismatch."""
    model = _model_count(form)
    count = form.parameters or model
    if count % model:
        raise VectorMismatch(f"a vector of {count} coordinates, want a whole number of times the model's {model}")
    return unpack(blob, count, form.scale_bits, limit_in_steps(form.limit, form.scale_bits))


def _words(settings: tuple[Setting, ...]) -> dict[str, str]:
    return {setting.name: setting.value for setting in settings}


def _round_job(terms: TrainingTerms) -> RoundJob:
    return RoundJob(
        model=terms.form.model,
        arguments=_words(terms.form.arguments),
        epochs=terms.epochs,
        batch=terms.batch,
        lr=float(terms.learning_rate),
        momentum=float(terms.momentum),
        round_number=terms.round_number,
        seed=terms.seed,
        strategy=terms.strategy,
        strategy_settings=_words(terms.strategy_settings),
        privacy=terms.privacy,
        privacy_settings=_words(terms.privacy_settings),
        allow_no_guarantee=terms.allow_no_guarantee,
        noise=float(terms.noise),
        units=terms.units,
        deadline_s=float(terms.deadline),
        scale_bits=terms.form.scale_bits,
        limit=terms.form.limit,
    )


def _told(terms: TrainingTerms, start: Evaluation | None) -> tuple[int, int]:
    """Accuracy in millionths and test records, as far as the owner lets them be told."""
    if start is None or terms.accuracy == "none":
        return 0, 0
    if terms.accuracy == "exact":
        return start.accuracy_micro, start.records
    return noisy_accuracy(start.correct, start.records, float(terms.query_noise), SecureRandom()), start.records


def _micro(number: float) -> int:
    """Millionths, as far as they are worth showing."""
    return min(int(number * MICRO), 2**53 - 1) if number == number and number > 0 else 0


def _score(evaluation: Evaluation | None) -> Score | None:
    if evaluation is None:
        return None
    cells = evaluation.confusion.reshape(-1)
    return Score(
        evaluation.records,
        evaluation.correct,
        evaluation.accuracy_micro,
        _micro(evaluation.loss),
        _micro(evaluation.macro_f1),
        tuple(cells.tolist()) if len(cells) <= CONFUSION_CELLS_MAX else (),
    )


def _read_jobs(source: BinaryIO, jobs: "queue.SimpleQueue[Job]") -> None:
    """In a thread of its own, so that the end of stdin ends the process in the middle of training too."""
    try:
        while (body := read_frame(source)) is not None:
            jobs.put(parse_job(body))
    except InvalidBytes as error:
        print(f"worker: {error}", file=sys.stderr, flush=True)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m node.worker")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nice", type=int, default=10)
    options = parser.parse_args()
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)

    def answer(message: Answer) -> None:
        sink.write(answer_frame(message))
        sink.flush()

    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(source, jobs), daemon=True).start()
    worker = Worker(answer)
    while True:
        try:
            worker.do(jobs.get())
        except BrokenPipeError:
            # The node is gone; the reader thread may not have noticed yet.
            os._exit(0)


if __name__ == "__main__":
    main()
