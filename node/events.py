"""What happens in a node, told to whoever subscribed: each subscriber has its own bounded queue.

A subscriber that falls behind is cut off with an error after what it still had queued; nobody loses an event
silently and nobody holds the node up. How events leave the process is `rpc/`'s business.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

TOPICS = frozenset({"block", "tx", "request", "round", "training", "peer", "evidence", "anchor", "ballot"})

# A full block's transactions announced one by one fit about four times over; at 500 transactions a second a reader
# may pause for half a minute.
EVENTS_QUEUED_MAX = 16_384
# A web page, a command line and a monitor or two, for every seat of the largest committee.
SUBSCRIBERS_MAX = 64


class SlowSubscriber(Exception):
    """A subscriber let its queue run full and was cut off; subscribe again and read the ledger for what is missing."""


class TooManySubscribers(Exception):
    """There are SUBSCRIBERS_MAX subscribers already."""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """One thing that happened. `height`: of the head at that moment. `data`: JSON-ready, its keys fixed by `topic`."""

    topic: str
    height: int
    data: Mapping[str, Any] = field(default_factory=dict)


class Subscription:
    """One subscriber's queue. Iterate it, or call `receive`."""

    def __init__(self, topics: frozenset[str], queued_max: int) -> None:
        self.topics = topics
        self._send, self._receive = trio.open_memory_channel[NodeEvent](queued_max)
        self._slow = False

    def offer(self, event: NodeEvent) -> bool:
        """Queue the event; False when there is no room, and then this subscription is over."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self._slow = True
            self._send.close()
            return False
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    def end(self) -> None:
        """No more events; what is queued can still be read."""
        self._send.close()

    async def receive(self) -> NodeEvent:
        """The next event. Raises SlowSubscriber when this subscriber was cut off, trio.EndOfChannel at the end."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self._slow:
                raise SlowSubscriber(
                    f"more than {self._receive.statistics().max_buffer_size:.0f} events were waiting to be read"
                ) from None
            raise

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> NodeEvent:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def close(self) -> None:
        self._send.close()
        self._receive.close()


class EventHub:
    """Hands each event to every subscriber of its topic. `publish` never waits."""

    def __init__(self, queued_max: int = EVENTS_QUEUED_MAX, subscribers_max: int = SUBSCRIBERS_MAX) -> None:
        self._queued_max = queued_max
        self._subscribers_max = subscribers_max
        self._subscriptions: list[Subscription] = []

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    def wanted(self, topic: str) -> bool:
        """Whether anybody listens: so that the caller need not build an event for nobody."""
        return any(topic in subscription.topics for subscription in self._subscriptions)

    def publish(self, event: NodeEvent) -> None:
        """Queue the event with all who want it; those without room are cut off."""
        assert event.topic in TOPICS, f"no such topic: {event.topic}"
        self._subscriptions = [
            subscription
            for subscription in self._subscriptions
            if event.topic not in subscription.topics or subscription.offer(event)
        ]

    @asynccontextmanager
    async def subscribe(self, topics: frozenset[str]) -> AsyncIterator[Subscription]:
        """Events of these topics from now on. Raises ValueError for an unknown topic, TooManySubscribers."""
        unknown = topics - TOPICS
        if unknown or not topics:
            came = ", ".join(sorted(unknown)) or "none"
            raise ValueError(f"topics {came}, want some of {', '.join(sorted(TOPICS))}")
        if len(self._subscriptions) >= self._subscribers_max:
            raise TooManySubscribers(f"{self._subscribers_max} subscribers are connected, no more are taken")
        subscription = Subscription(topics, self._queued_max)
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
            subscription.close()

    def close(self) -> None:
        """The node stops: every subscriber reads what it has queued and then meets the end."""
        for subscription in self._subscriptions:
            subscription.end()
        self._subscriptions = []
