"""A model's parameters as one flat vector, in `parameters()` order, and back.

Only parameters travel between factories, so a model that keeps more (running statistics) is refused here.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from fl.fixed_point import Floats

# What was moved once: small models spend more on being moved than on a step.
_FLAT: "WeakKeyDictionary[nn.Module, tuple[Tensor, Tensor]]" = WeakKeyDictionary()


class VectorMismatch(ValueError):
    """A vector and a model that do not belong together, or a model that no vector can carry."""


@dataclass(frozen=True, slots=True)
class FlatModel:
    """A model whose parameters are views of `values` and whose gradients are views of `gradients`, both [n].

    One addition to `values` is a step of the whole model; autograd adds into `gradients` in place, so whoever
    runs it zeroes them first and never sets a parameter's `grad` to None.
    """

    model: nn.Module
    values: Tensor
    gradients: Tensor

    def vector(self) -> Floats:
        """A copy of the parameters, float32 [n]."""
        copy: Floats = self.values.cpu().numpy().copy()
        return copy

    def load(self, vector: Floats) -> None:
        """Set every parameter from `vector`, float32 [n]. Raises VectorMismatch."""
        if vector.shape != tuple(self.values.shape) or vector.dtype != np.float32:
            raise VectorMismatch(
                f"vector is {vector.dtype} of shape {vector.shape}, want float32 of shape [{len(self.values)}]"
            )
        if self.values.is_cpu:
            self.values.numpy()[:] = vector
        else:
            self.values.copy_(torch.tensor(vector))


def flatten_in_place(model: nn.Module) -> FlatModel:
    """Move the model's parameters into one flat float32 tensor where they are; their values stay what they are.

    A model that was moved before, and still lies so, is given back as it lies, its gradients zero.

    Raises VectorMismatch when the model keeps state beside its parameters or has none in float32.
    """
    if (moved := _FLAT.get(model)) is not None and _lies_in(model, *moved):
        moved[1].zero_()
        return FlatModel(model, *moved)
    kept = sorted(set(model.state_dict()) - {name for name, _ in model.named_parameters(remove_duplicate=False)})
    if kept:
        raise VectorMismatch(f"the model keeps {', '.join(kept[:3])} beside its parameters: no update would carry it")
    parameters = list(model.parameters())
    odd = [str(each.dtype) for each in parameters if each.dtype != torch.float32]
    if not parameters or odd:
        raise VectorMismatch(f"the model's parameters are {odd[:1] or 'none'}, want float32")
    count = sum(each.numel() for each in parameters)
    values = torch.empty(count, dtype=torch.float32, device=parameters[0].device)
    gradients = torch.zeros_like(values)
    start = 0
    for each in parameters:
        place = slice(start, start + each.numel())
        values[place].copy_(each.detach().reshape(-1))
        each.data = values[place].view(each.shape)
        each.grad = gradients[place].view(each.shape)
        start += each.numel()
    _FLAT[model] = values, gradients
    return FlatModel(model, values, gradients)


def _lies_in(model: nn.Module, values: Tensor, gradients: Tensor) -> bool:
    """Whether every parameter and its gradient are views of these two, in order, and nothing else is there."""
    start = 0
    for each in model.parameters():
        place = 4 * start
        if each.grad is None or each.data_ptr() != values.data_ptr() + place or not each.is_contiguous():
            return False
        if each.grad.data_ptr() != gradients.data_ptr() + place or each.dtype != torch.float32:
            return False
        start += each.numel()
    return start == len(values) and not any(True for _ in model.buffers())


def parameter_vector(model: nn.Module) -> Floats:
    """A copy of the model's parameters as one float32 vector [n]; the model stays as it is."""
    joined = torch.cat([each.detach().reshape(-1) for each in model.parameters()])
    vector: Floats = joined.cpu().numpy().astype(np.float32, copy=False)
    return vector
