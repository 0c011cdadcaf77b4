"""Proofs and disputes over the local interface, with a real record store on a real disk."""

import json
import sqlite3

import pytest

from ledger.bundles import bundle_from_json, verify_bundle
from ledger.disputes import Finding
from ledger.transactions import AnchorRecords
from node.rpc.errors import RpcError
from node.rpc.methods.table import METHODS
from node.rpc.node import Node
from tests.support.factory_records import filled_store
from tests.support.rpc_calls import call
from tests.support.rpc_services import LoneServices, settings_in

PERIOD = 3
COUNT = 9


@pytest.fixture
async def services(tmp_path):
    store, closed = filled_store(tmp_path / "records.sqlite", periods=PERIOD, each=COUNT)
    services = LoneServices(records=store)
    for period in closed:
        body = AnchorRecords(period.period, period.record_count, period.root, period.begins, period.ends)
        await services.submit_own(body)
    yield services
    store.close()


@pytest.fixture
def node(services, tmp_path):
    return Node(services, settings_in(tmp_path), "1", 0.0)


def tamper(services, index):
    """Change one reading behind the store's back."""
    with sqlite3.connect(services.records.path) as file:
        changed = file.execute(
            "UPDATE records SET reading = zeroblob(length(reading)) WHERE period = ? AND place = ?", (PERIOD, index)
        )
        assert changed.rowcount == 1


@pytest.mark.trio
async def test_a_record_is_proven_and_its_bundle_holds_with_the_genesis_alone(node, services):
    shown = await call(node, "anchor.prove", period=PERIOD, index=4)
    assert shown["finding"] == "untouched"
    check = verify_bundle(bundle_from_json(json.dumps(shown["bundle"])), services.chain.genesis)
    assert check.accepted
    assert check.finding is Finding.UNTOUCHED
    verified = await call(node, "anchor.verify", bundle=shown["bundle"])
    assert verified["accepted"]
    shown["bundle"]["statement"]["index"] = 5
    verified = await call(node, "dispute.resolve", bundle=shown["bundle"])
    assert not verified["accepted"]
    assert verified["finding"] is None
    assert verified["reasons"]


@pytest.mark.trio
async def test_a_changed_record_is_named_cannot_be_proven_and_loses_the_dispute(node, services):
    assert (await call(node, "anchor.verify", period=PERIOD))["untouched"]
    tamper(services, 6)
    found = await call(node, "anchor.verify", period=PERIOD)
    assert (found["untouched"], found["finding"], found["fault_count"]) == (False, "record_changed", 1)
    assert found["faults"][0]["index"] == 6
    with pytest.raises(RpcError) as caught:
        await call(node, "anchor.prove", period=PERIOD, index=6)
    assert (caught.value.kind.word, caught.value.details) == ("not_verified", {"finding": "record_changed"})
    opened = await call(node, "dispute.open", period=PERIOD)
    assert (opened["index"], opened["finding"]) == (6, "record_changed")
    verdict = await call(node, "dispute.resolve", bundle=opened["bundle"])
    assert (verdict["accepted"], verdict["finding"]) == (True, "record_changed")
    # A neighbour is as it was.
    assert (await call(node, "anchor.prove", period=PERIOD, index=5))["finding"] == "untouched"


@pytest.mark.trio
async def test_what_is_not_there_is_said_plainly(node, services):
    cases = [
        ("anchor.prove", {"period": PERIOD, "index": COUNT}, "not_found"),
        ("anchor.prove", {"period": 7, "index": 0}, "not_found"),
        ("anchor.verify", {"period": 7}, "not_found"),
        ("anchor.verify", {}, "invalid_params"),
        ("anchor.verify", {"period": 1, "bundle": {}}, "invalid_params"),
        ("dispute.resolve", {"bundle": {"format": "x"}}, "invalid_params"),
    ]
    for name, params, word in cases:
        with pytest.raises(RpcError) as caught:
            await call(node, name, **params)
        assert caught.value.kind.word == word, name
    services.records = None
    with pytest.raises(RpcError) as caught:
        await call(node, "dispute.open", period=PERIOD)
    assert caught.value.details == {"part": "records"}
    assert METHODS["dispute.open"].errors
