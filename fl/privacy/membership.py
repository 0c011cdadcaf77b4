"""Guessing who was in: from what rounds release, whether a record was trained on. Models from files: exposure.py.

A fair coin decides for each record of a table whether it takes part, `fl.round.run_round` trains
as production does, and the attacker, who knows the table, the terms and every release but not the coins, guesses them.
One training is enough for a bound that holds: under (epsilon, delta) no more guesses are right than
e^eps / (1 + e^eps) of them, but for chance (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846). Losses are the
attack's food: Yeom et al. 2018 (1709.01604), and compared with models that lack the record, Carlini et al. 2022
(2112.03570).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from fl.batches import Records, UnusableTable, as_input, as_records
from fl.evaluate import BATCH, set_parameters
from fl.fixed_point import Floats, decode
from fl.models.registry import build
from fl.privacy.audit import AuditPlan
from fl.privacy.canaries import Table
from fl.privacy.confidence import advantage_allowed, rate_at_least, rate_at_most
from fl.privacy.secure_random import SecureRandom
from fl.round import first_model, run_round

# Half of the records choose how to guess, half are guessed: fewer of either show nothing.
RECORDS_LEAST = 16
# Models of the attacker's own making: each record is missing in half of them, so in none with probability 2^-8.
SHADOWS = 8
ATTACKS = ("loss", "fall", "shadow")


@dataclass(frozen=True, slots=True)
class MembershipReport:
    """`correct` of `guesses` coins were guessed by the attack of that name, chosen on other records.

    `advantage` is 2 correct / guesses - 1: 0 for chance, 1 for certainty; it lies in `low`..`high` with `confidence`.
    `allowed`: the most that the claim permits, None where nothing is claimed.
    """

    attack: str
    guesses: int
    correct: int
    low: float
    high: float
    allowed: float | None
    confidence: float

    @property
    def advantage(self) -> float:
        return 2.0 * self.correct / self.guesses - 1.0

    @property
    def refuted(self) -> bool:
        """Whether the claim permits less than what was shown."""
        return self.allowed is not None and self.low > self.allowed


def infer_membership(plan: AuditPlan, table: Table, claimed: bool, seed: int | None = None) -> MembershipReport:
    """Toss the coins, train `plan.rounds` rounds on who is in, and guess; `plan.trials` is not used.

    `claimed`: whether plan.epsilon is promised of these rounds. `seed`: for tests alone. Raises as `run_round` does.
    """
    count = len(table[1])
    if count < 2 * RECORDS_LEAST or table[1].ndim != 1:
        raise UnusableTable(f"{count} records, want at least {2 * RECORDS_LEAST} with a label each")
    random = SecureRandom(seed)
    joined = _coins(random, count)
    base = first_model(plan.job, plan.job.seed)
    job = replace(plan.job, seed=int(random.words(1)[0]) >> 11, units=count)
    releases = [decode(base, job.scale_bits)]
    global_q, state = base, None
    for number in range(plan.rounds):
        outcome = run_round(
            replace(job, round_number=number), _taken(table, joined), None, global_q, state, random=random
        )
        global_q, state = outcome.update_q, outcome.state
        releases.append(decode(global_q, job.scale_bits))
    records, model = as_records(*table), build(job.model, job.arguments, 0)
    losses = np.stack([record_losses(model, records, each) for each in releases])
    scores = np.stack([-losses[-1], losses[0] - losses[1:].mean(0), _against_shadows(plan, table, losses[-1], random)])
    return _report(scores, joined, plan, claimed, random)


def _coins(random: SecureRandom, count: int) -> NDArray[np.bool_]:
    tossed = (random.words(count) & np.uint64(1)).astype(np.bool_)
    # With nobody in there is nothing to train on: the first two then differ, which costs two guesses nothing.
    if not tossed.any():
        tossed[0] = True
    return tossed


def _taken(table: Table, rows: NDArray[np.bool_]) -> Table:
    return table[0][rows], table[1][rows]


def _against_shadows(
    plan: AuditPlan, table: Table, released: NDArray[np.float64], random: SecureRandom
) -> NDArray[np.float64]:
    """How much better the release knows each record than un-noised models that never saw it, float64 [records]."""
    records, model = as_records(*table), build(plan.job.model, plan.job.arguments, 0)
    base = first_model(plan.job, plan.job.seed)
    sums, models = np.zeros(len(records)), np.zeros(len(records))
    for _ in range(SHADOWS):
        inside = _coins(random, len(records))
        job = replace(plan.job, privacy="none", privacy_settings={}, seed=int(random.words(1)[0]) >> 11)
        global_q, state = base, None
        for number in range(plan.rounds):
            outcome = run_round(replace(job, round_number=number), _taken(table, inside), None, global_q, state)
            global_q, state = outcome.update_q, outcome.state
        losses = record_losses(model, records, decode(global_q, job.scale_bits))
        sums += np.where(inside, 0.0, losses)
        models += ~inside
    # A record that was in every shadow is compared with what they say of the others.
    missing = sums / np.maximum(models, 1)
    return np.where(models > 0, missing, missing[models > 0].mean()) - released


def record_losses(model: nn.Module, records: Records, vector: Floats) -> NDArray[np.float64]:
    """The loss of every record under the model in `vector`, nats, float64 [records]. What a strategy carries behind the
    model is not looked at."""
    set_parameters(model, vector[: sum(each.numel() for each in model.parameters())])
    model.eval()
    losses = []
    with torch.no_grad():
        for start in range(0, len(records), BATCH):
            logits = model(as_input(records.features[start : start + BATCH]))
            losses.append(cross_entropy(logits, records.labels[start : start + BATCH], reduction="none"))
    every: NDArray[np.float64] = torch.cat(losses).double().numpy()
    return every


def _report(
    scores: NDArray[np.float64], joined: NDArray[np.bool_], plan: AuditPlan, claimed: bool, random: SecureRandom
) -> MembershipReport:
    """`scores` float64 [attacks, records]: larger, more likely in."""
    # Which records choose and which are guessed is drawn: a table may be sorted.
    order = np.argsort(random.words(len(joined)))
    half = len(order) // 2
    attack, threshold = _best_guess(scores[:, order[:half]], joined[order[:half]])
    held = order[half:]
    correct = int(((scores[attack, held] >= threshold) == joined[held]).sum())
    fault = 1.0 - plan.confidence
    # Of (epsilon, delta) a guess in delta may be free; counted twice, as theorem 5.2 of the paper does at worst.
    lower = fault - 2.0 * len(held) * plan.delta
    sure = rate_at_least(correct, len(held), lower / 2) if lower > 0.0 else 0.0
    return MembershipReport(
        ATTACKS[attack],
        len(held),
        correct,
        2.0 * sure - 1.0,
        2.0 * rate_at_most(correct, len(held), fault / 2) - 1.0,
        advantage_allowed(plan.epsilon, plan.delta) if claimed else None,
        plan.confidence,
    )


def _best_guess(scores: NDArray[np.float64], joined: NDArray[np.bool_]) -> tuple[int, float]:
    """(attack, threshold) that guesses most of these coins right."""
    best, most = (0, math.inf), -1
    for attack, each in enumerate(scores):
        # With the scores in falling order, taking the first k for "in" is right about their ins and the others' outs.
        order = np.argsort(-each, kind="stable")
        ins = np.concatenate([[0], np.cumsum(joined[order])])
        outs = np.concatenate([[0], np.cumsum(~joined[order])])
        right = ins + (outs[-1] - outs)
        taken = int(right.argmax())
        if right[taken] > most:
            threshold = math.inf if not taken else float(each[order[taken - 1]])
            best, most = (attack, threshold), int(right[taken])
    return best
