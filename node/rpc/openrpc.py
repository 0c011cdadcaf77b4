"""The OpenRPC description of all methods, made of the table itself. https://spec.open-rpc.org"""

from collections.abc import Mapping
from typing import Any

from node.rpc.errors import BY_WORD, ErrorKind
from node.rpc.method import Method

# What any method may answer.
_USUAL = ("invalid_params", "timed_out", "internal")


def describe(methods: Mapping[str, Method], version: str) -> dict[str, Any]:
    """The document that GET /openrpc.json answers."""
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "Hanse node",
            "version": version,
            "description": "JSON-RPC 2.0 on the node's own machine. Organisations are 64 hex digits, a peer id "
            "(12D3Koo...) or a member's name where only one bears it. Integers beyond 2^53-1 are strings.",
        },
        "methods": [_method(methods[name]) for name in sorted(methods)],
        "components": {"errors": {word: _error(kind) for word, kind in BY_WORD.items()}},
    }


def _method(method: Method) -> dict[str, Any]:
    summary, _, description = method.summary.partition("\n\n")
    return {
        "name": method.name,
        "summary": " ".join(summary.split()),
        **({"description": description} if description else {}),
        "paramStructure": "either",
        "params": [
            {"name": parameter.name, "required": parameter.required, "schema": parameter.reader.schema}
            for parameter in method.parameters
        ],
        "result": {"name": "result", "schema": method.result},
        "errors": [{"$ref": f"#/components/errors/{word}"} for word in (*method.errors, *_USUAL)],
    }


def _error(kind: ErrorKind) -> dict[str, Any]:
    return {"code": kind.code, "message": kind.word, "data": {"code": kind.word, "happened": kind.happened}}
