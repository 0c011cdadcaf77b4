"""A committee member's duty in a round: fetch every announced update, check it, say on the ledger what is held.

Blobs are fetched as soon as an announcement is seen, in a block or still pending, so that the ledger waits for nobody
when the round closes; sealed ones once it is closed, for their providers keep them until then. What an attestation
brings about is `ledger/requests.py`'s business.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog
import trio

from fl.delta_blob import is_delta, may_be_changes, unpack_update
from fl.fixed_point import Bytes, InvalidVector, limit_in_steps, unpack
from fl.masked_blob import check_masked
from ledger.entries import Fate, Participant, Stage
from ledger.errors import InvalidTransaction
from ledger.request_terms import update_bytes_max
from ledger.transactions import Attestation, AttestBlobs, Protection, RequestTerms, Verdict
from ledger.types import NodeKey
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import NoSpaceForBlob
from node.ports import Blobs, Ledger
from node.rounds import (
    RoundId,
    RoundInWork,
    announced_update,
    blob_bytes_max,
    keys_of,
    model_holders,
    participant,
    protection_of,
    rounds_in_work,
)
from node.sealed import is_sealed, unsealed
from node.wakeup import Wakeup

log = structlog.get_logger(__name__)

# Enough that one stalled provider does not hold up the others; more would share a slow link too finely.
FETCHES_MAX = 4
# A provider that restarts is back within seconds, and an attestation window lasts longer than that.
RETRY_S = 1.0
# Once a round is closed its last blobs are on their way: worth waiting so long for one transaction instead of two.
GATHER_S = 0.5
# A transaction of ours that has not shown up on the ledger by then was lost with the node that took it.
RESEND_S = 3.0

WATCHED = frozenset({Stage.TRAINING, Stage.ATTESTING})
JUDGED = frozenset({Fate.ANNOUNCED, Fate.DELIVERED, Fate.REFUSED})


class Announced(NamedTuple):
    """One update that was announced in a round in work."""

    round: RoundId
    provider: bytes
    blob: bytes


@dataclass(slots=True)
class _Watch:
    """What is known of one round. `closed_at`: when it was first seen closed, on trio's clock. `foreseen`: the blob of
    each provider that is fetched before its announcement is in a block."""

    foreseen: dict[bytes, bytes] = field(default_factory=dict)
    verdicts: dict[Announced, Verdict] = field(default_factory=dict)
    fetching: set[Announced] = field(default_factory=set)
    sent_at: dict[Announced, float] = field(default_factory=dict)
    closed_at: float | None = None


class Attester:
    """Run it once; ring `wake` at every new head and whenever an announcement arrives."""

    def __init__(self, ledger: Ledger, blobs: Blobs) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._me = ledger.org
        self._key = ledger.key.public
        self._wakeup = Wakeup()
        self._watches: dict[RoundId, _Watch] = {}
        self._fetches = trio.CapacityLimiter(FETCHES_MAX)

    def wake(self) -> None:
        self._wakeup.ring()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                again_s = await self._look(nursery)
                await self._wakeup.wait(again_s)

    async def _look(self, nursery: trio.Nursery) -> float:
        """Start what should be fetched, attest what is due; returns after how many seconds to look again."""
        seated = self._key in self._ledger.chain.committee().members
        works = [work for work in rounds_in_work(self._ledger.chain) if seated and work.request.stage in WATCHED]
        self._watches = {work.id: self._watches.get(work.id) or _Watch() for work in works}
        again_s = RESEND_S
        for work in works:
            watch = self._watches[work.id]
            if work.request.stage is Stage.TRAINING and is_sealed(self._ledger.chain, work.id.request):
                continue
            for announced, bytes_max in self._announced(work, watch):
                if announced not in watch.verdicts and announced not in watch.fetching:
                    watch.fetching.add(announced)
                    nursery.start_soon(self._check, watch, announced, bytes_max, work)
            if work.request.stage is Stage.ATTESTING:
                again_s = min(again_s, await self._attest(work, watch))
        return again_s

    def _announced(self, work: RoundInWork, watch: _Watch) -> Iterator[tuple[Announced, int]]:
        """Updates of the round with their size, those in blocks first, then those still pending.

        Of a provider's pending ones only the first counts for the whole round: a provider may sign thousands that can
        never all run, and each would be a model on our disk.
        """
        for part in work.round.participants:
            if part.fate in JUDGED:
                yield Announced(work.id, part.org, part.blob), part.blob_bytes
        protection = protection_of(self._ledger.chain, work.id.request)
        bytes_max = update_bytes_max(work.request.terms.parameters, protection)
        for transaction in self._ledger.pending_transactions():
            body = announced_update(transaction.body)
            if body is None or (body.request, body.round, body.attempt) != work.id:
                continue
            org = self._ledger.chain.org_of(transaction.sender)
            part_of = participant(work.round, org) if org is not None else None
            # Not yet checked by any rule: only what an invited provider may still announce is worth fetching.
            if (
                part_of is not None
                and part_of.fate is Fate.MISSING
                and body.blob_bytes <= bytes_max
                and watch.foreseen.setdefault(part_of.org, body.blob) == body.blob
            ):
                yield Announced(work.id, part_of.org, body.blob), body.blob_bytes

    async def _check(self, watch: _Watch, announced: Announced, bytes_max: int, work: RoundInWork) -> None:
        """Fetch one blob until it is here or the round is over, then judge it."""
        chain = self._ledger.chain
        sources = [*keys_of(chain, [announced.provider]), *map(NodeKey, chain.committee().members)]
        sources = [key for key in dict.fromkeys(sources) if key != self._key]
        protection = protection_of(chain, announced.round.request)
        try:
            while self._watches.get(announced.round) is watch:
                try:
                    async with self._fetches:
                        await self._blobs.fetch(announced.blob, bytes_max, sources)
                        data = self._blobs.view(announced.blob)
                        base = await self._base_model(work) if is_delta(data) else None
                        watch.verdicts[announced] = await trio.to_thread.run_sync(
                            judge, data, work.request.terms, protection, announced.provider, base
                        )
                    self.wake()
                    return
                except BlobUnavailable as error:
                    log.info("blob_unavailable", blob=announced.blob.hex()[:16], reason=str(error))
                except NoSpaceForBlob as error:
                    # Our disk is full: we cannot say that we hold it, and others will.
                    log.warning("blob_not_kept", blob=announced.blob.hex()[:16], reason=str(error))
                await trio.sleep(RETRY_S)
        finally:
            watch.fetching.discard(announced)

    async def _base_model(self, work: RoundInWork) -> Bytes:
        """The model that the round began with: changes to it are judged by where they lead."""
        digest = work.round.base_model
        if not self._blobs.has(digest):
            holders = model_holders(self._ledger.chain, work.request, self._key)
            await self._blobs.fetch(digest, blob_bytes_max(work.request.terms), holders)
        return self._blobs.view(digest)

    async def _attest(self, work: RoundInWork, watch: _Watch) -> float:
        """Attest what is held of a closed round, in one transaction; returns when to look again."""
        now = trio.current_time()
        if watch.closed_at is None:
            watch.closed_at = now
        unsaid = [part for part in work.round.participants if part.fate in JUDGED and not self._has_said(part)]
        # What is settled already needs no word of ours, but the first one counts as duty done.
        if self._me in work.round.attested_by:
            unsaid = [part for part in unsaid if part.fate is Fate.ANNOUNCED]
        pending = self._pending(work.id)
        unsaid = [part for part in unsaid if (part.org, part.blob) not in pending]
        held = [part for part in unsaid if self._announced_key(work.id, part) in watch.verdicts]
        due = [
            part for part in held if now - watch.sent_at.get(self._announced_key(work.id, part), -RESEND_S) >= RESEND_S
        ]
        if not due:
            return RESEND_S
        if len(held) < len(unsaid) and now < watch.closed_at + GATHER_S:
            return watch.closed_at + GATHER_S - now
        await self._submit(work, watch, due)
        return RESEND_S

    async def _submit(self, work: RoundInWork, watch: _Watch, parts: list[Participant]) -> None:
        attestations = []
        for part in parts:
            key = self._announced_key(work.id, part)
            watch.sent_at[key] = trio.current_time()
            attestations.append(Attestation(part.org, part.blob, watch.verdicts[key]))
        try:
            await self._ledger.submit_own(AttestBlobs(*work.id, tuple(attestations)))
        except InvalidTransaction as error:
            # The round moved on while we looked; the next look sees where it stands.
            log.info("attestation_refused", round=work.id.number, code=error.code, reason=str(error))

    def _has_said(self, part: Participant) -> bool:
        return self._me in part.held_by or self._me in part.refused_by

    def _pending(self, round_id: RoundId) -> set[tuple[bytes, bytes]]:
        """(provider, blob) of our attestations of this round that wait to become final."""
        said: set[tuple[bytes, bytes]] = set()
        for transaction in self._ledger.pending_transactions():
            body = transaction.body
            if (
                transaction.sender == self._key
                and isinstance(body, AttestBlobs)
                and (body.request, body.round, body.attempt) == round_id
            ):
                said.update((each.provider, each.blob) for each in body.attestations)
        return said

    @staticmethod
    def _announced_key(round_id: RoundId, part: Participant) -> Announced:
        return Announced(round_id, part.org, part.blob)


def judge(
    data: Bytes,
    terms: RequestTerms,
    protection: Protection | None = None,
    provider: bytes | None = None,
    base: Bytes | None = None,
) -> Verdict:
    """Whether these bytes are of the kind that the request asks for. Reads them all: call it in a thread.

    Of a masked update no more can be said than that it has the right form. A sealed one has to bear the name of its
    `provider`: a copy of another's is malformed. Without `protection` it is a plain vector, as models are.
    `base`: the model that the round began with; without it, changes to a model are malformed, and so they are where
    all that the request may get, spread out, would fill a member's memory.
    """
    try:
        limit_q = limit_in_steps(terms.limit, terms.scale_bits)
    except ValueError:
        # Terms whose limit and scale fit no int32 together: no bytes can be a vector of that kind.
        return Verdict.MALFORMED
    try:
        if protection is not None and protection.masked:
            check_masked(data, terms.parameters)
            return Verdict.HELD
        vector = data if protection is None or provider is None else unsealed(data, provider)
        if base is not None and is_delta(vector) and may_be_changes(terms.parameters, terms.providers_max):
            origin = unpack(base, terms.parameters, terms.scale_bits, limit_q)
            unpack_update(vector, origin, terms.scale_bits, limit_q)
        else:
            unpack(vector, terms.parameters, terms.scale_bits, limit_q)
    except InvalidVector as error:
        return Verdict.OUT_OF_RANGE if error.code == "limit" else Verdict.MALFORMED
    return Verdict.HELD
