"""A league and a simulation of it give one model: the same records, one seed, no ledger on one side, and all of it on
the other. The last digest and those of every round between are equal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl.data import registry
from fl.simulate.federation import Federation, Terms
from node.devnet.league import DevNode, NodePlan
from node.record_reader import RecordReader
from tests.support.processes import FAST, factory, publish, receipts_of, request_of, running_league, wait_over

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

SEED, ROUNDS = 7, 3
# Every client starts somewhere else and counts for its own number of records: all that could differ would.
TRAINING: dict[str, Any] = {"learning_rate": "0.05", "momentum": "0.8", "order_seed": str(SEED)}


def stored(node: DevNode) -> Any:
    """What the node has anchored, as its trainer reads it."""
    (path,) = node.folder.rglob("records.sqlite")
    reader = RecordReader(path)
    try:
        return reader.records([anchor["period"] for anchor in node.call("anchor.list", org="me")["anchors"]])
    finally:
        reader.close()


def test_a_league_and_a_simulation_with_one_seed_give_the_same_digests(tmp_path: Path) -> None:
    names = ("bob", "carol", "dan")
    plans = [NodePlan("alice", settings=FAST), *(factory(name, at, 3) for at, name in enumerate(names))]
    with running_league(tmp_path, plans) as league:
        alice, *providers = league.nodes
        # Places are those of the providers by id.
        providers.sort(key=lambda node: bytes(node.org))
        request = publish(
            alice,
            seed=SEED,
            strategy="dlmu",
            training_settings=TRAINING,
            rounds_max=ROUNDS,
            providers_min=3,
            providers_max=3,
        )
        assert wait_over(league, alice, request)["stage"] == "done"
        seen = [receipt["model"] for receipt in receipts_of(alice, request)]
        assert request_of(alice, request)["model"] == seen[-1]

        splits = [registry.load("bearing-simulator", node.plan.source_settings, None) for node in providers]
        for node, split in zip(providers, splits, strict=True):
            held = stored(node)
            assert np.array_equal(held.features, split.train.features)
            assert np.array_equal(held.labels, split.train.labels)

    terms = Terms(
        "mlp", ROUNDS, 2, 32, 0.05, 0.8, {"layers": "8,16,4"}, strategy="dlmu", scale_bits=20, limit=512, device="cpu"
    )
    test = registry.pooled_test("bearing-simulator", providers[0].plan.source_settings, None)
    with Federation(terms, splits, test, SEED) as federation:
        assert [result.digest for result in federation.run().rounds] == seen
    with Federation(terms, splits, test, SEED + 1) as federation:
        assert federation.round(0).digest != seen[0]
