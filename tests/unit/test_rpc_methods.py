"""The methods against a real chain: what they say, that their proofs verify, and that each says which head it means."""

from dataclasses import replace

import pytest

from ledger import merkle
from ledger.blocks import Header
from ledger.certificates import Committee, check_certificate
from ledger.entries import Account, account_key, request_key
from ledger.errors import InvalidTransaction
from ledger.state_tree import StateProof, verify_absent, verify_present
from ledger.transactions import AnchorRecords, Transfer, parse_transaction, sign_transaction
from ledger.types import ZERO_HASH
from node.network.addresses import peer_id
from node.rpc.errors import RpcError
from node.rpc.methods.table import METHODS
from node.rpc.node import Node
from node.rpc.openrpc import describe
from node.rpc.views import from_json, unhex
from tests.support.rpc_calls import call
from tests.support.rpc_services import ALICE, BOB, TOKENS, FakeConsensus, FakePeers, LoneServices, settings_in

MODEL = bytes([9]) * 32

DRAFT = {
    "title": "bearings",
    "model": "mlp",
    "model_arguments": {"layers": "8,4"},
    "seed": 1,
    "scale_bits": 20,
    "limit": 512,
    "strategy": "fedavg",
    "strategy_settings": {},
    "aggregation": "mean",
    "aggregation_settings": {},
    "masked": False,
    "exchange_window": 1,
    "privacy": "none",
    "privacy_settings": {},
    "data_type": "bearing",
    "epochs": 1,
    "batch": 32,
    "training_settings": {"learning_rate": "0.01"},
    "price": 1,
    "budget": 1_000,
    "target_accuracy": 0,
    "rounds_max": 3,
    "providers_min": 1,
    "providers_max": 4,
    "join_window": 60_000,
    "round_deadline": 60_000,
    "attest_window": 60_000,
}


# Noise that only a sum holds, and single updates for everybody to see.
UNMASKED = {"privacy": "distributed", "aggregation": "mean"}


class LabelledRecords:
    """A record store that is asked for nothing but its labels."""

    def label_counts(self):
        return {0: 400, 3: 100}


class ModelMaker:
    """Stands where the trainer is: names an initial model."""

    async def initial_model(self, draft):
        return MODEL, 7


@pytest.fixture
def services():
    return LoneServices(trainer=ModelMaker())


@pytest.fixture
def node(services, tmp_path):
    return Node(services, settings_in(tmp_path), "1.2", 0.0, describe(METHODS, "1.2"))


async def transfer(node, amount=5):
    return await call(node, "send", body={"kind": "transfer", "to": "bob", "amount": amount})


def header_of(shown):
    """A header rebuilt from its JSON by somebody who trusts nothing of it; its id must come out again."""
    header = from_json(Header, {name: each for name, each in shown.items() if name != "id"}, "header", unhex)
    assert header.id.hex() == shown["id"]
    return header


@pytest.mark.trio
async def test_every_answer_of_ledger_data_says_which_head_it_is_about(node):
    await transfer(node)
    head = {"height": 1, "id": node.chain.head_id.hex()}
    # This one asks for either of two parameters.
    for name in METHODS.keys() - {"anchor.verify"}:
        wanted = [parameter for parameter in METHODS[name].parameters if parameter.required]
        if not wanted and "head" in METHODS[name].result.get("properties", {}):
            assert (await call(node, name))["head"] == head, name


@pytest.mark.trio
async def test_the_same_bytes_handed_in_again_are_final_where_they_were(node, services):
    """A client that does not know whether its transfer was lost hands it in again, and pays once."""
    rent = sign_transaction(services.key, services.chain.chain_id, 0, Transfer(BOB.org, 7, "rent"))
    services.instant = False
    assert (await call(node, "submit_tx", transaction=rent.encoded.hex()))["status"] == "pending"
    services.make_block()
    for _ in range(2):
        again = await call(node, "submit_tx", transaction=rent.encoded.hex())
        assert (again["status"], again["height"], again["index"]) == ("final", 1, 0)
    assert services.submitted == 1
    other = sign_transaction(services.key, services.chain.chain_id, 0, Transfer(BOB.org, 7, "rent again"))
    with pytest.raises(InvalidTransaction, match="nonce 0"):
        await call(node, "submit_tx", transaction=other.encoded.hex())


@pytest.mark.trio
async def test_a_transaction_is_proven_to_a_holder_of_the_committee_only(node, services):
    sent = await transfer(node)
    shown = await call(node, "tx", id=sent["id"], prove=True)
    proof = shown["proof"]
    header = header_of(proof["header"])
    committee = Committee(tuple(bytes.fromhex(org) for org in proof["committee"]))
    assert committee == services.chain.genesis.committee
    final = services.chain.final_header(1)
    check_certificate(services.chain.chain_id, committee, final.certificate)
    assert final.certificate.subject.block == header.id
    raw = bytes.fromhex(proof["bytes"])
    assert parse_transaction(raw).id.hex() == sent["id"]
    path = [bytes.fromhex(each) for each in proof["path"]]
    leaf = merkle.leaf_hash(raw)
    assert merkle.verify_inclusion(header.transactions_root, leaf, proof["index"], proof["size"], path)
    assert not merkle.verify_inclusion(header.transactions_root, merkle.leaf_hash(raw + b"x"), 0, 1, path)


@pytest.mark.trio
async def test_a_balance_and_an_absence_are_proven_under_the_state_root(node):
    await transfer(node, 40)
    shown = await call(node, "state.get", key="account/bob", prove=True)
    assert shown["entry"] == {"balance": TOKENS + 40, "nonce": 0}
    key, value = bytes.fromhex(shown["key"]), bytes.fromhex(shown["value"])
    assert key == account_key(BOB.org)
    root = bytes.fromhex(shown["proof"].pop("state_root"))
    proof = from_json(StateProof, shown["proof"], "proof", unhex)
    assert root == header_of(shown["final_header"]["header"]).state_root
    assert verify_present(root, key, value, proof)
    assert not verify_present(root, key, value + b"\x00", proof)

    shown = await call(node, "state.get", key=f"request/{'00' * 32}", prove=True)
    assert (shown["present"], shown["value"], shown["entry"]) == (False, None, None)
    root = bytes.fromhex(shown["proof"].pop("state_root"))
    assert verify_absent(root, request_key(bytes(32)), from_json(StateProof, shown["proof"], "proof", unhex))


@pytest.mark.trio
async def test_a_state_key_may_be_hex_and_is_decoded_all_the_same(node):
    by_path = await call(node, "state.get", key="account/me")
    by_key = await call(node, "state.get", key=account_key(ALICE.org).hex())
    assert by_path == by_key
    assert by_key["entry"] == {"balance": TOKENS, "nonce": 0}
    for wrong in (
        "acount/me",
        "account",
        "account/me/1",
        "anchor/me/x",
        "receipt/00/1/1",
        "zz",
        "anchor/me/" + "9" * 20,
    ):
        with pytest.raises(RpcError) as caught:
            await call(node, "state.get", key=wrong)
        assert caught.value.kind.word == "invalid_params"


@pytest.mark.trio
async def test_an_organisation_is_hex_peer_id_name_or_me(node):
    for spelling in (ALICE.org.hex(), peer_id(ALICE.org), "alice", "me"):
        assert (await call(node, "account", org=spelling))["org"] == ALICE.org.hex()
    assert (await call(node, "account"))["balance"] == TOKENS
    for wrong in ("mallory", "12D3KooWnonsense", "g" * 64):
        with pytest.raises(RpcError) as caught:
            await call(node, "account", org=wrong)
        assert caught.value.details["parameter"] == "org"


@pytest.mark.trio
async def test_blocks_are_paged_newest_first_without_bodies(node):
    for _ in range(5):
        await transfer(node)
    first = await call(node, "blocks", limit=2)
    assert [each["height"] for each in first["blocks"]] == [5, 4]
    assert first["blocks"][0]["transactions"] == 1
    rest = await call(node, "blocks", start=first["next"], limit=100)
    assert [each["height"] for each in rest["blocks"]] == [3, 2, 1]
    assert rest["next"] is None
    assert (await call(node, "blocks", start=99, limit=1))["blocks"][0]["height"] == 5


@pytest.mark.trio
async def test_blocks_are_found_by_height_and_id_and_not_found_otherwise(node):
    await transfer(node)
    shown = await call(node, "block")
    block = shown["block"]
    assert header_of(block["header"]).height == 1
    assert block["transactions"][0]["body"] == {"kind": "transfer", "to": BOB.org.hex(), "amount": 5, "memo": ""}
    assert await call(node, "block", id=block["header"]["id"]) == shown
    for params in ({"height": 0}, {"height": 2}, {"id": "00" * 32}):
        with pytest.raises(RpcError) as caught:
            await call(node, "header", **params)
        assert caught.value.kind.word == "not_found"
    with pytest.raises(RpcError, match="has height 1"):
        await call(node, "header", height=2, id=block["header"]["id"])


@pytest.mark.trio
async def test_a_request_is_published_joined_followed_and_cancelled(node, services):
    published = await call(node, "request.publish", request=DRAFT)
    request = published["request"]
    assert published["status"] == "final"
    assert request == published["id"]
    shown = (await call(node, "request.get", request=request))["request"]
    assert shown["terms"]["initial_model"] == MODEL.hex()
    assert shown["terms"]["parameters"] == 7
    assert shown["terms"]["model_arguments"] == {"layers": "8,4"}
    assert (shown["stage"], shown["escrow"], shown["requester_name"]) == ("open", 1_000, "alice")
    assert (await call(node, "account"))["balance"] == TOKENS - 1_000
    listed = await call(node, "request.list", open=True)
    assert [each["id"] for each in listed["requests"]] == [request]
    assert (await call(node, "model", request=request))["export"] is None

    # The same node, were it Bob's.
    services.key = BOB
    await services.submit_own(AnchorRecords(1, 500, MODEL, 0, 10))
    services.records = LabelledRecords()
    telling = replace(node, settings=replace(node.settings, disclose_labels="tenths"))
    joined = await call(telling, "request.join", request=request, attributes={"site": "north"})
    services.records = None
    assert joined["record_count"] == 500
    provider = (await call(node, "request.get", request=request))["request"]["providers"][0]
    assert (provider["name"], provider["record_count"]) == ("bob", 500)
    assert provider["attributes"] == {"label-shares": "0:80 3:20", "site": "north"}

    services.key = ALICE
    await call(node, "request.cancel", request=request)
    assert (await call(node, "request.get", request=request))["request"]["stage"] == "cancelled"
    assert (await call(node, "request.list", open=True))["count"] == 0
    assert (await call(node, "account"))["balance"] == TOKENS
    with pytest.raises(RpcError, match="no round"):
        await call(node, "round", request=request)


@pytest.mark.trio
async def test_a_damaged_request_is_refused_before_anything_is_spent(node, services):
    for change in (
        {"price": "1"},
        {"title": 5},
        {"budget": None},
        {"colour": "red"},
        {"model_arguments": [1]},
        UNMASKED,
    ):
        with pytest.raises(RpcError) as caught:
            await call(node, "request.publish", request=DRAFT | change)
        assert caught.value.kind.word == "invalid_params"
    services.trainer = None
    with pytest.raises(RpcError) as caught:
        await call(node, "request.publish", request=DRAFT)
    assert caught.value.details == {"part": "trainer"}
    assert services.submitted == 0


@pytest.mark.trio
async def test_joining_without_a_count_needs_anchored_records(node):
    request = (await call(node, "request.publish", request=DRAFT))["request"]
    with pytest.raises(RpcError, match="anchored no records"):
        await call(node, "request.join", request=request)
    for method in ("request.get", "round", "receipts", "model", "request.cancel", "request.join"):
        with pytest.raises(RpcError) as caught:
            await call(node, method, request="ab" * 32)
        assert caught.value.kind.word == "not_found"


@pytest.mark.trio
async def test_anchors_are_listed_by_period_page_by_page(node, services):
    for period in (3, 5, 8):
        await services.submit_own(AnchorRecords(period, 10 * period, MODEL, 0, 10))
    first = await call(node, "anchor.list", limit=2)
    assert [each["period"] for each in first["anchors"]] == [3, 5]
    assert first["totals"] == {"periods": 3, "records": 160, "last_period": 8}
    rest = await call(node, "anchor.list", start=first["next"])
    assert [each["period"] for each in rest["anchors"]] == [8]
    assert rest["next"] is None
    assert (await call(node, "anchor.get", period=5))["anchor"]["record_count"] == 50
    with pytest.raises(RpcError, match="no period 4"):
        await call(node, "anchor.get", period=4)


@pytest.mark.trio
async def test_committee_ranking_and_members_agree(node):
    committee = await call(node, "committee")
    assert sorted(seat["name"] for seat in committee["committee"]) == ["alice", "bob"]
    assert committee["quorum"] == 2
    assert committee["height"] == 1
    assert sorted(committee["leaders"]) == sorted([ALICE.org.hex(), BOB.org.hex()])
    await transfer(node)
    assert (await call(node, "committee", height=1))["leaders"] is None
    with pytest.raises(RpcError, match="height 7"):
        await call(node, "committee", height=7)
    ranking = (await call(node, "ranking"))["ranking"]
    assert [row["rank"] for row in ranking] == [1, 2]
    assert all(row["seat"] for row in ranking)
    members = (await call(node, "members"))["members"]
    assert sum(each["balance"] for each in members) == 2 * TOKENS
    assert (await call(node, "member", org="bob"))["member"]["peer_id"] == peer_id(BOB.org)
    with pytest.raises(RpcError, match="neither member nor candidate"):
        await call(node, "member", org=ZERO_HASH.hex())


@pytest.mark.trio
async def test_health_gives_a_reason_for_everything_that_is_missing(node, services):
    assert (await call(node, "health"))["ready"]
    services.consensus = FakeConsensus(synced=False, syncing_to=9)
    services.transport = FakePeers(connected=False)
    health = await call(node, "health")
    assert not health["ready"]
    assert health["checks"] == {"member": True, "synced": False, "network": True, "quorum": False, "disk": True}
    assert health["reasons"] == ["catching up: at height 0 of 9", "1 of 2 committee members reached, want 2"]
    services.transport = None
    assert "the network is starting" in (await call(node, "health"))["reasons"]
    assert (await call(node, "peers"))["peers"] == []


@pytest.mark.trio
async def test_status_counts_what_waits_and_account_its_nonce(node, services):
    services.instant = False
    await call(node, "send", body={"kind": "transfer", "to": "bob", "amount": 1}, mode="async")
    assert (await call(node, "status"))["pending"] == 1
    account = await call(node, "account")
    assert (account["nonce"], account["next_nonce"]) == (0, 1)
    waiting = await call(node, "pending_txs")
    assert waiting["count"] == 1
    assert (await call(node, "pending_txs", sender="bob"))["count"] == 0
    assert node.chain.read(Account, account_key(ALICE.org)) == Account(TOKENS, 0)


@pytest.mark.trio
async def test_help_and_description_cover_the_same_methods(node):
    names = (await call(node, "help"))["methods"].keys()
    assert names == METHODS.keys()
    assert (await call(node, "help", method="tx"))["params"][1]["name"] == "prove"
