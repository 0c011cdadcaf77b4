"""JSON-RPC 2.0: from the bytes of a request to the bytes of its answer. How they travel is not its business.

The calls of a batch begin in their order and then wait together, so a batch of transactions keeps its nonces and
one that waits for finality waits once. https://www.jsonrpc.org/specification
"""

import difflib
import json
import logging
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from ledger.errors import InvalidBytes, InvalidTransaction
from ledger.json_form import once_each
from node.rpc.errors import RpcError
from node.rpc.method import Method
from node.rpc.node import AfterAnswer, Later, Node
from node.rpc.views import InvalidView, Json

log = logging.getLogger(__name__)

# Faults of parts that this package does not import (they would bring torch's or libp2p's relatives along), by name.
_FOREIGN_FAULTS = {
    "JobRefused": "invalid_params",
    "WorkerCrashed": "unavailable",
    "NoSpaceForBlob": "storage",
    "BlobUnavailable": "not_found",
    "RecordStoreFull": "storage",
    "RecordStoreLocked": "storage",
    "RecordStoreError": "storage",
    "CorruptStore": "storage",
}

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(slots=True)
class Answer:
    """`body`: None when all calls were notifications. `after`: to be done once the body is sent."""

    body: bytes | None
    status: int = 200
    after: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True)
class _Call:
    """A call under way. Exactly one of `result`, `error`, `later` is there once it has begun."""

    id: Json = None
    notification: bool = False
    result: Json = None
    error: RpcError | None = None
    later: Later | None = None
    after: Callable[[], None] | None = None


class JsonRpc:
    """Answers requests out of a table of methods. `extra` methods belong to one connection (subscribe)."""

    def __init__(self, methods: Mapping[str, Method], node: Node) -> None:
        self._methods = methods
        self._node = node
        self._settings = node.settings

    async def answer(self, body: bytes) -> Answer:
        """Whatever the bytes are, this answers; it raises nothing but trio.Cancelled."""
        try:
            request = parse_json(body)
        except RpcError as error:
            return Answer(encode_json(_error_response(None, error)), error.kind.status)
        if not isinstance(request, list):
            calls = [await self._begin(request)]
        elif not 1 <= len(request) <= self._settings.batch_calls_max:
            return self._refuse_batch(len(request))
        else:
            calls = []
            for each in request:
                calls.append(await self._begin(each))
                # A long batch leaves room for votes and blocks between two of its calls.
                await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for call in calls:
                if call.later:
                    nursery.start_soon(self._finish, call)
        after = [call.after for call in calls if call.after]
        responses = self._encode([call for call in calls if not call.notification])
        if not isinstance(request, list):
            return Answer(responses[0] if responses else None, 200 if responses else 204, after)
        return Answer(b"[" + b",".join(responses) + b"]" if responses else None, 200 if responses else 204, after)

    def _refuse_batch(self, size: int) -> Answer:
        if size == 0:
            error = RpcError("invalid_request", "an empty batch, want at least one call")
            return Answer(encode_json(_error_response(None, error)))
        error = RpcError("too_large", f"a batch of {size} calls, at most {self._settings.batch_calls_max} are allowed")
        return Answer(encode_json(_error_response(None, error)), error.kind.status)

    async def _begin(self, plain: Json) -> _Call:
        call = _Call()
        try:
            name, params = _read_call(plain, call)
            method = self._methods.get(name)
            if method is None:
                similar = difflib.get_close_matches(name[:64], self._methods, n=3)
                hint = f"; similar: {', '.join(similar)}" if similar else ""
                raise RpcError("unknown_method", f"no method {name[:64]!r}{hint}")
            arguments = method.bind(params, self._node)
        except RpcError as error:
            call.error = error
            return call

        async def run() -> Json:
            return await method.function(self._node, **arguments)

        await self._run(call, name, run, self._settings.call_s)
        return call

    async def _finish(self, call: _Call) -> None:
        assert call.later
        later, call.later = call.later, None
        # What waits has its own limit, which the caller chose; this one only bounds it.
        await self._run(call, "waiting", later.finish, self._settings.wait_final_s_max + self._settings.call_s)

    async def _run(self, call: _Call, name: str, run: Callable[[], Any], limit_s: float) -> None:
        try:
            with trio.fail_after(limit_s):
                result = await run()
        except trio.TooSlowError:
            call.error = RpcError("timed_out", f"{name}: no answer within {limit_s:.0f} s")
        except Exception as error:
            call.error = as_rpc_error(error, name)
        else:
            if isinstance(result, Later):
                call.later = result
            elif isinstance(result, AfterAnswer):
                call.result, call.after = result.result, result.act
            else:
                call.result = result

    def _encode(self, calls: list[_Call]) -> list[bytes]:
        room = self._settings.answer_bytes_max
        responses = []
        for call in calls:
            response = _encode_response(call)
            if len(response) > room:
                error = RpcError(
                    "too_large", f"answers beyond {self._settings.answer_bytes_max} bytes in one request: ask for less"
                )
                response = encode_json(_error_response(call.id, error))
            else:
                room -= len(response)
            # Each result is let go as soon as it is text, so that a big batch is not held twice.
            call.result = None
            responses.append(response)
        return responses


def parse_json(body: bytes) -> Json:
    """Strict JSON. Raises RpcError("parse_error")."""
    try:
        return json.loads(
            body.decode(), object_pairs_hook=once_each, parse_constant=_refuse_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RpcError("parse_error", f"{len(body)} bytes that are not JSON: {reason[:200]}") from None


def encode_json(value: Json) -> bytes:
    """Compact ASCII JSON: safe inside a page, a log line and an event stream."""
    return _encoder.encode(value).encode("ascii")


def as_rpc_error(error: Exception, name: str) -> RpcError:
    """What the caller is told of an exception; what nobody foresaw goes into the log under an incident number."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, InvalidTransaction) and error.code == "starting":
        return RpcError("unavailable", str(error), part="network")
    if isinstance(error, InvalidTransaction):
        return RpcError("refused", str(error), rule=error.code)
    if isinstance(error, InvalidBytes):
        return RpcError("refused", f"no canonical transaction: {error}", rule="bytes")
    if isinstance(error, InvalidView):
        return RpcError("invalid_params", f"{name}: {error}", parameter=str(error).partition(":")[0].split(" ")[0])
    if isinstance(error, OSError):
        log.warning("%s met %s", name, error)
        return RpcError("storage", f"{name}: {error.strerror or error}")
    word = _FOREIGN_FAULTS.get(type(error).__name__)
    if word is not None:
        log.warning("%s met %s: %s", name, type(error).__name__, error)
        return RpcError(word, f"{name}: {error}")
    incident = secrets.token_hex(4)
    log.error("incident %s in method %s", incident, name, exc_info=error)
    return RpcError("internal", f"{name} failed; the node's log has incident {incident}", incident=incident)


def _read_call(plain: Json, call: _Call) -> tuple[str, Json]:
    """Name and params of one call; fills in its id. Raises RpcError("invalid_request")."""
    if not isinstance(plain, dict):
        raise RpcError("invalid_request", f"got {type(plain).__name__}, want an object")
    identity = plain.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int | float | None):
        raise RpcError("invalid_request", "id: want text, a number or null")
    call.id = identity
    name, params = plain.get("method"), plain.get("params")
    if plain.get("jsonrpc") != "2.0":
        raise RpcError("invalid_request", f'jsonrpc: got {plain.get("jsonrpc")!r:.40}, want "2.0"')
    if not isinstance(name, str):
        raise RpcError("invalid_request", f"method: got {type(name).__name__}, want text")
    if not isinstance(params, dict | list | None):
        raise RpcError("invalid_request", f"params: got {type(params).__name__}, want an object or a list")
    unknown = sorted(plain.keys() - {"jsonrpc", "id", "method", "params"})
    if unknown:
        raise RpcError("invalid_request", f"unknown member {unknown[0][:64]!r}")
    call.notification = "id" not in plain
    return name, params


def _encode_response(call: _Call) -> bytes:
    if call.error:
        return encode_json(_error_response(call.id, call.error))
    try:
        return encode_json({"jsonrpc": "2.0", "id": call.id, "result": call.result})
    except (TypeError, ValueError) as error:
        return encode_json(_error_response(call.id, as_rpc_error(error, "encoding the answer")))


def _error_response(identity: Json, error: RpcError) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": identity, "error": error.as_json()}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:32]} is too large a number")
    return number
