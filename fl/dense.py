"""One momentum-SGD step of a plain multi-layer perceptron, written out by hand: three times as fast as autograd.

ReLU between the layers, softmax cross-entropy at the end. A small network spends most of a step on the bookkeeping
of autograd and of the optimiser; here every product lands in a buffer made once, and momentum is taken along inside
the products of the backward pass. The equations are autograd's, checked against it in tests/unit/test_train.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fl.models.mlp import Mlp
from fl.vectors import FlatModel


def dense_layers(model: nn.Module) -> list[nn.Linear] | None:
    """The linear layers of a model that is nothing but them with ReLU between; None for every other model."""
    if type(model) is Mlp:
        layers = list(model.layers)
    elif type(model) is nn.Sequential:
        parts = list(model)
        if parts and type(parts[0]) is nn.Flatten and (parts[0].start_dim, parts[0].end_dim) == (1, -1):
            parts = parts[1:]
        if any(type(part) is not nn.ReLU for part in parts[1::2]):
            return None
        layers = parts[0::2]
        if len(parts) != 2 * len(layers) - 1:
            return None
    else:
        return None
    linear = [layer for layer in layers if type(layer) is nn.Linear and layer.bias is not None]
    plain = len(linear) == len(layers) > 0 and all(not each._forward_hooks for each in (model, *linear))
    # A layer used twice would need its two gradients added up.
    return linear if plain and len({id(each) for each in linear}) == len(linear) else None


@dataclass(frozen=True, slots=True)
class _Buffers:
    """What a batch of `rows` records needs on its way through: made once, overwritten by every step."""

    rows: int
    outputs: list[Tensor]
    errors: list[Tensor]
    ones: Tensor


class DenseSteps:
    """Steps of the layers of `flat.model`; `flat.values` is moved in place. `flat.gradients` holds the velocity.

    `origin`: what `proximal` pulls back to; `correction`: added to every gradient; both [n].
    """

    def __init__(
        self,
        flat: FlatModel,
        layers: list[nn.Linear],
        lr: float,
        momentum: float,
        proximal: float,
        origin: Tensor | None = None,
        correction: Tensor | None = None,
    ) -> None:
        self._flat, self._lr, self._momentum, self._proximal = flat, lr, momentum, proximal
        self._weights = [layer.weight.detach() for layer in layers]
        self._turned = [weight.t() for weight in self._weights]
        self._biases = [layer.bias.detach() for layer in layers]
        velocities = [(layer.weight.grad, layer.bias.grad) for layer in layers]
        self._velocities = [(w, b) for w, b in velocities if w is not None and b is not None]
        assert len(self._velocities) == len(layers), "flatten_in_place gives every parameter its gradient"
        assert (origin is None) == (not proximal), "a pull has an origin, and no pull has none"
        self._origin, self._correction = origin, correction
        self._buffers: dict[int, _Buffers] = {}
        self.gradient_norm = 0.0
        flat.gradients.zero_()

    @torch.no_grad()
    def run(self, inputs: Tensor, labels: Tensor, batch: int) -> Tensor:
        """A step for every `batch` rows; the mean loss of each, float32 [steps]. The last batch may be short."""
        rows = len(inputs)
        inputs = inputs.reshape(rows, -1)
        classes = len(self._biases[-1])
        targets = self._flat.values.new_zeros(rows, classes).scatter_(1, labels.unsqueeze(1), 1.0)
        scores = torch.empty_like(targets)
        steps = list(
            zip(
                torch.split(inputs, batch),
                torch.split(targets, batch),
                torch.split(scores, batch),
                strict=True,
            )
        )
        for x, target, score in steps[:-1]:
            self._step(x, target, score)
        before = self._flat.gradients.clone()
        self._step(*steps[-1])
        # velocity' = momentum * velocity + gradient, so the last gradient is their difference.
        self.gradient_norm = float((self._flat.gradients - self._momentum * before).norm())
        per_record = -(scores * targets).sum(1)
        return torch.stack([part.mean() for part in torch.split(per_record, batch)])

    def _step(self, x: Tensor, target: Tensor, score: Tensor) -> None:
        buffers = self._buffers_for(len(x))
        outputs, errors = buffers.outputs, buffers.errors
        last = len(self._weights) - 1
        below = x
        for at, output in enumerate(outputs):
            torch.addmm(self._biases[at], below, self._turned[at], out=output)
            if at < last:
                output.relu_()
            below = output
        torch.log_softmax(outputs[last], 1, out=score)
        # d loss / d logits = softmax - target; the 1/rows of the mean rides along as `alpha` below.
        torch.exp(score, out=errors[last])
        errors[last].sub_(target)
        for at in range(last, 0, -1):
            torch.mm(errors[at], self._weights[at], out=errors[at - 1])
            torch.ops.aten.threshold_backward.grad_input(errors[at - 1], outputs[at - 1], 0, grad_input=errors[at - 1])
        share = 1.0 / len(x)
        for at, (weight_velocity, bias_velocity) in enumerate(self._velocities):
            error = errors[at].t()
            below = outputs[at - 1] if at else x
            weight_velocity.addmm_(error, below, beta=self._momentum, alpha=share)
            bias_velocity.addmv_(error, buffers.ones, beta=self._momentum, alpha=share)
        if self._origin is not None:
            # FedProx: mu * (w - origin) joins the gradient.
            self._flat.gradients.add_(self._flat.values - self._origin, alpha=self._proximal)
        if self._correction is not None:
            self._flat.gradients.add_(self._correction)
        self._flat.values.add_(self._flat.gradients, alpha=-self._lr)

    def _buffers_for(self, rows: int) -> _Buffers:
        # Two sizes at most: the full batch and the short one that ends a block.
        made = self._buffers.get(rows)
        if made is None:
            widths = [len(bias) for bias in self._biases]
            values = self._flat.values
            made = _Buffers(
                rows,
                [values.new_empty(rows, width) for width in widths],
                [values.new_empty(rows, width) for width in widths],
                values.new_ones(rows),
            )
            self._buffers[rows] = made
        return made
