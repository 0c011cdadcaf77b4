"""What a model's parameters look like, told without torch: names and shapes, in the order of `named_parameters()`.

A node checks the length of an update against this, and a request against what its own data can feed. Plug-ins say
the same of themselves. Holds no weights.
"""

from collections.abc import Mapping
from math import prod

from fl.models.arguments import Arguments
from fl.models.built_in import BUILT_IN
from fl.models.errors import ModelError
from fl.models.plug_ins import plug_in_shapes, plug_in_signature
from fl.models.signature import Shapes, Signature
from fl.settings import parse_settings

__all__ = [
    "PARAMETERS_MAX",
    "Shapes",
    "Signature",
    "parameter_count",
    "parameter_shapes",
    "parse_arguments",
    "signature",
]

# As int32 (DESIGN D4) this is 96 MB, the largest blob that the league carries; a request for more is refused
# before anything of that size is allocated.
PARAMETERS_MAX = 24_000_000


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
        shapes = plug_in_shapes(name, arguments)
    count = sum(prod(shape) for _, shape in shapes)
    if not 0 < count <= PARAMETERS_MAX:
        raise ModelError(f"model {name!r} would have {count} parameters, want 1..{PARAMETERS_MAX}")
    return shapes


def parameter_count(name: str, arguments: Mapping[str, str]) -> int:
    """How many numbers an update of this model holds. Raises ModelError as `parameter_shapes` does."""
    return sum(prod(shape) for _, shape in parameter_shapes(name, arguments))


def signature(name: str, arguments: Mapping[str, str]) -> Signature | None:
    """What the model is fed and answers; None when a plug-in does not say. Raises ModelError."""
    if name in BUILT_IN:
        return BUILT_IN[name].signature(parse_arguments(name, arguments))
    return plug_in_signature(name, arguments)
