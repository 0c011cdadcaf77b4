"""Whole rounds against a slow twin written from the papers, and every way in which a round must refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fl.aggregate import aggregate_blobs, weighted_mean
from fl.batches import as_records
from fl.evaluate import evaluate
from fl.fixed_point import NotEncodable, decode, limit_in_steps, pack, unpack
from fl.models.errors import ModelError
from fl.models.registry import build
from fl.privacy.modes import PrivacyRefused
from fl.round import RoundJob, batch_seed, initial_model, run_round, served_model
from fl.strategies.base import StrategyError
from fl.strategies.own_model import own_model
from fl.train import Diverged, LocalPlan
from fl.vectors import VectorMismatch, parameter_vector
from tests.support.learning import plain_training, separable

JOB = RoundJob("mlp", epochs=2, batch=32, lr=0.05, momentum=0.8, round_number=0, seed=5)
COUNT = 24_604


def factories(count, skewed):
    """Tables of different sizes; skewed ones hold the records of two classes only."""
    tables = []
    for at in range(count):
        features, labels = separable(20 + at, records=150 + 40 * at)
        keep = (labels == at % 4) | (labels == (at + 1) % 4) if skewed else labels >= 0
        tables.append((features[keep], labels[keep]))
    return tables


def plain_federation(strategy, tables, rounds, tau=0.8, cap=1.0):
    """The same rounds in floats and torch.optim alone: [DLMU] Algorithm 1 read line by line. The vector, [n]."""
    whole = parameter_vector(build("mlp", {}, 3))
    last, alphas = [None] * len(tables), [None] * len(tables)
    for round_number in range(rounds):
        trained = []
        for at, (features, labels) in enumerate(tables):
            start = whole.copy()
            if strategy == "dlmu" and last[at] is not None:
                separation = np.linalg.norm(whole.astype(np.float64) - last[at])
                beta = np.float32(min(alphas[at] * separation, 1.0, cap))
                start = (1 - beta) * whole + beta * last[at]
            model = build("mlp", {}, 0)
            torch.nn.utils.vector_to_parameters(torch.from_numpy(start.copy()), model.parameters())
            plan = LocalPlan(2, 32, 0.05, 0.8, batch_seed(5 + at, round_number))
            result = plain_training(model, torch.from_numpy(features), torch.from_numpy(labels), plan)
            if alphas[at] is None:
                alphas[at] = tau / np.linalg.norm(result.astype(np.float64) - start)
            last[at] = result
            trained.append(result.astype(np.float64) * len(labels))
        whole = (sum(trained) / sum(len(labels) for _, labels in tables)).astype(np.float32)
    return whole


@pytest.mark.parametrize(
    ("strategy", "settings", "cap"),
    [("fedavg", {}, None), ("dlmu", {"strict": "true"}, 1.0), ("dlmu", {"cap": "0.3"}, 0.3)],
)
def test_three_rounds_equal_the_plain_twin(strategy, settings, cap):
    # 24 bits after the point: at 20 the rounding alone can tip a ReLU, and the two part by 1e-4 from there.
    job = replace(JOB, strategy=strategy, strategy_settings=settings, scale_bits=24, limit=64.0)
    tables, most = factories(3, skewed=True), limit_in_steps(64.0, 24)
    base, states, betas = initial_model("mlp", {}, 3, 24, 64.0), [None] * 3, []
    for round_number in range(3):
        updates = []
        for at, table in enumerate(tables):
            mine = replace(job, round_number=round_number, seed=5 + at)
            outcome = run_round(mine, table, None, base, states[at])
            states[at] = outcome.state
            betas.append(outcome.diagnostics.beta)
            updates.append((pack(outcome.update_q, 24), outcome.weight))
        whole = aggregate_blobs("mean", {}, pack(base, 24), updates, COUNT, 24, most)
        base = unpack(whole.blob, COUNT, 24, most)
    want = plain_federation(strategy, tables, 3, cap=cap or 1.0)
    assert np.abs(decode(base, 24) - want).max() < 1e-6
    assert (max(betas) > 0) is (strategy == "dlmu")


def test_a_small_federation_learns_and_a_factory_serves_better_on_its_own_mix():
    tables, common = factories(4, skewed=True), separable(99, records=400)
    base, states = initial_model("mlp", {}, 3), [None] * 4
    for round_number in range(8):
        outcomes = [
            run_round(replace(JOB, epochs=4, round_number=round_number, seed=at), table, common, base, states[at])
            for at, table in enumerate(tables)
        ]
        states = [outcome.state for outcome in outcomes]
        base = weighted_mean([each.update_q for each in outcomes], [each.weight for each in outcomes])
    # Two classes of four each: alone a factory cannot pass about a half on the common test.
    final = [run_round(replace(JOB, round_number=8), table, common, base, None) for table in tables[:1]]
    assert final[0].metrics.start.accuracy > 0.8
    assert max(outcome.metrics.update.accuracy for outcome in outcomes) < final[0].metrics.start.accuracy
    served = served_model(JOB, base, states[0])
    assert 0 < served.share <= 1
    assert not served.fitted
    own = own_model(states[0], COUNT).vector
    assert np.allclose(served.vector, (1 - served.share) * decode(base) + served.share * own, atol=1e-6)
    # Fitted to the two classes of four that the factory has, it is right about those more often.
    tests = as_records(*tables[0])
    plain = evaluate(build("mlp", {}, 0), tests, served.vector).accuracy
    fitted = served_model(JOB, base, states[0], tables[0])
    assert fitted.fitted
    assert evaluate(build("mlp", {}, 0), tests, fitted.vector).accuracy >= plain
    assert (fitted.vector[:-4] == served.vector[:-4]).all()
    assert not served_model(replace(JOB, strategy_settings={"unseen": "0"}), base, states[0], tables[0]).fitted


def test_the_global_model_is_tested_as_the_served_one_where_nothing_is_a_factorys_own():
    base, table = initial_model("mlp", {}, 3), separable(1)
    job = replace(JOB, strategy_settings={"unseen": "0"})
    assert served_model(job, base, None, table).is_global
    plain = run_round(job, table, table, base, None).metrics
    assert plain.served is plain.start
    fitted = run_round(JOB, table, table, base, None).metrics
    assert fitted.served.confusion.tolist() != fitted.start.confusion.tolist()


def test_a_round_is_replayed_bit_for_bit_and_changes_nothing_it_was_given():
    features, labels = separable(1)
    base = initial_model("mlp", {}, 3)
    for given in (features, labels, base):
        given.flags.writeable = False
    first = run_round(replace(JOB, strategy="dlmu"), (features, labels), (features, labels), base, None)
    second = run_round(replace(JOB, strategy="dlmu"), (features, labels), None, base, None)
    assert first.update_q.tobytes() == second.update_q.tobytes()
    assert first.state == second.state
    other = run_round(replace(JOB, strategy="dlmu", round_number=1), (features, labels), None, base, None)
    assert other.update_q.tobytes() != first.update_q.tobytes()


def test_what_feeds_the_next_round_is_the_update_as_it_was_uploaded():
    # At 8 bits after the point the difference to the trained floats is plain to see.
    job = replace(JOB, scale_bits=8)
    outcome = run_round(job, separable(1), None, initial_model("mlp", {}, 3, scale_bits=8), None)
    kept = own_model(outcome.state, COUNT)
    assert kept.vector.tobytes() == decode(outcome.update_q, 8).tobytes()
    assert np.array_equal(kept.vector * 256, np.rint(kept.vector * 256))


def test_metrics_and_diagnostics_say_what_happened():
    base, table, seen = initial_model("mlp", {}, 3), separable(1), []
    outcome = run_round(JOB, table, table, base, None, lambda *told: seen.append(told[:2]))
    assert seen == [(1, 2), (2, 2)]
    assert (outcome.metrics.steps, len(outcome.metrics.losses), outcome.weight) == (14, 2, 200)
    assert outcome.metrics.update.accuracy > outcome.metrics.start.accuracy
    drift = np.linalg.norm((outcome.update_q.astype(np.float64) - base) / 2**20)
    assert outcome.diagnostics.drift == pytest.approx(drift, rel=1e-5)
    assert (outcome.privacy.mode, outcome.privacy.guarantee, outcome.privacy.epsilon) == (
        "none",
        "none",
        None,
    )


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"model": "transformer"}, ModelError),
        ({"strategy": "fedsgd"}, StrategyError),
        ({"strategy_settings": {"rate": "1"}}, StrategyError),
        ({"privacy": "sound"}, PrivacyRefused),
        ({"privacy": "paper"}, PrivacyRefused),
        ({"privacy": "paper", "allow_no_guarantee": True}, PrivacyRefused),
        ({"privacy_settings": {"sigma": "1"}}, PrivacyRefused),
        ({"lr": 900.0, "momentum": 0.9}, Diverged),
        ({"limit": 0.4, "lr": 0.5}, NotEncodable),
        ({"limit": 0.1}, VectorMismatch),
        ({"arguments": {"layers": "8,10,4"}}, VectorMismatch),
        ({"epochs": 0}, ValueError),
    ],
)
def test_rounds_that_cannot_be_done_are_refused(changed, fault):
    with pytest.raises(fault):
        run_round(replace(JOB, **changed), separable(1), None, initial_model("mlp", {}, 3), None)


@pytest.mark.parametrize("base", [np.zeros(COUNT, np.int64), np.zeros(COUNT - 1, np.int32)])
def test_a_global_model_of_another_shape_is_refused(base):
    with pytest.raises(VectorMismatch, match="want int32 of shape"):
        run_round(JOB, separable(1), None, base, None)


def test_a_damaged_state_costs_a_warning_and_the_round_goes_on():
    base = initial_model("mlp", {}, 3)
    outcome = run_round(replace(JOB, strategy="dlmu", round_number=4), separable(1), None, base, b"HQS1 rubbish")
    assert "damaged" in outcome.diagnostics.warnings[0]
    assert own_model(outcome.state, COUNT).last_round == 4
