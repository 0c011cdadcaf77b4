"""The HTTP side: which path answers what, who may ask, and how large a body may be.

POST / is JSON-RPC, GET /events and WebSocket /ws carry events, GET /blobs/<digest> models; /healthz, /readyz, /metrics
and /openrpc.json need no cookie. One application serves TCP and the Unix socket; on the latter, the file's mode has
decided already.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from node.events import TooManySubscribers
from node.metrics import CONTENT_TYPE, Metrics
from node.rpc.auth import check_cookie, check_host
from node.rpc.errors import RpcError
from node.rpc.event_stream import EventStream
from node.rpc.jsonrpc import JsonRpc, encode_json
from node.rpc.listeners import AsgiApp
from node.rpc.method import Method
from node.rpc.node import Node
from node.rpc.readiness import readiness
from node.rpc.scrape import scrape
from node.rpc.views import unhex
from node.rpc.websocket import serve_websocket

BLOB_PIECE_BYTES = 256 * 1024
# They say nothing that a user of this machine may not know, and monitors do not read cookie files.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openrpc.json"})


def make_app(
    node: Node, methods: Mapping[str, Method], metrics: Metrics | None = None, extra_routes: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application behind the guard. `extra_routes`: the web page's."""
    rpc = JsonRpc(methods, node)
    description = encode_json(node.openrpc)

    async def openrpc(request: Request) -> Response:
        return Response(description, media_type="application/json")

    async def metrics_page(request: Request) -> Response:
        if metrics is None:
            return error_response(RpcError("unavailable", "this node counts no metrics", part="metrics"), 503)
        return Response(scrape(node, metrics), headers={"content-type": CONTENT_TYPE})

    async def converse(websocket: WebSocket) -> None:
        await serve_websocket(websocket, methods, node)

    routes = [
        Route("/", partial(_call, rpc=rpc, node=node), methods=["POST"]),
        Route("/healthz", partial(_healthz, node=node), methods=["GET"]),
        Route("/readyz", partial(_readyz, node=node), methods=["GET"]),
        Route("/metrics", metrics_page, methods=["GET"]),
        Route("/openrpc.json", openrpc, methods=["GET"]),
        Route("/events", _Events(node), methods=["GET"]),
        Route("/blobs/{digest}", partial(_blob, node=node), methods=["GET"]),
        WebSocketRoute("/ws", converse),
    ]
    return Starlette(routes=[*extra_routes, *routes], exception_handlers={HTTPException: _no_such_address})


def guard(app: AsgiApp, *, hosts: tuple[str, ...], cookie: str, open_paths: frozenset[str] = OPEN_PATHS) -> AsgiApp:
    """`app` for callers over TCP: Host and Origin are checked always, the cookie wherever the path is not open."""

    async def guarded(scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            try:
                check_host(headers, hosts)
                if scope["path"] not in open_paths:
                    check_cookie(headers, cookie)
            except RpcError as error:
                # Before the handshake Starlette answers a WebSocket with this HTTP response too.
                await error_response(error)(scope, receive, send)
                return
        await app(scope, receive, send)

    return guarded


def error_response(error: RpcError, status: int | None = None) -> Response:
    """An error that is no answer to a call: JSON-RPC's form all the same, under an HTTP status."""
    body = encode_json({"jsonrpc": "2.0", "id": None, "error": error.as_json()})
    headers = {"www-authenticate": 'Basic realm="hanse"'} if error.kind.status == 401 else None
    return Response(body, status or error.kind.status, headers, "application/json")


async def _call(request: Request, *, rpc: JsonRpc, node: Node) -> Response:
    """POST /: one call or a batch."""
    try:
        _check_content_type(request)
        body = await _read_body(request, node.settings.body_bytes_max, node.settings.body_s)
    except RpcError as error:
        return error_response(error, 408 if error.kind.word == "timed_out" else None)
    except ClientDisconnect:
        return Response(status_code=400)
    answer = await rpc.answer(body)
    background = BackgroundTask(_act, answer.after) if answer.after else None
    if answer.body is None:
        return Response(status_code=204, background=background)
    return Response(answer.body, answer.status, media_type="application/json", background=background)


async def _act(acts: list[Callable[[], None]]) -> None:
    for act in acts:
        act()


def _check_content_type(request: Request) -> None:
    # A page of another site can post forms without being asked, JSON it cannot.
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RpcError("wrong_content_type", f"Content-Type: got {content_type[:80]!r}, want application/json")


async def _read_body(request: Request, bytes_max: int, limit_s: float) -> bytes:
    """The whole body. Raises RpcError("too_large") before more than `bytes_max` are held, RpcError("timed_out")."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced[:20]) > bytes_max:
        raise RpcError("too_large", f"a body of {announced[:20]} bytes, at most {bytes_max} are allowed")
    chunks, size = [], 0
    try:
        with trio.fail_after(limit_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > bytes_max:
                    raise RpcError("too_large", f"a body of more than {bytes_max} bytes")
                chunks.append(chunk)
    except trio.TooSlowError:
        raise RpcError("timed_out", f"the body was not whole within {limit_s:.0f} s") from None
    return b"".join(chunks)


async def _healthz(request: Request, *, node: Node) -> Response:
    return Response(encode_json({"alive": True, "height": node.chain.height}), media_type="application/json")


async def _readyz(request: Request, *, node: Node) -> Response:
    state = readiness(node)
    body = {"ready": state.ready, "checks": state.checks, "reasons": list(state.reasons), "head": node.head()}
    return Response(encode_json(body), 200 if state.ready else 503, media_type="application/json")


async def _blob(request: Request, *, node: Node) -> Response:
    """GET /blobs/<digest>: a model's or update's bytes as they are on the disk here."""
    blobs, text = node.services.blobs, request.path_params["digest"]
    try:
        digest = unhex(text)
    except ValueError as error:
        return error_response(RpcError("invalid_params", f"digest: {error}", parameter="digest"), 400)
    if len(digest) != 32 or blobs is None or not blobs.has(digest):
        return error_response(RpcError("not_found", f"no blob {text[:64]} here"), 404)
    return Blob(blobs.view(digest))


class Blob(Response):
    """Bytes that are mapped from the disk, sent piece by piece: they are never in memory as a whole."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self.background = None

    async def __call__(self, scope, receive, send):  # type: ignore[no-untyped-def]
        size = len(self._content)
        headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at in range(0, size, BLOB_PIECE_BYTES):
            piece = bytes(self._content[at : at + BLOB_PIECE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class _Events:
    """GET /events?topics=block,round: the subscription lives as long as the response does."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, scope, receive, send):  # type: ignore[no-untyped-def]
        given = Request(scope).query_params.get("topics", "block")
        topics = frozenset(topic.strip() for topic in given[:256].split(",") if topic.strip())
        try:
            async with self._node.services.subscribe(topics) as subscription:
                await EventStream(self._node, subscription)(scope, receive, send)
        except ValueError as error:
            await error_response(RpcError("invalid_params", str(error), parameter="topics"), 400)(scope, receive, send)
        except TooManySubscribers as error:
            await error_response(RpcError("busy", str(error)))(scope, receive, send)


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path[:80]}: {error.detail}"
    return error_response(RpcError("wrong_http_method", text), error.status_code)
