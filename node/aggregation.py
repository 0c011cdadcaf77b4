"""Computing a round's aggregate from the same bytes as everybody else: the leader to propose it, voters to check it.

The arithmetic is `fl.aggregate`'s and exact; here the blobs are brought together and the sums run in a thread, so the
node keeps answering. Who may propose what is the ledger's business.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from fl.aggregate import Aggregated, AggregateError, aggregate_blobs
from fl.fixed_point import limit_in_steps
from ledger.entries import Fate, Request, Round
from ledger.transactions import Setting, UpdateScore
from ledger.types import BLOB_BYTES_MAX, Hash32, OrgId
from node.ports import Blobs, ChainView
from node.rounds import BLOB_OVERHEAD_BYTES_MAX, model_holders, settings_dict

# One sum at a time: two of the largest models would only push each other out of the cache.
THREADS_MAX = 1
# Rounds of as many requests as may be open; a result is some hundred bytes, the blob itself lies on the disk.
RESULTS_KEPT_MAX = 64


@dataclass(frozen=True, slots=True)
class Included:
    """One delivered update: `weight` records."""

    org: OrgId
    blob: bytes
    weight: int


@dataclass(frozen=True, slots=True)
class AggregationTask:
    """Everything that determines an aggregate. `updates` ascend by organisation; `limit` in units of 1."""

    request: bytes
    round: int
    attempt: int
    base: bytes
    updates: tuple[Included, ...]
    rule: str
    rule_settings: tuple[Setting, ...]
    parameters: int
    scale_bits: int
    limit: int


@dataclass(frozen=True, slots=True)
class AggregateResult:
    """`scores` in the order of the task's updates."""

    model: Hash32
    model_bytes: int
    scores: tuple[UpdateScore, ...]


def aggregation_task(request_id: bytes, request: Request, current: Round) -> AggregationTask:
    """The aggregate that this closed round asks for."""
    included = tuple(
        Included(OrgId(part.org), part.blob, part.weight)
        for part in current.participants
        if part.fate is Fate.DELIVERED
    )
    terms = request.terms
    return AggregationTask(
        request_id,
        current.number,
        current.attempt,
        current.base_model,
        included,
        terms.aggregation,
        (),
        terms.parameters,
        terms.scale_bits,
        terms.limit,
    )


class Aggregation:
    """Computes each aggregate once, however many ask for it, and stores the model's blob."""

    def __init__(self, chain: ChainView, blobs: Blobs, me: OrgId) -> None:
        self._chain = chain
        self._blobs = blobs
        self._me = me
        self._results: OrderedDict[AggregationTask, AggregateResult] = OrderedDict()
        self._running: dict[AggregationTask, trio.Event] = {}
        self._threads = trio.CapacityLimiter(THREADS_MAX)

    def known(self, task: AggregationTask) -> AggregateResult | None:
        """The result when it has been computed already."""
        return self._results.get(task)

    async def compute(self, task: AggregationTask, request: Request) -> AggregateResult:
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
                result = await self._compute(task, request)
                self._results[task] = result
                while len(self._results) > RESULTS_KEPT_MAX:
                    self._results.popitem(last=False)
                return result
            finally:
                del self._running[task]
                done.set()
        return self._results[task]

    async def _compute(self, task: AggregationTask, request: Request) -> AggregateResult:
        await self._fetch_inputs(task, request)
        base = self._blobs.view(task.base)
        updates = [(self._blobs.view(update.blob), update.weight) for update in task.updates]

        def work() -> Aggregated:
            try:
                limit_q = limit_in_steps(task.limit, task.scale_bits)
            except ValueError as error:
                raise AggregateError(f"terms that no vector fits: {error}") from None
            settings = settings_dict(task.rule_settings)
            return aggregate_blobs(task.rule, settings, base, updates, task.parameters, task.scale_bits, limit_q)

        aggregated = await trio.to_thread.run_sync(work, limiter=self._threads)
        model = await self._blobs.put(aggregated.blob)
        scores = tuple(
            UpdateScore(update.org, quality) for update, quality in zip(task.updates, aggregated.qualities, strict=True)
        )
        return AggregateResult(model, len(aggregated.blob), scores)

    async def _fetch_inputs(self, task: AggregationTask, request: Request) -> None:
        """One after the other: a committee member has them already from attesting, only a late one has to fetch."""
        bytes_max = min(BLOB_BYTES_MAX, 4 * task.parameters + BLOB_OVERHEAD_BYTES_MAX)
        committee = [OrgId(org) for org in self._chain.committee().members]
        wanted: list[tuple[bytes, Sequence[OrgId]]] = [
            (task.base, model_holders(self._chain, request, self._me)),
            *((update.blob, [update.org, *committee]) for update in task.updates),
        ]
        for blob, sources in wanted:
            if not self._blobs.has(blob):
                await self._blobs.fetch(blob, bytes_max, [org for org in dict.fromkeys(sources) if org != self._me])
