"""Fitting the model that a factory uses itself to the classes it has: a shift of the last layer's bias, no more.

A global model expects the classes as often as all factories together have them. A factory that knows two of ten faults
errs less when its model expects those two. The shift is the maximum likelihood one: with it the model's answers on the
factory's own records name every class, on average, about as often as it occurs there. So a model that expects the right
classes already is left as it is, whatever they are; adding the logarithm of the shares would count them twice. It is
the correction for label shift of Saerens, Latinne and Decaestecker (Neural Computation 14, 2002), with the shares known
and the model's expectation unknown.

What is served never leaves the factory: no noise covers the counts that go into it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records, as_input
from fl.devices import home_of
from fl.evaluate import set_parameters
from fl.fixed_point import Floats
from fl.strategies.base import Layout

# A share is known to some 1 % from so many records; more would only take time.
RECORDS_MAX = 4096
BATCH = 512
# What keeps the shift small where a model is sure of itself: a thousandth of all answers named otherwise
# is worth a shift of some tenths and no more. Without it a model that was always right was shifted until it erred.
RIDGE = 0.002
TURNS_MAX = 50
CLOSE_ENOUGH = 1e-6
SHORTEST = 1e-6


def output_bias(layout: Layout) -> slice | None:
    """Where the bias of the last layer lies: the last tensor, a row of as many numbers as the one before has rows.

    None for a model that does not end so: then nothing can be shifted.
    """
    if len(layout.shapes) < 2:
        return None
    (_, weight), (_, bias) = layout.shapes[-2:]
    if len(bias) != 1 or len(weight) < 2 or weight[0] != bias[0]:
        return None
    return slice(layout.count - bias[0], layout.count)


def fit_to_classes(model: nn.Module, vector: Floats, layout: Layout, records: Records, unseen: float) -> Floats | None:
    """`vector`, float32 [n], with its output bias fitted to the classes of `records`; None where it has none.

    `unseen`: the share of what the factory will meet that is spread evenly over all classes, so that the ones it lacks
    can still be named; 0 < unseen <= 1. The model keeps the parameters of `vector`. Raises UnusableTable for records
    that do not fit the model.
    """
    assert 0 < unseen <= 1
    place = output_bias(layout)
    if place is None:
        return None
    set_parameters(model, vector)
    scores, labels = _scores(model, records)
    if scores.shape[1] != place.stop - place.start or int(labels.max()) >= scores.shape[1]:
        return None
    counts = np.bincount(labels, minlength=scores.shape[1])
    shift = class_shift(scores, counts, unseen)
    if not bool(np.isfinite(shift).all()):
        return None
    fitted = vector.copy()
    fitted[place] += shift
    return fitted


def class_shift(
    scores: NDArray[np.float64], counts: NDArray[np.int64], unseen: float, ridge: float = RIDGE
) -> NDArray[np.float32]:
    """What to add to the scores (logits, [records, classes]) so that they name class c in the mean about as often as

        (1 - unseen) * counts[c] / sum(counts) + unseen / classes

    says: the minimum of mean(log sum exp(scores + s)) - wanted . s + ridge / 2 |s|^2, by Newton's method. float32
    [classes]; not finite when the scores are not.
    """
    classes = len(counts)
    wanted = (1 - unseen) * counts / counts.sum() + unseen / classes
    shift = np.zeros(classes)
    if not bool(np.isfinite(scores).all()):
        return np.full(classes, np.nan, np.float32)
    value, chances = _value(scores, shift, wanted, ridge)
    for _ in range(TURNS_MAX):
        gradient = chances.mean(axis=0) - wanted + ridge * shift
        if float(np.abs(gradient).max()) < CLOSE_ENOUGH:
            break
        curvature = np.diag(chances.mean(axis=0)) - chances.T @ chances / len(scores) + ridge * np.eye(classes)
        step = np.linalg.solve(curvature, gradient)
        # Far away the whole step may lead too far; the function is convex, so a shorter one leads down.
        length = 1.0
        while length > SHORTEST:
            there, moved = _value(scores, shift - length * step, wanted, ridge)
            if there <= value:
                break
            length /= 2
        shift, value, chances = shift - length * step, there, moved
    return shift.astype(np.float32)


def _value(
    scores: NDArray[np.float64], shift: NDArray[np.float64], wanted: NDArray[np.float64], ridge: float
) -> tuple[float, NDArray[np.float64]]:
    """The function that is minimised, and the chances [records, classes] that shifted scores give."""
    shifted = scores + shift
    highest = shifted.max(axis=1, keepdims=True)
    chances = np.exp(shifted - highest)
    sums = chances.sum(axis=1, keepdims=True)
    value = float((highest + np.log(sums)).mean() - wanted @ shift + ridge / 2 * (shift @ shift))
    return value, chances / sums


def _scores(model: nn.Module, records: Records) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits [answers, classes] and labels [answers] of records spread evenly over the table."""
    device = home_of(model)
    rows = torch.arange(len(records), device=records.features.device)
    if len(rows) > RECORDS_MAX:
        rows = rows[:RECORDS_MAX] * len(records) // RECORDS_MAX
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores = [_rows_of(model(as_input(records.features[part].to(device)))) for part in torch.split(rows, BATCH)]
    finally:
        model.train(training)
    return torch.cat(scores).cpu().numpy().astype(np.float64), records.labels[rows].reshape(-1).cpu().numpy()


def _rows_of(logits: torch.Tensor) -> torch.Tensor:
    """[batch, classes], or [batch, classes, time] as cross-entropy takes it, to one row an answer."""
    return logits if logits.dim() == 2 else logits.movedim(1, -1).reshape(-1, logits.shape[1])
