"""Sockets of the local interface: opening them, the bound on connections, and readers that stopped.

Hypercorn speaks HTTP on each connection; what it does not bound is bounded here. It holds a send against
cancellation, so a reader that stopped would keep the daemon from ending: here each send has a deadline, and
whatever is still open at the end is closed.
"""

import errno
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from node.rpc.settings import RpcSettings

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

# sockaddr_un has 108 bytes with the final zero (unix(7)).
_UNIX_PATH_BYTES_MAX = 107
_BACKLOG = 128

_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d"
    b"\r\n\r\n%s"
)


class CannotListen(Exception):
    """The address or the socket file cannot be had. The operator's fault; the text says which and why."""


def open_tcp(listen: str) -> trio.SocketListener:
    """A listener on `host:port`. Raises CannotListen."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
    except (OSError, ValueError) as error:
        raise CannotListen(f"[rpc] listen {listen!r}: {error}, want a free host:port") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def open_unix(path: Path) -> trio.SocketListener:
    """A listener on a socket file that only this user may open. The data directory's lock is held, so a socket file
    that is there is left over. Raises CannotListen."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EEXIST, "there is another file")
        path.unlink(missing_ok=True)
        # The mode is set before the name exists: at no moment can anybody else connect.
        os.fchmod(sock.fileno(), 0o600)
        with short_path(path) as short:
            sock.bind(short)
        path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen(f"[rpc] socket {path}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name of the file that fits into a socket address, however deep its directory lies."""
    if len(os.fsencode(path)) <= _UNIX_PATH_BYTES_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class _Http1(H11Protocol):  # type: ignore[misc]
    """HTTP/1.1 and WebSocket only: an idle HTTP/2 connection is never closed, and may carry a hundred calls at once."""

    async def _check_protocol(self, event: object) -> None:
        """A server may ignore an offer to upgrade (RFC 9110, 7.8)."""


class _Conversation(TCPServer):  # type: ignore[misc]
    """One connection, its idle timer ending with it (hypercorn's goes on, and keeps the connection's task)."""

    async def run(self) -> None:
        sock = self.stream.socket
        peers = [parse_socket_addr(sock.family, name) for name in (sock.getpeername(), sock.getsockname())]
        async with TaskGroup() as group:
            self._task_group = group
            state = ConnectionState({})
            self.protocol = _Http1(self.app, self.config, self.context, group, state, False, *peers, self.protocol_send)
            await self.idle_task.restart(group, self._idle_timeout)
            await self._read_data()
            await self.idle_task.stop()


class BoundedStream(trio.abc.HalfCloseableStream):
    """A connection whose peer has to take what is sent within `stall_s`, or is closed."""

    def __init__(self, stream: trio.SocketStream, stall_s: float) -> None:
        self._stream = stream
        self._stall_s = stall_s
        self.socket = stream.socket

    async def send_all(self, data: bytes | memoryview) -> None:
        with trio.move_on_after(self._stall_s) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            log.warning("a client of the local interface took nothing for %.0f s and was cut off", self._stall_s)
            self.abort()
            raise trio.BrokenResourceError("the reader stopped")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def abort(self) -> None:
        self.socket.close()


class Connections:
    """Serves an ASGI application on listeners, at most `connections_max` connections on all of them together."""

    def __init__(self, settings: RpcSettings) -> None:
        self._settings = settings
        self._open: set[BoundedStream] = set()
        self._context = WorkerContext(None)
        self._config = Config()
        self._config.keep_alive_timeout = settings.keep_alive_s
        self._config.websocket_max_message_size = settings.body_bytes_max
        self._config.include_server_header = False
        self._config.errorlog = logging.getLogger(f"{__name__}.http")

    @property
    def open(self) -> int:
        return len(self._open)

    async def serve(self, app: AsgiApp, listener: trio.SocketListener) -> None:
        """Until cancelled. A connection's faults end that connection only."""
        wrapped = wrap_app(app, self._settings.body_bytes_max, "asgi")

        async def converse(stream: trio.SocketStream) -> None:
            bounded = BoundedStream(stream, self._settings.stall_s)
            if len(self._open) >= self._settings.connections_max:
                await self._turn_away(bounded)
                return
            self._open.add(bounded)
            try:
                await _Conversation(wrapped, self._config, self._context, ConnectionState({}), bounded)
            except* OSError:
                # The client went away; trio says so of a socket in the middle of something.
                pass
            except* Exception as group:
                log.warning("a connection of the local interface ended: %s", group.exceptions, exc_info=group)
            finally:
                self._open.discard(bounded)
                bounded.abort()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_at_end)
            await trio.serve_listeners(converse, [listener], handler_nursery=nursery)

    async def _close_at_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            await self._context.terminated.set()
            for stream in list(self._open):
                stream.abort()

    async def _turn_away(self, stream: BoundedStream) -> None:
        text = (
            b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"%d connections are open, no more are taken",'
            b'"data":{"code":"busy"}}}' % self._settings.connections_max
        )
        try:
            await stream.send_all(_TOO_MANY % (len(text), text))
            # Read what was sent, so that closing does not reset the connection before the answer is read.
            with trio.move_on_after(1.0):
                await stream.send_eof()
                while await stream.receive_some(65536):
                    pass
        except trio.BrokenResourceError:
            pass
        finally:
            stream.abort()
