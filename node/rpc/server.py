"""The local interface of one node from start to end: cookie, listeners, application, and the file that says where."""

import ipaddress
import json
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

import trio
from starlette.routing import BaseRoute

from node.disk import publish_file
from node.metrics import Metrics
from node.rpc.auth import new_cookie
from node.rpc.http import OPEN_PATHS, guard, make_app
from node.rpc.listeners import Connections, open_tcp, open_unix
from node.rpc.methods.table import METHODS
from node.rpc.node import Node, Services, Started
from node.rpc.openrpc import describe
from node.rpc.settings import RpcSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RpcAddresses:
    """Where a node answers. `http`: `http://127.0.0.1:4002`, None when it listens on the Unix socket only."""

    http: str | None
    socket: Path
    cookie: Path


async def serve_rpc(
    services: Services,
    settings: RpcSettings,
    *,
    metrics: Metrics | None = None,
    extra_routes: Sequence[BaseRoute] = (),
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled; started with the RpcAddresses once clients can connect. Raises CannotListen, OSError.

    `extra_routes`: Starlette routes of the web page, behind the same guard.
    """
    version = program_version()
    node = Node(services, settings, version, trio.current_time(), describe(METHODS, version))
    app = make_app(node, METHODS, metrics, extra_routes)
    connections = Connections(settings)
    if metrics is not None:
        metrics.rpc_connections.set_function(lambda: connections.open)
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(open_unix(settings.socket))
        stack.callback(settings.socket.unlink, missing_ok=True)
        listener = await stack.enter_async_context(open_tcp(settings.listen)) if settings.listen else None
        stack.callback(settings.cookie.unlink, missing_ok=True)
        cookie = new_cookie(settings.cookie)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(connections.serve, app, local)
        if listener:
            # Beyond this machine nobody learns more without the cookie than that something lives here.
            open_paths = OPEN_PATHS if _on_loopback(listener) else frozenset({"/healthz"})
            guarded = guard(app, hosts=settings.hosts, cookie=cookie, open_paths=open_paths)
            nursery.start_soon(connections.serve, guarded, listener)
        addresses = RpcAddresses(_url(listener) if listener else None, settings.socket, settings.cookie)
        stack.callback(settings.address_file.unlink, missing_ok=True)
        _publish(addresses, settings.address_file)
        log.info("the local interface answers on %s and %s", addresses.http, addresses.socket)
        task_status.started(addresses)
        await trio.sleep_forever()


def program_version() -> str:
    try:
        return installed_version("hanse")
    except PackageNotFoundError:
        # Run from a checkout that was never installed.
        return "unversioned"


def _url(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _on_loopback(listener: trio.SocketListener) -> bool:
    return ipaddress.ip_address(listener.socket.getsockname()[0]).is_loopback


def _publish(addresses: RpcAddresses, path: Path) -> None:
    told = {
        "http": addresses.http,
        "socket": str(addresses.socket),
        "cookie": str(addresses.cookie),
        "pid": os.getpid(),
    }
    publish_file(path, json.dumps(told).encode(), mode=0o600)
