"""What a layer's part of every record's gradient is, told from what went in and what came back: its norm, and its
weighted sum over records. The exact formulas of book-keeping, one class a kind of layer; no model, no clipping here.

Of an affine layer with inputs a [records, times, in] and output gradients d [records, times, out] the gradient of one
record is d^T a [out, in], and the sum of d over time for the bias. Its norm needs no such matrix: it is the sum over
pairs of times of (a_t . a_s)(d_t . d_s) (Goodfellow 2015, arXiv 1510.01799; Li et al. 2022, arXiv 2110.05679). The
weighted sum is one product for all records (Bu et al. 2023, arXiv 2210.00038). Whichever is less work is done.
"""

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, layer_norm, pad

# What float32 may add to a record's part, over the lengths of all that it is the sum of: some roundings of 2^-24.
ROUNDING = 16 * 2.0**-24
# Up to this share of its length it is left to the margin of the clipping (clipping.py), which is ten times as wide.
ROUNDING_LEFT = 1e-4
# Numbers below 1e-22 have squares that float32 does not hold. Beside a factor of 1e18, which a first model made to spy
# can have, what is lost would be longer than a small C: so much is counted in, and matters nowhere else.
LOST = 1e-35
# A matrix for every record is held only when all of them are no more than this.
MATRICES_BYTES_MAX = 64 * 1024 * 1024


class LayerPart(Protocol):
    """One layer's part of every record's gradient."""

    def squared_norms(self) -> Tensor:
        """float [records]"""

    def add_weighted(self, factors: Tensor, into: Sequence[Tensor]) -> None:
        """Add the sum over records of factor times gradient to a tensor for each parameter. Norms come first."""


class AffinePart:
    """inputs [records, times, in] and output gradients [records, times, out]; `bias` when the layer has one.

    `length`: of each record's inputs, or more, float [records], where that is known for less than reading them again.
    """

    def __init__(
        self, inputs: Tensor, back: Tensor, bias: bool, bias_count: int = 1, length: Tensor | None = None
    ) -> None:
        self._inputs, self._back, self._bias, self._bias_count = inputs, back, bias, bias_count
        self._length = length
        self._matrices: Tensor | None = None
        self._sums: Tensor | None = None

    def squared_norms(self) -> Tensor:
        inputs, back = self._inputs, self._back
        times, width, out = inputs.shape[1], inputs.shape[2], back.shape[2]
        if times == 1:
            squared = (inputs.square().sum((1, 2)) + LOST) * (back.square().sum((1, 2)) + LOST)
        elif times * (width + out) <= width * out:
            squared = self._by_pairs()
        else:
            squared = self._by_matrices()
        if self._bias:
            self._sums = back.sum(1) if times > 1 else back.squeeze(1)
            squared = squared.add_(self._sums.square().sum(1), alpha=self._bias_count)
        if times == 1:
            return squared
        length = lengths(inputs) if self._length is None else self._length
        # A bias has an input that is always 1.
        ones = self._bias_count * times if self._bias else 0
        return at_most(squared, lengths(back) * length.square().add_(ones).sqrt_())

    def _by_pairs(self) -> Tensor:
        # What cancels out over time leaves a sum much shorter than its terms: in float32 the products of pairs would be
        # nearly all rounding then.
        inputs, back = self._inputs.double(), self._back.double()
        return (torch.bmm(inputs, inputs.mT) * torch.bmm(back, back.mT)).sum((1, 2)).float()

    def _by_matrices(self) -> Tensor:
        inputs, back = self._inputs, self._back
        rows = max(1, MATRICES_BYTES_MAX // (4 * inputs.shape[2] * back.shape[2]))
        if rows >= len(inputs):
            self._matrices = torch.bmm(back.mT, inputs).flatten(1)
            squared: Tensor = self._matrices.square().sum(1)
            return squared
        parts = zip(torch.split(inputs, rows), torch.split(back, rows), strict=True)
        return torch.cat([torch.bmm(d.mT, a).square().sum((1, 2)) for a, d in parts])

    def add_weighted(self, factors: Tensor, into: Sequence[Tensor]) -> None:
        weight = into[0].view(len(into[0]), -1)
        if self._matrices is not None:
            weight.view(-1).addmv_(self._matrices.t(), factors)
        else:
            weighted = (self._back * factors[:, None, None]).flatten(0, 1)
            weight.addmm_(weighted.t(), self._inputs.flatten(0, 1))
        if self._sums is not None:
            into[1].addmv_(self._sums.t(), factors)


class LstmPart:
    """One layer of an LSTM: its two products share what came back, and its two biases have the same gradient.

    inputs [records, times, in], states before [records, times, hidden], gradients of the gates [records, times,
    4 hidden].
    """

    def __init__(self, inputs: Tensor, before: Tensor, back: Tensor, bias: bool) -> None:
        self._width = inputs.shape[2]
        self._affine = AffinePart(torch.cat((inputs, before), 2), back, bias, bias_count=2)
        self._bias = bias

    def squared_norms(self) -> Tensor:
        return self._affine.squared_norms()

    def add_weighted(self, factors: Tensor, into: Sequence[Tensor]) -> None:
        joined = into[0].new_zeros(len(into[0]), self._width + into[1].shape[1])
        bias = into[2].new_zeros(len(into[2])) if self._bias else None
        self._affine.add_weighted(factors, (joined,) if bias is None else (joined, bias))
        into[0].add_(joined[:, : self._width])
        into[1].add_(joined[:, self._width :])
        if bias is not None:
            into[2].add_(bias)
            into[3].add_(bias)


class EmbeddingPart:
    """codes int64 [records, times], output gradients [records, times, n]; `padding` is a code without gradient."""

    def __init__(self, codes: Tensor, back: Tensor, padding: int | None) -> None:
        self._codes = codes
        self._back = back if padding is None else back * (codes != padding)[:, :, None]

    def squared_norms(self) -> Tensor:
        same = self._codes[:, :, None] == self._codes[:, None, :]
        back = self._back.double()
        squared = (torch.bmm(back, back.mT) * same).sum((1, 2)).float()
        return at_most(squared, self._back.norm(dim=2).sum(1))

    def add_weighted(self, factors: Tensor, into: Sequence[Tensor]) -> None:
        weighted = (self._back * factors[:, None, None]).flatten(0, 1)
        into[0].index_add_(0, self._codes.flatten(), weighted)


class ScalePart:
    """The scale and shift of a normalisation: gradients float [records, numbers] of each, made out in full.

    They are what is added up, so their norms are right whatever cancelled out on the way.
    """

    def __init__(self, gradients: Sequence[Tensor]) -> None:
        self._gradients = gradients

    def squared_norms(self) -> Tensor:
        return torch.stack([each.square().sum(1) for each in self._gradients]).sum(0)

    def add_weighted(self, factors: Tensor, into: Sequence[Tensor]) -> None:
        for each, place in zip(self._gradients, into, strict=True):
            place.view(-1).addmv_(each.t(), factors)


def lengths(values: Tensor) -> Tensor:
    """float [records]: the L2 norm of all numbers of a record, in whatever order they lie."""
    ordered = values if values.is_contiguous() else values.mT
    length: Tensor = ordered.reshape(len(values), -1).norm(dim=1)
    return length


def at_most(squared: Tensor, reach: Tensor) -> Tensor:
    """Squared norms [records] that hold for what float32 makes of the sum too.

    `reach`: the lengths of all terms of the sum together, or more. Where the terms cancel out, what rounding leaves of
    them may be as long as the sum: it is counted in, and such a record is clipped a little more than it would need.
    """
    norms = squared.clamp(min=0.0).sqrt()
    rounding = ROUNDING * reach
    return torch.where(rounding > ROUNDING_LEFT * norms, norms + rounding, norms).square()


def layer_part(layer: nn.Module, calls: Sequence[tuple[Tensor, Tensor]]) -> LayerPart:
    """The part of a layer that was used as `calls` say, (input, output gradient) each; used twice, they add up."""
    if isinstance(layer, nn.Linear):
        given, back = _joined([(_as_times(a), _as_times(d)) for a, d in calls])
        return AffinePart(given, back, layer.bias is not None)
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        given, back = _joined([(patches(layer, a), d.flatten(2).mT) for a, d in calls])
        seen = torch.stack([lengths(a) for a, _ in calls]).norm(dim=0) * _times_seen(layer) ** 0.5
        return AffinePart(given, back, layer.bias is not None, length=seen)
    if isinstance(layer, nn.Embedding):
        given, back = _joined([(a.reshape(len(a), -1), d.reshape(len(a), -1, d.shape[-1])) for a, d in calls])
        return EmbeddingPart(given, back, layer.padding_idx)
    assert isinstance(layer, nn.LayerNorm | nn.GroupNorm), f"{type(layer).__name__} is no layer that is known here"
    return ScalePart(_scale_gradients(layer, calls))


def _joined(calls: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Calls one after the other in time."""
    if len(calls) == 1:
        return calls[0]
    return torch.cat([given for given, _ in calls], 1), torch.cat([back for _, back in calls], 1)


def _as_times(values: Tensor) -> Tensor:
    """[records, ..., n] -> [records, times, n]"""
    return values.unsqueeze(1) if values.ndim == 2 else values.flatten(1, -2)


def patches(layer: nn.Conv1d | nn.Conv2d, given: Tensor) -> Tensor:
    """What each place of a convolution sees: [records, places, in * kernel], in the order of its weight.

    Padding is by zeros and there is one group of channels, or the layer is not taken here.
    """
    sides = range(len(layer.kernel_size))
    zeros: list[int] = []
    for side in reversed(sides):
        zeros += _padding(layer.padding, layer.kernel_size, layer.dilation, side)
    padded = pad(given, zeros).contiguous()
    records, channels, *steps = padded.stride()
    kernel = [step * layer.dilation[side] for side, step in enumerate(steps)]
    places = [step * layer.stride[side] for side, step in enumerate(steps)]
    wide = [1 + layer.dilation[side] * (layer.kernel_size[side] - 1) for side in sides]
    counts = [(padded.shape[2 + side] - wide[side]) // layer.stride[side] + 1 for side in sides]
    # A view in which every place has its kernel, and one copy of it: half the time of torch's own unfold.
    seen = padded.as_strided(
        (len(given), given.shape[1], *layer.kernel_size, *counts), (records, channels, *kernel, *places)
    )
    return seen.reshape(len(given), -1, prod(counts)).mT


def _times_seen(layer: nn.Conv1d | nn.Conv2d) -> int:
    """In how many places of a convolution a number of its input is seen at the most."""
    sides = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    # A dilated kernel meets a number with each of its taps once at the most, any kernel once every stride.
    return prod(kernel if dilation > 1 else -(-kernel // stride) for kernel, stride, dilation in sides)


def _padding(
    padding: str | tuple[int, ...], kernel: tuple[int, ...], dilation: tuple[int, ...], side: int
) -> tuple[int, int]:
    """Zeros before and after; "same" puts the odd one after, as torch does."""
    if not isinstance(padding, str):
        return padding[side], padding[side]
    total = dilation[side] * (kernel[side] - 1) if padding == "same" else 0
    return total // 2, total - total // 2


def _scale_gradients(layer: nn.LayerNorm | nn.GroupNorm, calls: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """float [records, numbers] for the scale and, where there is one, the shift; calls are added up."""
    scales: list[Tensor] = []
    shifts: list[Tensor] = []
    for given, back in calls:
        if isinstance(layer, nn.LayerNorm):
            normal = layer_norm(given, layer.normalized_shape, eps=layer.eps)
            shape = (len(given), -1, prod(layer.normalized_shape))
            scales.append((normal * back).reshape(shape).sum(1))
            shifts.append(back.reshape(shape).sum(1))
        else:
            normal = group_norm(given, layer.num_groups, eps=layer.eps)
            scales.append((normal * back).flatten(2).sum(2) if given.ndim > 2 else normal * back)
            shifts.append(back.flatten(2).sum(2) if given.ndim > 2 else back)
    gradients = [torch.stack(scales).sum(0)]
    if layer.bias is not None:
        gradients.append(torch.stack(shifts).sum(0))
    return gradients
