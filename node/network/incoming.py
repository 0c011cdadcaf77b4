"""Messages of all members on their way to one consumer: a bounded queue a peer, emptied in turns.

A peer that floods fills its own queue; only its own link then waits.
"""

from collections import deque

import trio

from ledger.types import NodeKey
from node.network.transport import Limits

# The consumer's own buffer: enough that it never waits for the feeder, little enough to keep turns fair.
_CONSUMER_BUFFER = 4


class _Lane:
    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.bytes = 0
        self.room = trio.Condition()


class Incoming:
    """`put` from the links, `channel` to the consumer; run `feed` as a task."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lanes: dict[NodeKey, _Lane] = {}
        # Peers with something waiting, in the order of their next turn.
        self._turns: deque[NodeKey] = deque()
        self._some = trio.Event()
        self._send, self.channel = trio.open_memory_channel[tuple[NodeKey, bytes]](_CONSUMER_BUFFER)

    async def put(self, org: NodeKey, message: bytes) -> None:
        """Queue a message of `org`, waiting while it has too much waiting. Once it is queued there is no checkpoint."""
        lane = self._lanes.setdefault(org, _Lane())
        async with lane.room:
            while lane.messages and (
                len(lane.messages) >= self._limits.incoming_messages_max
                or lane.bytes + len(message) > self._limits.incoming_bytes_max
            ):
                await lane.room.wait()
            if not lane.messages:
                self._turns.append(org)
            lane.messages.append(message)
            lane.bytes += len(message)
            self._some.set()

    def forget(self, org: NodeKey) -> None:
        """Drop what a former member left."""
        lane = self._lanes.get(org)
        if lane is not None:
            lane.messages.clear()
            lane.bytes = 0

    async def feed(self) -> None:
        """Hand messages over, one a turn, for ever."""
        while True:
            while self._turns:
                org = self._turns.popleft()
                lane = self._lanes[org]
                if not lane.messages:
                    continue
                message = lane.messages.popleft()
                lane.bytes -= len(message)
                if lane.messages:
                    self._turns.append(org)
                async with lane.room:
                    lane.room.notify_all()
                await self._send.send((org, message))
            self._some = trio.Event()
            await self._some.wait()
