"""Protected requests over real daemons: one of seven providers deals wrong shares, one does nothing, two are killed.

What comes out is computed again from a proof and the masked blobs, by who believes no node.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl.masked_blob import check_masked, masked_bytes
from node.cli.exit_codes import Exit
from node.devnet.league import DevLeague, DevNode, NodePlan
from node.unmasking import BLAME
from tests.support import free_rider, wrong_dealer
from tests.support.processes import (
    FAST,
    Watch,
    factory,
    hanse,
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
# Each adds a part of the noise to a sum of clipped gradients, and nobody enough alone.
NOISED: dict[str, Any] = {
    "privacy": "distributed",
    "privacy_settings": {"epsilon": "8"},
    "strategy": "fedavg",
    "aggregation": "noisy-step",
    "aggregation_settings": {"lr": "0.5"},
    "epochs": 1,
}
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
    request = publish_masked(alice)
    assert wait_over(league, alice, request)["outcome"] == "all rounds done"
    void, done = receipts_of(alice, request)
    assert void["model"] in ("", None)
    assert {line["reason"] for line in void["lines"] if line["fate"] == "rejected"} == {BLAME}
    assert [line["org"] for line in void["lines"] if line["fate"] == "rejected"] == [liar.org.hex()]
    assert [line["paid"] for line in void["lines"]] == [0] * len(PROVIDERS)
    assert {line["fate"] for line in done["lines"]} == {"delivered"}
    assert liar.org.hex() not in {line["org"] for line in done["lines"]}
    assert [each["org"] for each in request_of(alice, request)["excluded"]] == [liar.org.hex()]
    assert liar.stop() == 0
    restart(league, liar)


def test_two_of_seven_are_killed_and_the_sum_of_the_others_is_exact(league: DevLeague, tmp_path: Path) -> None:
    alice, gone, absent = league.nodes[0], league.nodes[1], league.nodes[3]
    watch = Watch(alice, "request")
    # One that is killed a moment late has accepted its shares, and is waited for until the round's deadline.
    request = publish_masked(alice, round_deadline=30_000, **NOISED)
    # One has dealt its shares, and will say nothing of those it was dealt.
    watch.stage(request, "contest")
    absent.kill()
    # One has announced its update, and will not reveal what it holds of the others.
    watch.stage(request, "attesting")
    gone.kill()
    assert wait_over(league, alice, request)["outcome"] == "all rounds done", receipts_of(alice, request)
    (receipt,) = receipts_of(alice, request)
    fates = {line["org"]: line["fate"] for line in receipt["lines"]}
    assert fates.pop(absent.org.hex()) == "missing"
    assert set(fates.values()) == {"delivered"}
    assert len(fates) == 6

    # Anybody computes the model again, from the blobs and what the ledger proves, with no node to believe.
    proof, blobs = tmp_path / "aggregate.json", tmp_path / "blobs"
    said = hanse("ledger", "prove", "aggregate", request, "1", "--blobs", blobs, "-o", proof, "-c", alice.folder)
    assert said.code == Exit.OK, said
    said = hanse("verify", proof, "--genesis", alice.folder / "genesis.json", "--blob", blobs, "--json", cwd=tmp_path)
    assert said.code == Exit.OK, said
    assert "unmasked again" in said.json["steps"][-1]
    parameters = int(request_of(alice, request)["terms"]["parameters"])
    updates = [blob.read_bytes() for blob in blobs.iterdir() if blob.stat().st_size == masked_bytes(parameters)]
    assert len(updates) == 6
    assert all(unevenness(blob, parameters) < UNEVEN for blob in updates)
    assert {each["org"] for each in request_of(alice, request)["charges"]} == set(fates)

    for node in (absent, gone):
        assert secrets_left(node), "a killed node sweeps nothing"
        restart(league, node)
    wait(league, lambda: not any(map(secrets_left, league.nodes[1:])), "all secrets of the round are gone")
    wait_agreed(league)
    assert {request_of(node, request)["model"] for node in league.nodes} == {receipt["model"]}
    assert supply_is_kept(league, alice)


def test_a_free_rider_is_named_to_everybody_and_paid_nothing(league: DevLeague) -> None:
    """Not masked: what is sealed can be compared. Its blobs are fetched when nobody can copy them any more."""
    alice, rider = league.nodes[0], league.nodes[5]
    assert rider.stop() == 0
    free_rider.start(rider)
    wait(league, lambda: rider.answers() and bool(rider.call("health")["ready"]), "the free rider is up")
    request = publish(
        alice,
        rounds_max=2,
        providers_min=3,
        providers_max=len(PROVIDERS),
        round_deadline=60_000,
        aggregation="trimmed-mean",
        aggregation_settings={"share": "0.2"},
    )
    ended = wait_over(league, alice, request)
    assert (ended["outcome"], ended["model_round"]) == ("all rounds done", 2)
    for receipt in receipts_of(alice, request):
        lines = {line["org"]: line for line in receipt["lines"]}
        dropped = lines.pop(rider.org.hex())
        assert (dropped["fate"], dropped["paid"]) == ("rejected", 0)
        assert dropped["reason"] == "idle: next to no step"
        assert {(line["fate"], line["paid"] > 0) for line in lines.values()} == {("delivered", True)}
    assert rider.stop() == 0
    restart(league, rider)
