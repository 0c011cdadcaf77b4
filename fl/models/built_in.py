"""The models of this package: their arguments, their shapes as formulas, and where the torch code is. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fl.models.arguments import (
    Arguments,
    CharLstmArguments,
    Cnn1dArguments,
    CnnArguments,
    MlpArguments,
)
from fl.models.signature import Shapes, Signature

# Convolutions halve what they see. The first kernel is wider: it sees raw pixels or samples.
CNN_FIRST_KERNEL, CNN_KERNEL, CNN_STRIDE = 5, 3, 2
# 64 samples, a few periods of a structural resonance at 20 kHz, as in the wide-first-kernel networks for bearings.
CNN1D_FIRST_KERNEL, CNN1D_FIRST_STRIDE, CNN1D_KERNEL, CNN1D_STRIDE = 64, 8, 3, 2


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return ((f"{name}.weight", (outputs, inputs)), (f"{name}.bias", (outputs,)))


def _mlp(arguments: MlpArguments) -> Shapes:
    pairs = enumerate(pairwise(arguments.layers))
    return tuple(entry for i, (fan_in, fan_out) in pairs for entry in _linear(f"layers.{i}", fan_in, fan_out))


def strided(length: int, stride: int) -> int:
    """The length that a convolution with this stride and padding of half its kernel leaves."""
    return -(-length // stride)


def _cnn(arguments: CnnArguments) -> Shapes:
    before, height, width = arguments.input
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for i, after in enumerate(arguments.channels):
        kernel = CNN_KERNEL if i else CNN_FIRST_KERNEL
        shapes += [
            (f"convolutions.{i}.weight", (after, before, kernel, kernel)),
            (f"convolutions.{i}.bias", (after,)),
        ]
        before, height, width = after, strided(height, CNN_STRIDE), strided(width, CNN_STRIDE)
    hidden = _linear("hidden", before * height * width, arguments.hidden)
    return (*shapes, *hidden, *_linear("output", arguments.hidden, arguments.classes))


def _cnn1d(arguments: Cnn1dArguments) -> Shapes:
    before = arguments.channels
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for i, after in enumerate(arguments.filters):
        kernel = CNN1D_KERNEL if i else CNN1D_FIRST_KERNEL
        shapes += [
            (f"convolutions.{i}.weight", (after, before, kernel)),
            (f"convolutions.{i}.bias", (after,)),
        ]
        before = after
    return (*shapes, *_linear("output", before, arguments.classes))


def _char_lstm(arguments: CharLstmArguments) -> Shapes:
    shapes: list[tuple[str, tuple[int, ...]]] = [("embedding.weight", (arguments.vocabulary, arguments.embedding))]
    inputs, gates = arguments.embedding, 4 * arguments.hidden
    for layer in range(arguments.layers):
        shapes += [
            (f"lstm.weight_ih_l{layer}", (gates, inputs)),
            (f"lstm.weight_hh_l{layer}", (gates, arguments.hidden)),
            (f"lstm.bias_ih_l{layer}", (gates,)),
            (f"lstm.bias_hh_l{layer}", (gates,)),
        ]
        inputs = arguments.hidden
    return (*shapes, *_linear("output", arguments.hidden, arguments.vocabulary))


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A model of this package: its arguments, its shapes, and where the torch code is (`builder` in `module`)."""

    summary: str
    arguments: type[Arguments]
    shapes: Callable[[Any], Shapes]
    signature: Callable[[Any], Signature]
    module: str
    builder: str


BUILT_IN: Mapping[str, BuiltIn] = {
    "mlp": BuiltIn(
        summary="fully connected, ReLU; records are flattened",
        arguments=MlpArguments,
        shapes=_mlp,
        signature=lambda a: Signature((a.layers[0],), False, a.layers[-1]),
        module="fl.models.mlp",
        builder="Mlp",
    ),
    "cnn": BuiltIn(
        summary="strided convolutions for small images, ReLU",
        arguments=CnnArguments,
        shapes=_cnn,
        signature=lambda a: Signature(a.input, False, a.classes),
        module="fl.models.cnn",
        builder="Cnn",
    ),
    "cnn1d": BuiltIn(
        summary="strided convolutions for raw vibration windows, ReLU, mean over time",
        arguments=Cnn1dArguments,
        shapes=_cnn1d,
        signature=lambda a: Signature((a.channels, a.length), False, a.classes),
        module="fl.models.cnn1d",
        builder="Cnn1d",
    ),
    "char-lstm": BuiltIn(
        summary="LSTM over characters that names the next one",
        arguments=CharLstmArguments,
        shapes=_char_lstm,
        signature=lambda a: Signature((None,), True, a.vocabulary),
        module="fl.models.char_lstm",
        builder="CharLstm",
    ),
}
