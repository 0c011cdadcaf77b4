"""What a model's parameters look like, told without torch: names and shapes, in the order of `named_parameters()`.

A node checks the length of an update against this, and a request against what its own data can feed. Plug-ins say
the same of themselves. Holds no weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from math import prod
from typing import Any, Protocol

from fl.models.arguments import (
    Arguments,
    CharLstmArguments,
    Cnn1dArguments,
    CnnArguments,
    MlpArguments,
)
from fl.models.errors import ModelError
from fl.settings import SHOWN_CHARS_MAX, parse_settings

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""(name, shape) of every parameter."""

PLUG_IN_GROUP = "hanse.models"

# As int32 (DESIGN D4) this is 96 MB, the largest blob that the league carries; a request for more is refused
# before anything of that size is allocated.
PARAMETERS_MAX = 24_000_000

# Convolutions halve what they see. The first kernel is wider: it sees raw pixels or samples.
CNN_FIRST_KERNEL, CNN_KERNEL, CNN_STRIDE = 5, 3, 2
# 64 samples, a few periods of a structural resonance at 20 kHz, as in the wide-first-kernel networks for bearings.
CNN1D_FIRST_KERNEL, CNN1D_FIRST_STRIDE, CNN1D_KERNEL, CNN1D_STRIDE = 64, 8, 3, 2


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model is fed and what it answers.

    `input_shape` is one record's shape; None is a free length. `codes` says that the input is int64 codes (characters)
    rather than float32 measurements. `classes` is the length of the logits.
    """

    input_shape: tuple[int | None, ...]
    codes: bool
    classes: int


class ModelPlugIn(Protocol):
    """What an entry point of the group `hanse.models` must name. `shapes` must not need torch.

    Every parameter is float32; state that is no parameter (running statistics) is refused, for no update carries it.
    Optional: `summary: str` and `signature(arguments) -> Signature`.
    """

    def shapes(self, arguments: Mapping[str, str]) -> Shapes: ...

    def build(self, arguments: Mapping[str, str]) -> Any: ...


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


def plug_ins() -> dict[str, EntryPoint]:
    """The installed plug-ins by name, none of them imported. A built-in name belongs to the built-in."""
    return {point.name: point for point in entry_points(group=PLUG_IN_GROUP) if point.name not in BUILT_IN}


@cache
def _loaded(point: EntryPoint) -> Any:
    return point.load()


def plug_in(name: str) -> ModelPlugIn:
    """The plug-in called `name`. Raises ModelError when there is none, or when it is none."""
    point = plug_ins().get(name)
    if point is None:
        known = ", ".join(sorted({*BUILT_IN, *plug_ins()}))
        raise ModelError(f"no model is called {name[:SHOWN_CHARS_MAX]!r}; known: {known}")
    try:
        found = _loaded(point)
    except Exception as error:
        raise ModelError(f"model {name!r}: the plug-in {point.value} does not load: {error!r}") from error
    lacking = [part for part in ("shapes", "build") if not callable(getattr(found, part, None))]
    if lacking:
        raise ModelError(f"model {name!r}: the plug-in {point.value} has no {' and no '.join(lacking)}")
    plug: ModelPlugIn = found
    return plug


def parse_arguments(name: str, arguments: Mapping[str, str]) -> Arguments:
    """The typed arguments of a built-in model. Raises ModelError for an argument it does not know or allow."""
    return parse_settings(BUILT_IN[name].arguments, f"model {name!r}", arguments, ModelError)


def parameter_shapes(name: str, arguments: Mapping[str, str]) -> Shapes:
    """Names and shapes of every parameter of a model, in the order in which a flat update holds them.

    Raises ModelError for an unknown model or argument, and for more than PARAMETERS_MAX numbers.
    """
    if name in BUILT_IN:
        shapes = BUILT_IN[name].shapes(parse_arguments(name, arguments))
    else:
        shapes = _checked_shapes(name, plug_in(name).shapes(arguments))
    count = sum(prod(shape) for _, shape in shapes)
    if not 0 < count <= PARAMETERS_MAX:
        raise ModelError(f"model {name!r} would have {count} parameters, want 1..{PARAMETERS_MAX}")
    return shapes


def _checked_shapes(name: str, shapes: Any) -> Shapes:
    """A plug-in's shapes as plain tuples, so that a generator or a torch.Size goes no further."""
    try:
        plain = tuple((str(label), tuple(int(side) for side in shape)) for label, shape in shapes)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {name!r}: its plug-in's shapes are no (name, shape) pairs: {error}") from None
    if any(side < 1 for _, shape in plain for side in shape) or len({label for label, _ in plain}) < len(plain):
        raise ModelError(f"model {name!r}: its plug-in names a parameter twice or gives it an empty side")
    return plain


def parameter_count(name: str, arguments: Mapping[str, str]) -> int:
    """How many numbers an update of this model holds. Raises ModelError as `parameter_shapes` does."""
    return sum(prod(shape) for _, shape in parameter_shapes(name, arguments))


def signature(name: str, arguments: Mapping[str, str]) -> Signature | None:
    """What the model is fed and answers; None when a plug-in does not say."""
    if name in BUILT_IN:
        return BUILT_IN[name].signature(parse_arguments(name, arguments))
    tell = getattr(plug_in(name), "signature", None)
    told: Signature | None = None if tell is None else tell(arguments)
    return told
