"""JSON-RPC 2.0 without a network: damaged requests, batches, parameters, and the table of errors."""

import ast
import json
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.transactions import Transfer, sign_transaction
from node.rpc.errors import ERROR_KINDS, RpcError, errors_page
from node.rpc.jsonrpc import JsonRpc
from node.rpc.methods.table import METHODS
from node.rpc.node import Node
from node.rpc.openrpc import describe
from node.rpc.refusals import REFUSALS
from tests.support.rpc_services import ALICE, BOB, LoneServices, settings_in

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def services():
    return LoneServices()


@pytest.fixture
def rpc(services, tmp_path):
    return rpc_of(services, tmp_path)


def rpc_of(services, folder, **bounds):
    node = Node(services, settings_in(folder, **bounds), "1", 0.0, describe(METHODS, "1"))
    return JsonRpc(METHODS, node)


async def ask(rpc, content):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = await rpc.answer(body)
    return None if answer.body is None else json.loads(answer.body)


def call(method, params=None, identity=1):
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": params or {}}


def word(response):
    return response["error"]["data"]["code"]


@pytest.mark.trio
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"a":NaN}', b"[" * 100_000, b'{"id":' + b"9" * 5_000 + b"}", b'"\\ud800', b"{} {}"],
)
async def test_what_is_no_json_is_a_parse_error(rpc, body):
    answer = await rpc.answer(body)
    response = json.loads(answer.body)
    assert word(response) == "parse_error"
    assert response["error"]["code"] == -32700
    assert response["id"] is None
    assert answer.status == 400


@pytest.mark.trio
@pytest.mark.parametrize(
    "request_",
    [
        1,
        None,
        "status",
        {},
        [],
        {"jsonrpc": "1.0", "id": 1, "method": "status"},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        {"jsonrpc": "2.0", "id": [1], "method": "status"},
        {"jsonrpc": "2.0", "id": True, "method": "status"},
        {"jsonrpc": "2.0", "id": 1, "method": "status", "params": "x"},
        {"jsonrpc": "2.0", "id": 1, "method": "status", "extra": 1},
    ],
)
async def test_json_that_is_no_call_is_an_invalid_request(rpc, request_):
    response = await ask(rpc, request_)
    assert word(response) == "invalid_request"
    assert response["error"]["code"] == -32600


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=8).map(
        lambda value: json.dumps(value).encode()
    )
    | st.fixed_dictionaries(
        {
            "jsonrpc": st.just("2.0"),
            "id": st.integers(),
            "method": st.sampled_from(sorted(METHODS)),
            "params": st.dictionaries(
                st.sampled_from(["height", "id", "org", "key", "request", "limit", "body", "x"]),
                st.none() | st.integers() | st.text(max_size=70) | st.booleans() | st.lists(st.none()),
            ),
        }
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_request_whatever_finds_a_fault_of_ours(tmp_path, body):
    async def main():
        rpc = rpc_of(LoneServices(), tmp_path)
        answer = await rpc.answer(body)
        given = json.loads(answer.body) if answer.body else []
        for response in given if isinstance(given, list) else [given]:
            assert response.get("error", {}).get("data", {}).get("code") != "internal", response

    trio.run(main)


@pytest.mark.trio
async def test_a_batch_answers_calls_in_order_and_not_notifications(rpc):
    batch = [
        call("version", identity="a"),
        {"jsonrpc": "2.0", "method": "status"},
        call("no.such", identity="b"),
        7,
        call("committee", identity="c"),
    ]
    responses = await ask(rpc, batch)
    assert [response["id"] for response in responses] == ["a", "b", None, "c"]
    assert word(responses[1]) == "unknown_method"
    assert word(responses[2]) == "invalid_request"
    assert await ask(rpc, {"jsonrpc": "2.0", "method": "version"}) is None
    assert await ask(rpc, [{"jsonrpc": "2.0", "method": "version"}]) is None


@pytest.mark.trio
async def test_batches_and_answers_have_bounds(services, tmp_path):
    rpc = rpc_of(services, tmp_path, batch_calls_max=3, answer_bytes_max=3_000)
    assert word(await ask(rpc, [call("version")] * 4)) == "too_large"
    responses = await ask(rpc, [call("genesis"), call("rpc.discover"), call("version")])
    assert ["error" in response for response in responses] == [False, True, False]
    assert word(responses[1]) == "too_large"


@pytest.mark.trio
async def test_parameters_by_name_or_place_and_the_wrong_ones_are_named(rpc):
    assert "result" in await ask(rpc, call("account", [BOB.org.hex()]))
    assert "result" in await ask(rpc, call("account", {"org": "bob"}))
    cases = {
        ("block", "heigth"): {"heigth": 1},
        ("block", "height"): {"height": -1},
        ("tx", "id"): {},
        ("state.get", "prove"): {"key": "league", "prove": 1},
        ("account", "org"): {"org": "nobody"},
        ("submit_tx", "mode"): {"transaction": "00", "mode": "soon"},
        ("blocks", "limit"): {"limit": 101},
    }
    for (name, parameter), params in cases.items():
        response = await ask(rpc, call(name, params))
        assert word(response) == "invalid_params", response
        assert response["error"]["data"]["parameter"] == parameter
        assert parameter in response["error"]["message"]
    response = await ask(rpc, call("version", [1]))
    assert word(response) == "invalid_params"


@pytest.mark.trio
async def test_an_unknown_method_names_similar_ones(rpc):
    response = await ask(rpc, call("requests.list"))
    assert "request.list" in response["error"]["message"]


@pytest.mark.trio
async def test_a_fault_of_ours_says_nothing_but_its_incident(services, tmp_path, caplog):
    class Broken(LoneServices):
        def consensus_status(self):
            raise KeyError("secret detail")

    response = await ask(rpc_of(Broken(), tmp_path), call("status"))
    assert word(response) == "internal"
    incident = response["error"]["data"]["incident"]
    assert "secret detail" not in json.dumps(response)
    assert incident in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.trio
async def test_a_batch_of_transactions_keeps_its_nonces_and_waits_once(services, rpc):
    services.instant = False
    chain_id = services.chain.chain_id
    signed = [sign_transaction(ALICE, chain_id, nonce, Transfer(BOB.org, 1, "")) for nonce in range(20)]
    batch = [
        call("submit_tx", {"transaction": each.encoded.hex(), "mode": "final"}, n) for n, each in enumerate(signed)
    ]
    async with trio.open_nursery() as nursery:
        responses = []

        async def submit():
            responses.extend(await ask(rpc, batch))

        nursery.start_soon(submit)
        with trio.fail_after(10):
            while services.submitted < len(signed):
                await trio.testing.wait_all_tasks_blocked()
        services.make_block()
    assert [response["result"]["nonce"] for response in responses] == list(range(20))
    assert {response["result"]["height"] for response in responses} == {1}
    assert [response["result"]["index"] for response in responses] == list(range(20))


@pytest.mark.trio
async def test_waiting_for_finality_has_an_end_and_says_which_transaction(services, rpc, autojump_clock):
    services.instant = False
    params = {"body": {"kind": "transfer", "to": "bob", "amount": 1}, "timeout_s": 5}
    response = await ask(rpc, call("send", params))
    assert word(response) == "timed_out"
    identity = response["error"]["data"]["id"]
    found = await ask(rpc, call("tx", {"id": identity}))
    assert found["result"]["status"] == "pending"
    services.make_block()
    found = await ask(rpc, call("tx", {"id": identity}))
    assert found["result"]["status"] == "final"


@pytest.mark.trio
async def test_refused_transactions_carry_the_rule(services, rpc):
    chain_id = services.chain.chain_id
    forged = sign_transaction(BOB, chain_id, 0, Transfer(ALICE.org, 1, "")).encoded.hex()
    forged = forged[:-2] + ("00" if forged[-2:] != "00" else "01")
    cases = {
        "nonce": sign_transaction(ALICE, chain_id, 3, Transfer(BOB.org, 1, "")).encoded.hex(),
        "balance": sign_transaction(ALICE, chain_id, 0, Transfer(BOB.org, 2**50, "")).encoded.hex(),
        "signature": forged,
        "bytes": "c0",
    }
    for rule, transaction in cases.items():
        response = await ask(rpc, call("submit_tx", {"transaction": transaction}))
        assert word(response) == "refused", response
        assert response["error"]["data"]["rule"] == rule


def test_the_errors_page_says_what_the_table_says():
    assert (REPOSITORY / "docs" / "errors.md").read_text() == errors_page()


def test_every_word_of_refusal_in_the_sources_is_explained_and_no_other():
    used = set()
    for folder in ("ledger", "consensus", "node"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for found in ast.walk(ast.parse(path.read_text())):
                if isinstance(found, ast.Call) and getattr(found.func, "id", "") == "InvalidTransaction":
                    word = found.args[0]
                    used |= {word.value} if isinstance(word, ast.Constant) else set()
    # "starting" is answered as `unavailable`; "bytes" stands for what cannot be decoded.
    assert (used - {"starting"}) | {"bytes"} == REFUSALS.keys()


def test_error_numbers_and_words_are_used_once_and_in_their_ranges():
    assert len({kind.code for kind in ERROR_KINDS}) == len({kind.word for kind in ERROR_KINDS}) == len(ERROR_KINDS)
    for kind in ERROR_KINDS:
        assert -32099 <= kind.code <= -32000 or kind.code in (-32700, -32600, -32601, -32602, -32603)
    with pytest.raises(KeyError):
        RpcError("no_such_word", "")


def test_the_description_knows_every_method_with_its_parameters():
    described = describe(METHODS, "1")
    assert [each["name"] for each in described["methods"]] == sorted(METHODS)
    by_name = {each["name"]: each for each in described["methods"]}
    assert [each["name"] for each in by_name["tx"]["params"]] == ["id", "prove"]
    assert by_name["tx"]["params"][0]["required"] is True
    words = {error["$ref"].rpartition("/")[2] for each in described["methods"] for error in each["errors"]}
    assert words <= described["components"]["errors"].keys()
    json.dumps(described)
