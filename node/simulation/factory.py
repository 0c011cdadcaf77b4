"""What the owner of a node wants, with training replaced by a small exact function: offers, updates, attestations.

The rest is the daemon's own: attesting, aggregation and the exchange of blobs run as they do in a factory.
"""

import hashlib

import numpy as np
import trio

from fl.fixed_point import limit_in_steps, pack, unpack
from ledger.codec import digest
from ledger.entries import AnchorTotals, Fate, Stage, anchor_totals_key
from ledger.errors import InvalidTransaction
from ledger.transactions import AnchorRecords, AnnounceUpdate, Body, JoinRequest, RequestTerms
from ledger.types import Hash32
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import NoSpaceForBlob
from node.ports import Blobs, Ledger
from node.rounds import (
    RoundInWork,
    blob_bytes_max,
    model_holders,
    open_requests,
    participant,
    protection_of,
    rounds_in_work,
)
from node.simulation.masked_factory import MaskedFactory
from node.wakeup import Wakeup

PARAMETERS, SCALE_BITS, LIMIT = 24, 20, 512
RECORDS = 100
DATA_TYPE = "simulated"
# What has not shown up on the ledger by then is said again.
AGAIN_S = 3.0


class Factory:
    """Run it once a life; ring `wake` at every new head. `malformed`: its updates are no vectors."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        archive: dict[bytes, bytes],
        masked: MaskedFactory,
        malformed: bool = False,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._archive = archive
        self._malformed = malformed
        self._masked = masked
        self._wakeup = Wakeup()
        self._said_at: dict[object, float] = {}

    def wake(self) -> None:
        self._wakeup.ring()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._look()
            await self._wakeup.wait(AGAIN_S)

    async def _look(self) -> None:
        chain, me = self._ledger.chain, self._ledger.org
        if chain.key_of(me) is None:
            return
        anchored = chain.read(AnchorTotals, anchor_totals_key(me))
        if anchored is None:
            await self._say("anchor", AnchorRecords(1, RECORDS, digest("sim/records", me), 1, 2))
            return
        for request_id, request in open_requests(chain):
            joined = any(provider.org == me for provider in request.providers)
            room = len(request.providers) < request.terms.providers_max
            if request.stage is Stage.OPEN and not joined and room and request.requester != me:
                await self._say(("join", request_id), JoinRequest(request_id, DATA_TYPE, RECORDS, ()))
        for work in rounds_in_work(chain):
            if protection_of(chain, work.id.request) is not None and not self._malformed:
                await self._take_masked_part(work)
                continue
            part = participant(work.round, me)
            if work.request.stage is Stage.TRAINING and part is not None and part.fate is Fate.MISSING:
                await self._train(work)

    async def _take_masked_part(self, work: RoundInWork) -> None:
        try:
            await self._masked.look(work, lambda: self._trained(work), RECORDS, self._say)
            self._masked.tidy()
        except OSError:
            # The disk is full or fails: nothing was said that rests on it, and the next look tries again.
            return

    async def _trained(self, work: RoundInWork) -> bytes | None:
        chain, base, terms = self._ledger.chain, work.round.base_model, work.request.terms
        try:
            await self._blobs.fetch(
                base, blob_bytes_max(terms), model_holders(chain, work.request, self._ledger.key.public)
            )
            return self._update(bytes(self._blobs.view(base)), work, terms)
        except (BlobUnavailable, NoSpaceForBlob):
            return None

    async def _train(self, work: RoundInWork) -> None:
        update = await self._trained(work)
        if update is None:
            return
        try:
            blob = await self._blobs.put(update)
        except NoSpaceForBlob:
            return
        self._archive[blob] = update
        body = AnnounceUpdate(*work.id, blob, len(update), RECORDS, (1,), 10_000 * work.id.number, 10)
        await self._say(("update", work.id), body)

    def _update(self, base: bytes, work: RoundInWork, terms: RequestTerms) -> bytes:
        """The base and a step drawn from who, when and what it began with."""
        if self._malformed:
            return b"HQV" + self._ledger.org
        vector = unpack(base, terms.parameters, terms.scale_bits, limit_in_steps(terms.limit, terms.scale_bits))
        seed = hashlib.sha256(self._ledger.org + repr(work.id).encode() + base).digest()
        # Signed bytes, some of them against the step of the others: qualities differ and so do rewards.
        step = np.frombuffer(seed[:PARAMETERS], np.int8).astype(np.int32)
        return pack((vector + step).astype(np.int32), terms.scale_bits)

    async def _say(self, what: object, body: Body) -> None:
        now = trio.current_time()
        if now - self._said_at.get(what, -AGAIN_S) < AGAIN_S:
            return
        self._said_at[what] = now
        try:
            await self._ledger.submit_own(body)
        except InvalidTransaction:
            # The state moved on, or says no for now; the next look sees where it stands.
            return


def initial_model() -> bytes:
    return pack(np.zeros(PARAMETERS, np.int32), SCALE_BITS)


def terms(initial: Hash32, providers_max: int, title: str, rounds: int, providers_min: int = 1) -> RequestTerms:
    """A request of some rounds that a simulated league can work on within minutes of virtual time."""
    return RequestTerms(
        title=title,
        model="simulated",
        model_arguments=(),
        parameters=PARAMETERS,
        initial_model=initial,
        scale_bits=SCALE_BITS,
        limit=LIMIT,
        strategy="fedavg",
        strategy_settings=(),
        aggregation="mean",
        privacy="none",
        privacy_settings=(),
        data_type=DATA_TYPE,
        epochs=1,
        batch=1,
        training_settings=(),
        price=1,
        budget=20_000,
        target_accuracy=0,
        rounds_max=rounds,
        providers_min=providers_min,
        providers_max=max(1, providers_max),
        join_window=10_000,
        round_deadline=20_000,
        attest_window=20_000,
    )
