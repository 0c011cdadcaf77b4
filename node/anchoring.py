"""Anchors every closed period on the ledger, once and in order [ANCHOR Algorithm 2], and proves records under anchors.

Nothing is kept here: what is closed lies in the store, what is anchored on the ledger, and each start compares the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from ledger.entries import Anchor, AnchorTotals, anchor_key, anchor_totals_key
from ledger.errors import InvalidTransaction
from ledger.merkle import MerkleTree
from ledger.transactions import AnchorRecords
from ledger.types import Hash32
from node.ports import Ledger
from node.record_errors import RecordStoreError
from node.record_store import ClosedPeriod, RecordStore
from node.wakeup import Wakeup

log = structlog.get_logger(__name__)

# Small transactions; a store that was filled before it met the league has thousands of periods to catch up on.
IN_FLIGHT_MAX = 64
# What has not shown up on the ledger by then was lost with the node that took it.
RESEND_S = 3.0

Notify = Callable[[str, Mapping[str, Any]], None]
CloseDue = Callable[[], object]


class NotAnchored(LookupError):
    """There is no anchor, or no longer any trace of what was anchored, for what was asked."""


@dataclass(frozen=True, slots=True)
class RecordProof:
    """That the record at `index` of the period was anchored with this leaf: an RFC 6962 inclusion proof."""

    period: int
    index: int
    record_count: int
    leaf: Hash32
    proof: tuple[Hash32, ...]


class Anchorer:
    """Run it once; ring `wake` at every new head and whenever a period was closed.

    `close_due` closes a stream's periods whose time is over; it is called in a thread.
    """

    def __init__(self, ledger: Ledger, store: RecordStore, notify: Notify, close_due: CloseDue | None = None) -> None:
        self._ledger = ledger
        self._store = store
        self._notify = notify
        self._close_due = close_due
        self._me = ledger.org
        self._key = ledger.key.public
        self._wakeup = Wakeup()
        self._sent_at: dict[int, float] = {}
        self._told: set[int] = set()
        self._refused_for = ""
        self._trouble = ""

    def wake(self) -> None:
        self._wakeup.ring()

    async def run(self) -> None:
        """Until cancelled."""
        compared = False
        while True:
            try:
                if not compared:
                    await trio.to_thread.run_sync(self._compare)
                    compared = True
                if self._close_due is not None:
                    await trio.to_thread.run_sync(self._close_due)
                await self._anchor()
            except RecordStoreError as error:
                # Full or locked: the records are safe where they are, and are anchored as soon as that has passed.
                self._tell_trouble(str(error))
            await self._wakeup.wait(RESEND_S)

    def anchored_through(self) -> int:
        """The last period that the ledger holds of ours; 0 for none."""
        totals = self._ledger.chain.read(AnchorTotals, anchor_totals_key(self._me))
        return totals.last_period if totals is not None and totals.periods else 0

    def prove(self, period: int, index: int) -> RecordProof:
        """Proof of one record under its anchor, made from the leaves that were kept when the period was closed.

        Raises NotAnchored; IndexError for a place that the period does not have.
        """
        anchor = self._ledger.chain.read(Anchor, anchor_key(self._me, period))
        if anchor is None:
            raise NotAnchored(f"period {period} is not anchored")
        leaves = self._store.kept_leaves(period)
        tree = MerkleTree(leaves)
        if tree.root != anchor.root:
            raise NotAnchored(f"the leaves kept of period {period} are not those that were anchored")
        if not 0 <= index < len(leaves):
            raise IndexError(f"record {index} of period {period}, which has {len(leaves)}")
        return RecordProof(period, index, len(leaves), leaves[index], tree.inclusion_proof(index))

    def _compare(self) -> None:
        """Say where the store and the ledger differ: such periods earn nothing and lose disputes."""
        through = self.anchored_through()
        for closed in self._store.closed_periods():
            anchor = self._ledger.chain.read(Anchor, anchor_key(self._me, closed.period))
            if anchor is not None and (anchor.root, anchor.record_count) != (closed.root, closed.record_count):
                self._tell(closed, "mismatch", "the store's root is not the anchored one")
            elif anchor is None and closed.period <= through:
                self._tell(closed, "skipped", f"period {through} is anchored, earlier ones can no longer be")

    async def _anchor(self) -> None:
        """Submit the next periods, in order."""
        through = self.anchored_through()
        for period in [period for period in self._sent_at if period <= through]:
            del self._sent_at[period]
        waiting = await trio.to_thread.run_sync(self._store.closed_after, through, IN_FLIGHT_MAX)
        self._tell_anchored(through)
        if not waiting:
            return
        pending = self._pending()
        now = trio.current_time()
        for closed in waiting:
            if closed.period in pending or now - self._sent_at.get(closed.period, -RESEND_S) < RESEND_S:
                continue
            if closed.period <= self.anchored_through():
                continue  # sealed while the store was read, or while an earlier period was submitted
            self._sent_at[closed.period] = now
            body = AnchorRecords(closed.period, closed.record_count, closed.root, closed.begins, closed.ends)
            try:
                await self._ledger.submit_own(body)
            except InvalidTransaction as error:
                # A later period must not overtake this one; the next head or the next look tries again, this one
                # first: an outsider that is let in a moment later would else lose it for good.
                del self._sent_at[closed.period]
                self._tell_refused(closed, error)
                return
            self._refused_for = ""

    def _pending(self) -> set[int]:
        return {
            transaction.body.period
            for transaction in self._ledger.pending_transactions()
            if transaction.sender == self._key and isinstance(transaction.body, AnchorRecords)
        }

    def _tell_trouble(self, reason: str) -> None:
        """Once a reason."""
        if reason != self._trouble:
            self._trouble = reason
            log.error("records_unavailable", reason=reason)
            self._notify("anchor", {"event": "trouble", "reason": reason})

    def _tell_refused(self, closed: ClosedPeriod, error: InvalidTransaction) -> None:
        """Once a reason: an outsider that waits for approval is refused every few seconds."""
        if error.code != self._refused_for:
            self._refused_for = error.code
            log.warning("anchor_refused", period=closed.period, code=error.code, reason=str(error))

    def _tell_anchored(self, through: int) -> None:
        if through and through not in self._told:
            self._told = {through}
            self._notify("anchor", {"event": "anchored", "period": through})

    def _tell(self, closed: ClosedPeriod, event: str, reason: str) -> None:
        log.error("anchor_" + event, period=closed.period, reason=reason)
        self._notify("anchor", {"event": event, "period": closed.period, "reason": reason})
