"""The arguments of the built-in models, with their bounds. Pure Python: a node reads them without torch.

The bounds are there because a request names them and a stranger may have written it; the total is bounded once
more by PARAMETERS_MAX in shapes.py.
"""

from dataclasses import dataclass
from typing import Annotated

from fl.settings import Choice, Whole, Wholes

CLASSES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class MlpArguments:
    """The fully connected network of [ANCHOR]: 8 inputs, two hidden layers of 150, 4 classes."""

    layers: Annotated[tuple[int, ...], Wholes(1, CLASSES_MAX, 2, 16, "inputs, hidden layers, classes")] = (
        8,
        150,
        150,
        4,
    )


@dataclass(frozen=True, slots=True)
class CnnArguments:
    """A strided convolutional network for small images."""

    input: Annotated[tuple[int, ...], Wholes(1, 1024, 3, 3, "channels x height x width", separator="x")] = (
        1,
        28,
        28,
    )
    classes: Annotated[int, Whole(2, CLASSES_MAX, "classes")] = 10
    channels: Annotated[tuple[int, ...], Wholes(1, 1024, 1, 5, "filters of each convolution")] = (8, 16)
    hidden: Annotated[int, Whole(1, 8192, "units of the layer before the classes")] = 64


@dataclass(frozen=True, slots=True)
class Cnn1dArguments:
    """A strided convolutional network for raw vibration windows."""

    channels: Annotated[int, Whole(1, 1024, "vibration channels")] = 8
    length: Annotated[int, Whole(64, 1_048_576, "samples in a window")] = 1024
    classes: Annotated[int, Whole(2, CLASSES_MAX, "classes")] = 4
    filters: Annotated[tuple[int, ...], Wholes(1, 1024, 1, 6, "filters of each convolution")] = (16, 32, 64)


@dataclass(frozen=True, slots=True)
class CharLstmArguments:
    """A recurrent network that names the next character."""

    vocabulary: Annotated[int, Whole(2, CLASSES_MAX, "distinct characters")] = 65
    embedding: Annotated[int, Whole(1, 4096, "numbers that stand for a character")] = 8
    hidden: Annotated[int, Whole(1, 4096, "units of each recurrent layer")] = 128
    layers: Annotated[int, Whole(1, 8, "recurrent layers")] = 1
    predict: Annotated[str, Choice(("last", "all"), "logits after the last position, or after every one")] = "last"


Arguments = MlpArguments | CnnArguments | Cnn1dArguments | CharLstmArguments
