"""Clipped sums by book-keeping: one forward pass, one backward pass to the outputs of the layers, then exact norms and
one weighted product a layer. No gradient of a single record is ever written out where that would cost more.

Only for networks in which every module is one of those named here: in a forward pass that is written by somebody else
records could meet, and then no norm would bound a record's share. The formulas: recorded_layers.py, hand_lstm.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fl.dense import dense_layers
from fl.models.char_lstm import CharLstm
from fl.models.cnn import Cnn
from fl.models.cnn1d import Cnn1d
from fl.models.mlp import Mlp
from fl.privacy import hand_lstm
from fl.privacy.clipping import (
    PASS_RECORDS_MAX,
    ClippedSum,
    GroupClipping,
    clip_factors,
    record_losses,
    unusable,
)
from fl.privacy.recorded_layers import LOST, LayerPart, LstmPart, layer_part
from fl.vectors import FlatModel

# Layers with parameters whose part of a record's gradient is known in closed form.
KNOWN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.LSTM)
# Modules without parameters that treat every record by itself, and networks of this package that do nothing else.
APART = (
    nn.Sequential, nn.ModuleList, nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.MaxPool1d, nn.MaxPool2d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d, Mlp, Cnn, Cnn1d, CharLstm,
)  # fmt: skip


def can_keep_books(model: nn.Module) -> bool:
    """Whether every module is known, no parameter belongs to two layers, and nobody else listens in."""
    owners: dict[int, nn.Module] = {}
    for module in model.modules():
        if type(module) in KNOWN:
            if not _plain(module):
                return False
        elif type(module) not in APART or list(module.parameters(recurse=False)):
            return False
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or "forward" in vars(module):
            return False
        if isinstance(module, nn.Flatten) and module.start_dim < 1:
            return False
        if isinstance(module, nn.Unflatten) and not (isinstance(module.dim, int) and module.dim >= 1):
            return False
        if any(owners.setdefault(id(each), module) is not module for each in module.parameters(recurse=False)):
            return False
    return True


def _plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros"
    if isinstance(layer, nn.LSTM):
        return hand_lstm.supported(layer) and layer.batch_first
    if isinstance(layer, nn.Embedding):
        return not layer.sparse
    return True


class BookKeeping(GroupClipping):
    """The books of a network for which `can_keep_books` holds."""

    def __init__(self, flat: FlatModel) -> None:
        super().__init__(flat)
        self._layers = [layer for layer in flat.model.modules() if type(layer) in KNOWN]
        # An activation that works in place would overwrite the very output whose gradient is asked for.
        self._copies = any(getattr(module, "inplace", False) for module in flat.model.modules())
        self._places: dict[int, slice] = {}
        start = 0
        for each in flat.model.parameters():
            self._places[id(each)] = slice(start, start + each.numel())
            start += each.numel()

    def of_records(self, inputs: Tensor, labels: Tensor, clip: float) -> ClippedSum:
        total = torch.zeros_like(self.flat.values)
        norms: list[Tensor] = []
        loss_sum = 0.0
        if len(inputs):
            passes = zip(torch.split(inputs, PASS_RECORDS_MAX), torch.split(labels, PASS_RECORDS_MAX), strict=True)
            for x, y in passes:
                found, loss = self._pass(x, y, clip, total)
                norms.append(found)
                loss_sum += loss
        return ClippedSum(total, torch.cat(norms) if norms else total.new_empty(0), loss_sum, len(inputs))

    def _pass(self, inputs: Tensor, labels: Tensor, clip: float, total: Tensor) -> tuple[Tensor, float]:
        """Add the clipped gradients of these records to `total`; their norms and the sum of their losses."""
        with self._books() as books:
            loss = record_losses(self.flat.model, inputs, labels).sum()
        try:
            parts = books.parts(loss)
        except RuntimeError as error:
            raise unusable(inputs, labels, error) from error
        with torch.no_grad():
            squared = inputs.new_zeros(len(inputs), dtype=torch.float32)
            for _, part in parts:
                squared += part.squared_norms()
            norms = squared.sqrt()
            finite = norms.isfinite()
            if not bool(finite.all()):
                # A record that breaks the arithmetic must not break the round: once more without it.
                kept = finite.nonzero().squeeze(1)
                norms = torch.full_like(norms, torch.inf)
                again = (norms.new_empty(0), 0.0)
                if len(kept):
                    with torch.enable_grad():
                        again = self._pass(inputs[kept], labels[kept], clip, total)
                    norms[kept] = again[0]
                return norms, again[1]
            factors = clip_factors(norms, clip)
            for parameters, part in parts:
                part.add_weighted(factors, [total[self._places[id(p)]].view(p.shape) for p in parameters])
        return norms, float(loss.detach())

    @contextmanager
    def _books(self) -> Iterator["_Books"]:
        """While inside, the network's layers write down what they are given and what they answer."""
        books = _Books(self._copies)
        hooks = []
        recurrent = [layer for layer in self._layers if isinstance(layer, nn.LSTM)]
        try:
            for layer in self._layers:
                if isinstance(layer, nn.LSTM):
                    layer.forward = books.recurrent(layer)  # type: ignore[method-assign]
                else:
                    hooks.append(layer.register_forward_hook(books.note))
            yield books
        finally:
            for hook in hooks:
                hook.remove()
            for layer in recurrent:
                del layer.forward


class _Books:
    """What the layers wrote down in one forward pass."""

    def __init__(self, copies: bool) -> None:
        self._copies = copies
        self._calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        self._recurrent: list[tuple[nn.LSTM, int, Tensor, Tensor, Tensor]] = []

    def note(self, layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> Tensor | None:
        self._calls.setdefault(layer, []).append((given[0].detach(), answer))
        return answer.clone() if self._copies else None

    def recurrent(self, layer: nn.LSTM) -> Callable[..., Any]:
        def forward(inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            levels = iter(range(layer.num_layers))

            def tell(given: Tensor, before: Tensor, gates: Tensor) -> None:
                self._recurrent.append((layer, next(levels), given, before, gates))

            return hand_lstm.run(layer, inputs, tell)

        return forward

    def parts(self, loss: Tensor) -> list[tuple[list[nn.Parameter], LayerPart]]:
        """Every layer's part and the parameters it is of, by a backward pass to the outputs alone."""
        answers = [answer for calls in self._calls.values() for _, answer in calls]
        answers += [gates for *_, gates in self._recurrent]
        back = iter(torch.autograd.grad(loss, answers, allow_unused=True))
        parts: list[tuple[list[nn.Parameter], LayerPart]] = []
        for layer, calls in self._calls.items():
            used = [(given, found) for (given, _), found in zip(calls, back, strict=False) if found is not None]
            parameters = list(layer.parameters())
            if used and parameters:
                parts.append((parameters, layer_part(layer, used)))
        for (lstm, level, given, before, _), found in zip(self._recurrent, back, strict=True):
            if found is not None:
                names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if lstm.bias else ()))
                parameters = [getattr(lstm, f"{name}_l{level}") for name in names]
                part = LstmPart(given, before.transpose(0, 1), found.transpose(0, 1), bool(lstm.bias))
                parts.append((parameters, part))
        return parts


class DenseBooks(GroupClipping):
    """A plain perceptron: the same by hand, without autograd, which would be most of the work."""

    def __init__(self, flat: FlatModel, layers: list[nn.Linear]) -> None:
        super().__init__(flat)
        self._weights = [layer.weight.detach() for layer in layers]
        self._biases = [layer.bias.detach() for layer in layers]
        self._turned = [weight.t() for weight in self._weights]

    @torch.no_grad()
    def of_records(self, inputs: Tensor, labels: Tensor, clip: float) -> ClippedSum:
        rows = len(inputs)
        total = torch.zeros_like(self.flat.values)
        if not rows:
            return ClippedSum(total, total.new_empty(0), 0.0, 0)
        try:
            outputs = self._forward(inputs.reshape(rows, -1))
            scores = torch.log_softmax(outputs[-1], 1)
            losses = scores.gather(1, labels.unsqueeze(1))
        except (IndexError, RuntimeError) as fault:
            raise unusable(inputs, labels, fault) from fault
        errors = self._backward(outputs, scores, labels)
        squared = total.new_zeros(rows)
        for below, error in zip(outputs, errors, strict=False):
            # The bias is an input that is always 1.
            squared.addcmul_(below.square().sum(1).add_(1.0), error.square().sum(1).add_(LOST))
        norms = squared.sqrt_()
        finite = norms.isfinite()
        if not bool(finite.all()):
            kept = finite.nonzero().squeeze(1)
            found = self.of_records(inputs[kept], labels[kept], clip)
            norms = torch.full_like(norms, torch.inf)
            norms[kept] = found.norms
            return ClippedSum(found.total, norms, found.loss_sum, rows)
        factors = clip_factors(norms, clip).unsqueeze(1)
        start = 0
        for below, error, weight in zip(outputs, errors, self._weights, strict=False):
            error.mul_(factors)
            middle, end = start + weight.numel(), start + weight.numel() + len(weight)
            torch.mm(error.t(), below, out=total[start:middle].view(weight.shape))
            torch.sum(error, 0, out=total[middle:end])
            start = end
        return ClippedSum(total, norms, -float(losses.sum()), rows)

    def _forward(self, inputs: Tensor) -> list[Tensor]:
        """The input of every layer, and the logits."""
        outputs = [inputs]
        last = len(self._turned) - 1
        for at, (turned, bias) in enumerate(zip(self._turned, self._biases, strict=True)):
            output = torch.addmm(bias, outputs[-1], turned)
            outputs.append(output.relu_() if at < last else output)
        return outputs

    def _backward(self, outputs: list[Tensor], scores: Tensor, labels: Tensor) -> list[Tensor]:
        """d loss / d output of every layer, each record's own."""
        error = scores.exp()
        error.scatter_add_(1, labels.unsqueeze(1), error.new_full((len(labels), 1), -1.0))
        errors = [error]
        for at in range(len(self._weights) - 1, 0, -1):
            error = torch.mm(error, self._weights[at])
            errors.append(torch.ops.aten.threshold_backward(error, outputs[at], 0))
            error = errors[-1]
        return errors[::-1]


def books_for(flat: FlatModel) -> DenseBooks | BookKeeping | None:
    """The fastest books for this model; None when its modules are not all known here."""
    layers = dense_layers(flat.model)
    if layers is not None:
        return DenseBooks(flat, layers)
    return BookKeeping(flat) if can_keep_books(flat.model) else None
