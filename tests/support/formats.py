"""Every type that has canonical bytes, found and not listed, with one example of each made from its annotations.

A type is found when a module reads it (`decode(X, ...)`, `decode_union(X, ...)`) or writes it (`encode(X(...))`), when
it lies inside one that is, or when it stands in a module whose types are read by a name that is handed on (entries of
the state, rows of the store).
"""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from ledger import codec
from ledger.codec import INT_MAX, INT_MIN, Range, Size
from ledger.entries import Fate, Stage
from ledger.records import SaltedRecord, SensorRecord, ValueType

ROOT = Path(__file__).parents[2]
PACKAGES = ("ledger", "consensus", "node")
# Their types are read by whoever knows the key, through a function that is told the type.
READ_BY_NAME = (
    "ledger.entries",
    "ledger.league_entries",
    "ledger.protection_entries",
    "ledger.chain_rows",
    "ledger.snapshots",
    "ledger.genesis",
)
# Functions that are told which type to read: (module, its name there).
TOLD_WHICH = {
    ("ledger.state", "kind"),
    ("ledger.chain_rows", "kind"),
    ("ledger.proof_check", "kind"),
    ("ledger.proof_parts", "kind"),
    ("node.rpc.methods.state", "kind"),
    ("node.network.snapshot_exchange", "kind"),
}
# Made from annotations these would contradict themselves.
MADE_BY_HAND: dict[type, Any] = {
    SensorRecord: SensorRecord(9, 3, 1_700_000_000_000, ValueType.FLOAT32, (2,), bytes.fromhex("0000803f000000c0"), 1),
    SaltedRecord: SaltedRecord(
        9, 3, 1_700_000_000_000, ValueType.FLOAT32, (2,), bytes.fromhex("0000803f000000c0"), 1, bytes(range(16))
    ),
}

# The last of an enum, when these bytes were first written down.
ENUMS_AS_THEY_WERE: dict[type, IntEnum] = {Stage: Stage.CANCELLED, Fate: Fate.REFUSED}


def modules() -> Iterator[tuple[ModuleType, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            tree = ast.parse(path.read_text())
            if any(isinstance(node, ast.ImportFrom) and node.module == "ledger.codec" for node in ast.walk(tree)):
                yield importlib.import_module(name), tree


def calls() -> Iterator[tuple[ModuleType, Any, ast.expr]]:
    """(module, function of the codec, first argument) of every call of one."""
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                function = getattr(module, node.func.id, None)
                if function in (codec.decode, codec.decode_union, codec.encode):
                    yield module, function, node.args[0]


@cache
def roots() -> dict[str, Any]:
    """What is handed to the codec, by name; dataclasses and unions of them."""
    found: dict[str, Any] = {}
    for module, function, argument in calls():
        if function is codec.encode:
            # encode(KeyClaim(...)): what is only signed and hashed is never read.
            argument = argument.func if isinstance(argument, ast.Call) else argument
        if isinstance(argument, ast.Name):
            kind = getattr(module, argument.id, None)
            if get_origin(kind) in (Union, UnionType) or (isinstance(kind, type) and is_dataclass(kind)):
                found[argument.id] = kind
    return found


def unknown_reads() -> list[tuple[str, str]]:
    """Reads whose type neither stands in the call nor is known to be told: nothing holds their format."""
    return [
        (module.__name__, ast.unparse(argument))
        for module, function, argument in calls()
        if function is not codec.encode
        and not (isinstance(argument, ast.Name) and getattr(module, argument.id, None) is not None)
        and (module.__name__, ast.unparse(argument)) not in TOLD_WHICH
    ]


def unions() -> dict[str, Any]:
    """The roots that are unions: their members travel as `[KIND, body]`."""
    return {name: kind for name, kind in roots().items() if get_origin(kind) in (Union, UnionType)}


@cache
def types() -> dict[str, type]:
    """Every dataclass with canonical bytes, by module and name."""
    waiting: list[Any] = list(roots().values())
    for name in READ_BY_NAME:
        module = importlib.import_module(name)
        waiting += [
            value
            for value in vars(module).values()
            if is_dataclass(value) and isinstance(value, type) and value.__module__ == name and _has_bytes(value)
        ]
    found: dict[str, type] = {}
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, NewType):
            waiting.append(kind.__supertype__)
        elif is_dataclass(kind) and isinstance(kind, type):
            name = f"{kind.__module__}.{kind.__name__}"
            if name not in found:
                found[name] = kind
                hints = get_type_hints(kind, include_extras=True)
                waiting += [hints[field.name] for field in fields(kind)]
        else:
            waiting += [each for each in get_args(kind) if each is not Ellipsis]
    return dict(sorted(found.items()))


def _has_bytes(kind: type) -> bool:
    try:
        codec._coder(kind)
    except (TypeError, AssertionError, AttributeError):
        return False
    return True


def example(kind: Any, name: str = "") -> Any:
    """A value of `kind`, always the same: numbers near the least, texts and bytes that say where they stand."""
    plain, limits = codec._without_limits(kind)
    origin = get_origin(plain)
    if plain in MADE_BY_HAND:
        return MADE_BY_HAND[plain]
    if origin is tuple:
        least, most = _bounds([each for each in limits if isinstance(each, Size)], 0, codec.LIST_ITEMS_MAX)
        item = get_args(plain)[0]
        return tuple(example(item, f"{name}{at}") for at in range(min(most, max(least, 2))))
    if origin in (Union, UnionType):
        return example(next(each for each in get_args(plain) if each is not NoneType), name)
    if is_dataclass(plain):
        hints = get_type_hints(plain, include_extras=True)
        return plain(*[example(hints[each.name], each.name) for each in fields(plain)])
    if isinstance(plain, type) and issubclass(plain, IntEnum):
        return ENUMS_AS_THEY_WERE.get(plain, list(plain)[-1])
    if plain is int:
        least, most = _bounds([each for each in limits if isinstance(each, Range)], INT_MIN, INT_MAX)
        return min(most, max(least, 0) + 1 + sum(name.encode()))
    if plain in (bytes, str):
        least, most = _bounds([each for each in limits if isinstance(each, Size)], 0, 2**20)
        size = min(most, max(least, len(name), 1))
        text = (name or "x") * (size // len(name or "x") + 1)
        return text.encode()[:size] if plain is bytes else text[:size]
    return plain is bool or None


def _bounds(limits: list[Any], least: int, most: int) -> tuple[int, int]:
    return max([least, *(each.least for each in limits)]), min([most, *(each.most for each in limits)])
