"""Models that other packages bring: found by entry point and loaded when one is named, never sent by anybody.

A request may pin what it means (`pin`): the package's version and a digest of its files as they were installed.
"""

import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from fl.models.built_in import BUILT_IN
from fl.models.errors import ModelError
from fl.models.signature import Shapes, Signature
from fl.settings import SHOWN_CHARS_MAX

PLUG_IN_GROUP = "hanse.models"
# The argument that no plug-in sees: which installed package a request means.
PIN = "pin"
# 128 bits of a digest: nobody finds another package for it.
PIN_HEX_DIGITS = 32


class ModelPlugIn(Protocol):
    """What an entry point of the group `hanse.models` must name. `shapes` must not need torch.

    Every parameter is float32; state that is no parameter (running statistics) is refused, for no update carries it.
    Optional: `summary: str`, `signature(arguments) -> Signature`, and `arguments`, a dataclass of typed settings.
    `fl.models.TorchModel` is all of it, made of the name of a module's class.
    """

    def shapes(self, arguments: Mapping[str, str]) -> Shapes: ...

    def build(self, arguments: Mapping[str, str]) -> Any: ...


def plug_ins() -> dict[str, EntryPoint]:
    """The installed plug-ins by name, none of them imported. A built-in name belongs to the built-in."""
    return {point.name: point for point in entry_points(group=PLUG_IN_GROUP) if point.name not in BUILT_IN}


def plug_in(name: str) -> ModelPlugIn:
    """The plug-in called `name`. Raises ModelError when there is none, or when it is none."""
    point = _point(name)
    try:
        found = _loaded(point)
    except Exception as error:
        raise ModelError(f"model {name!r}: the plug-in {point.value} does not load: {error!r}") from error
    lacking = [part for part in ("shapes", "build") if not callable(getattr(found, part, None))]
    if lacking:
        raise ModelError(f"model {name!r}: the plug-in {point.value} has no {' and no '.join(lacking)}")
    plug: ModelPlugIn = found
    return plug


def plug_in_shapes(name: str, arguments: Mapping[str, str]) -> Shapes:
    """What the plug-in says of its parameters. Raises ModelError, also for whatever the plug-in itself raises."""
    check_pin(name, arguments)
    return _plain_shapes(name, _asked(name, "shapes", arguments))


def plug_in_signature(name: str, arguments: Mapping[str, str]) -> Signature | None:
    """What the plug-in says of its input and its answer; None when it says nothing. Raises ModelError."""
    if not callable(getattr(plug_in(name), "signature", None)):
        return None
    told = _asked(name, "signature", arguments)
    if told is not None and not isinstance(told, Signature):
        raise ModelError(f"model {name!r}: its plug-in's signature is a {type(told).__name__}, want a Signature")
    return told


def build_plug_in(name: str, arguments: Mapping[str, str]) -> Any:
    """What the plug-in builds, unchecked. Raises ModelError."""
    return _asked(name, "build", arguments)


def pin(name: str) -> str:
    """What a request can pin the installed plug-in with: its version and 32 hex digits over its files.

    Raises ModelError for a package whose installation noted no digests (an editable one), and for no plug-in.
    """
    point = _point(name)
    package = point.dist
    if package is None:
        raise ModelError(f"model {name!r}: its plug-in {point.value} belongs to no installed package; nothing to pin")
    noted = [
        (str(file), file.hash.value)
        for file in package.files or ()
        if file.hash is not None and not any(part.endswith(".dist-info") or part == ".." for part in file.parts)
    ]
    if not noted:
        raise ModelError(
            f"model {name!r}: its package {package.name} is installed without digests of its files (editable);"
            " nothing to pin: want it installed from a wheel"
        )
    said = json.dumps([name, point.value, package.name, package.version, sorted(noted)])
    return f"{package.version}-{sha256(said.encode()).hexdigest()[:PIN_HEX_DIGITS]}"


def check_pin(name: str, arguments: Mapping[str, str]) -> None:
    """Raises ModelError when the arguments pin another package than the installed one."""
    wanted = arguments.get(PIN)
    if wanted is None:
        return
    try:
        here = pin(name)
    except ModelError as error:
        raise ModelError(f"pinned {wanted[:SHOWN_CHARS_MAX]}, but {error}") from None
    if here != wanted:
        # The front of it must fit the 64 bytes that a provider may say when it declines.
        raise ModelError(f"{name!r} here is {here[:18]}, pinned {wanted[:18]}: {here}, want {wanted[:SHOWN_CHARS_MAX]}")


def _point(name: str) -> EntryPoint:
    point = plug_ins().get(name)
    if point is None:
        known = ", ".join(sorted({*BUILT_IN, *plug_ins()}))
        raise ModelError(f"no model is called {name[:SHOWN_CHARS_MAX]!r}; known: {known}")
    return point


@cache
def _loaded(point: EntryPoint) -> Any:
    return point.load()


def _asked(name: str, part: str, arguments: Mapping[str, str]) -> Any:
    own = {word: text for word, text in arguments.items() if word != PIN}
    try:
        return getattr(plug_in(name), part)(own)
    except ModelError as error:
        said = str(error)
        raise ModelError(said if repr(name) in said else f"model {name!r}: {said}") from error
    except Exception as error:
        # Arguments come from strangers, code from a third: what it stumbles over is no fault of this program.
        raise ModelError(f"model {name!r}: its plug-in's {part} failed: {error!r}") from error


def _plain_shapes(name: str, shapes: Any) -> Shapes:
    """Plain tuples, so that a generator or a torch.Size goes no further."""
    try:
        plain = tuple((str(label), tuple(int(side) for side in shape)) for label, shape in shapes)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {name!r}: its plug-in's shapes are no (name, shape) pairs: {error}") from None
    if any(side < 1 for _, shape in plain for side in shape) or len({label for label, _ in plain}) < len(plain):
        raise ModelError(f"model {name!r}: its plug-in names a parameter twice or gives it an empty side")
    return plain
