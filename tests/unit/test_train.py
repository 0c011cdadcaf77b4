"""Local training against torch's own optimiser, step for step, for every kind of model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import fl.batches
from fl.batches import UnusableTable, as_records
from fl.dense import DenseSteps, dense_layers
from fl.models.registry import build
from fl.train import AutogradSteps, Bent, Diverged, LocalPlan, local_train, steps_for
from fl.vectors import VectorMismatch, flatten_in_place, parameter_vector
from tests.support.learning import golden, plain_training, separable

PLAN = LocalPlan(epochs=3, batch=32, lr=0.05, momentum=0.8, seed=11)

# Two hundred records and batches of 32: the last batch of an epoch holds eight.
IMAGES = np.random.default_rng(2).integers(0, 256, (70, 1, 28, 28)).astype(np.uint8)
TEXT = np.random.default_rng(3).integers(0, 20, (70, 12))
WINDOWS = np.random.default_rng(4).normal(size=(70, 2, 256)).astype(np.float32)
CLASSES = np.arange(70) % 4

CASES = {
    "mlp": ({}, *separable(5)),
    "cnn": ({"input": "1x28x28", "classes": "4"}, IMAGES, CLASSES),
    "cnn1d": ({"channels": "2", "length": "256", "classes": "4"}, WINDOWS, CLASSES),
    "char-lstm": ({"vocabulary": "20", "hidden": "16"}, TEXT, TEXT[:, 0]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("proximal", [0.0, 0.5])
def test_training_equals_torch_optim(name, proximal):
    arguments, features, labels = CASES[name]
    plan = LocalPlan(2, 32, 0.05, 0.8, seed=9, proximal=proximal)
    vector = parameter_vector(build(name, arguments, 1))
    got = local_train(build(name, arguments, 2), vector, as_records(features, labels), plan)

    plain = torch.from_numpy(features)
    plain = plain.float() / 255 if features.dtype == np.uint8 else plain
    want = plain_training(build(name, arguments, 1), plain, torch.from_numpy(labels), plan)
    assert np.abs(got.vector - want).max() < 1e-5
    assert np.abs(got.vector - vector).max() > 1e-3
    assert got.steps == 2 * -(-len(labels) // 32)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("batch", [1, 32, 200, 1000])
def test_the_hand_written_step_agrees_with_autograd(momentum, batch):
    features, labels = separable(6)
    records, plan = as_records(features, labels), LocalPlan(2, batch, 0.02, momentum, 3, proximal=0.1)
    quick = local_train(build("mlp", {}, 1), parameter_vector(build("mlp", {}, 1)), records, plan)

    class Unknown(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build("mlp", {}, 1)

        def forward(self, x):
            return self.inner(x)

    slow = local_train(Unknown(), parameter_vector(Unknown()), records, plan)
    assert np.abs(quick.vector - slow.vector).max() < 1e-5
    assert quick.losses == pytest.approx(slow.losses, abs=1e-5)
    # The proximal pull is part of neither's gradient up to the rounding of the difference.
    assert quick.gradient_norms == pytest.approx(slow.gradient_norms, rel=1e-3)


def test_the_hand_written_step_is_chosen_for_plain_perceptrons_only():
    def chosen(model):
        return type(steps_for(flatten_in_place(model), PLAN))

    linear = nn.Linear(4, 4)
    assert chosen(build("mlp", {"layers": "3,5,2"}, 0)) is DenseSteps
    assert chosen(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))) is DenseSteps
    assert chosen(nn.Sequential(nn.Flatten(), nn.Linear(3, 2))) is DenseSteps
    for other in (
        nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)),
        nn.Sequential(nn.Linear(3, 5), nn.ReLU()),
        nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)),
        nn.Sequential(nn.Linear(3, 5, bias=False)),
        nn.Sequential(linear, nn.ReLU(), linear),
        build("cnn", {}, 0),
    ):
        assert chosen(other) is AutogradSteps
    hooked = nn.Sequential(nn.Linear(3, 2))
    hooked.register_forward_hook(lambda *_: None)
    assert dense_layers(hooked) is None


@pytest.mark.parametrize(("proximal", "want"), [(0.0, "w1"), (1.0, "w1_fedprox_mu1")])
def test_the_golden_network_of_two_two_two(proximal, want):
    case = golden()["mlp_2_2_2"]
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    plan = LocalPlan(case["epochs"], 3, case["lr"], case["momentum"], 0, proximal)
    records = as_records(np.array(case["x"], np.float32), np.array(case["y"]))
    got = local_train(model, np.array(case["w0"], np.float32), records, plan)
    assert np.abs(got.vector - np.array(case[want])).max() < case["tolerance"]


def test_a_table_of_many_blocks_trains_as_one_of_a_single_block(monkeypatch):
    features, labels = separable(7, records=333)
    records, vector = as_records(features, labels), parameter_vector(build("mlp", {}, 1))
    whole = local_train(build("mlp", {}, 1), vector, records, PLAN)
    # 8 inputs of 4 bytes: blocks of two batches.
    monkeypatch.setattr(fl.batches, "BLOCK_BYTES_MAX", 64 * 8 * 4)
    pieces = local_train(build("mlp", {}, 1), vector, records, PLAN)
    assert np.abs(whole.vector - pieces.vector).max() < 1e-6
    assert whole.losses == pytest.approx(pieces.losses, abs=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_callers_randomness_alone():
    records, vector = as_records(*separable(8)), parameter_vector(build("mlp", {}, 1))
    torch.manual_seed(77)
    undisturbed = torch.rand(3).tolist()
    torch.manual_seed(77)
    first = local_train(build("mlp", {}, 1), vector, records, PLAN)
    second = local_train(build("mlp", {}, 5), vector, records, PLAN)
    assert first.vector.tobytes() == second.vector.tobytes()
    assert torch.rand(3).tolist() == undisturbed


def test_progress_is_told_after_every_epoch_and_may_cancel():
    records, vector = as_records(*separable(8)), parameter_vector(build("mlp", {}, 1))
    seen = []
    result = local_train(build("mlp", {}, 1), vector, records, PLAN, lambda *told: seen.append(told))
    assert seen == [(done + 1, 3, result.losses[done]) for done in range(3)]
    assert result.losses[2] < result.losses[0]

    class Cancelled(Exception):
        pass

    def cancel(done, epochs, loss):
        raise Cancelled

    with pytest.raises(Cancelled):
        local_train(build("mlp", {}, 1), vector, records, PLAN, cancel)


def test_training_that_leaves_the_finite_numbers_says_where():
    records, vector = as_records(*separable(8)), parameter_vector(build("mlp", {}, 1))
    with pytest.raises(Diverged) as refusal:
        local_train(build("mlp", {}, 1), vector, records, LocalPlan(9, 32, 900.0, 0.9, 1))
    assert 0 <= refusal.value.epoch < 9
    assert f"epoch {refusal.value.epoch}, step {refusal.value.step}" in str(refusal.value)


@pytest.mark.parametrize("name", ["mlp", "cnn1d"])
def test_a_record_that_is_not_finite_is_found_in_its_own_step(name):
    arguments, features, labels = CASES[name]
    features = features.copy()
    features[17] = np.nan
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(4)).tolist()
    vector = parameter_vector(build(name, arguments, 1))
    with pytest.raises(Diverged) as refusal:
        local_train(build(name, arguments, 1), vector, as_records(features, labels), LocalPlan(1, 16, 0.01, 0.8, 4))
    assert (refusal.value.epoch, refusal.value.step) == (0, order.index(17) // 16)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.zeros((3, 8)), np.zeros(3, np.int64)),
        (np.zeros((3, 8), np.float32), np.zeros(3, np.int32)),
        (np.zeros((3, 8), np.float32), np.zeros(4, np.int64)),
        (np.zeros((0, 8), np.float32), np.zeros(0, np.int64)),
        (np.zeros((3, 8), np.float32), np.array([0, 1, 4])),
        (np.zeros((3, 8), np.float32), np.array([0, -1, 2])),
        (np.zeros((3, 9), np.float32), np.array([0, 1, 2])),
    ],
)
def test_tables_that_do_not_fit_the_model_are_refused(features, labels):
    with pytest.raises(UnusableTable):
        local_train(build("mlp", {}, 1), parameter_vector(build("mlp", {}, 1)), as_records(features, labels), PLAN)


def test_a_vector_of_another_model_and_a_model_with_statistics_are_refused():
    records = as_records(*separable(8))
    with pytest.raises(VectorMismatch, match="want float32 of shape"):
        local_train(build("mlp", {}, 1), np.zeros(7, np.float32), records, PLAN)
    with pytest.raises(VectorMismatch, match="running_mean"):
        flatten_in_place(nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"proximal": -1.0},
        {"epochs": 10**9},
    ],
)
def test_plans_outside_their_bounds_are_refused(wrong):
    sensible = {"epochs": 1, "batch": 1, "lr": 0.1, "momentum": 0.5, "seed": 0}
    with pytest.raises(ValueError, match="want"):
        LocalPlan(**{**sensible, **wrong})


@pytest.mark.parametrize("name", ["mlp", "cnn1d"])
def test_a_correction_joins_every_gradient_and_the_pull_has_its_own_origin(name):
    """Against torch's optimiser on loss + <correction, w> + mu / 2 |w - origin|^2, by hand and by autograd."""
    arguments, features, labels = CASES[name]
    plan = LocalPlan(2, 32, 0.05, 0.8, seed=9, proximal=0.3)
    vector = parameter_vector(build(name, arguments, 1))
    rng = np.random.default_rng(8)
    origin, correction = (rng.normal(0, 0.1, len(vector)).astype(np.float32) for _ in range(2))
    bent = Bent(origin, correction)
    got = local_train(build(name, arguments, 2), vector, as_records(features, labels), plan, bent=bent)

    model = build(name, arguments, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8)
    generator = torch.Generator().manual_seed(9)
    for _ in range(2):
        for rows in torch.split(torch.randperm(len(features), generator=generator), 32):
            optimiser.zero_grad()
            flat = torch.cat([each.flatten() for each in model.parameters()])
            loss = cross_entropy(model(torch.from_numpy(features)[rows]), torch.from_numpy(labels)[rows])
            pull = 0.15 * ((flat - torch.from_numpy(origin)) ** 2).sum()
            (loss + pull + (flat * torch.from_numpy(correction)).sum()).backward()
            optimiser.step()
    want = torch.cat([each.detach().flatten() for each in model.parameters()]).numpy()
    assert np.abs(got.vector - want).max() < 1e-5
    # Neither was changed, nor was what they did without a trace.
    assert np.abs(got.vector - local_train(build(name, arguments, 2), vector, as_records(features, labels), plan).vector
                  ).max() > 1e-2  # fmt: skip


@pytest.mark.parametrize("most", [1, 3, 7, 8, 20, 21, 10**6])
def test_training_ends_after_so_many_steps_where_they_would_be(most, monkeypatch):
    """Seven steps an epoch: in the middle of one, at its end, within a block of two batches and beyond all."""
    monkeypatch.setattr(fl.batches, "BLOCK_BYTES_MAX", 64 * 8 * 4)
    features, labels = separable(5)
    records, vector = as_records(features, labels), parameter_vector(build("mlp", {}, 1))
    got = local_train(build("mlp", {}, 1), vector, records, replace(PLAN, steps_max=most))
    steps = min(most, 21)
    assert (got.steps, PLAN.steps(len(records))) == (steps, 21)
    assert len(got.losses) == len(got.gradient_norms) == -(-steps // 7)

    model, taken, first = build("mlp", {}, 1), 0, []
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8)
    generator = torch.Generator().manual_seed(PLAN.seed)
    for epoch in range(3):
        for rows in torch.split(torch.randperm(200, generator=generator), 32):
            if taken == steps:
                break
            optimiser.zero_grad()
            each = cross_entropy(
                model(torch.from_numpy(features)[rows]), torch.from_numpy(labels)[rows], reduction="none"
            )
            each.mean().backward()
            optimiser.step()
            taken += 1
            first += each.tolist() if epoch == 0 else []
    want = torch.cat([each.detach().flatten() for each in model.parameters()]).numpy()
    assert np.abs(got.vector - want).max() < 1e-5
    # The mean is over the records that were seen.
    assert got.losses[0] == pytest.approx(np.mean(first), abs=1e-5)


def test_bends_that_do_not_fit_are_refused():
    records, vector = as_records(*separable(8)), parameter_vector(build("mlp", {}, 1))
    for bent in (Bent(correction=vector[:-1]), Bent(origin=vector.astype(np.float64))):
        with pytest.raises(VectorMismatch, match=r"(correction|origin) is float\d+ of shape .*, want float32 of \["):
            local_train(build("mlp", {}, 1), vector, records, PLAN, bent=bent)
    with pytest.raises(ValueError, match="steps_max -1, want 0 for no limit"):
        replace(PLAN, steps_max=-1)
