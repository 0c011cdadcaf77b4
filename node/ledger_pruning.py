"""Drops the bodies of old blocks, as many as the operator wants to keep, and gives the disk its space back.

What may be dropped and what stays of a block is `ledger/chain_rows.py`'s business.
"""

import logging
from collections.abc import Callable

import trio

from ledger.chain import Chain
from ledger.chain_rows import BLOCK, COMMITTEE, PLACE, height_key
from node.leveldb import LevelDbStore
from node.wakeup import Wakeup

log = logging.getLogger(__name__)

# Blocks that are dropped together, so that the look at each new head costs nothing.
STEP_BLOCKS = 64
# Between two batches: others have their turn on the node's thread.
PAUSE_S = 0.02
# Dropped rows take their space until the tables are rewritten; LevelDB alone may take long over that.
COMPACT_AFTER_BLOCKS = 4_096
# A moment without a new block, in which rewriting tables delays nobody; without one for so long it is done anyway.
QUIET_S = 3.0
QUIET_WAIT_S = 600.0
# Places of transactions are in the order of their ids, so all of them are rewritten, a part at a time.
PLACE_PARTS = 16


class BlockPruner:
    """`keep`: blocks that stay below the head (0: all). `floor()`: heights from there on stay in any case, for those
    who join by a snapshot fetch what follows it."""

    def __init__(
        self,
        chain: Chain,
        store: LevelDbStore,
        disk_work: trio.Lock,
        keep: int,
        floor: Callable[[], int | None],
    ) -> None:
        self._chain = chain
        self._store = store
        self._disk_work = disk_work
        self._keep = keep
        self._floor = floor
        self._wakeup = Wakeup()
        self._first_dropped: int | None = None
        self._head_at = trio.current_time()

    def wake(self) -> None:
        """There is a new head."""
        self._head_at = trio.current_time()
        if self._keep and self._chain.height % STEP_BLOCKS == 0:
            self._wakeup.ring()

    async def run(self) -> None:
        """Until cancelled. Raises CorruptStore, StoreUnavailable."""
        if not self._keep:
            return
        while True:
            await self.prune()
            if self._first_dropped is not None and self._first_block - self._first_dropped >= COMPACT_AFTER_BLOCKS:
                await self._wait_for_quiet()
                await self.compact()
            await self._wakeup.wait(QUIET_WAIT_S)

    async def prune(self) -> None:
        """Drop what is not to be kept."""
        before = self._first_block
        while self._chain.drop_blocks(self._below()):
            await trio.sleep(PAUSE_S)
        if self._first_block > before:
            self._first_dropped = before if self._first_dropped is None else self._first_dropped
            log.info("blocks below height %d are dropped", self._first_block)

    async def compact(self) -> None:
        """Rewrite the tables that held what was dropped, in pieces, in a thread."""
        first, end = self._first_dropped or 1, self._first_block
        pieces = [(kind + height_key(first), kind + height_key(end)) for kind in (BLOCK, COMMITTEE)]
        edges = [PLACE + bytes([part * 256 // PLACE_PARTS]) for part in range(PLACE_PARTS)]
        pieces += list(zip(edges, [*edges[1:], PLACE + b"\xff" * 33], strict=True))
        for start, stop in pieces:
            async with self._disk_work:
                await trio.to_thread.run_sync(self._store.compact, start, stop)
        self._first_dropped = None

    @property
    def _first_block(self) -> int:
        return self._chain.held.first_block

    def _below(self) -> int:
        below = self._chain.height - self._keep + 1
        floor = self._floor()
        return below if floor is None else min(below, floor)

    async def _wait_for_quiet(self) -> None:
        with trio.move_on_after(QUIET_WAIT_S):
            while (busy := QUIET_S - (trio.current_time() - self._head_at)) > 0:
                await trio.sleep(busy)
