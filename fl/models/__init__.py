"""Models by name and arguments. Importing this package does not import torch; `build` does."""

from fl.models.errors import ModelError
from fl.models.registry import build, describe, names
from fl.models.shapes import Shapes, Signature, parameter_count, parameter_shapes, signature
from fl.models.torch_model import TorchModel

__all__ = [
    "ModelError",
    "Shapes",
    "Signature",
    "TorchModel",
    "build",
    "describe",
    "names",
    "parameter_count",
    "parameter_shapes",
    "signature",
]
