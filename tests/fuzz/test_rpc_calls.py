"""The local interface under hostile callers: every method with every kind of parameter, raw HTTP, raw WebSocket frames.

Nothing a caller sends is a fault of the node's own: the word `internal` is never the answer, and the interface goes on.
"""

import base64
import json
import random
from typing import Any

import pytest
import trio

from node.rpc.errors import BY_WORD
from node.rpc.jsonrpc import JsonRpc
from node.rpc.method import Method
from node.rpc.methods.table import METHODS
from node.rpc.node import Node
from node.rpc.openrpc import describe
from tests.support.hostile_bytes import WORDS, mutated, mutated_json
from tests.support.rpc_services import ALICE, LoneServices, served, settings_in

CALLS_A_METHOD = 60
RAW_REQUESTS = 100
# What a caller could mean by these names; others are made from their schema.
KNOWN: dict[str, Any] = {
    "body": {"kind": "transfer", "to": "bob", "amount": 1, "memo": "x"},
    "org": "bob",
    "of": "bob",
    "to": "bob",
    "mode": "async",
    "method": "status",
    "request": {"title": "x", "data_type": "table", "model": "mlp", "model_arguments": [["layers", "8,4"]]},
    "topics": ["block"],
}


def meant(name: str, schema: dict[str, Any]) -> Any:
    """A value that the parameter's schema allows, or nearly."""
    if name in KNOWN and schema.get("type", "string") in ("string", "object", "array"):
        return KNOWN[name]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "array":
            return []
        case "object":
            return {"kind": "skip_nonce"}
    return "ab" * (schema.get("minLength", 64) // 2 or 32)


def rpc_of(folder) -> JsonRpc:
    settings = settings_in(folder, wait_final_s_max=0.05, call_s=5.0)
    return JsonRpc(METHODS, Node(LoneServices(), settings, "1", 0.0, describe(METHODS, "1")))


def check(body: bytes | None) -> None:
    """An answer of JSON-RPC, or several; each error one of the table and never the node's own fault."""
    if body is None:
        return
    answers = json.loads(body)
    for answer in answers if isinstance(answers, list) else [answers]:
        assert answer["jsonrpc"] == "2.0"
        assert ("result" in answer) != ("error" in answer)
        if "error" in answer:
            word = answer["error"]["data"]["code"]
            assert word in BY_WORD
            assert word != "internal", answer
            assert len(answer["error"]["message"]) < 2_000


@pytest.mark.trio
@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
async def test_no_parameters_of_any_method_are_a_fault_of_the_node(method: Method, tmp_path):
    rng = random.Random(method.name)
    rpc = rpc_of(tmp_path)
    params = {each.name: meant(each.name, each.reader.schema) for each in method.parameters}
    call = {"jsonrpc": "2.0", "id": 7, "method": method.name, "params": params}
    with trio.fail_after(120):
        check((await rpc.answer(json.dumps(call).encode())).body)
        for _ in range(CALLS_A_METHOD):
            hostile = call | {"params": mutated_json(params, rng)} if rng.random() < 0.8 else mutated_json(call, rng)
            check((await rpc.answer(json.dumps(hostile).encode())).body)


@pytest.mark.trio
async def test_no_bytes_are_a_fault_of_the_node(tmp_path):
    rng = random.Random(5)
    rpc = rpc_of(tmp_path)
    call = {"jsonrpc": "2.0", "id": 7, "method": "member", "params": {"org": "bob"}}
    good = (json.dumps(call).encode(), json.dumps([call, call | {"id": None}, {"method": 1}]).encode())
    with trio.fail_after(120):
        for _ in range(800):
            check((await rpc.answer(mutated(rng.choice(good), rng))).body)
        for word in WORDS:
            check((await rpc.answer(word * 3_000)).body)


def http_request(cookie: str) -> bytes:
    body = b'{"jsonrpc":"2.0","id":1,"method":"status"}'
    secret = base64.b64encode(f"__cookie__:{cookie}".encode()).decode()
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {secret}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# RFC 6455, 5.2: a masked text frame of "{}" and a masked ping.
FRAMES = b"\x81\x82\x01\x02\x03\x04" + bytes([0x7B ^ 1, 0x7D ^ 2]) + b"\x89\x80\x01\x02\x03\x04"


async def say(path: str, *pieces: bytes) -> None:
    """Send, hear what comes within a moment, leave."""
    stream = await trio.open_unix_socket(path)
    async with stream:
        for piece in pieces:
            try:
                await stream.send_all(piece)
                with trio.move_on_after(0.02):
                    await stream.receive_some(65_536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


@pytest.mark.trio
async def test_no_raw_bytes_stop_the_interface_or_stay_in_it(tmp_path, caplog):
    rng = random.Random(6)
    services = LoneServices(key=ALICE)
    async with served(services, settings_in(tmp_path, keep_alive_s=0.2, body_s=1.0)) as addresses:
        path = str(addresses.socket)
        request = http_request("wrong")
        with trio.fail_after(120):
            for _ in range(RAW_REQUESTS):
                if rng.random() < 0.6:
                    await say(path, mutated(request, rng))
                else:
                    await say(path, UPGRADE, mutated(FRAMES * 3, rng))
            stream = await trio.open_unix_socket(path)
            async with stream:
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert b"200" in (await stream.receive_some(65_536)).split(b"\r\n")[0]
    faults = [record.getMessage() for record in caplog.records if "incident" in record.getMessage()]
    assert faults == []
