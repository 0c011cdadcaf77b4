"""Anchoring: the root of every period's sensor records on the ledger, [ANCHOR] Algorithm 2 with RFC 6962 hashing."""

from collections.abc import Sequence

from ledger.entries import Anchor, AnchorTotals, anchor_key, anchor_totals_key
from ledger.errors import InvalidTransaction
from ledger.state import BlockContext, State
from ledger.transactions import AnchorRecords
from ledger.types import AMOUNT_MAX, OrgId

NO_ANCHORS = AnchorTotals(0, 0, 0)


def anchor_records(state: State, context: BlockContext, sender: OrgId, body: AnchorRecords) -> None:
    """Periods are anchored once and in ascending order: what is anchored cannot be replaced or slipped in later."""
    totals = anchor_totals(state, sender)
    if totals.periods and body.period <= totals.last_period:
        raise InvalidTransaction("period", f"period {body.period}, want one after {totals.last_period}")
    if body.begins > body.ends:
        raise InvalidTransaction("period", f"the period ends at {body.ends}, before it begins at {body.begins}")
    if totals.records + body.record_count > AMOUNT_MAX:
        raise InvalidTransaction("records", f"{body.record_count} records more than can be counted")
    anchor = Anchor(body.record_count, body.root, body.begins, body.ends, context.height)
    state.put(anchor_key(sender, body.period), anchor)
    grown = AnchorTotals(totals.periods + 1, totals.records + body.record_count, body.period)
    state.put(anchor_totals_key(sender), grown)


def anchor_totals(state: State, org: OrgId | bytes) -> AnchorTotals:
    return state.get(AnchorTotals, anchor_totals_key(org)) or NO_ANCHORS


def records_under(state: State, org: OrgId, periods: Sequence[int]) -> int:
    """How many records those periods' anchors hold. Raises InvalidTransaction: not anchored, or named twice."""
    if list(periods) != sorted(set(periods)):
        raise InvalidTransaction("periods", "periods are not ascending and distinct")
    count = 0
    for period in periods:
        anchor = state.get(Anchor, anchor_key(org, period))
        if anchor is None:
            raise InvalidTransaction("periods", f"period {period} of the sender is not anchored")
        count += anchor.record_count
    return count
