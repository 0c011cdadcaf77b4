"""Masked requests over real daemons: one of seven providers deals wrong shares, two are killed at different steps.

What comes out is computed again from what a stopped node has on its disk: masked blobs, and shares on the ledger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl.masked_blob import check_masked
from ledger.aggregation import AggregationTask, Contribution
from ledger.chain import Chain
from ledger.entries import Fate, Receipt, Request, receipt_key, request_key
from ledger.protection_entries import MaskedInputs, unmasking_key
from ledger.types import Hash32, OrgId
from node.devnet.league import DevLeague, DevNode, NodePlan
from node.leveldb import LevelDbStore
from node.network.blob_store import BlobStore
from node.unmasking import BLAME, unmasked
from tests.support import wrong_dealer
from tests.support.processes import (
    FAST,
    Watch,
    factory,
    publish,
    receipts_of,
    request_of,
    restart,
    running_league,
    supply_is_kept,
    wait,
    wait_agreed,
    wait_over,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

ASKS, PROVIDERS = "alice", ("bob", "carol", "dave", "erin", "frank", "grace", "heidi")
WINDOW_MS = 10_000
# Chi-squared over 256 byte values is beyond this once in a million blobs.
UNEVEN = 380.0


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevLeague]:
    plans = [NodePlan(ASKS, settings=FAST)]
    plans += [factory(name, at, len(PROVIDERS)) for at, name in enumerate(PROVIDERS)]
    with running_league(tmp_path_factory.mktemp("masked"), plans) as running:
        yield running


def publish_masked(node: DevNode, **changes: Any) -> str:
    """Publish a small masked request; its id once it is final."""
    wanted = {"rounds_max": 1, "providers_min": 3, "providers_max": len(PROVIDERS)}
    return publish(node, **{**wanted, "masked": True, "exchange_window": WINDOW_MS, **changes})


@dataclass(frozen=True)
class Unmasked:
    """A closed masked round as a stopped node's disk has it."""

    receipt: Receipt
    model: bytes
    blobs: list[bytes]


def computed_again(league: DevLeague, node: DevNode, request: str) -> Unmasked:
    """Stop the node, compute the round's model from its disk alone, and start it again."""
    assert node.stop() == 0
    store, key = LevelDbStore(node.folder / "ledger"), bytes.fromhex(request)
    try:
        chain = Chain(store, league.genesis)
        receipt = chain.read(Receipt, receipt_key(key, 1, 0))
        inputs = chain.read(MaskedInputs, unmasking_key(key, 1, 0))
        found = chain.read(Request, request_key(key))
    finally:
        store.close()
    assert receipt is not None
    assert inputs is not None
    assert found is not None
    delivered = [line for line in receipt.lines if line.fate is Fate.DELIVERED]
    task = AggregationTask(
        Hash32(key),
        receipt.round,
        receipt.attempt,
        Hash32(receipt.base_model),
        tuple(Contribution(OrgId(line.org), Hash32(line.blob), line.weight) for line in delivered),
        found.terms.aggregation,
        found.terms.parameters,
        found.terms.scale_bits,
        found.terms.limit,
        protected=True,
        masking=inputs,
    )
    blobs = BlobStore(node.folder / "blobs")
    result, _, reason = unmasked(task, league.genesis.chain_id, lambda digest: blobs.read(Hash32(digest)))
    assert not reason
    restart(league, node)
    return Unmasked(receipt, result.model, [blobs.read(Hash32(line.blob)) for line in delivered])


def unevenness(blob: bytes, parameters: int) -> float:
    counts = np.bincount(check_masked(blob, parameters).view(np.uint8), minlength=256)
    even = counts.sum() / 256
    return float(((counts - even) ** 2 / even).sum())


def secrets_left(node: DevNode) -> list[Path]:
    return list((node.folder / "masking").iterdir())


def test_a_dealer_of_wrong_shares_is_named_and_the_round_is_done_without_it(league: DevLeague) -> None:
    alice, liar = league.nodes[0], league.nodes[3]
    assert liar.stop() == 0
    wrong_dealer.start(liar)
    wait(league, lambda: liar.answers() and bool(liar.call("health")["ready"]), "the liar is up")
    request = publish_masked(alice, round_deadline=60_000)
    assert wait_over(league, alice, request)["outcome"] == "all rounds done"
    void, done = receipts_of(alice, request)
    assert void["model"] in ("", None)
    assert {line["reason"] for line in void["lines"] if line["fate"] == "rejected"} == {BLAME}
    assert [line["org"] for line in void["lines"] if line["fate"] == "rejected"] == [liar.org.hex()]
    assert [line["paid"] for line in void["lines"]] == [0] * len(PROVIDERS)
    assert {line["fate"] for line in done["lines"]} == {"delivered"}
    assert liar.org.hex() not in {line["org"] for line in done["lines"]}
    assert liar.stop() == 0
    restart(league, liar)


def test_two_of_seven_are_killed_and_the_sum_of_the_others_is_exact(league: DevLeague) -> None:
    alice, absent, gone = league.nodes[:3]
    watch = Watch(alice, "request")
    # Whoever is killed is waited for until then; the others have just trained and are quick.
    request = publish_masked(alice, round_deadline=15_000)
    # One has dealt shares and its masks count, but it will never deliver: the others reveal its key.
    watch.stage(request, "training")
    absent.kill()
    # One has announced, and will not reveal what it holds of the others.
    watch.stage(request, "attesting")
    gone.kill()
    assert wait_over(league, alice, request)["outcome"] == "all rounds done"
    (receipt,) = receipts_of(alice, request)
    fates = {line["org"]: line["fate"] for line in receipt["lines"]}
    assert fates.pop(absent.org.hex()) == "missing"
    assert set(fates.values()) == {"delivered"}
    assert len(fates) == 6

    again = computed_again(league, league.nodes[4], request)
    assert again.model.hex() == receipt["model"] == request_of(alice, request)["model"]
    parameters = int(request_of(alice, request)["terms"]["parameters"])
    assert len(again.blobs) == 6
    assert all(unevenness(blob, parameters) < UNEVEN for blob in again.blobs)

    for node in (absent, gone):
        assert secrets_left(node), "a killed node sweeps nothing"
        restart(league, node)
    wait(league, lambda: not any(map(secrets_left, league.nodes[1:])), "all secrets of the round are gone")
    wait_agreed(league)
    assert {request_of(node, request)["model"] for node in league.nodes} == {receipt["model"]}
    assert supply_is_kept(league, alice)
