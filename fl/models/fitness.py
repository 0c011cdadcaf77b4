"""What a network must be, to be trained by many: float32 parameters, each once, and nothing that is no parameter.

An update carries the parameters and nothing else, in one order that all agree on. Importing this file imports torch.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from fl.models.errors import ModelError
from fl.models.signature import Shapes

# What keeps statistics, and what does its work without.
INSTEAD = (
    (nn.modules.batchnorm._BatchNorm, "nn.GroupNorm or nn.LayerNorm, which keep none"),
    (nn.modules.instancenorm._InstanceNorm, "track_running_stats=False"),
)


def shapes_of(name: str, model: Any) -> Shapes:
    """Names and shapes of the parameters of a network that fits. Raises ModelError for one that does not."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {name!r}: its plug-in built a {type(model).__name__}, want a torch.nn.Module")
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ModelError(f"model {name!r} has no parameters: nothing to train")
    for label, value in parameters.items():
        if isinstance(value, UninitializedParameter):
            raise ModelError(f"model {name!r}: {label} is lazy, its size unknown until it is fed; name its size")
        if value.dtype != torch.float32:
            raise ModelError(f"model {name!r}: {label} is {value.dtype}, want float32")
    _refuse_shared(name, model)
    _refuse_state(name, model)
    return tuple((label, tuple(value.shape)) for label, value in parameters.items())


def read_off(name: str, make: Callable[[], Any]) -> Shapes:
    """The shapes of the network that `make` builds, without its numbers where it can be built so. Raises ModelError.

    On the meta device nothing is drawn and nothing of a parameter's size allocated. A constructor that looks at
    numbers cannot work there; it then builds the network as it is, and the caller's random state is left alone.
    """
    try:
        with torch.device("meta"):
            return shapes_of(name, make())
    except ModelError:
        raise
    except Exception:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return shapes_of(name, make())


def _refuse_shared(name: str, model: nn.Module) -> None:
    first: dict[int, str] = {}
    for label, value in model.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(value), label)
        if other != label:
            raise ModelError(
                f"model {name!r}: {label} is the same parameter as {other}, and a file of tensors would hold one of"
                f" them; use {other} itself in forward(), as torch.nn.functional.linear(x, weight) does"
            )


def _refuse_state(name: str, model: nn.Module) -> None:
    parameters = {label for label, _ in model.named_parameters(remove_duplicate=False)}
    kept = sorted(model.state_dict().keys() - parameters)
    if not kept:
        return
    holder = kept[0].rpartition(".")[0]
    layer = dict(model.named_modules()).get(holder, model)
    usual = "register_buffer(..., persistent=False) for a constant that every constructor makes again"
    instead = next((better for kind, better in INSTEAD if isinstance(layer, kind)), usual)
    raise ModelError(
        f"model {name!r} keeps {kept[0]} ({type(layer).__name__}) beside its parameters; no update would carry it:"
        f" want {instead}"
    )
