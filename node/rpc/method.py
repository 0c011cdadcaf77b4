"""One method: name, function, parameters as the function's signature says them, and how a call's `params` are bound."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from node.rpc.errors import BY_WORD, RpcError
from node.rpc.node import Node
from node.rpc.parameters import Reader
from node.rpc.views import Json

Function = Callable[..., Awaitable[Json]]


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    reader: Reader
    required: bool


@dataclass(frozen=True, slots=True)
class Method:
    """`result`: JSON Schema of the answer. `errors`: words of node.rpc.errors that it may answer besides the usual."""

    name: str
    function: Function
    parameters: tuple[Parameter, ...]
    result: Mapping[str, Json]
    errors: tuple[str, ...]
    summary: str

    def bind(self, params: Json, node: Node) -> dict[str, Any]:
        """Keyword arguments out of `params`, by name or by position. Raises RpcError("invalid_params")."""
        if params is None:
            given: Mapping[str, Json] = {}
        elif isinstance(params, list):
            if len(params) > len(self.parameters):
                raise self._invalid(f"{len(params)} parameters, want at most {len(self.parameters)}", None)
            given = {parameter.name: each for parameter, each in zip(self.parameters, params, strict=False)}
        else:
            given = params
        known = [parameter.name for parameter in self.parameters]
        unknown = sorted(given.keys() - set(known))
        if unknown:
            there_are = f"there are {', '.join(known)}" if known else "it takes none"
            raise self._invalid(f"no parameter {unknown[0][:64]!r}; {there_are}", unknown[0][:64])
        arguments = {}
        for parameter in self.parameters:
            plain = given.get(parameter.name)
            if plain is None:
                if parameter.required:
                    raise self._invalid(f"parameter {parameter.name!r} is missing", parameter.name)
                continue
            try:
                arguments[parameter.name] = parameter.reader.read(plain, node)
            except ValueError as error:
                raise self._invalid(f"{parameter.name}: {error}", parameter.name) from None
        return arguments

    def _invalid(self, reason: str, parameter: str | None) -> RpcError:
        return RpcError("invalid_params", f"{self.name}: {reason}", parameter=parameter)


def method(name: str, function: Function, result: Mapping[str, Json], errors: tuple[str, ...] = ()) -> Method:
    """A Method of a function `async (node, *, parameters...)`; its docstring's first line is the summary."""
    assert all(word in BY_WORD for word in errors), f"{name}: unknown error word in {errors}"
    hints = get_type_hints(function, include_extras=True)
    parameters = tuple(
        Parameter(each.name, _reader(hints[each.name], name), each.default is inspect.Parameter.empty)
        for each in list(inspect.signature(function).parameters.values())[1:]
    )
    summary = inspect.cleandoc(function.__doc__ or "")
    assert summary, f"{name} has no docstring"
    return Method(name, function, parameters, result, errors, summary)


def _reader(hint: Any, name: str) -> Reader:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = [each for each in get_args(hint) if each is not NoneType]
    assert get_origin(hint) is Annotated, f"{name}: {hint} has no reader"
    reader: Reader = get_args(hint)[1]
    return reader


# Short ways to say the JSON Schema of an answer.

HEAD = {
    "type": "object",
    "description": "which ledger this is about",
    "properties": {"height": {"type": "integer"}, "id": {"type": "string"}},
    "required": ["height", "id"],
}


def answer(**properties: Json) -> dict[str, Json]:
    """Schema of an object."""
    return {"type": "object", "properties": properties}


def ledger_answer(**properties: Json) -> dict[str, Json]:
    """Schema of an object of ledger data: it carries the head."""
    return {"type": "object", "properties": {"head": HEAD, **properties}, "required": ["head"]}


def listing(items: Json) -> dict[str, Json]:
    return {"type": "array", "items": items}


STRING: dict[str, Json] = {"type": "string"}
INTEGER: dict[str, Json] = {"type": "integer"}
NUMBER: dict[str, Json] = {"type": "number"}
BOOLEAN: dict[str, Json] = {"type": "boolean"}
HEX: dict[str, Json] = {"type": "string", "pattern": "^[0-9a-f]*$"}
OBJECT: dict[str, Json] = {"type": "object"}
