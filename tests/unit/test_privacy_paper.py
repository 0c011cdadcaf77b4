"""DDP-SGD as published: its threshold by hand, its last epoch step by step, and that it never claims a guarantee."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fl.batches import as_records
from fl.models.registry import build
from fl.privacy.modes import PaperSettings, PrivacyRefused, check_privacy, notes, privacy_mode
from fl.privacy.paper import MeasuredSteps, paper_train
from fl.privacy.per_example import batch_gradient
from fl.privacy.quantile import clipping_threshold
from fl.privacy.secure_random import SecureRandom
from fl.round import RoundJob, initial_model, run_round
from fl.train import LocalPlan, local_train, run_epoch, steps_for
from fl.vectors import flatten_in_place, parameter_vector
from tests.support.learning import separable

SMALL = {"layers": "8,6,4"}


@pytest.mark.parametrize(
    ("last", "before", "want"),
    [
        (1.0, 1.0, 1.0),
        (2.0, 1.0, 1.5),  # gamma 1/2: 1/2 * 2 + 1/2 * 1
        (1.0, 1.5, 1.25),  # gamma 1/2: the largest that C_r / last can be
        (1.0, 2.0, 1.0),  # gamma 1: all of the last
        (1.0, 2.5, 0.25),  # gamma 1.5: 1.5 - 0.5 * 2.5
        (1.0, 2.619, 0.01),  # just past 2.618: below zero
        (1.0, 10.0, 0.01),
        (0.0, 1.0, 0.01),
        (0.0, 0.0, 0.01),
        (float("nan"), 1.0, 0.01),
    ],
)
def test_the_published_threshold_and_its_floor(last, before, want):
    assert clipping_threshold(last, before, 0.01) == pytest.approx(want)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("mlp", SMALL, (8,)),
        ("cnn", {"input": "1x28x28", "classes": "4"}, (1, 28, 28)),
        ("cnn1d", {"channels": "2", "length": "256", "classes": "4"}, (2, 256)),
        ("char-lstm", {"vocabulary": "20", "hidden": "8", "layers": "1"}, None),
    ],
)
def test_every_records_gradient_equals_its_own_backward_pass(name, arguments, shape):
    rng = np.random.default_rng(0)
    inputs = (
        torch.from_numpy(rng.normal(size=(5, *shape)).astype(np.float32))
        if shape
        else torch.from_numpy(rng.integers(0, 20, (5, 9)))
    )
    labels = torch.from_numpy(rng.integers(0, 4, 5))
    flat = flatten_in_place(build(name, arguments, 1))
    rows = []
    for x, y in zip(inputs, labels, strict=True):
        flat.gradients.zero_()
        cross_entropy(flat.model(x[None]), y[None]).backward()
        rows.append(flat.gradients.clone())
    each = torch.stack(rows)
    clip = float(each.norm(dim=1).median())

    got = batch_gradient(flat, inputs, labels, clip)
    assert torch.allclose(got.norms, each.norm(dim=1), atol=1e-5)
    clipped = each / (each.norm(dim=1, keepdim=True) / clip).clamp(min=1.0)
    assert torch.allclose(got.total, clipped.sum(0), atol=1e-5)
    assert torch.allclose(batch_gradient(flat, inputs, labels).total, each.sum(0), atol=1e-5)
    empty = batch_gradient(flat, inputs[:0], labels[:0], clip)
    assert not empty.total.any()
    assert not len(empty.norms)


def test_measuring_changes_no_step():
    records, plan = as_records(*separable(1)), LocalPlan(1, 32, 0.05, 0.8, 3)
    vectors, losses = [], []
    for measured in (False, True):
        flat = flatten_in_place(build("mlp", SMALL, 1))
        steps = steps_for(flat, plan)
        steps = MeasuredSteps(flat, steps) if measured else steps
        losses.append(run_epoch(steps, flat, records, plan, torch.Generator().manual_seed(3), 0))
        vectors.append(flat.vector())
    assert vectors[0].tobytes() == vectors[1].tobytes()
    assert losses[0] == pytest.approx(losses[1])


class Scripted:
    """Draws the test knows: every record of the first batch, none of the second, and so on; noise of all ones."""

    def __init__(self):
        self.batches = 0

    def chosen(self, probability, count):
        assert probability == 16 / 40
        self.batches += 1
        return np.arange(count) if self.batches % 2 else np.arange(0)

    def normal(self, count):
        return np.ones(count)


@pytest.mark.parametrize("fixed", [0.0, 0.07])
def test_the_last_epoch_is_algorithm_2_step_by_step(fixed):
    """With a threshold from the two clean epochs, and with a fixed one: the baseline of the paper's tables."""
    features, labels = separable(2, records=40)
    records, plan = as_records(features, labels), LocalPlan(3, 16, 0.1, 0.8, 3)
    vector = parameter_vector(build("mlp", SMALL, 1))
    settings = PaperSettings(sigma=0.5, clip_floor=1e-6, clip=fixed)
    got = paper_train(build("mlp", SMALL, 1), vector, records, plan, settings, Scripted())

    # The two clean epochs, and the mean norms that they show, with the plain parts.
    flat = flatten_in_place(build("mlp", SMALL, 1))
    flat.load(vector)
    steps, generator, means = steps_for(flat, plan), torch.Generator().manual_seed(3), []
    for epoch in range(2):
        measured = MeasuredSteps(flat, steps)
        run_epoch(measured, flat, records, plan, generator, epoch)
        means.append(measured.mean_norm())
    clip = fixed or clipping_threshold(means[1], means[0], 1e-6)
    assert clip < means[1] or not fixed
    # ceil(40 / 16) = 3 batches: all, none, all; every one divided by the expected 16, no momentum.
    for step in range(3):
        rows = slice(0, 40 if step % 2 == 0 else 0)
        total = batch_gradient(flat, records.features[rows], records.labels[rows], clip).total
        flat.values.sub_((total + 0.5 * clip) / 16, alpha=0.1)
    assert np.abs(got.vector - flat.vector()).max() < 1e-6
    assert len(got.losses) == 3


def test_without_noise_and_clipping_the_clean_epochs_are_plain_training():
    records, vector = as_records(*separable(2)), parameter_vector(build("mlp", SMALL, 1))
    plan = LocalPlan(5, 32, 0.05, 0.8, 3)
    clean = local_train(build("mlp", SMALL, 1), vector, records, LocalPlan(4, 32, 0.05, 0.8, 3))
    seen = []
    paper_train(
        build("mlp", SMALL, 1),
        vector,
        records,
        plan,
        PaperSettings(),
        SecureRandom(1),
        lambda done, epochs, loss: seen.append(loss),
    )
    assert seen[:4] == pytest.approx(list(clean.losses), abs=1e-5)


def test_a_paper_round_runs_when_allowed_and_reports_no_guarantee():
    job = RoundJob("mlp", 3, 32, 0.05, 0.8, 0, 1, privacy="paper", allow_no_guarantee=True, arguments=SMALL)
    base = initial_model("mlp", SMALL, 1)
    one, other = (run_round(job, separable(1), None, base, None) for _ in range(2))
    assert (one.privacy.mode, one.privacy.guarantee, one.privacy.epsilon) == ("paper", "none", None)
    # The noise comes from the operating system: no seed of the job repeats it.
    assert one.update_q.tobytes() != other.update_q.tobytes()


@pytest.mark.parametrize(
    ("name", "allowed", "told"),
    [
        ("paper", False, "does not allow it"),
        ("dp", True, "want one of none, paper, sound, distributed"),
    ],
)
def test_modes_that_are_not_to_be_had_are_refused(name, allowed, told):
    with pytest.raises(PrivacyRefused, match=told):
        privacy_mode(name, allowed)


def test_terms_are_checked_before_anybody_joins():
    check_privacy("paper", {"sigma": "1.5"})
    for name, settings in (("paper", {"epsilon": "2"}), ("none", {"sigma": "1"}), ("paper", {"sigma": "-1"})):
        with pytest.raises(PrivacyRefused):
            check_privacy(name, settings)
    with pytest.raises(PrivacyRefused, match="at least 3"):
        paper_train(
            build("mlp", SMALL, 1),
            parameter_vector(build("mlp", SMALL, 1)),
            as_records(*separable(1)),
            LocalPlan(2, 32, 0.1, 0.8, 0),
            PaperSettings(),
            SecureRandom(1),
        )
    assert [note.name for note in notes("paper")] == ["sigma", "clip_floor", "clip"]
    assert notes("none") == ()


def test_secure_noise_is_normal_and_unrepeatable_without_a_seed():
    drawn = SecureRandom(7).normal(400_001)
    assert np.array_equal(drawn, SecureRandom(7).normal(400_001))
    assert not np.array_equal(SecureRandom().normal(8), SecureRandom().normal(8))
    # Standard errors at this size: mean .0016, variance .0022, kurtosis .0077; five of each.
    assert abs(drawn.mean()) < 0.008
    assert abs(drawn.var() - 1) < 0.011
    assert abs((drawn**4).mean() - 3) < 0.08
    # torch's float32 normals never pass 5.77; expected beyond 3.9 here: 38.
    assert 10 < (np.abs(drawn) > 3.9).sum() < 80


def test_poisson_sampling_picks_each_record_on_its_own():
    random = SecureRandom(3)
    counts = np.zeros(200)
    sizes = []
    for _ in range(2000):
        chosen = random.chosen(0.16, 200)
        counts[chosen] += 1
        sizes.append(len(chosen))
    # Binomial: 320 +- 16.4 a record, batch sizes 32 with variance 26.9.
    assert np.abs(counts - 320).max() < 5 * 16.4
    assert 22 < np.var(sizes) < 32
    assert len(random.chosen(1.0, 9)) == 9
    assert len(random.chosen(0.0, 9)) == 0
    with pytest.raises(ValueError, match="want 0 to 1"):
        random.chosen(1.1, 9)
