"""What a clipped sum of gradients is, and what all ways to one share. Which way is taken: clipper_choice.py.

A group of records is clipped as a whole: its gradient comes from a backward pass of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fl.batches import Records, UnusableTable, as_input
from fl.privacy.per_example import batch_gradient
from fl.vectors import FlatModel

# Sums are float32: what rounding adds must not carry a unit past C. A sum of B gradients may be wrong by some 2^-24 B C
# at the worst, and by the root of that number as a rule: a thousandth is enough for a thousand at the worst.
CLIP_MARGIN = 1.0 - 1e-3
# A pass holds the activations of so many records at most.
PASS_RECORDS_MAX = 256


@dataclass(frozen=True, slots=True)
class ClippedSum:
    """`total`: float32 [n], the sum over units of gradients no longer than C. `norms`: before clipping, float [units],
    infinite for one that is not finite and counts for nothing. `loss_sum`: over the `records` that were seen."""

    total: Tensor
    norms: Tensor
    loss_sum: float
    records: int


class Clipper(Protocol):
    """Clipped sums of one model's gradients at its present weights. An empty batch gives zeros."""

    def of_records(self, inputs: Tensor, labels: Tensor, clip: float) -> ClippedSum: ...

    def of_groups(self, records: Records, rows: Sequence[Tensor], clip: float) -> ClippedSum: ...


def clip_factors(norms: Tensor, clip: float) -> Tensor:
    """What each finite gradient is multiplied by, so that none stays longer than `clip`."""
    return (clip * CLIP_MARGIN / norms).clamp_(max=1.0)


class GroupClipping:
    """The part that every way shares: groups, one backward pass each."""

    def __init__(self, flat: FlatModel) -> None:
        self.flat = flat

    def of_groups(self, records: Records, rows: Sequence[Tensor], clip: float) -> ClippedSum:
        """`rows`: the records of each group, int64. Raises UnusableTable."""
        flat = self.flat
        total = torch.zeros_like(flat.values)
        norms = total.new_empty(len(rows))
        loss_sum, seen = 0.0, 0
        for at, group in enumerate(rows):
            flat.gradients.zero_()
            for part in torch.split(group, PASS_RECORDS_MAX):
                inputs = as_input(records.features.index_select(0, part))
                losses = record_losses(flat.model, inputs, records.labels.index_select(0, part)).sum()
                losses.backward()  # type: ignore[no-untyped-call]
                loss_sum += float(losses.detach())
            norm = flat.gradients.norm()
            seen += len(group)
            if not bool(norm.isfinite()):
                # A unit that breaks the arithmetic must not break the round, which would show that it is there.
                norms[at] = torch.inf
                continue
            norms[at] = norm
            total.add_(flat.gradients, alpha=float(clip_factors(norm, clip)))
        return ClippedSum(total, norms, loss_sum, seen)


class EachAlone(GroupClipping):
    """Every record goes through the model by itself: exact for any model at all."""

    def of_records(self, inputs: Tensor, labels: Tensor, clip: float) -> ClippedSum:
        try:
            found = batch_gradient(self.flat, inputs, labels, clip * CLIP_MARGIN)
        except (IndexError, RuntimeError) as error:
            raise unusable(inputs, labels, error) from error
        return ClippedSum(found.total, found.norms, found.loss_sum, len(inputs))


def record_losses(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """float [records]: each record's own loss, the mean over its positions when it has several.

    Raises UnusableTable when the model cannot take the records.
    """
    try:
        losses = cross_entropy(model(inputs), labels, reduction="none")
    except (IndexError, RuntimeError) as error:
        raise unusable(inputs, labels, error) from error
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def unusable(inputs: Tensor, labels: Tensor, error: Exception) -> UnusableTable:
    most = int(labels.max()) if labels.numel() else 0
    return UnusableTable(f"the model cannot take features {tuple(inputs.shape[1:])} with labels up to {most}: {error}")
