"""Accuracy on a client's own mix of classes where all clients share one test table: only the classes it has are tested.

The share of each class that is recognised, weighted by the client's training records ([DLMU]'s personal reading;
fl.evaluate.own_accuracy). The table is kept sorted by class, so that no client's part of it is ever copied.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records, as_records
from fl.evaluate import Evaluation, evaluate, own_accuracy
from fl.fixed_point import Floats
from fl.simulate.engines.base import Rows


class CommonTest:
    """A test table by class, on the device that tests."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        features, labels = rows
        order = np.argsort(labels, kind="stable")
        self._records = as_records(np.ascontiguousarray(features[order]), labels[order]).to(device)
        ends = np.cumsum(np.bincount(labels))
        self._starts = [0, *ends.tolist()]

    def own_accuracy(self, model: nn.Module, vector: Floats, class_counts: NDArray[np.int64]) -> float | None:
        """Of `vector`, float32 [n], on the mix of `class_counts`, int64 [classes]; None where no test record fits."""
        found: Evaluation | None = None
        for first, last in self._runs(class_counts):
            part = Records(self._records.features[first:last], self._records.labels[first:last])
            # The parameters are set with the first run, and stay.
            tested = evaluate(model, part, vector if found is None else None)
            found = tested if found is None else Evaluation(0.0, found.confusion + tested.confusion)
        return None if found is None else own_share(found, class_counts)

    def _runs(self, class_counts: NDArray[np.int64]) -> list[tuple[int, int]]:
        """[first, last) rows of the classes that there are any of, neighbours joined."""
        runs: list[tuple[int, int]] = []
        for place in np.flatnonzero(class_counts[: len(self._starts) - 1]).tolist():
            first, last = self._starts[place], self._starts[place + 1]
            if runs and runs[-1][1] == first:
                runs[-1] = (runs[-1][0], last)
            elif first < last:
                runs.append((first, last))
        return [(first, last) for first, last in runs if first < last]


def own_share(evaluation: Evaluation, class_counts: NDArray[np.int64]) -> float | None:
    """fl.evaluate.own_accuracy, None in place of NaN; a model may name more classes than the records have."""
    counts = np.zeros(len(evaluation.confusion), np.int64)
    counts[: len(class_counts)] = class_counts
    share = own_accuracy(evaluation, counts)
    return None if np.isnan(share) else share
