"""Strategies that need more of a league than the mean of whole vectors, over real daemons: what gradient tracking
remembers, SCAFFOLD's second vector, FedAvgM's momentum, FedOBD's blocks, the models of clusters.

Every node holds the same bytes, a simulation of the same seed gives them too, a proof of the round is computed again
by who believes no node, and what is exported is the model alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime import InferenceSession

from fl.batches import as_records
from fl.data import registry
from fl.evaluate import evaluate
from fl.export import read_model
from fl.fixed_point import decode, limit_in_steps, pack
from fl.models.registry import build
from fl.models.shapes import parameter_count
from fl.simulate.federation import Federation, Terms
from node.cli.exit_codes import Exit
from node.devnet.league import DevLeague, NodePlan
from tests.support.processes import (
    FAST,
    RECORDS,
    factory,
    hanse,
    publish,
    receipts_of,
    request_of,
    running_league,
    shelved,
    wait,
    wait_agreed,
    wait_over,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

SEED, ROUNDS, LAYERS = 7, 2, {"layers": "8,16,4"}
COUNT = parameter_count("mlp", LAYERS)
ASKED: dict[str, dict[str, Any]] = {
    "gradient-tracking": {"strategy": "gradient-tracking", "aggregation": "even-mean"},
    "scaffold": {"strategy": "scaffold", "aggregation": "mean", "aggregation_settings": {"vectors": "2"}},
    "fedprox": {"strategy": "fedprox", "strategy_settings": {"mu": "0.1"}},
    "fedadam": {
        "strategy": "fedadam",
        "aggregation": "adam",
        "aggregation_settings": {"lr": "0.03", "beta1": "0.9", "beta2": "0.99", "tau": "0.001"},
    },
    "ditto": {"strategy": "ditto", "strategy_settings": {"mu": "0.1"}},
    "fedper": {"strategy": "fedper", "strategy_settings": {"layers": "1"}},
    "fedavgm": {
        "strategy": "fedavgm",
        "strategy_settings": {"lr": "0.5"},
        "aggregation": "momentum",
        "aggregation_settings": {"lr": "0.5", "momentum": "0.9"},
    },
    "fedobd": {"strategy": "fedobd", "strategy_settings": {"largest": "0.3"}},
    "clustered": {
        "strategy": "clustered",
        "strategy_settings": {"clusters": "2", "warmup": "1"},
        "aggregation": "clustered",
        "aggregation_settings": {"clusters": "2", "gap": "0.1", "mix": "0.2"},
    },
}
# Of the whole vector's bytes, what an update of those that travel as changes is at most.
SMALLER = {"fedobd": 0.4, "clustered": 0.25}


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevLeague]:
    plans = [
        NodePlan("alice", settings=FAST),
        *(factory(name, at, 3) for at, name in enumerate(("bob", "carol", "dan"))),
    ]
    # One with half the records: who counts by them and who does not comes to other bytes.
    plans[-1].source_settings["train_records"] = str(RECORDS // 2)
    with running_league(tmp_path_factory.mktemp("strategies"), plans) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "vectors"),
    [
        ("gradient-tracking", 1),
        ("scaffold", 2),
        ("fedprox", 1),
        ("fedadam", 3),
        ("ditto", 1),
        ("fedper", 1),
        ("fedavgm", 1),
        ("fedobd", 1),
        ("clustered", 3),
    ],
)
def test_a_league_trains_by_it_proves_it_and_sells_the_model(
    league: DevLeague, tmp_path: Path, name: str, vectors: int
) -> None:
    alice = league.nodes[0]
    providers = sorted(league.nodes[1:], key=lambda node: bytes(node.org))
    order = {"learning_rate": "0.05", "momentum": "0.8", "order_seed": str(SEED)}
    request = publish(
        alice,
        **ASKED[name],
        seed=SEED,
        training_settings=order,
        rounds_max=ROUNDS,
        providers_min=3,
        providers_max=3,
        title=name,
    )
    ended = wait_over(league, alice, request)
    assert (ended["outcome"], ended["model_round"]) == ("all rounds done", ROUNDS)
    assert int(ended["terms"]["parameters"]) == vectors * COUNT
    wait_agreed(league)
    assert {request_of(node, request)["model"] for node in league.nodes} == {ended["model"]}
    receipts = receipts_of(alice, request)
    assert all(line["fate"] == "delivered" and line["paid"] > 0 for receipt in receipts for line in receipt["lines"])

    # The same rounds in one process give the same bytes.
    splits = [registry.load("bearing-simulator", node.plan.source_settings, None) for node in providers]
    test = registry.pooled_test("bearing-simulator", providers[0].plan.source_settings, None)
    settings = ASKED[name].get("strategy_settings", {})
    terms = Terms(
        "mlp", ROUNDS, 2, 32, 0.05, 0.8, LAYERS, strategy=name, strategy_settings=settings, inspected=True,
        limit=512, device="cpu",
    )  # fmt: skip
    with Federation(terms, splits, test, SEED) as federation:
        rounds = federation.run().rounds
        assert [result.digest for result in rounds] == [receipt["model"] for receipt in receipts]
        model = federation.base[:COUNT]

    # Who believes nobody computes the last round again; FedAvgM's needs the model before the last.
    proof, blobs = tmp_path / "aggregate.json", tmp_path / "blobs"
    said = hanse(
        "ledger", "prove", "aggregate", request, str(ROUNDS), "--blobs", blobs, "-o", proof, "-c", alice.folder
    )
    assert said.code == Exit.OK, said
    said = hanse("verify", proof, "--genesis", alice.folder / "genesis.json", "--blob", blobs, "--json", cwd=tmp_path)
    assert said.code == Exit.OK, said
    assert "computed again" in said.json["steps"][-1]

    # What travels as changes is as much smaller as its strategy says.
    whole = len(pack(np.zeros(vectors * COUNT, np.int32)))
    sent = [(blobs / line["blob"]).stat().st_size for line in receipts[-1]["lines"]]
    assert all(size <= SMALLER[name] * whole if name in SMALLER else size >= whole for size in sent)

    # What a buyer gets is the model, whatever travelled behind it; what a provider serves fits the model too.
    wait(league, lambda: all(shelved(node, request) for node in league.nodes), "the models are on the shelves")
    said = hanse("model", "export", request, tmp_path / "bought.safetensors", "-c", alice.folder)
    assert said.code == Exit.OK, said
    bought = read_model((tmp_path / "bought.safetensors").read_bytes())
    assert bought.matches(model)
    assert np.array_equal(bought.vector, decode(model, 20))
    if name == "gradient-tracking":
        said = hanse("model", "export", request, tmp_path / "bought.onnx", "-c", alice.folder)
        assert said.code == Exit.OK, said
        session = InferenceSession((tmp_path / "bought.onnx").read_bytes(), providers=["CPUExecutionProvider"])
        (answers, *_) = session.run(None, {session.get_inputs()[0].name: test.features.astype(np.float32)})
        right = float((answers.argmax(1) == test.labels).mean())
        network = build("mlp", LAYERS, 0)
        assert right == evaluate(network, as_records(test.features, test.labels), decode(model, 20)).accuracy
    served = read_model((providers[0].folder / "models" / f"{request}.served.safetensors").read_bytes())
    assert served.vector.shape == (COUNT,)
    assert int(np.abs(served.vector).max()) <= limit_in_steps(512, 20)
