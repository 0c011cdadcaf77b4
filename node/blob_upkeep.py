"""Makes room among the blobs before there is none: a node that can keep no update can attest none.

A round leaves a model and an update of every provider behind, and only the ledger says which are still wanted. What to
delete is decided here from the ledger; how blobs lie on the disk is `network/blob_store.py`'s business.
"""

import time
from collections.abc import Iterator
from typing import Protocol

import structlog
import trio

from ledger.entries import FINAL_STAGES, REQUESTS, Request
from ledger.transactions import PublishProtected, PublishRequest
from ledger.types import Hash32
from node.disk_use import Room
from node.network.blob_store import BlobStore
from node.ports import Ledger
from node.rounds import announced_update, open_requests, rounds_in_work
from node.wakeup import Wakeup

log = structlog.get_logger(__name__)

# Parts of the capacity, in percent: begin above the first, stop below the second. Between the first and the whole there
# is room for what arrives meanwhile.
BEGIN_PERCENT = 70
END_PERCENT = 50
# What was stored so lately may be on its way to the ledger: initial weights to their request, an update to its word.
FRESH_S = 120.0
LOOK_EVERY_S = 30.0


class Clock(Protocol):
    """Seconds since 1970, as files are dated."""

    def __call__(self) -> float: ...


class BlobUpkeep:
    """Run it once; ring `wake` at every new head."""

    def __init__(self, ledger: Ledger, store: BlobStore, clock: Clock = time.time) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._wakeup = Wakeup()
        self._room = Room.ENOUGH

    def press(self, room: Room) -> None:
        """How much room the whole disk has: when it is scarce, all goes that nobody waits for."""
        self._room = room
        if room is not Room.ENOUGH:
            self._wakeup.ring()

    def wake(self) -> None:
        self._wakeup.ring()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.tidy()
            await self._wakeup.wait(LOOK_EVERY_S)

    async def tidy(self) -> int:
        """Delete what nobody waits for, the oldest first, when too little room is left. Returns how many blobs went.

        Final models go only when all else was not enough: their buyers may still come for them.
        """
        capacity = self._store.capacity_bytes
        goal = capacity * END_PERCENT // 100
        if self._room is not Room.ENOUGH:
            goal = 0
        elif self._store.bytes_stored * 100 <= capacity * BEGIN_PERCENT:
            return 0
        in_work, final = set(self._in_work()), set(self._final_models())
        # While the disk gets full, what was paid for stays: only when there is no room at all does it go.
        spared = in_work | final if self._room is Room.SCARCE else in_work
        deleted = await trio.to_thread.run_sync(self._delete, spared, final, goal)
        if not deleted:
            return 0
        log.info("blobs_deleted", count=deleted, bytes_stored=self._store.bytes_stored, capacity=capacity)
        return deleted

    def _in_work(self) -> Iterator[bytes]:
        """Blobs of requests that are not over, and of what waits to be said about them."""
        chain = self._ledger.chain
        for _, request in open_requests(chain):
            yield from (request.terms.initial_model, request.model, request.judged_model)
        for work in rounds_in_work(chain):
            yield work.round.base_model
            yield from (part.blob for part in work.round.participants)
        for transaction in self._ledger.pending_transactions():
            announced = announced_update(transaction.body)
            if announced is not None:
                yield announced.blob
            elif isinstance(transaction.body, PublishRequest | PublishProtected):
                yield transaction.body.terms.initial_model

    def _final_models(self) -> Iterator[bytes]:
        for _, request in self._ledger.chain.scan(Request, REQUESTS):
            if request.stage in FINAL_STAGES and request.model_round:
                yield request.model

    def _delete(self, in_work: set[bytes], final: set[bytes], goal_bytes: int) -> int:
        """Blocks on the disk. Returns how many blobs went."""
        dated = [(name in final, self._store.stored_at(name), name) for name in self._store if name not in in_work]
        deleted = 0
        for _, stored_at, name in sorted(dated):
            if self._store.bytes_stored <= goal_bytes:
                break
            if stored_at <= self._clock() - FRESH_S:
                self._store.delete(Hash32(name))
                deleted += 1
        return deleted
