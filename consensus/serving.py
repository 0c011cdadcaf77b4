"""How much of blocks and bodies a peer may have: a request of thirty bytes costs us megabytes to read and send."""

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
