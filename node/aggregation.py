"""Computing a round's aggregate from the same bytes as everybody else: the leader to propose it, voters to check it.

The arithmetic is `fl.aggregate`'s and exact; here the blobs are brought together and the sums run in a thread, so the
node keeps answering. What a task is, and who may propose its result, is `ledger/requests.py`'s business.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import structlog
import trio

from fl.aggregate import Aggregated, AggregateError, aggregate_blobs
from fl.fixed_point import Bytes, InvalidVector, limit_in_steps
from fl.masked_blob import masked_bytes
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.entries import Request, Round, request_key, round_key
from ledger.request_terms import BLOB_OVERHEAD_BYTES_MAX
from ledger.types import BLOB_BYTES_MAX, NodeKey
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import NoSpaceForBlob, blob_digest
from node.ports import Blobs, ChainView
from node.rounds import keys_of, model_holders, settings_dict
from node.sealed import SEAL_BYTES, unsealed
from node.unmasking import unmasked

log = structlog.get_logger(__name__)

# One sum at a time: two of the largest models would only push each other out of the cache.
THREADS_MAX = 1
# Rounds of as many requests as may be open; a result is some hundred bytes, the blob itself lies on the disk.
RESULTS_KEPT_MAX = 64
# Until a provider is back or another member has the blob.
RETRY_S = 0.5


class Aggregation:
    """Computes each aggregate once, however many ask for it, and stores the model's blob."""

    def __init__(self, chain: ChainView, blobs: Blobs, me: NodeKey) -> None:
        self._chain = chain
        self._blobs = blobs
        self._me = me
        self._results: OrderedDict[AggregationTask, AggregationResult] = OrderedDict()
        # The same bytes give the same error for ever: a round that waits for it must not cost a sum at every new head.
        self._impossible: OrderedDict[AggregationTask, None] = OrderedDict()
        self._running: dict[AggregationTask, trio.Event] = {}
        self._threads = trio.CapacityLimiter(THREADS_MAX)

    def known(self, task: AggregationTask) -> AggregationResult | None:
        """The result when it has been computed already."""
        return self._results.get(task)

    async def compute(self, task: AggregationTask) -> AggregationResult:
        """The aggregate, its blob stored here. Missing blobs are fetched first, from their providers and the committee.

        Raises BlobUnavailable when one cannot be had now, InvalidVector and AggregateError when the inputs cannot be
        aggregated (then nobody can), NoSpaceForBlob when the disk is full.
        """
        while task not in self._results:
            running = self._running.get(task)
            if running is not None:
                # Its outcome is ours; when it fails or is cancelled we try ourselves.
                await running.wait()
                continue
            done = self._running[task] = trio.Event()
            try:
                result = await self._compute(task)
                self._results[task] = result
                while len(self._results) > RESULTS_KEPT_MAX:
                    self._results.popitem(last=False)
                return result
            finally:
                del self._running[task]
                done.set()
        return self._results[task]

    async def compute_while_wanted(self, task: AggregationTask) -> AggregationResult | None:
        """`compute`, tried again while the round is in work; None when it is over first or nobody can compute it."""
        while self._in_work(task) and task not in self._impossible:
            try:
                return await self.compute(task)
            except BlobUnavailable as error:
                log.info("aggregate_waits", request=task.request.hex()[:16], round=task.round, reason=str(error))
            except NoSpaceForBlob as error:
                log.error("aggregate_not_kept", request=task.request.hex()[:16], round=task.round, reason=str(error))
            except (InvalidVector, AggregateError) as error:
                log.error("aggregate_impossible", request=task.request.hex()[:16], round=task.round, reason=str(error))
                self._impossible[task] = None
                while len(self._impossible) > RESULTS_KEPT_MAX:
                    self._impossible.popitem(last=False)
                return None
            await trio.sleep(RETRY_S)
        return None

    def _in_work(self, task: AggregationTask) -> bool:
        current = self._chain.read(Round, round_key(task.request))
        return current is not None and (current.number, current.attempt) == (task.round, task.attempt)

    async def _compute(self, task: AggregationTask) -> AggregationResult:
        await self._fetch_inputs(task)
        if task.masking is not None:
            return await self._unmask(task)
        base = self._blobs.view(task.base_model)
        updates = [(self._blobs.view(each.blob), each.weight) for each in task.contributions]
        previous = self._blobs.view(task.previous_model) if task.previous_model is not None else None

        def work() -> tuple[AggregationResult, bytes]:
            aggregated = recomputed(task, base, updates, previous)
            return result_of(task, aggregated), aggregated.blob

        result, blob = await trio.to_thread.run_sync(work, limiter=self._threads)
        if result.model:
            await self._blobs.put(blob)
        return result

    async def _unmask(self, task: AggregationTask) -> AggregationResult:
        work = partial(unmasked, task, self._chain.chain_id, self._blobs.view)
        result, blob, reason = await trio.to_thread.run_sync(work, limiter=self._threads)
        if blob:
            await self._blobs.put(blob)
        else:
            log.error("sum_not_unmasked", request=task.request.hex()[:16], round=task.round, reason=reason)
        return result

    async def _fetch_inputs(self, task: AggregationTask) -> None:
        """One after the other: a committee member has them already from attesting, only a late one has to fetch."""
        model_max = min(BLOB_BYTES_MAX, 4 * task.parameters + BLOB_OVERHEAD_BYTES_MAX)
        update_max = masked_bytes(task.parameters) if task.masking is not None else model_max + SEAL_BYTES
        committee = [NodeKey(key) for key in self._chain.committee().members]
        request = self._chain.read(Request, request_key(task.request))
        holders = committee if request is None else model_holders(self._chain, request, self._me)
        wanted: list[tuple[bytes, int, Sequence[NodeKey]]] = [
            (task.base_model, model_max, holders),
            *([(task.previous_model, model_max, holders)] if task.previous_model is not None else []),
            *((each.blob, update_max, [*keys_of(self._chain, [each.org]), *committee]) for each in task.contributions),
        ]
        for blob, bytes_max, sources in wanted:
            if not self._blobs.has(blob):
                others = [key for key in dict.fromkeys(sources) if key != self._me]
                await self._blobs.fetch(blob, bytes_max, others)


def recomputed(
    task: AggregationTask, base: Bytes, updates: Sequence[tuple[Bytes, int]], previous: Bytes | None
) -> Aggregated:
    """The arithmetic of a task that is not masked, of the bytes that it names. Blocks: call it in a thread.

    `updates`: blob and weight of each contribution; `previous`: the bytes of `task.previous_model`. Raises
    InvalidVector and AggregateError.
    """
    try:
        limit_q = limit_in_steps(task.limit, task.scale_bits)
    except ValueError as error:
        raise AggregateError(f"terms that no vector fits: {error}") from None
    if task.sealed:
        pairs = zip(task.contributions, updates, strict=True)
        updates = [(unsealed(blob, each.org), weight) for each, (blob, weight) in pairs]
    return aggregate_blobs(
        task.aggregation,
        settings_dict(task.aggregation_settings),
        base,
        updates,
        task.parameters,
        task.scale_bits,
        limit_q,
        inspected=task.sealed,
        previous=previous,
        known_for=[each.known_for for each in task.contributions],
    )


def result_of(task: AggregationTask, aggregated: Aggregated) -> AggregationResult:
    """What the ledger is told of an aggregate: the rejected have a reason, all others a score, unless too few are left:
    then there is no model."""
    reasons = {task.contributions[at].org: reason for at, reason in aggregated.rejected}
    rejected = tuple(sorted(reasons.items()))
    pairs = zip(task.contributions, aggregated.qualities, strict=True)
    scores = tuple((each.org, quality) for each, quality in pairs if each.org not in reasons)
    if len(scores) < task.updates_least:
        return AggregationResult(b"", 0, (), rejected)
    return AggregationResult(blob_digest(aggregated.blob), len(aggregated.blob), scores, rejected)
