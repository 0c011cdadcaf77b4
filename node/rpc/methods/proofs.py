"""Proofs for readers who trust no node: bundles that `hanse verify` checks offline (docs/proofs.md).

`trusted_height`: the header that the reader trusts, 0 for the genesis; `sequential`: no header is skipped to.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from ledger.codec import encode
from ledger.entries import Anchor, anchor_key
from ledger.errors import InvalidBytes, InvalidProof
from ledger.light import NO_SKIPPING, SKIP_HEIGHTS_MAX
from ledger.merkle import MerkleTree, leaf_hash, verify_inclusion
from ledger.proof_parts import FORMAT
from ledger.proofs import Proof, proof_to_json
from node.proving import (
    NothingToProve,
    Reader,
    prove_aggregate,
    prove_entry,
    prove_headers,
    prove_record,
    prove_reward,
    prove_transaction,
)
from node.rpc.errors import RpcError
from node.rpc.method import HEX, ledger_answer, listing, method
from node.rpc.methods.blocks import missing_block
from node.rpc.methods.state import state_key
from node.rpc.node import Node
from node.rpc.parameters import Count, Flag, Hash, Height, Org, StateKey
from node.rpc.steady import steadily
from node.rpc.views import Json

T = TypeVar("T")

# Raw blocks in one answer: one at least, and about so many bytes of them; twice that in hex.
RAW_BYTES = 4 * 1024 * 1024
RAW_BLOCKS_MAX = 1000


async def proof_headers(
    node: Node, *, height: Height | None = None, trusted_height: Height = 0, sequential: Flag = False
) -> Json:
    """Prove that a height is final, the head's by default: headers from what the reader trusts to it."""
    return await _answer(node, lambda: prove_headers(node.chain, _reader(trusted_height, sequential), height))


async def proof_state(node: Node, *, key: StateKey, trusted_height: Height = 0, sequential: Flag = False) -> Json:
    """Prove what lies under a key of the state at the head, or that nothing does; keys as in `state.get`."""
    raw, _ = state_key(node, key)
    return await _answer(node, lambda: prove_entry(node.chain, _reader(trusted_height, sequential), raw))


async def proof_record(
    node: Node, *, period: Count, index: Count, trusted_height: Height = 0, sequential: Flag = False
) -> Json:
    """Prove that one of our records is under its anchor. The proof contains the record.

    A record that is not as it was anchored is the error not_verified: `dispute.open` makes the proof of that.
    """
    records: Any = node.services.records
    if records is None:
        text = "this node keeps no records: it has no data source, or is just starting"
        raise RpcError("unavailable", text, part="records")

    def read() -> tuple[bytes | None, list[Any]]:
        return records.record_bytes(period, index), records.kept_leaves(period)

    record, leaves = await trio.to_thread.run_sync(read)
    if record is None or index >= len(leaves):
        raise RpcError("not_found", f"no record {index} of a closed period {period}", height=node.chain.height)
    inclusion = MerkleTree(leaves).inclusion_proof(index)
    anchor = node.chain.read(Anchor, anchor_key(node.org, period))
    if anchor is None:
        raise RpcError("not_found", f"period {period} is not anchored", height=node.chain.height)
    # What nobody would accept is not given out: we tell ourselves before others do.
    if not verify_inclusion(anchor.root, leaf_hash(record), index, anchor.record_count, inclusion):
        raise RpcError("not_verified", f"record {index} of period {period} is not as it was anchored")
    reader = _reader(trusted_height, sequential)
    return await _answer(node, lambda: prove_record(node.chain, reader, node.org, period, index, record, inclusion))


async def proof_tx(node: Node, *, id: Hash, trusted_height: Height = 0, sequential: Flag = False) -> Json:
    """Prove that a transaction is in a final block."""
    return await _answer(node, lambda: prove_transaction(node.chain, _reader(trusted_height, sequential), id))


async def proof_reward(
    node: Node,
    *,
    request: Hash,
    round: Count,
    attempt: Count | None = None,
    provider: Org | None = None,
    trusted_height: Height = 0,
    sequential: Flag = False,
) -> Json:
    """Prove what a closed round paid, and for how many anchored records: to all, or to `provider`.

    `attempt`: by default the last one of the round that was closed.
    """
    reader = _reader(trusted_height, sequential)
    return await _answer(node, lambda: prove_reward(node.chain, reader, request, round, attempt, provider))


async def proof_aggregate(
    node: Node,
    *,
    request: Hash,
    round: Count,
    attempt: Count | None = None,
    trusted_height: Height = 0,
    sequential: Flag = False,
) -> Json:
    """Prove the model of a closed round: its reader computes it again from the blobs that `blobs` names.

    They are not in the bundle; `GET /blobs/<digest>` has them as long as they are kept.
    """
    reader = _reader(trusted_height, sequential)

    def make() -> tuple[Json, list[str]]:
        proof, blobs = prove_aggregate(node.chain, reader, request, round, attempt)
        return json.loads(proof_to_json(proof)), [each.hex() for each in blobs]

    bundle, blobs = await _made(node, make)
    return {"head": node.head(), "bundle": bundle, "blobs": blobs}


async def blocks_raw(node: Node, *, start: Height) -> Json:
    """Final blocks from height `start` upwards in hex of their canonical bytes, as many as an answer takes.

    `next` is the `start` of the next page, null at the head.
    """
    found: list[str] = []
    size, height = 0, max(1, start)
    while height <= node.chain.height and size < RAW_BYTES and len(found) < RAW_BLOCKS_MAX:
        final = node.chain.block(height)
        if final is None:
            raise missing_block(node, height)
        row = encode(final)
        found.append(row.hex())
        size += len(row)
        height += 1
    return {"head": node.head(), "blocks": found, "next": height if height <= node.chain.height else None}


def _reader(trusted_height: int, sequential: bool) -> Reader:
    return Reader(trusted_height, NO_SKIPPING if sequential else SKIP_HEIGHTS_MAX)


async def _made(node: Node, make: Callable[[], T]) -> T:
    """What `make` makes, over one head, in a thread: an old league has many committees. Raises RpcError."""
    try:
        return await steadily(node, make)
    except NothingToProve as error:
        raise RpcError("not_found", str(error), height=node.chain.height) from None
    except (InvalidProof, InvalidBytes) as error:
        raise RpcError("unavailable", str(error), part="proof") from None


async def _answer(node: Node, make: Callable[[], Proof]) -> dict[str, Json]:
    """One proof in its file form."""
    plain = await _made(node, lambda: json.loads(proof_to_json(make())))
    return {"head": node.head(), "bundle": plain}


_BUNDLE: dict[str, Json] = {"type": "object", "description": f"the file form, format {FORMAT}"}
_PROOF = ledger_answer(bundle=_BUNDLE)
_OWN = ("not_found", "unavailable", "busy")

METHODS = (
    method("proof.headers", proof_headers, _PROOF, _OWN),
    method("proof.state", proof_state, _PROOF, _OWN),
    method("proof.record", proof_record, _PROOF, ("not_verified", *_OWN)),
    method("proof.tx", proof_tx, _PROOF, _OWN),
    method("proof.reward", proof_reward, _PROOF, _OWN),
    method("proof.aggregate", proof_aggregate, ledger_answer(bundle=_BUNDLE, blobs=listing(HEX)), _OWN),
    method(
        "blocks.raw",
        blocks_raw,
        ledger_answer(blocks=listing(HEX), next={"type": ["integer", "null"]}),
        ("pruned",),
    ),
)
