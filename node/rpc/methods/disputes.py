"""Our own records against their anchors: prove one, look at a whole period, write and check a dispute's bundle.

Reading a period's records takes a disk and some hashing, so it happens in a thread, and is done again when the head
moved meanwhile: an answer is about one head.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from ledger.bundles import DisputeBundle, bundle_from_json, bundle_to_json, verify_bundle
from ledger.disputes import Finding, Resolution
from ledger.errors import InvalidBytes, InvalidProof
from ledger.proof_parts import FORMAT
from node.rpc.errors import RpcError
from node.rpc.method import BOOLEAN, HEX, INTEGER, OBJECT, STRING, answer, ledger_answer, listing, method
from node.rpc.node import Node
from node.rpc.parameters import Count, JsonObject
from node.rpc.steady import steadily
from node.rpc.views import Json, to_json

T = TypeVar("T")


async def anchor_prove(node: Node, *, period: Count, index: Count) -> Json:
    """Prove to anybody with the genesis file that one of our records is as we anchored it.

    `bundle` is what `anchor.verify`, `dispute.resolve` and `hanse dispute verify` check, offline too. A record that was
    changed, or is gone, is the error not_verified: `dispute.open` makes the bundle that shows it.
    """
    opened = await _open(node, period, index)
    finding = opened.bundle.statement.finding
    if finding is not Finding.UNTOUCHED:
        text = f"record {index} of period {period} is not as it was anchored: {to_json(finding)}"
        raise RpcError("not_verified", text, finding=to_json(finding))
    return _shown(node, opened.bundle)


async def anchor_verify(node: Node, *, period: Count | None = None, bundle: JsonObject | None = None) -> Json:
    """Compare the records we hold of a period with its anchor, or check somebody's `bundle`: name one of the two."""
    if (period is None) == (bundle is None):
        raise RpcError("invalid_params", "anchor.verify: want either period or bundle", parameter="period")
    if bundle is not None:
        return await dispute_resolve(node, bundle=bundle)
    from node.dispute_bundle import resolve_period

    # The parts of a node see the same chain through protocols of their own.
    chain: Any = node.chain
    of = period or 0
    resolution = await _steadily(node, lambda: resolve_period(chain, _records(node), node.org, of))
    return {"head": node.head(), "period": period, **_resolution(resolution)}


async def dispute_open(node: Node, *, period: Count, index: Count | None = None) -> Json:
    """Say, signed and provable, what became of a record since it was anchored.

    Without `index`, the first record that is not as it was anchored (the first of all when all are).
    """
    opened = await _open(node, period, index)
    return {**_shown(node, opened.bundle), "resolution": _resolution(opened.resolution)}


async def dispute_resolve(node: Node, *, bundle: JsonObject) -> Json:
    """Check a bundle against the genesis alone, as an auditor would without a node. `accepted`: everything fits.

    `finding` is then what became of the record; `reasons` says each step that held and the one that did not.
    """
    text = json.dumps(bundle)
    genesis = node.chain.genesis
    try:
        checked = await trio.to_thread.run_sync(lambda: verify_bundle(bundle_from_json(text), genesis))
    except InvalidBytes as error:
        raise RpcError("invalid_params", f"bundle: {error}", parameter="bundle") from None
    return {"head": node.head(), **to_json(checked)}


async def _open(node: Node, period: int, index: int | None) -> Any:
    from node.dispute_bundle import open_dispute

    chain: Any = node.chain
    return await _steadily(node, lambda: open_dispute(chain, _records(node), node.services.key, period, index))


async def _steadily(node: Node, look: Callable[[], T]) -> T:
    """The result of `look` in a thread, over one head. Raises RpcError."""
    from node.anchoring import NotAnchored

    _records(node)
    try:
        return await steadily(node, look)
    except (NotAnchored, IndexError) as error:
        raise RpcError("not_found", str(error), height=node.chain.height) from None
    except InvalidProof as error:
        raise RpcError("unavailable", str(error), part="proof") from None


def _records(node: Node) -> Any:
    if node.services.records is None:
        text = "this node keeps no records: it has no data source, or is just starting"
        raise RpcError("unavailable", text, part="records")
    return node.services.records


def _resolution(resolution: Resolution) -> dict[str, Json]:
    return {"untouched": resolution.finding is Finding.UNTOUCHED, **to_json(resolution)}


def _shown(node: Node, bundle: DisputeBundle) -> dict[str, Json]:
    statement = bundle.statement
    about = {"period": statement.period, "index": statement.index, "finding": to_json(statement.finding)}
    return {"head": node.head(), **about, "bundle": json.loads(bundle_to_json(bundle))}


_BUNDLE = {"type": "object", "description": f"the file form, format {FORMAT}, kind dispute"}
_ABOUT = {"period": INTEGER, "index": INTEGER, "finding": STRING, "bundle": _BUNDLE}
_RESOLUTION: dict[str, Json] = {
    "untouched": BOOLEAN,
    "finding": STRING,
    "anchored_root": HEX,
    "found_root": HEX,
    "record_count": INTEGER,
    "found_count": INTEGER,
    "fault_count": INTEGER,
    "faults": listing(OBJECT),
}
_CHECK = {"accepted": BOOLEAN, "finding": {"type": ["string", "null"]}, "reasons": listing(STRING)}
_OWN = ("not_found", "unavailable", "busy")

METHODS = (
    method("anchor.prove", anchor_prove, ledger_answer(**_ABOUT), ("not_verified", *_OWN)),
    method("anchor.verify", anchor_verify, ledger_answer(period=INTEGER, **(_RESOLUTION | _CHECK)), _OWN),
    method("dispute.open", dispute_open, ledger_answer(**_ABOUT, resolution=answer(**_RESOLUTION)), _OWN),
    method("dispute.resolve", dispute_resolve, ledger_answer(**_CHECK)),
)
