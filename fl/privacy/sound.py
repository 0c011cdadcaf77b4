"""Sound training: SGD in which every step is clipped and noised, so that (epsilon, delta) holds for what leaves.

A step draws every unit (a record, or a group of records) on its own with the stated rate, clips the gradient of each to
C, adds N(0, sigma^2 C^2) from ChaCha20 in float64, and divides by the *expected* batch and by C. The number of steps,
the rate and N depend on no record; an empty batch is a step of noise alone. Adjacency: one unit's records replaced by
nothing, the number of units N public (it is on the ledger for the rewards). Accounting: accountant.py; the node charges
before it calls this. Abadi et al. 2016 (arXiv 1607.00133); the normalised step as in De et al. 2022 (arXiv 2204.13650).

What this cannot hide: how long a step takes, which depends on the batch drawn; and noise is added in float64 numbers,
not in reals: the update's rounding to fixed point takes their low bits away, which is practice, not proof.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.batches import Records, UnusableTable, as_input
from fl.devices import own_random_state
from fl.fixed_point import Floats
from fl.privacy.clipper_choice import clipper_for
from fl.privacy.clipping import ClippedSum, Clipper
from fl.privacy.quantile import Clipping, clipping_of
from fl.privacy.sampling import Sampling
from fl.privacy.secure_random import SecureRandom
from fl.privacy.terms import PrivacyRefused, SoundSettings
from fl.train import STRAIGHT, Bent, Diverged, Progress, TrainResult, bends
from fl.vectors import FlatModel, flatten_in_place

CPU = torch.device("cpu")
# Below this no accountant gives a useful number, and some never end.
SIGMA_LEAST = 0.3


@dataclass(frozen=True, slots=True)
class SoundPlan:
    """How a round is trained: `sigma` is what was charged for, `sampling` the rate and steps it was charged with.

    `past_clips`: C at the ends of earlier epochs, for the clip rules that go on from them. `proximal`: FedProx's mu.
    `steps_max`: training ends after so many steps, 0 for all of them. It is charged for all, and must not depend on
    records but through what noise has covered.
    """

    settings: SoundSettings
    sigma: float
    sampling: Sampling
    epochs: int
    lr: float
    momentum: float = 0.0
    proximal: float = 0.0
    past_clips: tuple[float, ...] = ()
    steps_max: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= SIGMA_LEAST):
            raise PrivacyRefused(f"privacy mode sound with a noise multiplier of {self.sigma:g}, want {SIGMA_LEAST:g}")
        if self.epochs < 1 or self.sampling.steps % self.epochs:
            raise ValueError(f"{self.sampling.steps} steps in {self.epochs} epochs, want as many in each")
        if not (0 < self.lr <= 1000 and 0 <= self.momentum < 1 and 0 <= self.proximal <= 1000):
            raise ValueError(f"lr {self.lr}, momentum {self.momentum}, proximal {self.proximal}, out of range")


class Units:
    """The units of privacy of a table, and the rows of each. `groups`: int64 [n], None when every record is one."""

    def __init__(self, records: int, groups: NDArray[np.int64] | None, device: torch.device = CPU) -> None:
        if groups is not None and groups.shape != (records,):
            raise UnusableTable(f"groups of shape {groups.shape} for {records} records, want [{records}]")
        self._rows: Sequence[Tensor] | None = None
        self.count = records
        if groups is not None:
            order = np.argsort(groups, kind="stable")
            _, starts = np.unique(groups[order], return_index=True)
            self._rows = [torch.from_numpy(part).to(device) for part in np.split(order, starts[1:])]
            self.count = len(self._rows)

    def clipped_sum(self, clipper: Clipper, records: Records, chosen: NDArray[np.intp], clip: float) -> ClippedSum:
        """The sum over the chosen units of their clipped gradients."""
        if self._rows is None:
            rows = torch.from_numpy(chosen).to(records.features.device)
            return clipper.of_records(
                as_input(records.features.index_select(0, rows)), records.labels.index_select(0, rows), clip
            )
        return clipper.of_groups(records, [self._rows[unit] for unit in chosen], clip)


def sound_train(
    model: nn.Module,
    vector: Floats,
    records: Records,
    plan: SoundPlan,
    random: SecureRandom,
    groups: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
    bent: Bent = STRAIGHT,
) -> TrainResult:
    """Train from `vector`, float32 [n], which must be a function of released numbers only; `groups` int64 [records].

    So must what bends the gradients: it is added to them after the noise, as the proximal pull is (post-processing).

    Losses and norms in the result are raw statistics of the records: for this factory's eyes only. Raises
    PrivacyRefused for a model with a layer that mixes records, VectorMismatch, UnusableTable, Diverged.
    """
    flat = flatten_in_place(model)
    clipper = clipper_for(flat)
    flat.load(vector)
    model.train()
    units = Units(len(records), groups, records.features.device)
    if units.count > plan.sampling.units:
        raise UnusableTable(f"{units.count} units of privacy, charged for were {plan.sampling.units}")
    clipping = clipping_of(plan.settings, plan.sigma, plan.sampling.batch, plan.past_clips)
    steps = _NoisySteps(flat, plan, bent)
    losses: list[float] = []
    norms: list[float] = []
    # A model may draw (dropout): nobody outside shall know what.
    with own_random_state(flat.values.device, int(random.words(1)[0] >> np.uint64(1))):
        for epoch in range(plan.epochs):
            loss = _epoch(units, clipper, records, clipping, steps, random)
            clipping.epoch_ended()
            # What was released diverged, not a record: stopping here tells nothing that the update would not.
            if not bool(flat.values.isfinite().all()):
                raise Diverged(epoch, plan.sampling.steps // plan.epochs - 1, "a parameter is not finite any more")
            losses.append(loss)
            norms.append(steps.gradient_norm)
            if progress is not None:
                progress(epoch + 1, plan.epochs, loss)
            if steps.taken == steps.most:
                break
    return TrainResult(flat.vector(), steps.taken, tuple(losses), tuple(norms), clipping.past)


def _epoch(
    units: Units, clipper: Clipper, records: Records, clipping: Clipping, steps: "_NoisySteps", random: SecureRandom
) -> float:
    """One pass; the mean loss over the records drawn."""
    loss_sum, drawn = 0.0, 0
    for _ in range(min(steps.per_epoch, steps.most - steps.taken)):
        chosen = random.chosen(steps.rate, steps.units)
        # Units that were counted and are not there are drawn as well, and add nothing: what zeroing them out means.
        chosen = chosen[chosen < units.count]
        clip = clipping.threshold
        summed = units.clipped_sum(clipper, records, chosen, clip)
        steps.take(summed.total, clip, clipping.sigma, random)
        clipping.observe(summed.norms, random)
        loss_sum += summed.loss_sum
        drawn += summed.records
    return loss_sum / max(1, drawn)


class _NoisySteps:
    """Noise, normalisation, momentum: from a sum of clipped gradients to the next weights."""

    def __init__(self, flat: FlatModel, plan: SoundPlan, bent: Bent) -> None:
        self._flat, self._plan = flat, plan
        self._velocity = torch.zeros_like(flat.values)
        self._origin, self._correction = bends(flat, plan.proximal, bent.checked(len(flat.values)))
        self.most = min(plan.sampling.steps, plan.steps_max or plan.sampling.steps)
        self.taken = 0
        self.rate = plan.sampling.rate
        self.units = plan.sampling.units
        self.per_epoch = plan.sampling.steps // plan.epochs
        self._last = self._velocity

    def take(self, total: Tensor, clip: float, sigma: float, random: SecureRandom) -> None:
        """One step with (total + N(0, sigma^2 clip^2)) / (expected batch * clip)."""
        plan, flat = self._plan, self._flat
        noised = random.normal(len(total), sigma * clip)
        noised += total.cpu().numpy()
        # By the expected batch, not the drawn one, which is a secret of the records.
        share = 1.0 / (plan.sampling.batch * clip)
        gradient = torch.from_numpy(noised).float().to(flat.values.device).mul_(share)
        if self._origin is not None:
            gradient.add_(flat.values - self._origin, alpha=plan.proximal)
        if self._correction is not None:
            gradient.add_(self._correction)
        if plan.momentum:
            # The velocity is made of noised gradients only.
            gradient = self._velocity.mul_(plan.momentum).add_(gradient)
        flat.values.sub_(gradient, alpha=plan.lr)
        self._last = gradient
        self.taken += 1

    @property
    def gradient_norm(self) -> float:
        """Of the last step taken."""
        return float(self._last.norm())
