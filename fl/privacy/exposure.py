"""What models in files give away of who was in their training: a factory attacks its own federation's releases.

A measurement and no test of a claim: nobody tossed a coin for which record trained, so the two kinds may differ in more
than that. The test with coins, which can refute a claim, is membership.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records, UnusableTable
from fl.fixed_point import Floats
from fl.privacy.confidence import CONFIDENCE, Guesses, advantage_between
from fl.privacy.membership import RECORDS_LEAST, record_losses

# Every other record chooses the threshold, the rest is counted.
CHOOSING, COUNTED = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True, slots=True)
class ExposureReport:
    """How far releases tell `members` training records from `others` that no training saw.

    `auc`: the probability that a training record looks more like one; `advantage`, between `low` and `high` with the
    usual confidence: true less false positives at a threshold that was chosen on other records.
    """

    attack: str
    members: int
    others: int
    auc: float
    advantage: float
    low: float
    high: float


def exposure(model: nn.Module, releases: Sequence[Floats], members: Records, others: Records) -> ExposureReport:
    """Attack `releases` (float32 [n] each, oldest first) by the records' losses and, where there are several, by how
    far the losses fell. Raises UnusableTable for too few records or records the model does not take.
    """
    least = 2 * RECORDS_LEAST
    if min(len(members), len(others)) < least or not releases:
        raise UnusableTable(
            f"{len(members)} members, {len(others)} others and {len(releases)} models, want at least {least} records "
            "of each kind and one model"
        )
    first, last = releases[0], releases[-1]
    ends = [record_losses(model, each, last) for each in (members, others)]
    attacks = {"loss": (-ends[0], -ends[1])}
    if len(releases) > 1:
        starts = [record_losses(model, each, first) for each in (members, others)]
        attacks["fall"] = starts[0] - ends[0], starts[1] - ends[1]
    gaps = {name: _best_gap(ins[CHOOSING], outs[CHOOSING]) for name, (ins, outs) in attacks.items()}
    attack = max(gaps, key=lambda name: gaps[name][0])
    ins, outs = (each[COUNTED] for each in attacks[attack])
    threshold = gaps[attack][1]
    guesses = Guesses(int((ins >= threshold).sum()), len(ins), int((outs >= threshold).sum()), len(outs))
    low, high = advantage_between(guesses, CONFIDENCE)
    return ExposureReport(attack, len(members), len(others), _auc(ins, outs), guesses.advantage, low, high)


def _best_gap(ins: NDArray[np.float64], outs: NDArray[np.float64]) -> tuple[float, float]:
    """(gap, threshold): where the share of `ins` at or above it exceeds that of `outs` most."""
    thresholds = np.unique(np.concatenate([ins, outs]))
    caught = 1.0 - np.searchsorted(np.sort(ins), thresholds) / len(ins)
    alarms = 1.0 - np.searchsorted(np.sort(outs), thresholds) / len(outs)
    at = int((caught - alarms).argmax())
    return float((caught - alarms)[at]), float(thresholds[at])


def _auc(ins: NDArray[np.float64], outs: NDArray[np.float64]) -> float:
    ordered = np.sort(outs)
    below = np.searchsorted(ordered, ins, "left") + np.searchsorted(ordered, ins, "right")
    return float(below.mean() / (2 * len(outs)))
