"""A plug-in made of a torch.nn.Module: what a package's entry point of the group `hanse.models` names.

    plug_in = TorchModel(
        module="gear_models.net:GearNet",       # imported, and torch with it, only when a model is built
        arguments=GearArguments,                # a frozen dataclass of typed settings; GearNet(**its fields) is built
        takes=lambda a: Signature((a.channels, 1024), codes=False, classes=a.classes),
        summary="convolutions for gear boxes",
        described="gear_models:shapes.json",    # written by `hanse model describe gear --write`
    )

A node that only checks and adds up imports no torch, so it must be told the shapes: by `sizes`, a formula, or by
`described`, a file of the package. Where torch is at work anyway they are read off the module itself.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fl.models.errors import ModelError
from fl.models.plug_ins import PIN
from fl.models.signature import Shapes, Signature
from fl.settings import parse_settings, setting_notes, setting_text_of

if TYPE_CHECKING:
    from torch import nn

DESCRIPTION = "hanse-shapes-1"
# A few hundred sets of arguments of a network of a hundred tensors.
DESCRIPTION_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TorchModel:
    """module: "package.module:Class". arguments: a frozen dataclass whose fields carry rules of `fl.settings`.

    takes: what a model of these (typed) arguments is fed and answers. sizes: its shapes by formula, for these
    arguments; described: "package:file", where its shapes stand written for some arguments. Raises ModelError for a
    word that cannot be meant.
    """

    module: str
    arguments: type[Any]
    takes: Callable[[Any], Signature]
    summary: str = "plug-in"
    sizes: Callable[[Any], Any] | None = None
    described: str = ""

    def __post_init__(self) -> None:
        for text, wanted in ((self.module, "package.module:Class"), (self.described or "a:b", "package:file")):
            if text.count(":") != 1 or not all(text.split(":")):
                raise ModelError(f"came {text!r}, want {wanted!r}")
        if PIN in {field.name for field in fields(self.arguments)}:
            raise ModelError(f"{self.module}: an argument is called {PIN!r}, which names the package a request means")
        setting_notes(self.arguments)

    def signature(self, arguments: Mapping[str, str]) -> Signature:
        return self.takes(self._typed(arguments))

    def shapes(self, arguments: Mapping[str, str]) -> Shapes:
        """Raises ModelError when nothing here says them and torch is not imported."""
        typed = self._typed(arguments)
        if self.sizes is not None:
            told: Shapes = self.sizes(typed)
            return told
        words = self.full_arguments(arguments)
        if self.described:
            for variant, shapes in _description(self.described):
                if variant == words:
                    return shapes
        if "torch" in sys.modules:
            return _derived(self, typed)
        raise ModelError(
            f"no shapes described for {_shown(words)}: the package's author runs `hanse model describe` with these"
            " arguments, or declares sizes"
        )

    def build(self, arguments: Mapping[str, str]) -> "nn.Module":
        return self._made(self._typed(arguments))

    def full_arguments(self, arguments: Mapping[str, str]) -> dict[str, str]:
        """The arguments as texts, defaults filled in: two ways to say one model are equal here."""
        typed = self._typed(arguments)
        return {field.name: setting_text_of(self.arguments, field.name, typed) for field in fields(self.arguments)}

    def _typed(self, arguments: Mapping[str, str]) -> Any:
        return parse_settings(self.arguments, f"model {self.module}", arguments, ModelError)

    def _made(self, typed: Any) -> "nn.Module":
        package, _, attribute = self.module.partition(":")
        kind = getattr(import_module(package), attribute)
        made: nn.Module = kind(**{field.name: getattr(typed, field.name) for field in fields(typed)})
        return made


def description(variants: list[tuple[dict[str, str], Shapes]]) -> str:
    """The text of a file that `described` can name."""
    models = [{"arguments": arguments, "shapes": shapes} for arguments, shapes in variants]
    return json.dumps({"format": DESCRIPTION, "models": models}, indent=1) + "\n"


def read_description(text: str, where: str) -> list[tuple[dict[str, str], Shapes]]:
    """What `description` wrote. Raises ModelError naming `where`."""
    try:
        said = json.loads(text)
        if said["format"] != DESCRIPTION:
            raise ModelError(f"{where}: format is {said['format']!r:.60}, want {DESCRIPTION!r}")
        return [
            (
                {str(name): str(value) for name, value in model["arguments"].items()},
                tuple((str(label), tuple(int(side) for side in shape)) for label, shape in model["shapes"]),
            )
            for model in said["models"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where} is no description of shapes: {error!r}; `hanse model describe` writes one") from None


@cache
def _description(place: str) -> list[tuple[dict[str, str], Shapes]]:
    package, _, name = place.partition(":")
    try:
        data = files(package).joinpath(name).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise ModelError(f"{place} cannot be read: {error}; `hanse model describe --write` makes it") from None
    if len(data) > DESCRIPTION_BYTES_MAX:
        raise ModelError(f"{place} has {len(data)} bytes, want at most {DESCRIPTION_BYTES_MAX}")
    return read_description(data.decode("utf-8", "replace"), place)


@cache
def _derived(plug: TorchModel, typed: Any) -> Shapes:
    from fl.models.fitness import read_off

    return read_off(plug.module, lambda: plug._made(typed))


def _shown(arguments: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments.items()) or "no arguments"
