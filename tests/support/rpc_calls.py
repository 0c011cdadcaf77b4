"""Calling a method as JSON-RPC would, without the transport: parameters and results pass through JSON."""

import json
from typing import Any

from node.rpc.methods.table import METHODS
from node.rpc.node import AfterAnswer, Later, Node


async def call(node: Node, name: str, **params: Any) -> Any:
    method = METHODS[name]
    result = await method.function(node, **method.bind(json.loads(json.dumps(params)), node))
    if isinstance(result, Later):
        result = await result.finish()
    if isinstance(result, AfterAnswer):
        result = result.result
    return json.loads(json.dumps(result))
