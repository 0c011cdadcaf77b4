"""Models by name: what there is, what it takes, and a fresh one from a seed. torch is imported by `build` only."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from fl.models.built_in import BUILT_IN
from fl.models.errors import ModelError
from fl.models.plug_ins import build_plug_in, plug_in, plug_ins
from fl.models.shapes import Shapes, parameter_shapes, parse_arguments
from fl.settings import SettingNote, setting_notes

if TYPE_CHECKING:
    import torch

SEED_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ModelNote:
    """What a person is told about a model. Of a plug-in that does not type its arguments none are listed."""

    name: str
    summary: str
    arguments: tuple[SettingNote, ...]


def names() -> tuple[str, ...]:
    """Every model that can be built here, the built-in ones first, plug-ins by name after them."""
    return (*BUILT_IN, *sorted(plug_ins()))


def describe(name: str) -> ModelNote:
    """A summary of the model and of its arguments. Raises ModelError when there is no such model."""
    if name in BUILT_IN:
        return ModelNote(name, BUILT_IN[name].summary, setting_notes(BUILT_IN[name].arguments))
    found = plug_in(name)
    kind = getattr(found, "arguments", None)
    notes = setting_notes(kind) if isinstance(kind, type) and is_dataclass(kind) else ()
    return ModelNote(name, str(getattr(found, "summary", "plug-in")), notes)


def build(name: str, arguments: Mapping[str, str], seed: int) -> "torch.nn.Module":
    """A fresh model in float32 on the CPU, in training mode; it answers logits (the softmax is in the loss).

    The weights depend on the name, the arguments and the seed alone; the caller's random state is untouched.
    Raises ModelError for an unknown model or argument, a seed outside 0..2^63-1, or a plug-in that breaks its word.
    """
    import torch

    if not 0 <= seed <= SEED_MAX:
        raise ModelError(f"model {name!r}: the seed is {seed}, want 0..{SEED_MAX}")
    declared = parameter_shapes(name, arguments)
    # Layers draw their weights from torch's own CPU generator: it is seeded inside the fork and put back after it.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        model = _construct(name, arguments)
    _check(name, model, declared)
    return model


def _construct(name: str, arguments: Mapping[str, str]) -> "torch.nn.Module":
    if name not in BUILT_IN:
        from_plug_in: torch.nn.Module = build_plug_in(name, arguments)
        return from_plug_in
    kind = BUILT_IN[name]
    made: torch.nn.Module = getattr(import_module(kind.module), kind.builder)(parse_arguments(name, arguments))
    return made


def _check(name: str, model: "torch.nn.Module", declared: Shapes) -> None:
    from fl.models.fitness import shapes_of

    actual = shapes_of(name, model)
    if actual != declared:
        wrong = next((pair for pair in zip(actual, declared, strict=False) if pair[0] != pair[1]), None)
        told = f"{wrong[0]} built, {wrong[1]} declared" if wrong else f"{len(actual)} built, {len(declared)} declared"
        raise ModelError(f"model {name!r}: its parameters are not those it declares: {told}")
