"""The gradient of every single record of a batch, for any model: norms, mean, clipped sum. No noise here."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from fl.vectors import FlatModel

# A gradient per record is a whole model per record: so many bytes of them are held at a time, one at least.
GRADIENT_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BatchGradient:
    """`total`: the sum over records of each (clipped) gradient, float32 [n]; `norms`: before clipping, [records]."""

    total: Tensor
    norms: Tensor
    loss_sum: float


def batch_gradient(flat: FlatModel, inputs: Tensor, labels: Tensor, clip: float | None = None) -> BatchGradient:
    """Sum of the records' gradients, each first divided by max(1, norm / clip) when there is a `clip`.

    An empty batch gives zeros: under Poisson sampling it happens, and its step is taken all the same. With a `clip` a
    gradient that is not finite counts for nothing, and its norm is infinite.
    """
    total = torch.zeros_like(flat.values)
    norms: list[Tensor] = []
    loss_sum = 0.0
    for gradients, losses in record_gradients(flat, inputs, labels):
        sizes = gradients.norm(dim=1)
        if clip is None:
            total += gradients.sum(0)
        else:
            finite = sizes.isfinite()
            if not bool(finite.all()):
                gradients = torch.where(finite[:, None], gradients, 0.0)
                sizes = torch.where(finite, sizes, torch.inf)
            total.addmv_(gradients.t(), 1.0 / (sizes / clip).clamp_(min=1.0))
        norms.append(sizes)
        loss_sum += float(losses.sum())
    return BatchGradient(total, torch.cat(norms) if norms else total.new_empty(0), loss_sum)


def record_gradients(flat: FlatModel, inputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(gradients [records, n], losses [records]) for as many records at a time as memory allows."""
    parameters = {name: value.detach() for name, value in flat.model.named_parameters()}

    def loss_of(values: dict[str, Tensor], record: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        logits = functional_call(flat.model, values, (record.unsqueeze(0),))
        loss = cross_entropy(logits, label.unsqueeze(0))
        return loss, loss.detach()

    every = vmap(grad(loss_of, has_aux=True), in_dims=(None, 0, 0), randomness="different")
    records = max(1, GRADIENT_BYTES_MAX // (4 * len(flat.values)))
    if not len(inputs):
        return
    for x, y in zip(torch.split(inputs, records), torch.split(labels, records), strict=True):
        with warnings.catch_warnings():
            # Recurrent layers go record by record inside torch: slower, the same numbers, and nothing to be done.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            gradients, losses = every(parameters, x, y)
        yield torch.cat([gradients[name].reshape(len(x), -1) for name in parameters], 1), losses
