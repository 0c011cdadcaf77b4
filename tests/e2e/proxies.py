"""A TCP proxy before each node, which its addresses name: a partition between sockets that works on any machine.

Who connects is found by its port: the process of the league that holds the other end. So any pair can be cut, in both
directions or in one, with silence (bytes stop, connections stay, as behind a dead router) or with a reset.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import psutil  # type: ignore[import-untyped]
import trio

# One read of a pump; a proxy holds no more than this of a connection while it is cut.
PIECE_BYTES = 64 * 1024
# A process is asked for its connections again: the kernel lists one a moment after it stands.
_LOOKS_MAX = 20
_LOOK_EVERY_S = 0.02

Pair = tuple[str, str]


class Proxies:
    """One proxy a node. A context. `targets`: name → port it stands before; `pids`: process numbers by name, now."""

    def __init__(self, targets: Mapping[str, int], pids: Callable[[], Mapping[int, str]]) -> None:
        self._targets = dict(targets)
        self._pids = pids
        self.ports: dict[str, int] = {}
        self._cut: set[Pair] = set()
        self._gates: dict[Pair, trio.Event] = {}
        self._live: dict[trio.CancelScope, Pair] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._standing = threading.Event()
        self._thread = threading.Thread(target=lambda: trio.run(self._main), name="proxies", daemon=True)

    def __enter__(self) -> "Proxies":
        self._thread.start()
        self._standing.wait()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._scope is not None
        self._do(self._scope.cancel)
        self._thread.join()

    # --- for the runner's thread

    def cut(self, pairs: Iterable[Pair], *, reset: bool = False) -> None:
        """From the first name of a pair to the second nothing flows from now on. `reset`: connections break at once."""
        wanted = set(pairs)
        self._do(lambda: self._cut_now(wanted, reset))

    def heal(self) -> None:
        """Everything flows again, also what waited on connections that are still there."""
        self._do(self._heal_now)

    def _do(self, act: Callable[[], None]) -> None:
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(act, trio_token=self._token)

    # --- in the proxies' thread

    def _cut_now(self, pairs: set[Pair], reset: bool) -> None:
        self._cut |= pairs
        if reset:
            for scope, (one, other) in list(self._live.items()):
                if (one, other) in pairs or (other, one) in pairs:
                    scope.cancel()

    def _heal_now(self) -> None:
        self._cut.clear()
        for gate in self._gates.values():
            gate.set()
        self._gates.clear()

    async def _open(self, pair: Pair) -> None:
        """Return when bytes may flow from the first of a pair to the second."""
        while pair in self._cut:
            await self._gates.setdefault(pair, trio.Event()).wait()

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._scope, self._token = nursery.cancel_scope, trio.lowlevel.current_trio_token()
            for name, port in self._targets.items():
                (listener,) = await trio.open_tcp_listeners(self.ports.get(name, 0), host="127.0.0.1")
                self.ports[name] = listener.socket.getsockname()[1]
                nursery.start_soon(trio.serve_listeners, self._handler(name, port), [listener])
            self._standing.set()

    def _handler(self, name: str, port: int) -> Callable[[trio.SocketStream], object]:
        async def serve(near: trio.SocketStream) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                await self._serve(near, name, port)

        return serve

    async def _serve(self, near: trio.SocketStream, name: str, port: int) -> None:
        async with near:
            caller = await self._caller(near)
            if caller is None:
                return
            await self._open((caller, name))
            with trio.CancelScope() as scope:
                async with await trio.open_tcp_stream("127.0.0.1", port) as far:
                    self._live[scope] = (caller, name)
                    try:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(self._pump, near, far, (caller, name), scope)
                            nursery.start_soon(self._pump, far, near, (name, caller), scope)
                    finally:
                        del self._live[scope]

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, pair: Pair, scope: trio.CancelScope
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while piece := await source.receive_some(PIECE_BYTES):
                await self._open(pair)
                await sink.send_all(piece)
        # One end is gone: nobody waits for the rest of a half-open connection. The end is news, and a cut holds it up.
        await self._open(pair)
        scope.cancel()

    async def _caller(self, near: trio.SocketStream) -> str | None:
        """The node at the other end; None for somebody who is none."""
        port = near.socket.getpeername()[1]
        for _ in range(_LOOKS_MAX):
            found = await trio.to_thread.run_sync(self._holder, port)
            if found is not None:
                return found
            await trio.sleep(_LOOK_EVERY_S)
        return None

    def _holder(self, port: int) -> str | None:
        for pid, name in self._pids().items():
            with suppress(psutil.Error):
                if any(each.laddr and each.laddr.port == port for each in psutil.Process(pid).net_connections("tcp4")):
                    return name
        return None


def across(groups: Iterable[Iterable[str]]) -> set[Pair]:
    """All ordered pairs of names in different groups."""
    listed = [list(group) for group in groups]
    return {(a, b) for one in listed for other in listed if one is not other for a in one for b in other}
