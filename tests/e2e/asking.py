"""RPC clients for nodes that may be frozen, dead or cut off: short patience, a new connection after each failure."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node.rpc.client import InvalidAnswer, NodeUnreachable, RpcClient
from node.rpc.errors import RpcError

# A node on a busy machine answers in tens of milliseconds; one that is frozen never does.
PATIENCE_S = 3.0

Call = tuple[str, Mapping[str, Any]]


class Silence(Exception):
    """The node did not answer: it is down, frozen or starting. What it was asked may have been done."""


class _Brief(RpcClient):
    def _patience(self, params: Sequence[Mapping[str, Any]]) -> float:
        return self._timeout_s


class Asker:
    """Calls to one node. Each thread has a connection of its own."""

    def __init__(self, folder: Path, patience_s: float = PATIENCE_S) -> None:
        self._folder = folder
        self._patience_s = patience_s
        self._own = threading.local()

    def call(self, method: str, **parameters: Any) -> Any:
        """Raises RpcError when the node says no, Silence when it says nothing."""
        (answer,) = self.batch([(method, parameters)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Answers in order, an RpcError where the node says no. Raises Silence."""
        client: RpcClient | None = getattr(self._own, "client", None)
        try:
            if client is None:
                client = self._own.client = _Brief(self._folder, timeout_s=self._patience_s)
            return client.batch(calls)
        except (NodeUnreachable, InvalidAnswer) as error:
            self.forget()
            raise Silence(str(error)) from None

    def forget(self) -> None:
        """Close this thread's connection."""
        client: RpcClient | None = getattr(self._own, "client", None)
        self._own.client = None
        if client is not None:
            client.close()
