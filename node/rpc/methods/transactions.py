"""Transactions: looked up with proof, sent signed, or signed with the node's own key."""

from collections.abc import Callable

import trio

from ledger import merkle
from ledger.transactions import Transaction, parse_transaction
from ledger.types import Hash32
from node.rpc.errors import RpcError
from node.rpc.method import HEX, INTEGER, OBJECT, STRING, ledger_answer, listing, method
from node.rpc.node import Later, Node
from node.rpc.parameters import Flag, Hash, JsonObject, Mode, Org, Page, RawTransaction, Seconds
from node.rpc.views import Json, body_from_json, final_header_view, transaction_view

# Finality takes a tenth of a second where all are well; half a minute outlives a handful of dead leaders.
WAIT_S = 30


async def tx(node: Node, *, id: Hash, prove: Flag = False) -> Json:
    """A transaction: final with its height and index, or pending.

    A node that keeps few blocks, or began with a snapshot, does not know of those below `first_block` (in the error).

    With `prove`, what shows it to somebody who has only the members: its bytes, the RFC 6962 proof under the header's
    `transactions_root`, and the header with its certificate.
    """
    place = node.chain.find_transaction(id)
    if place is None:
        waiting = next((each for each in node.services.pending if each.id == id), None)
        if waiting is None:
            first = node.chain.held.first_block
            since = f", where blocks are from height {first} on" if first > 1 else ""
            text = f"no transaction {id.hex()}, neither final nor pending here{since}"
            raise RpcError("not_found", text, height=node.chain.height, first_block=first)
        return {"head": node.head(), "status": "pending", "transaction": transaction_view(waiting)}
    height, index = place
    final = node.chain.block(height)
    assert final is not None, "a final transaction lies in a final block"
    found = final.block.transactions[index]
    shown: dict[str, Json] = {
        "head": node.head(),
        "status": "final",
        "height": height,
        "index": index,
        "block": final.block.id.hex(),
        "transaction": transaction_view(found),
    }
    if prove:
        tree = merkle.MerkleTree([merkle.leaf_hash(each.encoded) for each in final.block.transactions])
        proven = node.chain.final_header(height)
        assert proven is not None, "a final block has a committee"
        shown["proof"] = {
            "bytes": found.encoded.hex(),
            "index": index,
            "size": tree.size,
            "path": [each.hex() for each in tree.inclusion_proof(index)],
            **final_header_view(proven),
        }
    return shown


async def submit_tx(
    node: Node, *, transaction: RawTransaction, mode: Mode = "async", timeout_s: Seconds = WAIT_S
) -> Json:
    """Hand in a signed transaction, as hex of its canonical bytes.

    `async` answers once it is valid at the head and on its way to all members, `final` once it is in a final block.
    `pending` is no promise: what a node took may be lost with that node before another heard of it. The same bytes may
    be handed in again, here or at any other node, as often as one likes: they are final once or never, and where they
    are final already the answer says so. Refused with rule `nonce`, they never will be once the account's nonce is past
    theirs.
    """
    parsed = parse_transaction(transaction)
    if node.chain.find_transaction(parsed.id) is None:
        await node.services.submit(parsed)
    return submitted(node, parsed, mode, timeout_s)


async def send(node: Node, *, body: JsonObject, mode: Mode = "final", timeout_s: Seconds = WAIT_S) -> Json:
    """Sign a transaction with the node's own key and hand it in: `{"kind": "transfer", "to": ..., "amount": 5}`.

    The kinds and their fields are those of the ledger's transactions; organisations are hex, peer ids or names.
    """
    own = await node.services.submit_own(body_from_json(body, node.resolve_org))
    return submitted(node, own, mode, timeout_s)


async def pending_txs(node: Node, *, limit: Page = 20, sender: Org | None = None) -> Json:
    """Transactions that wait for a block here, in the order of their senders' nonces."""
    key = None if sender is None else node.key_of(sender)
    waiting = [each for each in node.services.pending if key is None or each.sender == key]
    waiting.sort(key=lambda each: (each.sender, each.nonce))
    shown = [transaction_view(each) for each in waiting[:limit]]
    return {"head": node.head(), "count": len(waiting), "transactions": shown}


async def nonce(node: Node, *, org: Org | None = None) -> Json:
    """The nonce that the organisation's next transaction must carry, pending ones counted (ours when none is named)."""
    of = org or node.org
    return {"head": node.head(), "org": of.hex(), "nonce": node.services.next_nonce(node.key_of(of))}


Describe = Callable[[], Json]


def submitted(
    node: Node, transaction: Transaction, mode: str, timeout_s: int, describe: Describe | None = None
) -> Json:
    """The answer to a transaction that was taken: at once, or when it is final. `describe` adds to it at that time."""

    def shown(status: str, **more: Json) -> dict[str, Json]:
        extra = describe() if describe else {}
        identity = {"id": transaction.id.hex(), "nonce": transaction.nonce, "status": status}
        return {"head": node.head(), **identity, **more, **extra}

    async def final() -> Json:
        height, index = await wait_final(node, transaction.id, timeout_s)
        return shown("final", height=height, index=index)

    if mode == "final":
        return Later(final)
    place = node.chain.find_transaction(transaction.id)
    return shown("pending") if place is None else shown("final", height=place[0], index=place[1])


async def wait_final(node: Node, transaction_id: Hash32, timeout_s: int) -> tuple[int, int]:
    """Raises RpcError("timed_out") with the id, so that the caller can go on asking."""
    limit = min(timeout_s, node.settings.wait_final_s_max)
    try:
        with trio.fail_after(limit):
            return await node.services.wait_final(transaction_id)
    except trio.TooSlowError:
        text = f"transaction {transaction_id.hex()} was not final within {limit} s; it is still on its way"
        raise RpcError("timed_out", text, id=transaction_id.hex()) from None


_SUBMITTED = ledger_answer(id=HEX, nonce=INTEGER, status=STRING, height=INTEGER, index=INTEGER)
_TX = ledger_answer(status=STRING, height=INTEGER, index=INTEGER, block=HEX, transaction=OBJECT, proof=OBJECT)

METHODS = (
    method("tx", tx, _TX, ("not_found",)),
    method("submit_tx", submit_tx, _SUBMITTED, ("refused", "timed_out")),
    method("send", send, _SUBMITTED, ("refused", "timed_out")),
    method("pending_txs", pending_txs, ledger_answer(count=INTEGER, transactions=listing(OBJECT))),
    method("nonce", nonce, ledger_answer(org=HEX, nonce=INTEGER)),
)
