"""What a model's parameters look like, and what it is fed and answers. No model is named here."""

from dataclasses import dataclass

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""(name, shape) of every parameter, in the order of `named_parameters()`."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model is fed and what it answers.

    `input_shape` is one record's shape; None is a free length. `codes` says that the input is int64 codes (characters)
    rather than float32 measurements. `classes` is the length of the logits.
    """

    input_shape: tuple[int | None, ...]
    codes: bool
    classes: int
