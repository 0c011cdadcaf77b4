"""What the parts of the trainer share: the ledger, blobs, records and the training process of this node, and notices.

`trainer.py` decides what is done when; `offers.py`, `provider_rounds.py`, `requester_reports.py` and `final_models.py`
do it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from ledger.entries import Anchor, AnchorTotals, Request, anchor_key, anchor_totals_key
from ledger.errors import InvalidTransaction
from ledger.transactions import PERIODS_PER_UPDATE_MAX, Body, Protection, RequestTerms, Setting
from ledger.types import NodeKey, OrgId
from node.label_disclosure import NOTHING, label_attributes
from node.masking_memory import MaskingMemory
from node.model_export import ModelShelf
from node.network.blob_exchange import BlobUnavailable
from node.ports import Blobs, Ledger
from node.privacy_budget import DEFAULT_LIMIT, Limit, PrivacyBudget
from node.record_store import RecordStore
from node.rounds import RoundId, blob_bytes_max, model_holders
from node.training_memory import TrainingMemory
from node.training_process import TrainingProcess
from node.training_terms import check_terms
from node.wakeup import Wakeup

log = structlog.get_logger(__name__)

# What was said and has not shown up on the ledger is said again; the same bytes, so no harm is done.
RESEND_S = 3.0
RETRY_FIRST_S = 0.5
# A model that nobody serves for so long comes back with its holder, hours later perhaps.
RETRY_LONGEST_S = 15.0

Notify = Callable[[str, Mapping[str, Any]], None]
"""Told (topic of the event hub, JSON-ready data); must not block."""


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """What this organisation trains for others. `joins(data_type)`: whether such a request is joined without asking.

    `telling`: the most that is told of our test records; `limit`: what all trainings together may spend of the data's
    privacy; `disclose_labels`: how much an offer says of our classes, see `label_disclosure.py`.
    """

    data_type: str
    joins: Callable[[str], bool]
    price_min: int = 1
    allow_no_guarantee: bool = False
    require_guarantee: bool = False
    telling: str = "noisy"
    limit: Limit = DEFAULT_LIMIT
    disclose_labels: str = NOTHING


@dataclass(slots=True)
class RoundTask:
    """A round that something is being done about, until it is over; `bell` rings at every new head."""

    id: RoundId
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    bell: Wakeup = field(default_factory=Wakeup)


@dataclass(frozen=True, slots=True)
class Workshop:
    """`records` is None at a node that keeps none."""

    settings: TrainerSettings
    ledger: Ledger
    blobs: Blobs
    records: RecordStore | None
    process: TrainingProcess
    memory: TrainingMemory
    masking: MaskingMemory
    budget: PrivacyBudget
    shelf: ModelShelf
    notify: Notify

    @property
    def me(self) -> OrgId:
        return self.ledger.org

    @property
    def key(self) -> NodeKey:
        """What this node signs with and is found by."""
        return self.ledger.key.public

    def check_terms(self, terms: RequestTerms, protection: Protection | None) -> None:
        """Whether this node trains on such terms at all. Raises TermsRefused."""
        settings = self.settings
        check_terms(terms, settings.allow_no_guarantee, settings.require_guarantee, protection)

    def provides(self, request: Request) -> bool:
        """Whether this node has offered its data to the request."""
        return any(provider.org == self.me for provider in request.providers)

    def anchored_records(self) -> int:
        totals = self.ledger.chain.read(AnchorTotals, anchor_totals_key(self.me))
        return totals.records if totals is not None else 0

    def attributes(self) -> tuple[Setting, ...]:
        """What an offer says of our data beside its size. Blocks."""
        return label_attributes(self.records, self.settings.disclose_labels)

    def anchored_periods(self) -> tuple[int, ...]:
        """The newest periods that one update may name, ascending: closed here, and anchored with the very same root."""
        periods: list[int] = []
        for closed in reversed(self.records.closed_periods() if self.records is not None else ()):
            anchor = self.ledger.chain.read(Anchor, anchor_key(self.me, closed.period))
            # A root that is not the one on the ledger would not stand a dispute.
            if anchor is not None and anchor.root == closed.root:
                periods.append(closed.period)
            if len(periods) == PERIODS_PER_UPDATE_MAX:
                break
        return tuple(reversed(periods))

    def is_pending(self, body: Body) -> bool:
        """Whether we have said this and it waits to become final."""
        return any(
            transaction.sender == self.key and transaction.body == body
            for transaction in self.ledger.pending_transactions()
        )

    async def say(self, body: Body) -> None:
        """Submit unless it is pending. A refusal is logged: the ledger moved on between our look and our word."""
        if self.is_pending(body):
            return
        try:
            await self.ledger.submit_own(body)
        except InvalidTransaction as error:
            log.info("transaction_refused", kind=type(body).__name__, code=error.code, reason=str(error))

    async def fetch_model(self, digest: bytes, request: Request) -> None:
        """Have a global model here; keeps asking until somebody serves it. Whoever wants it no longer cancels."""
        pause_s = RETRY_FIRST_S
        while not self.blobs.has(digest):
            try:
                holders = model_holders(self.ledger.chain, request, self.key)
                await self.blobs.fetch(digest, blob_bytes_max(request.terms), holders)
            except BlobUnavailable as error:
                log.info("model_unavailable", blob=digest.hex()[:16], reason=str(error))
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_LONGEST_S)

    def tell(self, round_id: RoundId, event: str, **data: object) -> None:
        about = {"request": round_id.request.hex(), "round": round_id.number, "attempt": round_id.attempt}
        self.notify("training", {**about, "event": event, **data})
