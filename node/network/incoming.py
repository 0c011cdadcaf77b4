"""Messages of all members on their way to one consumer: a bounded queue a peer, emptied in turns.

A peer that floods fills its own queue; only its own link then waits. And a peer whose messages cost too much of our
processor without moving anything (`charge`) waits for its next turn until it has paid: turns alone would let one that
sends what is dear to check have all of the time that the others leave between two votes. Gossip has a share of its own
and makes nothing wait, for votes come on the same link behind it: past the share the consumer drops it.
"""

from collections import deque

import trio

from ledger.types import NodeKey
from node.network.bucket import Bucket
from node.network.transport import Limits

# The consumer's own buffer: enough that it never waits for the feeder, little enough to keep turns fair.
_CONSUMER_BUFFER = 4
# Cutting a message out of its frame and handing it over takes about so long, however little is in it.
_MESSAGE_S = 0.0001


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
        self._budgets: dict[NodeKey, Bucket] = {}
        self._gossip: dict[NodeKey, Bucket] = {}
        self._share = limits.processing_share
        self._gossip_share = limits.gossip_share
        # Peers with something waiting, in the order of their next turn.
        self._turns: deque[NodeKey] = deque()
        self._some = trio.Event()
        self._send, self.channel = trio.open_memory_channel[tuple[NodeKey, bytes]](_CONSUMER_BUFFER)

    def share_among(self, members: int) -> None:
        """There are so many peers: each may have its part of the processor's time that is for messages."""
        limits = self._limits
        self._share = max(limits.processing_share / max(1, members), limits.processing_share_least)
        self._gossip_share = max(limits.gossip_share / max(1, members), limits.processing_share_least)
        for budget in self._budgets.values():
            budget.per_s = self._share
        for budget in self._gossip.values():
            budget.per_s = self._gossip_share

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

    def charge(self, org: NodeKey, processor_s: float, gossip: bool = False) -> None:
        """The consumer spent so much time on a message of `org` that moved nothing."""
        now = trio.current_time()
        if gossip:
            fresh = Bucket(self._gossip_share, self._limits.gossip_burst_s, now)
            self._gossip.setdefault(org, fresh).spend(processor_s + _MESSAGE_S, now)
        else:
            fresh = Bucket(self._share, self._limits.processing_burst_s, now)
            self._budgets.setdefault(org, fresh).spend(processor_s + _MESSAGE_S, now)

    def takes_gossip(self, org: NodeKey) -> bool:
        """Whether `org` has some of its share for gossip left."""
        budget = self._gossip.get(org)
        return budget is None or budget.wait_s(trio.current_time()) <= 0

    def held_s(self, org: NodeKey) -> float:
        """How long the messages of `org` will still wait for what it owes; 0 when it owes nothing."""
        budget = self._budgets.get(org)
        return 0.0 if budget is None else budget.wait_s(trio.current_time())

    def forget(self, org: NodeKey) -> None:
        """Drop what a former member left."""
        self._budgets.pop(org, None)
        self._gossip.pop(org, None)
        lane = self._lanes.get(org)
        if lane is not None:
            lane.messages.clear()
            lane.bytes = 0

    async def feed(self) -> None:
        """Hand messages over, one a turn, for ever."""
        while True:
            self._some = trio.Event()
            org, wait_s = self._next()
            if org is None:
                with trio.move_on_after(wait_s):
                    await self._some.wait()
                continue
            lane = self._lanes[org]
            message = lane.messages.popleft()
            lane.bytes -= len(message)
            if lane.messages:
                self._turns.append(org)
            async with lane.room:
                lane.room.notify_all()
            await self._send.send((org, message))

    def _next(self) -> tuple[NodeKey | None, float]:
        """Whose turn it is, taken off the turns; or nobody's for so many seconds unless a message comes."""
        wait_s = float("inf")
        for _ in range(len(self._turns)):
            org = self._turns.popleft()
            if not self._lanes[org].messages:
                continue
            held_s = self.held_s(org)
            if held_s <= 0:
                return org, 0.0
            self._turns.append(org)
            wait_s = min(wait_s, held_s)
        return None, wait_s
