"""Events as Server-Sent Events on GET /events: one line of JSON each, a comment when it is quiet, an error at the end.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from starlette.responses import Response

from node.events import NodeEvent, SlowSubscriber, Subscription
from node.rpc.errors import RpcError
from node.rpc.jsonrpc import encode_json
from node.rpc.node import Node

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]


class EventStream(Response):
    """The response that goes on until the client leaves, falls behind or the node stops."""

    def __init__(self, node: Node, subscription: Subscription) -> None:
        self._node = node
        self._subscription = subscription
        self.background = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        greeting = {"topics": sorted(self._subscription.topics), "head": self._node.head()}
        await _push(send, sse("subscribed", greeting))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_left, receive, nursery.cancel_scope)
            await self._forward(send)
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _forward(self, send: Send) -> None:
        while True:
            try:
                with trio.fail_after(self._node.settings.heartbeat_s):
                    event = await self._subscription.receive()
            except trio.TooSlowError:
                await _push(send, b": alive\n\n")
            except trio.EndOfChannel:
                await _push(send, sse("end", {"reason": "the node stops"}))
                return
            except SlowSubscriber as error:
                await _push(send, sse("error", RpcError("slow_subscriber", str(error)).as_json()))
                return
            else:
                await _push(send, sse(event.topic, event_view(event)))


def event_view(event: NodeEvent) -> dict[str, Any]:
    return {"topic": event.topic, "height": event.height, "data": event.data}


def sse(name: str, data: dict[str, Any]) -> bytes:
    """One event; the JSON is one ASCII line, so it cannot break the framing."""
    return b"event: %s\ndata: %s\n\n" % (name.encode("ascii"), encode_json(data))


async def _push(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _cancel_when_left(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
