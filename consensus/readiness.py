"""Aggregates as this member computes them, and blocks that are valid and wait until they may be voted for.

Readiness (DESIGN D6): a block's time is near our clock, and every aggregate in it is what we computed ourselves.
Effects are appended to the list that is handed in, in the order in which they are to be carried out.
"""

from collections import OrderedDict
from collections.abc import Iterator

from consensus.effects import CLOCK_TIMER, Compute, Disagreement, Effect, SetTimer
from ledger.aggregation import AggregationResult, AggregationTask, aggregate_transaction_body
from ledger.blocks import Block
from ledger.chain import Chain
from ledger.types import Hash32, NodeKey

# Aggregates known at a time; a league works on few rounds at once.
AGGREGATES_KEPT_MAX = 64
# Blocks checked and not ready yet: one a view of the height.
UNREADY_MAX = 16


class Readiness:
    """`me`: None for an observer, which has no seat and computes nothing."""

    def __init__(self, chain: Chain, me: NodeKey | None, clock_tolerance_ms: int) -> None:
        self._chain = chain
        self._me = me
        self._clock_tolerance_ms = clock_tolerance_ms
        self._aggregates: OrderedDict[AggregationTask, AggregationResult | None] = OrderedDict()
        self._unready: OrderedDict[Hash32, Block] = OrderedDict()

    # --- aggregates

    def aggregate(self, task: AggregationTask, effects: list[Effect]) -> AggregationResult | None:
        """What is known of an aggregate; a member of the committee asks for it when it is not."""
        # Who has no seat proposes nothing and votes on nothing: it fetches one model instead of everybody's updates.
        if task not in self._aggregates and self._me in self._chain.committee().members:
            self._aggregates[task] = None
            effects.append(Compute(task))
            if len(self._aggregates) > AGGREGATES_KEPT_MAX:
                self._aggregates.popitem(last=False)
        return self._aggregates.get(task)

    def is_computed(self, task: AggregationTask) -> bool:
        return self._aggregates.get(task) is not None

    def computed(self, task: AggregationTask, result: AggregationResult) -> None:
        """The answer to `Compute`."""
        self._aggregates[task] = result

    def failed(self, task: AggregationTask) -> None:
        """`Compute` came to nothing; it is asked for again when it is needed again."""
        if self._aggregates.get(task) is None:
            self._aggregates.pop(task, None)

    # --- blocks

    def wait(self, block: Block) -> None:
        """A valid block of the height in work."""
        self._unready[block.id] = block
        if len(self._unready) > UNREADY_MAX:
            self._unready.popitem(last=False)

    def forget_blocks(self) -> None:
        """The height is over."""
        self._unready.clear()

    def ready(self, now_ms: int, effects: list[Effect]) -> Iterator[Hash32]:
        """Blocks that may be voted for now, each once."""
        for block_id, block in list(self._unready.items()):
            if self._is_ready(block, now_ms, effects) and self._unready.pop(block_id, None) is not None:
                yield block_id

    def _is_ready(self, block: Block, now_ms: int, effects: list[Effect]) -> bool:
        ahead = block.header.time - now_ms
        if abs(ahead) > self._clock_tolerance_ms:
            if ahead > 0:
                effects.append(SetTimer(CLOCK_TIMER, ahead - self._clock_tolerance_ms))
            return False
        for task, body in self._chain.check(block).claims:
            result = self.aggregate(task, effects)
            if result is None:
                return False
            if aggregate_transaction_body(task, result) != body:
                self._unready.pop(block.id, None)
                effects.append(Disagreement(task, NodeKey(block.header.author)))
                return False
        return True
