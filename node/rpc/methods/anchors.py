"""Anchored periods: what is on the ledger of each organisation's records.

What becomes of the records themselves is `disputes.py`'s topic.
"""

from ledger.entries import Anchor, AnchorTotals, anchor_key, anchor_totals_key, anchors_prefix
from node.rpc.errors import RpcError
from node.rpc.method import HEX, INTEGER, OBJECT, ledger_answer, listing, method
from node.rpc.node import Node
from node.rpc.parameters import Count, Org, Page
from node.rpc.views import Json, schema_of, to_json


async def anchor_list(node: Node, *, org: Org | None = None, start: Count = 0, limit: Page = 100) -> Json:
    """Anchored periods of an organisation from period `start` on (ours when none is named), with totals."""
    of = org or node.org
    totals = node.chain.read(AnchorTotals, anchor_totals_key(of)) or AnchorTotals(0, 0, 0)
    shown: list[Json] = []
    next_start: int | None = None
    for rest, anchor in node.chain.scan(Anchor, anchors_prefix(of)):
        period = int.from_bytes(rest, "big")
        if period < start:
            continue
        if len(shown) == limit:
            next_start = period
            break
        shown.append({"period": period, **to_json(anchor)})
    named = {"org": of.hex(), "name": node.name_of(of), "totals": to_json(totals)}
    return {"head": node.head(), **named, "anchors": shown, "next": next_start}


async def anchor_get(node: Node, *, period: Count, org: Org | None = None) -> Json:
    """One anchored period: record count, root, from when to when, and the height it became final at."""
    of = org or node.org
    found = node.chain.read(Anchor, anchor_key(of, period))
    if found is None:
        text = f"{of.hex()[:16]} has anchored no period {period}"
        raise RpcError("not_found", text, height=node.chain.height)
    return {"head": node.head(), "org": of.hex(), "anchor": {"period": period, **to_json(found)}}


_ANCHOR = {"type": "object", "properties": {"period": INTEGER, **schema_of(Anchor)["properties"]}}
_NEXT = {"type": ["integer", "null"]}

METHODS = (
    method("anchor.list", anchor_list, ledger_answer(org=HEX, totals=OBJECT, anchors=listing(_ANCHOR), next=_NEXT)),
    method("anchor.get", anchor_get, ledger_answer(org=HEX, anchor=_ANCHOR), ("not_found",)),
)
