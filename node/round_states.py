"""What a factory's strategy goes on from when a round begins: what it kept of the last one, or of the one before that.

Some strategies keep their part of a sum that the aggregate carries for all, as SCAFFOLD does its c_i of c. An update
that came too late, or was rejected, is not in that sum: who goes on as if it were leaves a gap that nothing closes.
"""

from fl.strategies.base import StrategyError
from fl.strategies.registry import strategy
from ledger.entries import Fate, Receipt, receipt_key
from ledger.transactions import RequestTerms
from ledger.types import OrgId
from node.ports import ChainView
from node.rounds import settings_dict
from node.training_memory import TrainingRecord


def state_to_begin_with(
    chain: ChainView, me: OrgId, terms: RequestTerms, number: int, known: TrainingRecord | None
) -> bytes | None:
    """The state for round `number` of the request; `known`: what is remembered of the last round that was answered."""
    if known is None:
        return None
    if known.round != number and _mirrors_sum(terms) and not _counted(chain, me, known):
        return known.before
    return known.state_for(number)


def _mirrors_sum(terms: RequestTerms) -> bool:
    try:
        return strategy(terms.strategy, settings_dict(terms.strategy_settings)).mirrors_sum
    except StrategyError:
        # Nothing is trained then; the reason is told where the terms are checked.
        return False


def _counted(chain: ChainView, me: OrgId, known: TrainingRecord) -> bool:
    """Whether the aggregate holds the answer; where the ledger has forgotten, it is taken to."""
    receipt = chain.read(Receipt, receipt_key(known.request, known.round, known.attempt))
    if receipt is None:
        return True
    return bool(receipt.model) and any(line.org == me and line.fate is Fate.DELIVERED for line in receipt.lines)
