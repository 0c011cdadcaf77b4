"""A masked round's training: one gradient over all records, clipped, in whole numbers, noised with others' help.

Every unit (a record, or a group) gives its gradient at the released global model, shortened to C, divided by C, in
steps of 2^-GRADIENT_BITS with the rest cut off towards zero. Cutting never lengthens, and the length is checked in
integers, so the sum of a table with and without one unit differs by at most 2^GRADIENT_BITS exactly (L2), whatever
floats did before. Integers add up without order or rounding; the noise is exact too (discrete_gaussian.py). What the
noise of all providers together is worth, and how much of it is one's own: shared_noise.py. Adjacency as in sound mode:
one unit's records replaced by nothing, the number of units public. The unit keeps its place: torch computes a record's
gradient from that record alone, in an order that the shape of the table decides and no other record.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.batches import Records, as_input
from fl.devices import own_random_state
from fl.fixed_point import Floats
from fl.masked_aggregate import GRADIENT_BITS
from fl.masking import Longs
from fl.privacy.clipper_choice import refuse_mixing_layers
from fl.privacy.clipping import PASS_RECORDS_MAX, record_losses, unusable
from fl.privacy.discrete_gaussian import discrete_gaussian
from fl.privacy.per_example import record_gradients
from fl.privacy.secure_random import SecureRandom
from fl.privacy.shared_noise import own_variance
from fl.train import Progress
from fl.vectors import FlatModel, flatten_in_place

ONE = 1 << GRADIENT_BITS
# What a float64 norm may be wrong by, millions of times over: cut off from this length no unit is longer than ONE.
LENGTH = ONE * (1.0 - 2.0**-20)
# float64 and int64 copies of gradients are made for so many numbers at a time (1 MiB each), one unit at least.
NUMBERS = 1 << 17


@dataclass(frozen=True, slots=True)
class DistributedPlan:
    """`noise`: the provider's own multiplier, as charged (fl.privacy.shared_noise.own_multiplier)."""

    noise: float
    clip: float


@dataclass(frozen=True, slots=True)
class NoisedGradient:
    """`sums`: int64 [n], to be masked. `loss` and `norm` (of the mean clipped gradient): raw statistics, they stay."""

    sums: Longs
    loss: float
    norm: float


def distributed_gradient(
    model: nn.Module,
    vector: Floats,
    records: Records,
    plan: DistributedPlan,
    random: SecureRandom,
    groups: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> NoisedGradient:
    """The noised sum over units of their clipped gradients at `vector`, float32 [n], the released global model.

    `groups`: int64 [records], None when every record is a unit. Raises PrivacyRefused for a model that mixes records
    and for too little noise, VectorMismatch, UnusableTable.
    """
    # Before anything is computed: a refusal must not depend on records.
    variance = own_variance(plan.noise)
    flat = flatten_in_place(model)
    refuse_mixing_layers(model)
    flat.load(vector)
    model.train()
    sums = np.zeros(len(vector), np.int64)
    loss_sum = 0.0
    # A model may draw (dropout): nobody outside shall know what.
    with own_random_state(flat.values.device, int(random.words(1)[0] >> np.uint64(1))):
        for gradients, losses in _unit_gradients(flat, records, groups):
            sums += whole_sum(gradients, plan.clip)
            loss_sum += losses
    norm = float(np.linalg.norm(sums / (ONE * len(records))))
    sums += discrete_gaussian(variance, len(sums), random)
    if progress is not None:
        progress(1, 1, loss_sum / len(records))
    return NoisedGradient(sums, loss_sum / len(records), norm)


def whole_sum(gradients: NDArray[np.float32], clip: float) -> Longs:
    """The sum of the rows of [units, n], each shortened to `clip` and in steps of clip * 2^-GRADIENT_BITS."""
    total = np.zeros(gradients.shape[1], np.int64)
    rows = max(1, NUMBERS // max(1, gradients.shape[1]))
    for start in range(0, len(gradients), rows):
        total += whole_rows(gradients[start : start + rows], clip).sum(0)
    return total


def whole_rows(gradients: NDArray[np.float32], clip: float) -> Longs:
    """int64 [units, n], every row at most ONE long. A row that is not finite counts for nothing."""
    exact = gradients.astype(np.float64)
    # A unit that breaks the arithmetic must not break the round, which would show that it is there.
    exact[~np.isfinite(exact).all(1)] = 0.0
    norms = np.sqrt((exact * exact).sum(1))
    exact *= (LENGTH / np.maximum(norms, clip))[:, None]
    steps = exact.astype(np.int64)
    # At most ONE each, so the squares of a row add up to little more than ONE^2 = 2^48, in whichever order.
    longest = int((steps * steps).sum(1).max(initial=0))
    assert longest <= ONE * ONE, f"a unit of length {math.sqrt(longest)}, want at most {ONE}"
    return steps


def _unit_gradients(
    flat: FlatModel, records: Records, groups: NDArray[np.int64] | None
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """(gradients float32 [units, n], the sum of their records' losses), a few units at a time."""
    if groups is None:
        for features, labels in zip(
            torch.split(records.features, PASS_RECORDS_MAX), torch.split(records.labels, PASS_RECORDS_MAX), strict=True
        ):
            inputs = as_input(features)
            try:
                for gradients, losses in record_gradients(flat, inputs, labels):
                    yield gradients.cpu().numpy(), float(losses.sum())
            except (IndexError, RuntimeError) as error:
                raise unusable(inputs, labels, error) from error
        return
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    for group in np.split(order, starts[1:]):
        rows = torch.from_numpy(group).to(records.features.device)
        flat.gradients.zero_()
        loss_sum = 0.0
        for part in torch.split(rows, PASS_RECORDS_MAX):
            inputs = as_input(records.features.index_select(0, part))
            losses = record_losses(flat.model, inputs, records.labels.index_select(0, part)).sum()
            losses.backward()  # type: ignore[no-untyped-call]
            loss_sum += float(losses.detach())
        yield flat.gradients.cpu().numpy()[None, :], loss_sum
