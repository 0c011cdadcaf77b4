"""Offering this node's data to requests that its owner has agreed to beforehand [DLMU 3, stage 3]."""

import structlog
import trio

from ledger.entries import Request, Stage, request_key
from ledger.errors import CorruptStore, InvalidTransaction
from ledger.transactions import JoinRequest, Verdict
from node.attesting import judge
from node.membership import is_provider
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import NoSpaceForBlob
from node.privacy_rounds import plan_refusal
from node.record_errors import RecordStoreError
from node.rounds import blob_bytes_max, model_holders, protection_of
from node.training_terms import TermsRefused
from node.workshop import RESEND_S, Workshop

log = structlog.get_logger(__name__)

TAKING_OFFERS = frozenset({Stage.OPEN, Stage.TRAINING, Stage.ATTESTING, Stage.AGGREGATING})
# An offer that is not final by then was lost on its way.
OFFER_WAIT_S = 10 * RESEND_S


class Offers:
    """Each request is looked at until it is offered to or found unsuitable; both happen once a start."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._done: set[bytes] = set()
        self._no_provider: set[bytes] = set()

    def should_join(self, request_id: bytes, request: Request) -> bool:
        """Whether to call `join` now; True once only. A request that does not suit is said to be so, once."""
        shop, terms = self._shop, request.terms
        if (
            request_id in self._done
            or request.requester == shop.me
            or shop.provides(request)
            or request.stage not in TAKING_OFFERS
            or len(request.providers) >= terms.providers_max
            or terms.data_type != shop.settings.data_type
            or not shop.settings.joins(terms.data_type)
            or not shop.anchored_records()
        ):
            return False
        if not is_provider(shop.ledger.chain, shop.me):
            # It may become one by a vote while the request is open.
            if request_id not in self._no_provider:
                self._no_provider.add(request_id)
                self._say_not_joined(request_id, "this organisation is no provider in the league")
            return False
        self._done.add(request_id)
        refusal = self._refusal(request_id, request)
        if refusal is not None:
            self._say_not_joined(request_id, refusal)
        return refusal is None

    def _say_not_joined(self, request_id: bytes, reason: str) -> None:
        log.info("request_not_joined", request=request_id.hex()[:16], reason=reason)
        self._shop.notify("training", {"request": request_id.hex(), "event": "not_joined", "reason": reason})

    def _refusal(self, request_id: bytes, request: Request) -> str | None:
        shop = self._shop
        least = shop.settings.price_min
        if request.terms.price < least:
            return f"price {request.terms.price}, want at least {least}"
        try:
            shop.check_terms(request.terms, protection_of(shop.ledger.chain, request_id))
        except TermsRefused as error:
            return str(error)
        return None

    async def join(self, request_id: bytes, request: Request) -> None:
        """Offer all anchored records, once the model that the next round begins with is here and is one."""
        shop = self._shop
        if not await self._can_afford(request_id, request) or not await self._can_begin(request_id, request):
            return
        try:
            attributes = await trio.to_thread.run_sync(shop.attributes)
        except (RecordStoreError, CorruptStore, OSError) as error:
            self._say_not_joined(request_id, str(error))
            return
        body = JoinRequest(request_id, request.terms.data_type, shop.anchored_records(), attributes)
        try:
            transaction = await shop.ledger.submit_own(body)
            with trio.move_on_after(OFFER_WAIT_S) as patience:
                await shop.ledger.wait_final(transaction.id)
        except InvalidTransaction as error:
            log.info("offer_refused", request=request_id.hex()[:16], code=error.code, reason=str(error))
            return
        if patience.cancelled_caught:
            self._done.discard(request_id)

    async def _can_afford(self, request_id: bytes, request: Request) -> bool:
        """Whether all rounds of the request fit into what is left of our data's privacy."""
        try:
            refusal = await plan_refusal(self._shop, request_id, request)
        except (RecordStoreError, CorruptStore, OSError) as error:
            refusal = str(error)
        if refusal is not None:
            self._say_not_joined(request_id, refusal)
        return refusal is None

    async def _can_begin(self, request_id: bytes, request: Request) -> bool:
        """Whoever is invited and does not deliver pays with its reputation: for weights that nobody serves, or that are
        no vector, the requester would make the providers pay."""
        shop, told = self._shop, ""
        while True:
            now = shop.ledger.chain.read(Request, request_key(request_id))
            if now is None or now.stage not in TAKING_OFFERS:
                return False
            try:
                holders = model_holders(shop.ledger.chain, now, shop.key)
                await shop.blobs.fetch(now.model, blob_bytes_max(now.terms), holders)
                model = shop.blobs.view(now.model)
                break
            except (BlobUnavailable, NoSpaceForBlob) as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("model_unavailable", request=request_id.hex()[:16], reason=told)
                await trio.sleep(RESEND_S)
        verdict = await trio.to_thread.run_sync(judge, model, request.terms)
        if verdict is not Verdict.HELD:
            reason = f"the model to begin with is {verdict.name.lower().replace('_', ' ')}"
            log.warning("request_not_joined", request=request_id.hex()[:16], reason=reason)
            shop.notify("training", {"request": request_id.hex(), "event": "not_joined", "reason": reason})
        return verdict is Verdict.HELD
