"""Every error a caller can meet, in one table: number, word, what happened, what to do. docs/errors.md shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node.rpc.refusals import refusals_table


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """`code`: the JSON-RPC number. `word`: `error.data.code`, stable, for programs. `status`: HTTP, where the answer is
    no JSON-RPC result at all (else 200)."""

    code: int
    word: str
    happened: str
    remedy: str
    status: int = 200


ERROR_KINDS: tuple[ErrorKind, ...] = (
    ErrorKind(
        -32700,
        "parse_error",
        "The body is not JSON (RFC 8259): cut short, not UTF-8, NaN or Infinity, or nested too deeply.",
        "Send one JSON object, or an array of them. The message says where reading stopped.",
        400,
    ),
    ErrorKind(
        -32600,
        "invalid_request",
        'The JSON is no JSON-RPC 2.0 call: `"jsonrpc": "2.0"` or `method` is missing, or `id` or `params` has a wrong '
        "type, or a batch is empty.",
        'Send `{"jsonrpc": "2.0", "id": 1, "method": "status", "params": {}}`.',
    ),
    ErrorKind(
        -32601,
        "unknown_method",
        "The node has no method of this name.",
        "`GET /openrpc.json` lists all methods; the message names similar ones.",
    ),
    ErrorKind(
        -32602,
        "invalid_params",
        "A parameter is missing, unknown, of a wrong type or out of its bounds. `data.parameter` names it.",
        "Read what came and what was wanted in the message and call again.",
    ),
    ErrorKind(
        -32603,
        "internal",
        "The node met a fault of its own while it answered. Its log has the details under `data.incident`.",
        "Nothing was half done on the ledger. Look for the incident in the log and report it.",
    ),
    ErrorKind(
        -32001,
        "not_found",
        "There is no such block, transaction, member, request, round, anchor, record or model at the present head.",
        "Check the id and `data.height`: a node that is still catching up does not know the newest things yet.",
    ),
    ErrorKind(
        -32002,
        "refused",
        "The rules of the ledger refuse the transaction. `data.rule` is the rule's word (`nonce`, `balance`, `stage`, "
        "...), the message says what came and what was wanted.",
        "Nothing was charged. Correct the transaction; with `nonce`, ask `account` for the next one and sign anew.",
    ),
    ErrorKind(
        -32003,
        "timed_out",
        "The answer was not there in time. A transaction that was waited for may still become final.",
        "Ask `tx` for its id (`data.id`), or wait longer with `timeout_s`. If nothing becomes final, ask `status`: a "
        "quorum of the committee may be away.",
    ),
    ErrorKind(
        -32004,
        "unavailable",
        "The part of the node that would answer does not run: it has no data source, does not train, or is starting. "
        "`data.part` names it.",
        "Configure the part (`hanse config show`), or wait until `GET /readyz` is 200.",
    ),
    ErrorKind(
        -32005,
        "busy",
        "A bound on connections, subscribers or waiting transactions is reached.",
        "Close what is not needed, or come back later. The bounds stand in `[rpc]` of the configuration.",
        503,
    ),
    ErrorKind(
        -32006,
        "too_large",
        "The body, the batch or the answer is larger than the node allows. The message says how large and how much is "
        "allowed.",
        "Split it: fewer calls in a batch, smaller pages.",
        413,
    ),
    ErrorKind(
        -32007,
        "unauthorized",
        "The cookie is missing or is not the one of this run of the node. It is drawn anew at every start.",
        "Read `<data_dir>/.cookie` again and send it as `Authorization: Bearer <cookie>` (or Basic, user "
        "`__cookie__`), or use the Unix socket `<data_dir>/rpc.sock`, which needs none.",
        401,
    ),
    ErrorKind(
        -32008,
        "forbidden",
        "The `Host` or `Origin` header names another machine than this one: a web page may be trying to reach the node "
        "through a browser.",
        "Call the node as `http://127.0.0.1:<port>` or `http://localhost:<port>`.",
        403,
    ),
    ErrorKind(
        -32009,
        "wrong_content_type",
        "The body was not announced as JSON.",
        "Send `Content-Type: application/json`.",
        415,
    ),
    ErrorKind(
        -32010,
        "slow_subscriber",
        "Events were not read as fast as they came, and the node gave the subscription up.",
        "Subscribe again, read faster or fewer topics, and ask the ledger for what was missed in between.",
    ),
    ErrorKind(
        -32011,
        "needs_stream",
        "`subscribe` and `unsubscribe` need a connection that stays open.",
        "Use the WebSocket `/ws`, or `GET /events?topics=block,round`.",
    ),
    ErrorKind(
        -32012,
        "not_verified",
        "A proof or a bundle does not hold, or a record was changed after it was anchored. The message says "
        "which check failed.",
        "Do not rely on the data. `hanse dispute` shows the record and its proof.",
    ),
    ErrorKind(
        -32013,
        "storage",
        "The node's disk is full or refuses to be written.",
        "Free space in the data directory. Nothing that was final is lost; call again afterwards.",
    ),
    ErrorKind(
        -32015,
        "pruned",
        "The block was final and is not held here any more, or never was: the node keeps a number of blocks only, or "
        "joined by a snapshot. `data.first_block` is the lowest height whose block it holds.",
        "Ask a member that keeps all blocks (`[storage] keep_blocks = 0`). Headers and their proofs stay where the "
        "height is at least `data.first_header`.",
    ),
    ErrorKind(
        -32014,
        "wrong_http_method",
        "The address is there, but does not answer this HTTP method, or there is no such address.",
        "JSON-RPC is `POST /`. `GET` answers `/healthz`, `/readyz`, `/metrics`, `/events` and `/openrpc.json`.",
        405,
    ),
)

BY_WORD: Mapping[str, ErrorKind] = {kind.word: kind for kind in ERROR_KINDS}


class RpcError(Exception):
    """An answer that is an error. `word` names its kind in ERROR_KINDS; `details` go into `error.data`."""

    def __init__(self, word: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.kind = BY_WORD[word]
        self.details = details

    def as_json(self) -> dict[str, Any]:
        """The `error` member of a JSON-RPC response."""
        return {"code": self.kind.code, "message": str(self), "data": {"code": self.kind.word, **self.details}}


def errors_page() -> str:
    """The text of docs/errors.md."""
    lines = [
        "# Errors of the local interface",
        "",
        "Every error of JSON-RPC has a number, a message for people and `error.data.code`, a word for programs. This "
        "page is made of the table in `node/rpc/errors.py` (`python -m node.rpc.errors > docs/errors.md`).",
    ]
    for kind in ERROR_KINDS:
        status = f", HTTP {kind.status}" if kind.status != 200 else ""
        lines += ["", f"## `{kind.word}` ({kind.code}{status})", "", f"**What happened.** {kind.happened}"]
        lines += ["", f"**What to do.** {kind.remedy}"]
        if kind.word == "refused":
            lines += ["", refusals_table()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(errors_page(), end="")
