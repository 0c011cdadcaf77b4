"""The WebSocket /ws: every method, and `subscribe` and `unsubscribe`, whose events come as notifications.

An event is `{"jsonrpc": "2.0", "method": "event", "params": {"subscription": 1, "topic": "block", ...}}`.
"""

from collections.abc import Mapping

import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from node.events import SlowSubscriber, Subscription, TooManySubscribers
from node.rpc.errors import RpcError
from node.rpc.event_stream import event_view
from node.rpc.jsonrpc import JsonRpc, encode_json
from node.rpc.method import INTEGER, STRING, Method, answer, ledger_answer, listing, method
from node.rpc.node import AfterAnswer, Node, Started
from node.rpc.parameters import Count, Topics
from node.rpc.views import Json

# There are eight topics; more subscriptions than that on one connection repeat each other.
SUBSCRIPTIONS_MAX = 16
# RFC 6455, 7.4.1 and the IANA registry: 1001 going away, 1013 try again later.
_GOING_AWAY, _TRY_AGAIN_LATER = 1001, 1013


class WebSocketSession:
    """One connection: its calls are answered in order, its subscriptions run beside them."""

    def __init__(self, websocket: WebSocket, methods: Mapping[str, Method], node: Node, nursery: trio.Nursery) -> None:
        self._websocket = websocket
        self._node = node
        self._nursery = nursery
        self._lock = trio.Lock()
        self._scopes: dict[int, trio.CancelScope] = {}
        self._last_id = 0
        schema = ledger_answer(subscription=INTEGER, topics=listing(STRING))
        own = (
            method("subscribe", self.subscribe, schema, ("busy",)),
            method("unsubscribe", self.unsubscribe, answer(subscription=INTEGER), ("not_found",)),
        )
        self._rpc = JsonRpc({**methods, **{each.name: each for each in own}}, node)

    async def run(self) -> None:
        """Until the client leaves."""
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                content = message.get("text")
                body = content.encode() if content is not None else message.get("bytes") or b""
                given = await self._rpc.answer(body)
                if given.body is not None:
                    await self._send(given.body)
                for act in given.after:
                    act()
        except (WebSocketDisconnect, RuntimeError):
            # Starlette's word for a message on a connection that is closed already.
            return

    async def subscribe(self, node: Node, *, topics: Topics) -> Json:
        """Events of these topics, from now on, on this WebSocket.

        A subscription that falls behind ends with a notification `event.error` (slow_subscriber) and the close
        code 1013.
        """
        if len(self._scopes) >= SUBSCRIPTIONS_MAX:
            raise RpcError("busy", f"{SUBSCRIPTIONS_MAX} subscriptions on this connection, no more are taken")
        self._last_id += 1
        answered = trio.Event()
        try:
            await self._nursery.start(self._follow, self._last_id, frozenset(topics), answered)
        except TooManySubscribers as error:
            raise RpcError("busy", str(error)) from None
        except ValueError as error:
            raise RpcError("invalid_params", f"subscribe: {error}", parameter="topics") from None
        result = {"head": node.head(), "subscription": self._last_id, "topics": sorted(topics)}
        # Events wait until the caller knows which subscription they belong to.
        return AfterAnswer(result, answered.set)

    async def unsubscribe(self, node: Node, *, subscription: Count) -> Json:
        """End a subscription of this WebSocket."""
        scope = self._scopes.pop(subscription, None)
        if scope is None:
            raise RpcError("not_found", f"no subscription {subscription} on this connection")
        scope.cancel()
        return {"subscription": subscription}

    async def _follow(
        self,
        number: int,
        topics: frozenset[str],
        answered: trio.Event,
        task_status: Started = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.CancelScope() as scope:
            async with self._node.services.subscribe(topics) as subscription:
                self._scopes[number] = scope
                task_status.started(None)
                await answered.wait()
                try:
                    await self._forward(number, subscription)
                except SlowSubscriber as error:
                    fault = {"subscription": number, **RpcError("slow_subscriber", str(error)).as_json()}
                    await self._notify("event.error", fault)
                    await self._close(_TRY_AGAIN_LATER, "slow subscriber")
                except RuntimeError:
                    # Closed under our hands; `run` sees it too.
                    pass
                else:
                    await self._close(_GOING_AWAY, "the node stops")
                finally:
                    self._scopes.pop(number, None)

    async def _forward(self, number: int, subscription: Subscription) -> None:
        async for event in subscription:
            await self._notify("event", {"subscription": number, **event_view(event)})

    async def _notify(self, name: str, params: dict[str, Json]) -> None:
        await self._send(encode_json({"jsonrpc": "2.0", "method": name, "params": params}))

    async def _send(self, body: bytes) -> None:
        async with self._lock:
            await self._websocket.send_text(body.decode("ascii"))

    async def _close(self, code: int, reason: str) -> None:
        async with self._lock:
            await self._websocket.close(code, reason)


async def serve_websocket(websocket: WebSocket, methods: Mapping[str, Method], node: Node) -> None:
    """Accept and serve one connection."""
    await websocket.accept()
    async with trio.open_nursery() as nursery:
        await WebSocketSession(websocket, methods, node, nursery).run()
        nursery.cancel_scope.cancel()
