"""The state by key, with the proof that a light client checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ledger.codec import decode
from ledger.entries import (
    CANDIDATES,
    ELECTION,
    LEAGUE,
    OPEN_REQUESTS,
    Account,
    Anchor,
    AnchorTotals,
    Candidate,
    Election,
    League,
    Member,
    OpenRequests,
    Receipt,
    Request,
    Round,
    Standing,
    account_key,
    anchor_key,
    anchor_totals_key,
    member_key,
    receipt_key,
    request_key,
    round_key,
    standing_key,
)
from node.rpc.errors import RpcError
from node.rpc.method import BOOLEAN, HEX, OBJECT, ledger_answer, method
from node.rpc.node import Node
from node.rpc.parameters import Flag, StateKey
from node.rpc.views import Json, final_header_view, to_json, unhex

Make = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class Path:
    """How a readable path becomes a key: what its parts are ("org", "id", "number") and which entry lies there."""

    kind: type
    parts: tuple[str, ...]
    make: Make


PATHS: dict[str, Path] = {
    "league": Path(League, (), lambda: LEAGUE),
    "election": Path(Election, (), lambda: ELECTION),
    "open-requests": Path(OpenRequests, (), lambda: OPEN_REQUESTS),
    "account": Path(Account, ("org",), account_key),
    "member": Path(Member, ("org",), member_key),
    "candidate": Path(Candidate, ("org",), lambda org: CANDIDATES + org),
    "standing": Path(Standing, ("org",), standing_key),
    "anchor": Path(Anchor, ("org", "number"), anchor_key),
    "anchors": Path(AnchorTotals, ("org",), anchor_totals_key),
    "request": Path(Request, ("id",), request_key),
    "round": Path(Round, ("id",), round_key),
    "receipt": Path(Receipt, ("id", "number", "number"), receipt_key),
}


async def state_get(node: Node, *, key: StateKey, prove: Flag = False) -> Json:
    """An entry of the state: `account/<org>`, `anchor/<org>/<period>`, `receipt/<request>/<round>/<attempt>`, ...

    `key` is such a path or the key in hex. With `prove`: the siblings under the header's state root (of presence, or of
    absence), and the header with its certificate. At height 0 the state root is the genesis's and nothing is signed.
    """
    raw, kind = state_key(node, key)
    value = node.chain.value(raw)
    shown: dict[str, Json] = {"head": node.head(), "key": raw.hex(), "present": value is not None}
    shown["value"] = value.hex() if value is not None else None
    shown["entry"] = to_json(decode(kind, value)) if value is not None and kind else None
    if prove:
        proof, header = node.chain.prove(raw), node.chain.final_header(node.chain.height)
        shown["proof"] = {"state_root": node.chain.state_root.hex(), **to_json(proof)}
        shown["final_header"] = final_header_view(header) if header else None
    return shown


def state_key(node: Node, text: str) -> tuple[bytes, type | None]:
    """Key and entry of a path or of hex. Raises RpcError("invalid_params")."""
    name, *parts = text.split("/")
    path = PATHS.get(name)
    try:
        if path is None:
            return _raw_key(text)
        if len(parts) != len(path.parts):
            want = "/".join([name, *(f"<{part}>" for part in path.parts)])
            raise ValueError(f"got {text[:80]!r}, want {want}")
        return path.make(*[_part(node, kind, each) for kind, each in zip(path.parts, parts, strict=True)]), path.kind
    except (ValueError, OverflowError) as error:
        raise RpcError("invalid_params", f"key: {error}", parameter="key") from None


def _raw_key(text: str) -> tuple[bytes, type | None]:
    try:
        raw = unhex(text)
    except ValueError:
        raise ValueError(f"got {text[:80]!r}, want hex or one of {', '.join(PATHS)}") from None
    path = PATHS.get(raw.split(b"/")[0].decode("ascii", "replace"))
    return raw, path.kind if path else None


def _part(node: Node, kind: str, text: str) -> Any:
    if kind == "org":
        return node.resolve_org(text)
    if kind == "number":
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"got {text[:40]!r}, want a number")
        return int(text[:20])
    raw = unhex(text)
    if len(raw) != 32:
        raise ValueError(f"got {len(text)} characters, want an id of 64 hex digits")
    return raw


METHODS = (
    method(
        "state.get",
        state_get,
        ledger_answer(key=HEX, present=BOOLEAN, value=HEX, entry=OBJECT, proof=OBJECT, final_header=OBJECT),
    ),
)
