"""Metrics against counts made by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fl import evaluate as evaluation
from fl.batches import UnusableTable, as_records
from fl.evaluate import evaluate, own_accuracy
from fl.models.registry import build
from fl.vectors import parameter_vector
from tests.support.learning import separable


class Says(nn.Module):
    """Answers what its input says: the records' features are the logits."""

    def forward(self, records):
        return records


def answers(*told, classes=3):
    return np.eye(classes, dtype=np.float32)[list(told)] * 9


def test_every_figure_of_six_records():
    # truth 0 0 0 1 1 1, answers 0 0 1 1 1 2; class 2 has no record but is named once.
    result = evaluate(Says(), as_records(answers(0, 0, 1, 1, 1, 2), np.array([0, 0, 0, 1, 1, 1])))
    assert result.confusion.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]
    assert (result.records, result.correct, result.accuracy_micro) == (6, 4, 666_666)
    assert result.recall[:2].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert np.isnan(result.recall[2])
    assert result.macro_f1 == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)


def test_a_class_that_never_occurs_does_not_count():
    result = evaluate(Says(), as_records(answers(0, 1, classes=9), np.array([0, 1])))
    assert (result.macro_f1, result.accuracy_micro) == (1.0, 1_000_000)


def test_own_accuracy_weighs_recall_by_the_factorys_classes():
    result = evaluate(Says(), as_records(answers(0, 0, 1, 1, 1, 0), np.array([0, 0, 0, 1, 1, 1])))
    assert own_accuracy(result, np.array([30, 10, 0])) == pytest.approx(2 / 3)
    assert own_accuracy(result, np.array([1, 0, 50])) == pytest.approx(2 / 3)
    assert np.isnan(own_accuracy(result, np.array([0, 0, 5])))
    with pytest.raises(UnusableTable, match="3 classes"):
        own_accuracy(result, np.array([1, 2]))


def test_batches_add_up_to_the_whole(monkeypatch):
    features, labels = separable(3, records=101)
    model = build("mlp", {}, 1)
    whole = evaluate(model, as_records(features, labels))
    monkeypatch.setattr(evaluation, "BATCH", 7)
    parts = evaluate(model, as_records(features, labels))
    assert parts.confusion.tolist() == whole.confusion.tolist()
    with torch.no_grad():
        want = float(cross_entropy(model(torch.from_numpy(features)), torch.from_numpy(labels)))
    assert parts.loss == pytest.approx(want, abs=1e-6)
    assert whole.loss == pytest.approx(want, abs=1e-6)


def test_a_given_vector_is_what_is_tested():
    records = as_records(*separable(3))
    vector = parameter_vector(build("mlp", {}, 8))
    model = build("mlp", {}, 1)
    model.eval()
    assert evaluate(model, records, vector).loss == evaluate(build("mlp", {}, 8), records).loss
    assert not model.training
    with pytest.raises(UnusableTable, match="24604 parameters"):
        evaluate(model, records, vector[:-1])


def test_every_position_of_a_text_counts():
    codes = np.random.default_rng(0).integers(0, 20, (5, 12))
    model = build("char-lstm", {"vocabulary": "20", "hidden": "8", "predict": "all"}, 1)
    assert evaluate(model, as_records(codes, codes)).records == 60


def test_labels_and_features_that_do_not_fit_are_refused():
    model = build("mlp", {}, 1)
    for features, labels in (
        (np.zeros((2, 8), np.float32), np.array([0, 4])),
        (np.zeros((2, 9), np.float32), np.array([0, 1])),
    ):
        with pytest.raises(UnusableTable):
            evaluate(model, as_records(features, labels))
