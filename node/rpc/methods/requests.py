"""Data requests: publish, join, cancel, and how each of them goes round by round."""

import trio

from ledger.entries import (
    FINAL_STAGES,
    OPEN_REQUESTS,
    REQUESTS,
    AnchorTotals,
    OpenRequests,
    Receipt,
    Request,
    Round,
    anchor_totals_key,
    receipt_key,
    receipts_prefix,
    request_key,
    round_key,
)
from ledger.league_entries import PROTOCOL, Protocol
from ledger.protocols import rules_of
from ledger.transactions import CancelRequest, JoinRequest, PublishProtected, PublishRequest, Setting
from node.label_disclosure import label_attributes
from node.request_file import RequestDraft, RequestFileError, check_known, request_from_json
from node.rpc.errors import RpcError
from node.rpc.method import BOOLEAN, HEX, INTEGER, OBJECT, STRING, ledger_answer, listing, method
from node.rpc.methods.request_protection import protection_shown
from node.rpc.methods.transactions import WAIT_S, submitted
from node.rpc.node import Node
from node.rpc.parameters import Count, Flag, Hash, JsonObject, Mode, Page, Positive, Seconds, Text
from node.rpc.views import InvalidView, Json, schema_of, to_json


async def request_list(node: Node, *, open: Flag = False, limit: Page = 100, offset: Count = 0) -> Json:
    """Requests, newest first, without their providers; with `open`, those that are not over."""
    if open:
        ids = node.chain.read(OpenRequests, OPEN_REQUESTS)
        found = [(id, _need_request(node, id)) for id in (ids.ids if ids else ())]
    else:
        found = list(node.chain.scan(Request, REQUESTS))
    found.sort(key=lambda each: (-each[1].published_height, each[0]))
    shown = [_summary(node, id, request) for id, request in found[offset : offset + limit]]
    return {"head": node.head(), "count": len(found), "requests": shown}


async def request_get(node: Node, *, request: Hash) -> Json:
    """A request with its terms, its protection, providers and the round in work (null when none is).

    `charges` says what each provider's data was charged so far, `waited_for` whose word the stage waits for; `masking`
    how far the exchange of a masked round has got (null when nothing is exchanged).
    """
    found = _need_request(node, request)
    current = node.chain.read(Round, round_key(request))
    names = {"requester_name": node.name_of(found.requester), "over": found.stage in FINAL_STAGES}
    providers = [{**to_json(each), "name": node.name_of(each.org)} for each in found.providers]
    shown = {"id": request.hex(), **to_json(found), **names, "providers": providers}
    shown |= protection_shown(node, request)
    return {"head": node.head(), "request": shown, "round": to_json(current)}


async def request_publish(
    node: Node, *, request: JsonObject, mode: Mode = "final", timeout_s: Seconds = WAIT_S
) -> Json:
    """Publish a request; its id is the transaction's. The budget leaves our balance until the request is over.

    `request` has the fields of the ledger's terms and protection, and `seed` in place of `initial_model` and
    `parameters`, which the node computes: it draws the initial weights and keeps them as a blob for the providers.
    """
    trainer = node.services.trainer
    if trainer is None:
        raise RpcError("unavailable", "this node has no trainer to make an initial model with", part="trainer")
    try:
        draft = request_from_json(request)
        protected = _takes_protection(node, draft)
        await trio.to_thread.run_sync(check_known, draft)
        await _check_target(node, draft)
        # The trainer names a model or an argument it does not know in the same way.
        digest, parameters = await trainer.initial_model(draft)
        terms = draft.terms(digest, parameters)
        body = PublishProtected(terms, draft.protection()) if protected else PublishRequest(terms)
    except RequestFileError as error:
        raise RpcError("invalid_params", str(error), parameter="request") from None
    own = await node.services.submit_own(body)
    return submitted(node, own, mode, timeout_s, lambda: {"request": own.id.hex(), "initial_model": digest.hex()})


async def request_join(
    node: Node,
    *,
    request: Hash,
    record_count: Positive | None = None,
    data_type: Text | None = None,
    attributes: JsonObject | None = None,
    mode: Mode = "final",
    timeout_s: Seconds = WAIT_S,
) -> Json:
    """Offer our data to an open request. Without `record_count` we offer what we have anchored so far.

    `attributes` are said about the data; the shares of our classes too, if `[privacy] disclose_labels` allows it.
    """
    found = _need_request(node, request)
    if record_count is None:
        totals = node.chain.read(AnchorTotals, anchor_totals_key(node.org))
        if totals is None or totals.records == 0:
            raise RpcError(
                "unavailable", "we have anchored no records yet, so there is nothing to offer", part="records"
            )
        record_count = totals.records
    disclosed = await trio.to_thread.run_sync(label_attributes, node.services.records, node.settings.disclose_labels)
    said = {each.name: each.value for each in disclosed}
    said |= {name: _text(name, value) for name, value in (attributes or {}).items()}
    named = tuple(Setting(name, value) for name, value in sorted(said.items()))
    body = JoinRequest(request, data_type or found.terms.data_type, record_count, named)
    own = await node.services.submit_own(body)
    return submitted(node, own, mode, timeout_s, lambda: {"request": request.hex(), "record_count": record_count})


async def request_cancel(node: Node, *, request: Hash, mode: Mode = "final", timeout_s: Seconds = WAIT_S) -> Json:
    """End our own request; escrow that no round has earned returns to us.

    A round of which updates are announced is settled and paid first, and no other begins.
    """
    _need_request(node, request)
    own = await node.services.submit_own(CancelRequest(request))
    return submitted(node, own, mode, timeout_s, lambda: {"request": request.hex()})


async def round_(node: Node, *, request: Hash, round: Positive | None = None) -> Json:
    """A round of a request: the one in work, or the closed one of that number (its last attempt) by its receipt."""
    _need_request(node, request)
    current = node.chain.read(Round, round_key(request))
    if current is not None and round in (None, current.number):
        return {"head": node.head(), "status": "open", "round": to_json(current), "receipt": None}
    closed = [each for _, each in node.chain.scan(Receipt, receipts_prefix(request)) if round in (None, each.round)]
    if not closed:
        which = "no round" if round is None else f"no round {round}"
        text = f"request {request.hex()[:16]} has {which} yet"
        raise RpcError("not_found", text, height=node.chain.height)
    return {"head": node.head(), "status": "closed", "round": None, "receipt": to_json(closed[-1])}


async def receipts(node: Node, *, request: Hash, limit: Page = 100, offset: Count = 0) -> Json:
    """The receipts of a request's closed rounds, in order: who was invited, what each did, what it was paid.

    One that is named with round and attempt can be proven with `state.get`, key `receipt/<request>/<round>/<attempt>`.
    """
    _need_request(node, request)
    found = [each for _, each in node.chain.scan(Receipt, receipts_prefix(request))]
    shown = [
        {**to_json(each), "key": receipt_key(request, each.round, each.attempt).hex()}
        for each in found[offset : offset + limit]
    ]
    return {"head": node.head(), "count": len(found), "receipts": shown}


async def model(node: Node, *, request: Hash) -> Json:
    """The present model of a request: digest, the round it came from, whether its bytes are here, its export.

    `download` is where this interface serves the blob (fixed point, see docs/protocol.md), null while it is not here;
    `export` is the path of a safetensors file on this machine, written when the request is done (null before);
    `served` that of the model this factory itself uses, where it took part.
    """
    found = _need_request(node, request)
    shelf = node.settings.data_dir / "models"
    export, served = shelf / f"{request.hex()}.safetensors", shelf / f"{request.hex()}.served.safetensors"
    held = node.services.blobs is not None and bool(node.services.blobs.has(found.model))
    judged = {"judged_round": found.judged_round, "judged_model": found.judged_model.hex(), "accuracy": found.accuracy}
    return {
        "head": node.head(),
        "request": request.hex(),
        "digest": found.model.hex(),
        "round": found.model_round,
        "stage": to_json(found.stage),
        **judged,
        "held": held,
        "download": f"/blobs/{found.model.hex()}" if held else None,
        "export": str(export) if export.is_file() else None,
        "served": str(served) if served.is_file() else None,
        "about": {"model": found.terms.model, "arguments": to_json(found.terms.model_arguments)},
    }


def _takes_protection(node: Node, draft: RequestDraft) -> bool:
    """Whether the league protects updates. Raises RequestFileError when it is too old for what the request asks."""
    protocol = node.chain.read(Protocol, PROTOCOL)
    assert protocol is not None, "every state has a protocol"
    version = protocol.version
    protects = rules_of(version, protocol.since_height).protection
    if draft.needs_protection and not protects:
        raise RequestFileError(
            f"request {draft.title!r}: the league's protocol {version} has no protected requests, so it knows no"
            f" masking, no privacy but none and paper, no rule but mean and no strategy of more than one vector; want"
            " those (strategy fedavg is one), or a vote for a later version"
        )
    return protects


async def _check_target(node: Node, draft: RequestDraft) -> None:
    """Raises RequestFileError for a target that nobody would ever measure."""
    from fl.privacy.terms import PrivacyRefused
    from node.target_check import target_refusal

    records, totals = node.services.records, node.chain.read(AnchorTotals, anchor_totals_key(node.org))
    reports = totals is not None and node.settings.telling != "none"
    tests = await trio.to_thread.run_sync(records.test_count) if records is not None and reports else 0
    try:
        refusal = target_refusal(draft.privacy, dict(draft.privacy_settings), draft.target_accuracy, tests > 0)
    except PrivacyRefused as error:
        refusal = str(error)
    if refusal is not None:
        raise RequestFileError(refusal)


def _need_request(node: Node, request: bytes) -> Request:
    found = node.chain.read(Request, request_key(request))
    if found is None:
        raise RpcError("not_found", f"no request {request.hex()}", height=node.chain.height)
    return found


def _summary(node: Node, id: bytes, request: Request) -> dict[str, Json]:
    terms = request.terms
    return {
        "id": id.hex(),
        "title": terms.title,
        "requester": request.requester.hex(),
        "requester_name": node.name_of(request.requester),
        "stage": to_json(request.stage),
        "round": request.round,
        "rounds_max": terms.rounds_max,
        "providers": len(request.providers),
        "providers_min": terms.providers_min,
        "providers_max": terms.providers_max,
        "model": terms.model,
        "strategy": terms.strategy,
        "privacy": terms.privacy,
        "data_type": terms.data_type,
        "price": terms.price,
        "budget": terms.budget,
        "escrow": to_json(request.escrow),
        "paid": to_json(request.paid),
        "accuracy": request.accuracy,
        "target_accuracy": terms.target_accuracy,
        "deadline": request.deadline,
        "published_height": request.published_height,
        "outcome": request.outcome,
        "ending": request.ending,
    }


def _text(name: str, value: Json) -> str:
    if not isinstance(value, str):
        raise InvalidView(f"attributes.{name[:64]}: got {type(value).__name__}, want text")
    return value


_WORK = ("not_found", "refused", "timed_out")
_SENT = {"id": HEX, "nonce": INTEGER, "status": STRING, "height": INTEGER, "index": INTEGER, "request": HEX}
_REQUEST = {"type": "object", "properties": {"id": HEX, **schema_of(Request)["properties"]}}
_ROUND = {"oneOf": [{"type": "null"}, schema_of(Round)]}
_PATH = {"type": ["string", "null"]}
_RECEIPT = {"oneOf": [{"type": "null"}, schema_of(Receipt)]}

METHODS = (
    method("request.list", request_list, ledger_answer(count=INTEGER, requests=listing(OBJECT))),
    method("request.get", request_get, ledger_answer(request=_REQUEST, round=_ROUND), ("not_found",)),
    method("request.publish", request_publish, ledger_answer(**_SENT, initial_model=HEX), ("unavailable", *_WORK[1:])),
    method("request.join", request_join, ledger_answer(**_SENT, record_count=INTEGER), ("unavailable", *_WORK)),
    method("request.cancel", request_cancel, ledger_answer(**_SENT), _WORK),
    method("round", round_, ledger_answer(status=STRING, round=_ROUND, receipt=_RECEIPT), ("not_found",)),
    method("receipts", receipts, ledger_answer(count=INTEGER, receipts=listing(_RECEIPT)), ("not_found",)),
    method(
        "model",
        model,
        ledger_answer(
            request=HEX,
            digest=HEX,
            round=INTEGER,
            accuracy=INTEGER,
            held=BOOLEAN,
            download=_PATH,
            export=_PATH,
            served=_PATH,
        ),
        ("not_found",),
    ),
)
