"""The served model's output bias, fitted to the classes of a factory, against the likelihood that it maximises."""

import numpy as np
import pytest
import torch
from torch import nn

from fl.batches import as_records
from fl.class_fit import RECORDS_MAX, class_shift, fit_to_classes, output_bias
from fl.evaluate import evaluate
from fl.models.registry import build
from fl.models.shapes import parameter_shapes
from fl.strategies.base import Layout
from fl.vectors import parameter_vector
from tests.support.learning import separable

MLP = {"layers": "8,16,4"}


def shift_by_descent(scores, wanted, ridge):
    """The same minimum by plain gradient descent: mean(log sum exp(score + s)) - wanted . s + ridge / 2 |s|^2."""
    shift = torch.zeros(len(wanted), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([shift], lr=2.0, momentum=0.9)
    for _ in range(4000):
        optimiser.zero_grad()
        loss = torch.logsumexp(torch.from_numpy(scores) + shift, 1).mean() - (torch.from_numpy(wanted) * shift).sum()
        loss = loss + ridge / 2 * (shift * shift).sum()
        loss.backward()
        optimiser.step()
    return shift.detach().numpy()


@pytest.mark.parametrize("ridge", [0.002, 0.05])
@pytest.mark.parametrize("seed", range(2))
def test_the_shift_is_the_most_likely_one(seed, ridge):
    rng = np.random.default_rng(seed)
    scores, counts = rng.normal(0, 2, (300, 5)), rng.multinomial(300, [0.5, 0.3, 0.15, 0.05, 0.0])

    shift = class_shift(scores, counts, 0.05, ridge)

    wanted = 0.95 * counts / 300 + 0.05 / 5
    assert np.abs(shift - shift_by_descent(scores, wanted, ridge)).max() < 2e-3
    shifted = np.exp(scores + shift)
    named = (shifted / shifted.sum(1, keepdims=True)).mean(0)
    assert np.allclose(named + ridge * shift, wanted, atol=1e-5)


def test_a_model_that_is_sure_and_right_is_left_as_it_is():
    """What was never wrong on the own records is not shifted until it is."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 4, 400)
    scores = rng.normal(0, 1, (400, 4))
    scores[np.arange(400), labels] += 25.0
    counts = np.bincount(labels, minlength=4)
    assert np.abs(class_shift(scores, counts, 0.01)).max() < 1.5
    assert np.abs(class_shift(scores, counts, 0.01, ridge=1e-9)).max() > 5


def test_hard_scores_are_no_trouble():
    rng = np.random.default_rng(8)
    scores = rng.normal(0, 200, (100, 6))
    shift = class_shift(scores, np.array([100, 0, 0, 0, 0, 0]), 0.001)
    assert np.isfinite(shift).all()
    assert shift[0] == shift.max()


def test_a_model_that_expects_the_right_classes_is_left_as_it_is():
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 2, (4000, 3)) + np.log([0.9, 0.09, 0.01])
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    counts = np.round(chances.sum(0)).astype(np.int64)

    # Rare classes stay as likely as they were; adding the logarithm of the shares would have made them 100 times rarer.
    assert np.abs(class_shift(scores, counts, unseen=1e-9)).max() < 0.01


def test_a_class_that_is_not_there_can_still_be_named():
    scores = np.random.default_rng(2).normal(0, 1, (200, 4))
    sure = scores[:1].copy()
    sure[0, 3] = 12.0

    shift = class_shift(scores, np.array([100, 100, 0, 0]), unseen=0.01)

    assert shift[2:].max() < shift[:2].min() - 3
    assert (sure + shift).argmax() == 3


def test_more_unseen_means_less_shift():
    scores, counts = np.random.default_rng(3).normal(0, 1, (200, 4)), np.array([100, 100, 0, 0])
    spans = [float(np.ptp(class_shift(scores, counts, unseen))) for unseen in (0.001, 0.01, 0.1, 1.0)]
    assert spans == sorted(spans, reverse=True)


def test_scores_that_never_name_a_class_end_within_bounds():
    scores = np.zeros((50, 3))
    scores[:, 2] = -1e4
    assert np.isfinite(class_shift(scores, np.array([20, 20, 10]), 0.01)).all()
    scores[0, 0] = np.nan
    assert not np.isfinite(class_shift(scores, np.array([20, 20, 10]), 0.01)).all()


def test_only_the_output_bias_moves_and_own_records_are_named_better():
    layout = Layout(parameter_shapes("mlp", MLP))
    model = build("mlp", MLP, 3)
    vector = parameter_vector(model).copy()
    features, labels = separable(1, records=400)
    keep = labels < 2
    own = as_records(features[keep], labels[keep])

    fitted = fit_to_classes(model, vector, layout, own, 0.01)

    assert np.flatnonzero(fitted != vector).min() >= layout.count - 4
    assert evaluate(model, own, fitted).accuracy > evaluate(model, own, vector).accuracy
    assert fitted.dtype == np.float32
    assert model.training


def test_a_large_table_is_fitted_by_records_from_all_of_it():
    layout = Layout(parameter_shapes("mlp", MLP))
    model = build("mlp", MLP, 3)
    vector = parameter_vector(model).copy()
    many = 3 * RECORDS_MAX
    features = np.random.default_rng(1).normal(size=(many, 8)).astype(np.float32)
    labels = np.repeat(np.arange(3), RECORDS_MAX)
    fitted = fit_to_classes(model, vector, layout, as_records(features, labels), 0.01)
    shift = fitted[-4:] - vector[-4:]
    assert shift[3] < shift[:3].min() - 2


@pytest.mark.parametrize(
    ("shapes", "place"),
    [
        ((("a", (4, 8)), ("b", (4,))), slice(32, 36)),
        ((("a", (4, 8)), ("b", (8,))), None),
        ((("a", (4, 8)),), None),
        ((("b", (4,)),), None),
        ((("a", (4,)), ("b", (4,))), None),
    ],
)
def test_where_the_output_bias_lies(shapes, place):
    assert output_bias(Layout(shapes)) == place


@pytest.mark.parametrize("name", ["mlp", "cnn", "cnn1d", "char-lstm"])
def test_every_model_of_the_registry_ends_in_a_bias_of_its_classes(name):
    model = build(name, {}, 0)
    place = output_bias(Layout(parameter_shapes(name, {})))
    last = list(model.parameters())[-1]
    assert place is not None
    assert place.stop - place.start == len(last)


def test_answers_at_every_position_are_fitted_too():
    arguments = {"vocabulary": "5", "embedding": "4", "hidden": "8", "layers": "1", "predict": "all"}
    model = build("char-lstm", arguments, 2)
    codes = np.random.default_rng(4).integers(0, 2, (20, 9))
    layout = Layout(parameter_shapes("char-lstm", arguments))
    vector = parameter_vector(model).copy()
    fitted = fit_to_classes(model, vector, layout, as_records(codes, codes), 0.01)
    shift = fitted[-5:] - vector[-5:]
    assert shift[2:].max() < shift[:2].min() - 2


def test_a_model_without_such_an_end_is_not_fitted():
    model = nn.Sequential(nn.Linear(8, 4, bias=False))
    features, labels = separable(1, records=40)
    assert (
        fit_to_classes(
            model, np.zeros(32, np.float32), Layout((("0.weight", (4, 8)),)), as_records(features, labels), 0.1
        )
        is None
    )
