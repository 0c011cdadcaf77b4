"""Which final blocks to ask of whom, when others are ahead: several ranges at once, handed on in order.

Knows heights and peers, no sockets and no clock: times come in as milliseconds of any steady clock. Whether a block is
right is the ledger's business; who served a wrong one is told here and asked no more.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from consensus.messages import BLOCKS_PER_MESSAGE_MAX
from ledger.blocks import FinalBlock
from ledger.types import NodeKey

# Ranges ahead of the head that are asked for or wait in memory: at most 4 frames of 4 MB.
RANGES_MAX = 4
# Of one peer at once: while one answer is checked the next is on its way, also when only one peer is there.
RANGES_PER_PEER_MAX = 2
# After this long another peer is asked. A frame of 4 MB takes 3.4 s at 10 Mbit/s.
ANSWER_TIMEOUT_MS = 5_000
# A peer that was silent, or had not what it claimed, is left alone this long, then twice as long, up to the maximum.
REST_MS = 10_000
REST_MS_MAX = 300_000


@dataclass(frozen=True, slots=True)
class Ask:
    """Send `BlocksRequest(from_height, count)` to the peer."""

    peer: NodeKey
    from_height: int
    count: int


@dataclass(slots=True)
class _Peer:
    height: int
    first: int = 0
    rests_until_ms: int = 0
    rest_ms: int = REST_MS

    def rest(self, now_ms: int) -> None:
        self.rests_until_ms = now_ms + self.rest_ms
        self.rest_ms = min(2 * self.rest_ms, REST_MS_MAX)


@dataclass(slots=True)
class _Range:
    """Heights first .. first + count - 1: asked of `peer` since `asked_ms`, or answered by `blocks`."""

    first: int
    count: int
    peer: NodeKey | None = None
    asked_ms: int = 0
    blocks: list[FinalBlock] = field(default_factory=list)
    served_by: NodeKey | None = None


class CatchUp:
    """Catch-up of one node. `head`: height of its newest final block."""

    def __init__(self, head: int) -> None:
        self._head = head
        self._peers: dict[NodeKey, _Peer] = {}
        self._ranges: list[_Range] = []
        self._served: dict[int, NodeKey] = {}  # who served a block that was handed out and not judged yet
        self.paused = False  # nothing is asked meanwhile: a snapshot is on its way

    @property
    def target(self) -> int:
        """The highest height anybody claims. Only a hint: a liar's claim costs one silent answer and its good name."""
        return max((peer.height for peer in self._peers.values()), default=self._head)

    @property
    def behind(self) -> int:
        """How many heights the best claim is ahead of our head."""
        return max(self.target - self._head, 0)

    def surely_behind(self, liars: int) -> int:
        """How many heights we are behind, whatever `liars` of our peers, or a third of them, claim; with so few peers,
        by the lowest claim.

        `behind` says whom to ask. This says how we stand: liars must not make us look, or act, as if out of date. Peers
        are all members, so more of them may lie than may in a committee.
        """
        claims = sorted((peer.height for peer in self._peers.values()), reverse=True)
        liars = max(liars, len(claims) // 3)
        return max(claims[min(liars, len(claims) - 1)] - self._head, 0) if claims else 0

    def claims_of(self, peers: Collection[bytes], height: int) -> int:
        """How many of `peers` say that they have this height behind them."""
        return sum(state.height >= height for peer, state in self._peers.items() if peer in peers)

    def is_out_of_reach(self, now_ms: int) -> bool:
        """Whether all who are ahead and answer have dropped the block after our head: only a snapshot leads on."""
        ahead = [
            state for state in self._peers.values() if state.height > self._head and state.rests_until_ms <= now_ms
        ]
        return bool(ahead) and all(state.first > self._head + 1 for state in ahead)

    def peer_at(self, peer: NodeKey, height: int, first: int | None = None) -> None:
        """A peer says that its newest final block has this height, and that it holds blocks from `first` on."""
        known = self._peers.setdefault(peer, _Peer(height))
        known.height = height
        if first is not None:
            known.first = first

    def peer_gone(self, peer: NodeKey) -> None:
        """The connection closed: what was asked of it is asked of others at once."""
        self._peers.pop(peer, None)
        for each in self._ranges:
            if each.peer == peer:
                each.peer = None

    def asks(self, now_ms: int) -> list[Ask]:
        """What to ask now. Call after every change and at least every second while `behind` is above 0."""
        for each in self._ranges:
            if each.peer is not None and now_ms - each.asked_ms >= ANSWER_TIMEOUT_MS:
                self._rest(each.peer, now_ms)
                each.peer = None
        if self.paused:
            return []
        self._extend()
        asks = []
        for each in self._ranges:
            if each.blocks or each.peer is not None:
                continue
            peer = self._choose(each.first, now_ms)
            if peer is None:
                continue
            each.peer, each.asked_ms = peer, now_ms
            count = min(each.count, self._peers[peer].height - each.first + 1)
            asks.append(Ask(peer, each.first, count))
        return asks

    def received(self, peer: NodeKey, blocks: Sequence[FinalBlock], now_ms: int) -> None:
        """A peer's answer. Blocks that were not asked of it, or are out of order, are dropped and the peer rests."""
        heights = [final.block.height for final in blocks]
        of_peer = [each for each in self._ranges if each.peer == peer]
        if not of_peer:
            return
        asked = next((each for each in of_peer if heights[:1] == [each.first]), of_peer[0])
        asked.peer = None
        if not heights or len(heights) > asked.count or heights != list(range(asked.first, asked.first + len(heights))):
            self._rest(peer, now_ms)
            return
        asked.blocks, asked.served_by = list(blocks), peer
        if len(heights) < asked.count:
            # A frame was full: the rest of the range is asked for on its own.
            rest = _Range(asked.first + len(heights), asked.count - len(heights))
            asked.count = len(heights)
            self._ranges.insert(self._ranges.index(asked) + 1, rest)
        if peer in self._peers:
            self._peers[peer].rest_ms = REST_MS

    @property
    def has_blocks(self) -> bool:
        """Whether `take` gives any."""
        return bool(self._ranges and self._ranges[0].blocks)

    def take(self, most: int = RANGES_MAX * BLOCKS_PER_MESSAGE_MAX) -> list[FinalBlock]:
        """Blocks that follow the head without a gap, to be verified and appended in this order, then `advanced`."""
        taken: list[FinalBlock] = []
        while self.has_blocks and len(taken) < most:
            done = self._ranges[0]
            assert done.served_by is not None
            part, done.blocks = done.blocks[: most - len(taken)], done.blocks[most - len(taken) :]
            done.first, done.count = done.first + len(part), done.count - len(part)
            if not done.blocks:
                self._ranges.pop(0)
            for final in part:
                self._served[final.block.height] = done.served_by
            taken.extend(part)
        return [final for final in taken if final.block.height > self._head]

    def advanced(self, head: int) -> None:
        """Our head is now at this height, by catch-up or by our own vote."""
        self._head = max(head, self._head)
        for height in [each for each in self._served if each <= self._head]:
            del self._served[height]
        kept = []
        for each in self._ranges:
            last = each.first + each.count - 1
            if last <= self._head:
                continue
            if each.first <= self._head and each.blocks:
                each.blocks = [final for final in each.blocks if final.block.height > self._head]
                each.first, each.count = self._head + 1, len(each.blocks)
            kept.append(each)
        self._ranges = kept

    def rejected(self, height: int, now_ms: int) -> NodeKey | None:
        """A block that was taken does not verify: everything not yet appended is asked for again, of others.

        Returns who served it.
        """
        culprit = self._served.get(height)
        self._served.clear()
        self._ranges.clear()
        if culprit is not None and culprit in self._peers:
            self._peers[culprit].rest_ms = REST_MS_MAX
            self._rest(culprit, now_ms)
        return culprit

    def _extend(self) -> None:
        """Cover the heights above the head, as far as claims and the window go."""
        waiting = max(self._served, default=self._head)
        first = max(self._ranges[-1].first + self._ranges[-1].count if self._ranges else 0, waiting + 1)
        while len(self._ranges) < RANGES_MAX and first <= self.target:
            count = min(BLOCKS_PER_MESSAGE_MAX, self.target - first + 1)
            self._ranges.append(_Range(first, count))
            first += count

    def _choose(self, height: int, now_ms: int) -> NodeKey | None:
        """A peer that has the height: the least busy, then the one that failed least lately, then the lowest id."""
        asked = Counter(each.peer for each in self._ranges)
        able = [
            (asked[peer], state.rest_ms, peer)
            for peer, state in self._peers.items()
            if state.first <= height <= state.height
            and state.rests_until_ms <= now_ms
            and asked[peer] < RANGES_PER_PEER_MAX
        ]
        return min(able)[2] if able else None

    def _rest(self, peer: NodeKey, now_ms: int) -> None:
        if peer in self._peers:
            self._peers[peer].rest(now_ms)
