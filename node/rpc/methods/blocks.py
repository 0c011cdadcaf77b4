"""Genesis, headers and blocks as this node holds them."""

import json

from ledger.blocks import FinalBlock, Header
from ledger.certificates import Certificate
from ledger.genesis import genesis_to_json
from node.rpc.errors import RpcError
from node.rpc.method import HEX, INTEGER, OBJECT, ledger_answer, listing, method
from node.rpc.node import Node
from node.rpc.parameters import PAGE_MAX, Flag, Hash, Height, Page
from node.rpc.views import Json, block_summary, block_view, final_header_view, header_view, schema_of


async def genesis(node: Node) -> Json:
    """The league's genesis file: founders, their tokens, parameters. Its hash is the chain id."""
    return {"head": node.head(), "genesis": json.loads(genesis_to_json(node.chain.genesis))}


async def header(node: Node, *, height: Height | None = None, id: Hash | None = None, prove: Flag = False) -> Json:
    """A block's header, by height or id; the head's when neither is given.

    With `prove`, the certificate that made it final and the committee that was entitled to sign it.
    """
    wanted = find_height(node, height, id)
    found = node.chain.final_header(wanted)
    if found is None:
        raise missing_block(node, wanted)
    answer: dict[str, Json] = {"head": node.head(), "header": header_view(found.header)}
    if prove:
        answer["proof"] = final_header_view(found)
    return answer


async def block(node: Node, *, height: Height | None = None, id: Hash | None = None) -> Json:
    """A block with its transactions and its certificate, by height or id; the head when neither is given."""
    final = find_block(node, height, id)
    shown = block_view(final.block, final.certificate)
    shown["author_name"] = node.signer(final.block.header.author)["name"]
    for transaction, view in zip(final.block.transactions, shown["transactions"], strict=True):
        view["sender_name"] = node.signer(transaction.sender)["name"]
    return {"head": node.head(), "block": shown}


async def blocks(node: Node, *, start: Height | None = None, limit: Page = 20) -> Json:
    """Headers with counts, newest first, from height `start` downwards (the head when not given), at most 100.

    `next` is the `start` of the next page, null at the first block that is held here.
    """
    newest = min(node.chain.height, start) if start is not None else node.chain.height
    first = node.chain.held.first_block
    oldest = max(first, newest - limit + 1)
    found = [node.chain.block(height) for height in range(newest, oldest - 1, -1)]
    listed = [
        {**block_summary(each), "author_name": node.signer(each.block.header.author)["name"]}
        for each in found
        if each is not None
    ]
    return {"head": node.head(), "blocks": listed, "next": oldest - 1 if oldest > first and listed else None}


def find_block(node: Node, height: int | None, block_id: bytes | None) -> FinalBlock:
    """Raises RpcError: not_found, pruned, or invalid_params when both are given and disagree."""
    wanted = find_height(node, height, block_id)
    final = node.chain.block(wanted)
    if final is None:
        raise missing_block(node, wanted)
    return final


def find_height(node: Node, height: int | None, block_id: bytes | None) -> int:
    """Of a block by height or id, the head's when neither is given. Raises RpcError: not_found, invalid_params."""
    if block_id is not None:
        known = node.chain.height_of(block_id)
        if known is None:
            raise RpcError("not_found", f"no final block {block_id.hex()}", height=node.chain.height)
        if height is not None and height != known:
            raise RpcError("invalid_params", f"id: block {block_id.hex()[:16]} has height {known}", parameter="id")
        height = known
    return node.chain.height if height is None else height


def missing_block(node: Node, height: int) -> RpcError:
    """Why there is no block, or header, of a height."""
    held = node.chain.held
    if 0 < height <= node.chain.height:
        return RpcError(
            "pruned",
            f"block {height} is final and not held here: blocks are from height {held.first_block} on,"
            f" headers from {held.first_header} on",
            height=node.chain.height,
            first_block=held.first_block,
            first_header=held.first_header,
        )
    why = "height 0 is the genesis, it has no block" if height == 0 else f"the head is at {node.chain.height}"
    return RpcError("not_found", f"no block at height {height}: {why}", height=node.chain.height)


_HEADER = {**schema_of(Header), "properties": {"id": HEX, **schema_of(Header)["properties"]}}
_PROOF = {"type": "object", "properties": {"header": _HEADER, "certificate": schema_of(Certificate)}}
_BLOCK = {
    "type": "object",
    "properties": {
        "header": _HEADER,
        "nullified": listing(schema_of(Certificate)),
        "transactions": listing(OBJECT),
        "bytes": INTEGER,
        "certificate": schema_of(Certificate),
    },
}
_NEXT = {"type": ["integer", "null"]}

METHODS = (
    method("genesis", genesis, ledger_answer(genesis=OBJECT)),
    method("header", header, ledger_answer(header=_HEADER, proof=_PROOF), ("not_found", "pruned")),
    method("block", block, ledger_answer(block=_BLOCK), ("not_found", "pruned")),
    method("blocks", blocks, ledger_answer(blocks={**listing(_HEADER), "maxItems": PAGE_MAX}, next=_NEXT)),
)
