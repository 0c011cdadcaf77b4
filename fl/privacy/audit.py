"""Trying to break a claim: trainings with and without one record, and how far their results can be told apart.

Every training is `fl.round.run_round`, the one that the daemon runs, with its modes, strategies, encoding and state:
nothing is trained here in another way. Half of the trainings choose how to tell the two worlds apart, the other half,
never looked at before, shows how well that works; the bound is exact at its confidence. An audit can refute a claim.
It can not prove one: "not refuted" says that this attack, of this many trainings, found nothing.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fl.batches import as_records
from fl.evaluate import evaluate
from fl.fixed_point import Floats, Ints, decode
from fl.models.registry import build
from fl.privacy.canaries import Planted
from fl.privacy.confidence import CONFIDENCE, Guesses, epsilon_at_least, epsilon_measurable, wilson
from fl.privacy.per_example import batch_gradient
from fl.privacy.secure_random import SecureRandom
from fl.round import RoundJob, first_model, run_round
from fl.vectors import flatten_in_place

# Each world needs trainings to choose by and trainings to count; with fewer than this nothing above 0 can be shown.
TRIALS_LEAST = 8
# What a training is judged by, in the order of the columns of `Scores`.
SCORES = ("influence", "gradient", "loss")
# What one record does to un-noised training is looked at over so many steps at most, all records in every one.
INFLUENCE_STEPS_MAX = 1000

Scores = NDArray[np.float64]
"""float64 [trainings, len(SCORES)]; larger: more likely trained with the canary."""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """`job`: the first round as production would run it; `rounds` follow each other, each from the update before.

    `epsilon` and `delta` are what is claimed of all rounds together. `trials`: trainings in each of the two worlds.
    """

    job: RoundJob
    rounds: int
    epsilon: float
    delta: float
    trials: int
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        if self.trials < TRIALS_LEAST or self.rounds < 1:
            raise ValueError(f"{self.trials} trials of {self.rounds} rounds, want at least {TRIALS_LEAST} of 1")
        if not (self.epsilon >= 0.0 and 0.0 <= self.delta < 1.0 and 0.0 < self.confidence < 1.0):
            raise ValueError(f"epsilon {self.epsilon}, delta {self.delta}, confidence {self.confidence} make no claim")


@dataclass(frozen=True, slots=True)
class AuditReport:
    """`measured`: with `confidence`, epsilon is at least this. `measurable`: more could not have come out.

    `auc`: the probability that a training with the canary scores higher than one without, on the held-out half.
    """

    claimed: float
    delta: float
    confidence: float
    measured: float
    measurable: float
    score: str
    guesses: Guesses
    auc: float
    trials: int

    @property
    def refuted(self) -> bool:
        return self.measured > self.claimed

    @property
    def decisive(self) -> bool:
        """Whether so many trials could have refuted the claim at all."""
        return self.measurable > self.claimed


def audit(
    plan: AuditPlan,
    planted: Planted,
    seeds: Iterator[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> AuditReport:
    """Train `plan.trials` times with the canary and as often without, and tell them apart as well as can be.

    `seeds`: one for every training, for tests alone; by default every round draws from the operating system. Raises
    as `run_round` does; `progress` is called with the number of trainings done, and may raise to cancel.
    """
    base = first_model(plan.job, plan.job.seed)
    attacker = Attacker(plan, planted, base)
    scores = {True: np.zeros((plan.trials, len(SCORES))), False: np.zeros((plan.trials, len(SCORES)))}
    # In turn, so that what changes while it runs meets both worlds alike, and a cancelled audit has as many of each.
    for done, (trial, present) in enumerate(itertools.product(range(plan.trials), (True, False)), 1):
        scores[present][trial] = attacker.train_once(present, next(seeds) if seeds is not None else None)
        if progress is not None:
            progress(done)
    return judge(plan, scores[True], scores[False])


class Attacker:
    """Knows all records but whether the canary is among them, the model, the terms, and everything that is released."""

    def __init__(self, plan: AuditPlan, planted: Planted, base: Ints) -> None:
        self._plan, self._planted, self._base = plan, planted, base
        self._canary = as_records(*planted.canary)
        self._model = build(plan.job.model, plan.job.arguments, 0)
        self._flat = flatten_in_place(self._model)
        self._influence = self._shadow(base)
        self._start_pull = self._pull(decode(base, plan.job.scale_bits))

    def train_once(self, present: bool, seed: int | None) -> NDArray[np.float64]:
        """All rounds of one training, and what its releases score, float64 [len(SCORES)]."""
        job = self._plan.job
        random = SecureRandom(seed)
        # The order of mini-batches is the provider's secret too: another one in every training.
        # Its number of units is public: without the canary one of them is counted and is not there.
        job = replace(job, seed=int(random.words(1)[0]) >> 11, units=len(self._planted.present[1]))
        table = self._planted.present if present else self._planted.absent
        base, state, moved = self._base, None, np.zeros(2)
        for number in range(self._plan.rounds):
            outcome = run_round(replace(job, round_number=number), table, None, base, state, random=random)
            start, released = decode(base, job.scale_bits), decode(outcome.update_q, job.scale_bits)
            step = released.astype(np.float64) - start
            pull = self._pull(start) if number else self._start_pull
            # All that leaves may tell, what a strategy carries behind the model too; the canary pulls at the model.
            moved += self._influence @ step, pull @ step[: len(pull)]
            base, state = outcome.update_q, outcome.state
        return np.array([*moved, -self._loss(released)])

    def _shadow(self, base: Ints) -> NDArray[np.float64]:
        """What the canary changes where nothing is left to chance: no noise, all records in every step; a unit vector.

        The attacker can compute it, for it knows all the other records.
        """
        ends = []
        for features, labels in (self._planted.present, self._planted.absent):
            job = self._plan.job
            steps = min(job.epochs * -(-len(labels) // job.batch), INFLUENCE_STEPS_MAX)
            plain = replace(job, privacy="none", privacy_settings={}, epochs=steps, batch=len(labels), round_number=0)
            ends.append(decode(run_round(plain, (features, labels), None, base, None).update_q, job.scale_bits))
        return _unit(ends[0].astype(np.float64) - ends[1])

    def _pull(self, vector: Floats) -> NDArray[np.float64]:
        """Where one step on the canary alone would lead from `vector`, a unit vector."""
        self._flat.load(self._model_in(vector))
        total = batch_gradient(self._flat, self._canary.features, self._canary.labels).total
        return _unit(-total.numpy().astype(np.float64))

    def _model_in(self, vector: Floats) -> Floats:
        return vector[: len(self._flat.values)]

    def _loss(self, vector: Floats) -> float:
        self._flat.load(self._model_in(vector))
        with torch.no_grad():
            return evaluate(self._model, self._canary).loss


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of length 1; 0 stays 0."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0.0 else vector


def judge(plan: AuditPlan, present: Scores, absent: Scores) -> AuditReport:
    """The report of an audit whose trainings scored so: the first half of each chooses, the second is counted."""
    half = len(present) // 2
    column, threshold, above = _best_threshold(present[:half], absent[:half], plan.delta)
    held_in, held_out = present[half:, column], absent[half:, column]
    caught = int(_says_in(held_in, threshold, above).sum())
    alarms = int(_says_in(held_out, threshold, above).sum())
    guesses = Guesses(caught, len(held_in), alarms, len(held_out))
    auc = float((held_in[:, None] > held_out).mean() + 0.5 * (held_in[:, None] == held_out).mean())
    return AuditReport(
        plan.epsilon,
        plan.delta,
        plan.confidence,
        epsilon_at_least(guesses, plan.delta, plan.confidence),
        epsilon_measurable(len(held_in), plan.delta, plan.confidence),
        SCORES[column],
        guesses,
        auc,
        plan.trials,
    )


def _says_in(scores: NDArray[np.float64], threshold: float, above: bool) -> NDArray[np.bool_]:
    return scores >= threshold if above else scores < threshold


def _best_threshold(present: Scores, absent: Scores, delta: float) -> tuple[int, float, bool]:
    """(column, threshold, which side means "in") that promises the largest epsilon on these trainings."""
    best = (0, 0.0, True)
    most = -np.inf
    for column in range(present.shape[1]):
        seen = np.unique(np.concatenate([present[:, column], absent[:, column]]))
        # Between two neighbours: a threshold on a value of this half would sit at its very edge.
        for threshold in (seen[:-1] + seen[1:]) / 2:
            for above in (True, False):
                caught = int(_says_in(present[:, column], threshold, above).sum())
                alarms = int(_says_in(absent[:, column], threshold, above).sum())
                promised = _promise(Guesses(caught, len(present), alarms, len(absent)), delta)
                if promised > most:
                    best, most = (column, float(threshold), above), promised
    return best


def _promise(guesses: Guesses, delta: float) -> float:
    """About the epsilon that such guesses will show on other trainings; only for comparing thresholds."""
    caught, alarms = wilson(guesses.caught, guesses.present), wilson(guesses.alarms, guesses.absent)
    inside = (caught[0] - delta) / alarms[1]
    outside = (1.0 - alarms[1] - delta) / (1.0 - caught[0])
    return max(inside, outside)
