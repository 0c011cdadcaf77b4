"""Tests' organisations say something with their identity, through their own node, as `hanse` does for people."""

from typing import Any

from ledger.transactions import Transaction, sign_transaction
from ledger.types import Hash32
from node.cold_identity import IDENTITY_FILE
from node.devnet.league import DevNode
from node.identity import load_key
from node.rpc.views import body_from_json, unhex


def signed_by_identity(node: DevNode, body: dict[str, Any], *, draw: bool = False) -> Transaction:
    """`body` as the ledger's JSON; "key"/"new_key" and "proof" are filled in by the node. Raises RpcError."""
    prepared = node.call("identity.prepare", draw=draw)
    if body["kind"] == "register_member":
        body = {"roles": 3, **body, "key": prepared["key"], "proof": prepared["proof"]}
    elif body["kind"] == "rotate_key":
        body = {**body, "new_key": prepared["key"], "proof": prepared["proof"]}
    identity = load_key(node.folder / IDENTITY_FILE)
    chain_id = Hash32(unhex(prepared["chain_id"]))
    return sign_transaction(identity, chain_id, prepared["nonce"], body_from_json(body, unhex))


def say_with_identity(node: DevNode, body: dict[str, Any], *, draw: bool = False, mode: str = "async") -> Any:
    """Hand it in; what the node answers. Raises RpcError."""
    transaction = signed_by_identity(node, body, draw=draw)
    return node.call("submit_tx", transaction=transaction.encoded.hex(), mode=mode)


def register(node: DevNode, **more: Any) -> Any:
    """Ask to be let in under the node's name and address. Raises RpcError."""
    body = {"kind": "register_member", "name": node.name, "addresses": [node.address], **more}
    return say_with_identity(node, body)
