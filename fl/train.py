"""Local training: E epochs of mini-batch momentum SGD from a given vector ([DLMU] 4.1, [ANCHOR] Algorithm 1).

The rule is torch.optim.SGD's (dampening 0, no Nesterov), momentum starting from zero in every round. What starts
a round and what becomes of its result is a strategy's business; noise is `fl.privacy`'s.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fl.batches import Records, UnusableTable, shuffled_blocks
from fl.dense import DenseSteps, dense_layers
from fl.devices import own_random_state
from fl.fixed_point import Floats
from fl.vectors import FlatModel, VectorMismatch, flatten_in_place

Progress: TypeAlias = Callable[[int, int, float], None]
"""Called after every epoch with (epochs done, epochs in all, mean loss of the epoch); may raise to cancel."""

Over: TypeAlias = Callable[[], bool]
"""Whether the time for training is over; asked after every ASKED_EVERY steps."""

# Steps of a small model take some 100 us each: to look at a clock after every one would cost as much as a tenth of it.
ASKED_EVERY = 8


class Diverged(ArithmeticError):
    """Training left the finite numbers: the result is worthless and nothing may be uploaded."""

    def __init__(self, epoch: int, step: int, what: str) -> None:
        super().__init__(f"{what} at epoch {epoch}, step {step}; a smaller learning rate may help")
        self.epoch = epoch
        self.step = step


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """How a round is trained. `proximal` is FedProx's mu: its pull back to the origin, 0 for none.

    `steps_max`: training ends after so many steps, in the middle of an epoch too; 0 for all that the epochs say.
    """

    epochs: int
    batch: int
    lr: float
    momentum: float
    seed: int
    proximal: float = 0.0
    steps_max: int = 0

    def __post_init__(self) -> None:
        # Beyond these no sensible round lies; a request that names them would only burn its providers' time.
        if not (1 <= self.epochs <= 10_000 and 1 <= self.batch <= 1_000_000):
            raise ValueError(f"epochs {self.epochs} and batch {self.batch}, want 1 to 10000 and 1 to 1000000")
        if not (0 < self.lr <= 1000 and 0 <= self.momentum < 1 and 0 <= self.proximal <= 1000):
            raise ValueError(
                f"lr {self.lr}, momentum {self.momentum}, proximal {self.proximal}, "
                "want (0, 1000], [0, 1) and [0, 1000]"
            )
        if self.steps_max < 0:
            raise ValueError(f"steps_max {self.steps_max}, want 0 for no limit, or more")

    def steps(self, records: int) -> int:
        """How many steps the epochs say, whatever steps_max does."""
        return self.epochs * -(-records // self.batch)


@dataclass(frozen=True, slots=True)
class Bent:
    """How every gradient is bent, beside the loss: both float32 [n], None for what is not wanted.

    `origin`: what FedProx's mu pulls back to, the start vector when it is None; `correction`: added to every gradient
    (SCAFFOLD's c - c_i).
    """

    origin: Floats | None = None
    correction: Floats | None = None

    def checked(self, count: int) -> "Bent":
        """Raises VectorMismatch unless both fit a model of `count` parameters."""
        for what, vector in (("origin", self.origin), ("correction", self.correction)):
            if vector is not None and (vector.shape != (count,) or vector.dtype != np.float32):
                raise VectorMismatch(f"{what} is {vector.dtype} of shape {vector.shape}, want float32 of [{count}]")
        return self


STRAIGHT = Bent()


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The trained vector float32 [n]; per epoch the mean loss and the L2 norm of its last mini-batch's gradient.

    `clips`: what private clipping goes on from in the next round, empty elsewhere.
    """

    vector: Floats
    steps: int
    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    clips: tuple[float, ...] = ()


class Steps(Protocol):
    """Carries out the steps of one block of mini-batches on the model it was made for."""

    gradient_norm: float

    def run(self, inputs: Tensor, labels: Tensor, batch: int) -> Tensor: ...


class AutogradSteps:
    """Steps of any model, its parameters and gradients lying in two flat tensors."""

    def __init__(self, flat: FlatModel, lr: float, momentum: float, proximal: float, bent: Bent = STRAIGHT) -> None:
        self._flat, self._lr, self._momentum, self._proximal = flat, lr, momentum, proximal
        self._velocity = torch.zeros_like(flat.values)
        self._origin, self._correction = bends(flat, proximal, bent)
        self.gradient_norm = 0.0

    def run(self, inputs: Tensor, labels: Tensor, batch: int) -> Tensor:
        """A step for every `batch` rows; the mean loss of each, float32 [steps]."""
        flat, losses = self._flat, []
        for x, y in zip(torch.split(inputs, batch), torch.split(labels, batch), strict=True):
            flat.gradients.zero_()
            loss = cross_entropy(flat.model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            with torch.no_grad():
                if self._origin is not None:
                    flat.gradients.add_(flat.values - self._origin, alpha=self._proximal)
                if self._correction is not None:
                    flat.gradients.add_(self._correction)
                self._velocity.mul_(self._momentum).add_(flat.gradients)
                flat.values.add_(self._velocity, alpha=-self._lr)
        self.gradient_norm = float(flat.gradients.norm())
        return torch.stack(losses)


def bends(flat: FlatModel, proximal: float, bent: Bent) -> tuple[Tensor | None, Tensor | None]:
    """(origin of the proximal pull, correction) as tensors [n]; None for what there is not."""

    def tensor(vector: Floats) -> Tensor:
        return torch.tensor(vector, device=flat.values.device)

    pulled_to = flat.values.clone() if bent.origin is None else tensor(bent.origin)
    return pulled_to if proximal else None, None if bent.correction is None else tensor(bent.correction)


def local_train(
    model: nn.Module,
    vector: Floats,
    records: Records,
    plan: LocalPlan,
    progress: Progress | None = None,
    bent: Bent = STRAIGHT,
    over: Over | None = None,
) -> TrainResult:
    """Train `model` from `vector` (float32 [n]) on all `records`; the model ends with the trained parameters.

    Mini-batches follow `torch.randperm` of one generator seeded with `plan.seed`, a fresh order every epoch, the
    short batch at the end kept. `over`: ends training in the middle, as steps_max does, but never before the first few
    steps. Raises Diverged, VectorMismatch, and UnusableTable for labels the model lacks.
    """
    flat = flatten_in_place(model)
    flat.load(vector)
    model.train()
    steps = steps_for(flat, plan, bent)
    generator = torch.Generator("cpu").manual_seed(plan.seed)
    losses: list[float] = []
    norms: list[float] = []
    planned = plan.steps(len(records))
    left = min(planned, plan.steps_max or planned)
    taken = 0
    # A model may draw (dropout): it draws from the plan's seed too, and the caller's random state is left alone.
    with own_random_state(flat.values.device, plan.seed):
        for epoch in range(plan.epochs):
            if over is not None and taken and over():
                break
            loss, done = _epoch(steps, flat, records, plan, generator, epoch, left, over)
            losses.append(loss)
            norms.append(steps.gradient_norm)
            taken += done
            left -= done
            if progress is not None:
                progress(epoch + 1, plan.epochs, losses[-1])
            if left <= 0 or done < planned // plan.epochs:
                break
    return TrainResult(flat.vector(), taken, tuple(losses), tuple(norms))


def steps_for(flat: FlatModel, plan: LocalPlan, bent: Bent = STRAIGHT) -> Steps:
    """The fastest way to carry out steps of this model: by hand for a plain perceptron, by autograd otherwise."""
    layers, bent = dense_layers(flat.model), bent.checked(len(flat.values))
    if layers is not None:
        return DenseSteps(flat, layers, plan.lr, plan.momentum, plan.proximal, *bends(flat, plan.proximal, bent))
    return AutogradSteps(flat, plan.lr, plan.momentum, plan.proximal, bent)


def run_epoch(
    steps: Steps,
    flat: FlatModel,
    records: Records,
    plan: LocalPlan,
    generator: torch.Generator,
    epoch: int,
    steps_max: int | None = None,
) -> float:
    """One pass over all records, or `steps_max` steps of it; the mean loss over the records seen.

    Raises Diverged with the first step that shows it.
    """
    return _epoch(steps, flat, records, plan, generator, epoch, steps_max, None)[0]


def _epoch(
    steps: Steps,
    flat: FlatModel,
    records: Records,
    plan: LocalPlan,
    generator: torch.Generator,
    epoch: int,
    steps_max: int | None,
    over: Over | None,
) -> tuple[float, int]:
    """`run_epoch`, or as much of it as there is time for; the mean loss over the records seen, and the steps taken."""
    total, done, seen = 0.0, 0, 0
    blocks = shuffled_blocks(records, plan.batch, generator)
    for inputs, labels in blocks if over is None else _asking(blocks, over, plan.batch):
        if steps_max is not None:
            rows = (steps_max - done) * plan.batch
            if rows <= 0:
                break
            inputs, labels = inputs[:rows], labels[:rows]
        try:
            losses = steps.run(inputs, labels, plan.batch)
        except (IndexError, RuntimeError) as error:
            raise UnusableTable(
                f"the model cannot take features {tuple(inputs.shape[1:])} with labels up to "
                f"{int(labels.max())}: {error}"
            ) from error
        finite = losses.isfinite()
        if not bool(finite.all()):
            raise Diverged(epoch, done + int(finite.int().argmin()), f"the loss became {losses[~finite][0]:g}")
        sizes = torch.full_like(losses, plan.batch)
        sizes[-1] = len(inputs) - plan.batch * (len(losses) - 1)
        total += float((losses * sizes).sum())
        done += len(losses)
        seen += len(inputs)
    # The last step's harm shows in no loss.
    if not bool(flat.values.isfinite().all()):
        raise Diverged(epoch, done - 1, "a parameter is not finite any more")
    return total / seen, done


def _asking(blocks: Iterable[tuple[Tensor, Tensor]], over: Over, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same mini-batches in blocks of ASKED_EVERY, until it is over."""
    begun = False
    for inputs, labels in blocks:
        rows = ASKED_EVERY * batch
        for part in zip(torch.split(inputs, rows), torch.split(labels, rows), strict=True):
            if begun and over():
                return
            begun = True
            yield part
