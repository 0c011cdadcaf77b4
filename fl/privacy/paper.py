"""DDP-SGD as published ([DLMU] 4.2, equation 2 and Algorithm 2): a reproduction, and no protection.

Epochs 0..E-2 train on the raw records and only the last one clips and adds noise, so what is released holds
un-noised training, and the threshold itself is a raw statistic of the records: no (eps, delta) holds for any finite
noise. The readings taken where the paper leaves a choice: C_{E-1} and C_{E-2} are the means of the per-record
gradient norms over the last two clean epochs, the threshold has a floor, and the noised epoch takes Algorithm 2's
plain step, without momentum.
"""

import math

import torch
from torch import Tensor, nn

from fl.batches import Records, as_input
from fl.devices import own_random_state
from fl.fixed_point import Floats
from fl.privacy.book_keeping import books_for
from fl.privacy.clipping import CLIP_MARGIN, Clipper, EachAlone
from fl.privacy.modes import PaperSettings, PrivacyRefused
from fl.privacy.quantile import clipping_threshold
from fl.privacy.secure_random import SecureRandom
from fl.privacy.terms import PAPER_EPOCHS_LEAST
from fl.train import STRAIGHT, Bent, Diverged, LocalPlan, Progress, Steps, TrainResult, bends, run_epoch, steps_for
from fl.vectors import FlatModel, flatten_in_place


class MeasuredSteps:
    """Another's steps, with the norm of every record's gradient taken before each of them."""

    def __init__(self, flat: FlatModel, steps: Steps) -> None:
        self._clipper, self._steps = _clipper(flat), steps
        self._norm_sum, self._records = 0.0, 0
        self.gradient_norm = 0.0

    def run(self, inputs: Tensor, labels: Tensor, batch: int) -> Tensor:
        losses = []
        for x, y in zip(torch.split(inputs, batch), torch.split(labels, batch), strict=True):
            self._norm_sum += float(self._clipper.of_records(x, y, 1.0).norms.double().sum())
            self._records += len(x)
            losses.append(self._steps.run(x, y, batch))
        self.gradient_norm = self._steps.gradient_norm
        return torch.cat(losses)

    def mean_norm(self) -> float:
        """The mean over all records seen so far of the L2 norm of their own gradient."""
        return self._norm_sum / self._records


def _clipper(flat: FlatModel) -> Clipper:
    """The quick way that mode sound takes, where there is one for the model: the same sums, and nothing is promised."""
    return books_for(flat) or EachAlone(flat)


def paper_train(
    model: nn.Module,
    vector: Floats,
    records: Records,
    plan: LocalPlan,
    settings: PaperSettings,
    random: SecureRandom,
    progress: Progress | None = None,
    bent: Bent = STRAIGHT,
) -> TrainResult:
    """Train as `fl.train.local_train` does, but measured in two epochs and clipped and noised in the last.

    Losses and norms in the result are raw statistics of the records: for this factory's eyes only. Raises
    PrivacyRefused for fewer than three epochs or a limit of steps, Diverged, VectorMismatch, UnusableTable.
    """
    if plan.steps_max:
        raise PrivacyRefused(f"privacy mode paper with {plan.steps_max} steps at most: its last epoch must be whole")
    if plan.epochs < PAPER_EPOCHS_LEAST:
        raise PrivacyRefused(f"privacy mode paper with {plan.epochs} epochs, want at least {PAPER_EPOCHS_LEAST}")
    flat = flatten_in_place(model)
    flat.load(vector)
    model.train()
    steps = steps_for(flat, plan, bent)
    bends_of = bends(flat, plan.proximal, bent)
    generator = torch.Generator().manual_seed(plan.seed)
    losses: list[float] = []
    norms: list[float] = []
    means: list[float] = []
    with own_random_state(flat.values.device, plan.seed):
        for epoch in range(plan.epochs):
            if epoch < plan.epochs - 3:
                loss = run_epoch(steps, flat, records, plan, generator, epoch)
                norm = steps.gradient_norm
            elif epoch < plan.epochs - 1:
                measured = MeasuredSteps(flat, steps)
                loss = run_epoch(measured, flat, records, plan, generator, epoch)
                norm = measured.gradient_norm
                means.append(measured.mean_norm())
            else:
                clip = settings.clip or clipping_threshold(means[1], means[0], settings.clip_floor)
                loss, norm = _noised_epoch(flat, bends_of, records, plan, settings.sigma, clip, random)
            losses.append(loss)
            norms.append(norm)
            if progress is not None:
                progress(epoch + 1, plan.epochs, loss)
    return TrainResult(flat.vector(), plan.epochs * -(-len(records) // plan.batch), tuple(losses), tuple(norms))


def _noised_epoch(
    flat: FlatModel,
    bends_of: tuple[Tensor | None, Tensor | None],
    records: Records,
    plan: LocalPlan,
    sigma: float,
    clip: float,
    random: SecureRandom,
) -> tuple[float, float]:
    """Algorithm 2's last epoch; the mean loss over the records drawn, and the norm of the last noised gradient."""
    origin, correction = bends_of
    clipper = _clipper(flat)
    probability = min(1.0, plan.batch / len(records))
    loss_sum, drawn, norm = 0.0, 0, 0.0
    for step in range(-(-len(records) // plan.batch)):
        chosen = torch.from_numpy(random.chosen(probability, len(records))).to(records.features.device)
        inputs = as_input(records.features.index_select(0, chosen))
        # The margin that sound clippers keep is not in Algorithm 2.
        batch = clipper.of_records(inputs, records.labels.index_select(0, chosen), clip / CLIP_MARGIN)
        noise = torch.from_numpy(random.normal(len(flat.values)) * (sigma * clip)).float().to(flat.values.device)
        # By the expected batch size, not the drawn one, which is a secret of the records.
        gradient = (batch.total + noise) / plan.batch
        if origin is not None:
            gradient += plan.proximal * (flat.values - origin)
        if correction is not None:
            gradient += correction
        flat.values.sub_(gradient, alpha=plan.lr)
        norm = float(gradient.norm())
        if not (math.isfinite(batch.loss_sum) and math.isfinite(norm)):
            raise Diverged(plan.epochs - 1, step, f"the noised gradient's norm became {norm:g}")
        loss_sum += batch.loss_sum
        drawn += len(chosen)
    if not bool(flat.values.isfinite().all()):
        raise Diverged(plan.epochs - 1, step, "a parameter is not finite any more")
    return loss_sum / max(1, drawn), norm
