"""How good a model is on a table of records: confusion matrix, and what follows from it. Trains nothing."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from fl.batches import Records, UnusableTable, as_input
from fl.devices import home_of
from fl.fixed_point import Floats

MICRO = 1_000_000
# Large enough that the calls do not count, small enough that a picture network's activations stay below 100 MB.
BATCH = 512


@dataclass(frozen=True, slots=True)
class Evaluation:
    """confusion[i, j]: records of class i that the model takes for j, int64 [classes, classes]. loss: mean, nats."""

    loss: float
    confusion: NDArray[np.int64]

    @property
    def records(self) -> int:
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        return self.correct / self.records

    @property
    def accuracy_micro(self) -> int:
        """Accuracy in millionths, rounded down: the integer that may be attested."""
        return MICRO * self.correct // self.records

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class: the share of its records that are recognised, NaN for a class without records."""
        support = self.confusion.sum(1)
        share = np.full(len(support), np.nan)
        np.divide(np.diagonal(self.confusion), support, out=share, where=support > 0)
        return share

    @property
    def macro_f1(self) -> float:
        """Mean of 2 tp / (2 tp + fp + fn) over the classes that occur, in the records or in the answers."""
        hits = np.diagonal(self.confusion)
        named = self.confusion.sum(0) + self.confusion.sum(1)
        occurring = named > 0
        return float((2 * hits[occurring] / named[occurring]).mean())


def evaluate(model: nn.Module, records: Records, vector: Floats | None = None) -> Evaluation:
    """Test `model`, with the parameters of `vector` (float32 [n]) when one is given: it then keeps them.

    Raises UnusableTable when a label has no class in the model, or the model cannot take the features.
    """
    if vector is not None:
        set_parameters(model, vector)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _evaluate(model, records)
    finally:
        model.train(training)


def set_parameters(model: nn.Module, vector: Floats) -> None:
    """Copy `vector`, float32 [n], into the parameters in their order. Raises UnusableTable when n is another."""
    parameters = list(model.parameters())
    count = sum(each.numel() for each in parameters)
    if vector.shape != (count,):
        raise UnusableTable(f"a vector of shape {vector.shape} for a model of {count} parameters")
    with torch.no_grad():
        start = 0
        for each in parameters:
            part = torch.from_numpy(np.array(vector[start : start + each.numel()], np.float32)).to(each.device)
            each.copy_(part.view(each.shape))
            start += each.numel()


def _evaluate(model: nn.Module, records: Records) -> Evaluation:
    loss_sum, answers = 0.0, 0
    confusion: NDArray[np.int64] | None = None
    # Where the model is, the records are brought a batch at a time.
    device = home_of(model)
    for start in range(0, len(records), BATCH):
        labels = records.labels[start : start + BATCH].to(device)
        try:
            logits = model(as_input(records.features[start : start + BATCH].to(device)))
            loss_sum += float(cross_entropy(logits, labels, reduction="sum"))
        except (IndexError, RuntimeError) as error:
            raise UnusableTable(
                f"the model cannot be tested on features {tuple(records.features.shape[1:])} with labels up "
                f"to {int(labels.max())}: {error}"
            ) from error
        classes = logits.shape[1]
        if confusion is None:
            confusion = np.zeros((classes, classes), np.int64)
        cells = labels.reshape(-1) * classes + logits.argmax(1).reshape(-1)
        confusion += np.bincount(cells.cpu().numpy(), minlength=classes * classes).reshape(classes, classes)
        answers += labels.numel()
    assert confusion is not None, "as_records refuses an empty table"
    return Evaluation(loss_sum / answers, confusion)


def own_accuracy(evaluation: Evaluation, class_counts: NDArray[np.int64]) -> float:
    """Accuracy on a factory's own class mix: recall per class on a common test, weighted by the factory's records.

    `class_counts` is int64 [classes]. A class that the common test lacks is left out; NaN when that leaves none.
    """
    if class_counts.shape != (len(evaluation.confusion),):
        raise UnusableTable(f"class counts of shape {class_counts.shape} for {len(evaluation.confusion)} classes")
    recall = evaluation.recall
    known = np.isfinite(recall) & (class_counts > 0)
    total = int(class_counts[known].sum())
    return float((recall[known] * class_counts[known]).sum() / total) if total else float("nan")
