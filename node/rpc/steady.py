"""Answers that take a while and must be about one head: looked at in a thread, and again when the head moved."""

from collections.abc import Callable
from typing import TypeVar

import trio

from ledger.errors import CorruptStore
from node.rpc.errors import RpcError
from node.rpc.node import Node

T = TypeVar("T")

# A head lasts a tenth of a second and more; whoever loses so often is on a machine that cannot keep up.
ATTEMPTS_MAX = 20


async def steadily(node: Node, look: Callable[[], T]) -> T:
    """The result of `look` in a thread, over one head. Raises RpcError("busy"), and what `look` raises."""
    for _ in range(ATTEMPTS_MAX):
        before = node.chain.height
        try:
            found = await trio.to_thread.run_sync(look)
        except CorruptStore:
            # The tree that was being read is gone with its head; under the same head it is what it says.
            if node.chain.height == before:
                raise
            continue
        if node.chain.height == before:
            return found
    raise RpcError("busy", f"the head moved {ATTEMPTS_MAX} times while this was looked at; ask again")
