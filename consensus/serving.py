"""What a peer may have of our blocks, and the answers: thirty bytes of asking cost us megabytes to read and send."""

from collections.abc import Sequence

from consensus.messages import Blocks, Decided, fit_blocks
from ledger.blocks import Block
from ledger.chain import Chain
from ledger.types import BLOCK_BYTES_MAX, NodeKey

# Two full blocks at once, then a megabyte a second: more than a peer can check of one source, and little enough that
# one who only asks leaves us most of our processor.
BURST_BYTES = 2 * BLOCK_BYTES_MAX
BYTES_PER_S = 1024 * 1024
# What even an empty block costs to find and to encode, in bytes of a full one.
BLOCK_COST_BYTES = 4 * 1024


class ServingBudget:
    """A bucket for each peer that refills evenly. An answer may overdraw it; then the peer waits.

    Buckets outlive connections: they would be refilled by dialling again. There are as many as members.
    """

    def __init__(self) -> None:
        self._left: dict[NodeKey, tuple[int, int]] = {}  # bytes, and the time in ms that they are of

    def allows(self, peer: NodeKey, now_ms: int) -> bool:
        return self._bytes(peer, now_ms) > 0

    def spend(self, peer: NodeKey, sizes: list[int], now_ms: int) -> None:
        """Blocks of these encoded sizes went to the peer."""
        cost = sum(sizes) + BLOCK_COST_BYTES * max(1, len(sizes))
        self._left[peer] = (self._bytes(peer, now_ms) - cost, now_ms)

    def _bytes(self, peer: NodeKey, now_ms: int) -> int:
        left, at = self._left.get(peer, (BURST_BYTES, now_ms))
        # A clock that was set back gives nothing and takes nothing.
        return min(BURST_BYTES, left + max(0, now_ms - at) * BYTES_PER_S // 1000)


class BlockServer:
    """Answers what peers ask of a chain, each as long as its budget lasts; None where there is nothing to say."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._budget = ServingBudget()

    def allows(self, peer: NodeKey, now_ms: int) -> bool:
        return self._budget.allows(peer, now_ms)

    def range(self, peer: NodeKey, first: int, count: int, now_ms: int) -> Blocks | None:
        """Blocks of these heights, as many as fit; none of them when the first was dropped: gaps help nobody."""
        if not self.allows(peer, now_ms):
            return None
        heights = range(max(first, 1), min(first + count, self._chain.height + 1))
        if first < self._chain.held.first_block:
            heights = range(0)
        finals = (self._chain.final_block(height) for height in heights)
        answer = fit_blocks(final for final in finals if final is not None)
        self._spend(peer, [final.block for final in answer.blocks], now_ms)
        return answer

    def decided(self, peer: NodeKey, height: int, now_ms: int) -> Decided | None:
        """The final block of a height."""
        final = self._chain.final_block(height) if self.allows(peer, now_ms) else None
        if final is None:
            return None
        self.charge(peer, final.block, now_ms)
        return Decided(final)

    def charge(self, peer: NodeKey, block: Block, now_ms: int) -> None:
        """This block goes to the peer in an answer that is made elsewhere."""
        self._spend(peer, [block], now_ms)

    def _spend(self, peer: NodeKey, blocks: Sequence[Block], now_ms: int) -> None:
        self._budget.spend(peer, [len(block.encoded) for block in blocks], now_ms)
