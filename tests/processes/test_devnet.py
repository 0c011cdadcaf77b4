"""`hanse devnet` as its users run it: a league from founding to the exported model, on simulated and on real data."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from fl.export import read_model
from node.cli.exit_codes import Exit
from node.devnet.league import environment
from tests.support.processes import eventually, hanse
from tests.support.shared_data import shared_data

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

TIMEOUT_S = 200.0


def devnet(cwd: Path, *arguments: str | Path) -> dict[str, Any]:
    """The report of a league that ended well: exit code 0, and every check in it held."""
    said = hanse("devnet", *arguments, "--json", cwd=cwd, timeout_s=TIMEOUT_S)
    assert said.code == Exit.OK, said
    report: dict[str, Any] = said.json
    failed = [check["what"] for check in report["checks"] if not check["held"]]
    assert not failed
    told = " / ".join(check["what"] for check in report["checks"])
    for what in ("the same block and the same state root", "the digest that is on the ledger", "no token appeared"):
        assert what in told
    assert report["stage"] == "done"
    (exported,) = cwd.glob("hanse-*.safetensors")
    assert read_model(exported.read_bytes()).vector.size
    return report


def test_simulated_factories_train_to_within_two_points_of_a_centralised_model(tmp_path: Path) -> None:
    report = devnet(tmp_path, "--factories", "4", "--rounds", "5", "--privacy", "none")
    assert report["privacy"] is None
    assert (report["rounds"], report["receipts"]) == (5, 5)
    accuracy = report["accuracy"]
    assert accuracy["federated"] >= accuracy["centralised"] - 0.02
    assert accuracy["federated"] > accuracy["local_mean"]
    # The factory that publishes does not train for itself.
    assert [len(accuracy["own"][which]) for which in ("global", "served", "local")] == [3, 3, 3]


def test_updates_are_noised_without_a_word_and_what_that_cost_is_shown(tmp_path: Path) -> None:
    report = devnet(tmp_path, "--factories", "4", "--rounds", "5", "--epsilon", "3")
    assert report["rounds"] == 5
    assert "every charge follows from its noise" in " / ".join(check["what"] for check in report["checks"])
    charges = [each["charge"] for each in report["privacy"]]
    assert [(charge["mode"], charge["unit"]) for charge in charges] == [("sound", "record")] * 3
    for each, charge in zip(report["privacy"], charges, strict=True):
        # Planned for five rounds of epsilon 3 in all, and all five were trained.
        assert (each["rounds"], each["fault"]) == (5, "")
        assert 2_990_000 < each["recomputed"] <= charge["epsilon_micro"] <= 3_000_000
        assert charge["steps"] == 5 * 8
    accuracy = report["accuracy"]
    assert accuracy["without_noise"] > accuracy["federated"] > accuracy["local_mean"]


def test_too_little_training_is_told_by_the_exit_code(tmp_path: Path) -> None:
    """All of the league's checks hold, and what is not good enough is named: nobody takes it for a success."""
    small = ("--factories", "3", "--rounds", "1", "--epochs", "1", "--privacy", "none")
    said = hanse("devnet", *small, "--json", cwd=tmp_path, timeout_s=TIMEOUT_S)
    assert said.code == Exit.NOT_VERIFIED, said
    failed = [check["what"] for check in said.json["checks"] if not check["held"]]
    assert any("points behind the centralised model, at most 2" in what for what in failed)
    assert all(what.startswith("the federation is") for what in failed), "the league itself is sound"


def test_a_league_that_is_ended_leaves_no_node_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "node.cli.main", "devnet", "--factories", "3", "--directory", str(tmp_path)]
    said = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=said, stdout=said, stderr=said, env=environment())

    def nodes() -> set[int]:
        """Those whose command line names a folder of the league."""
        here = (each for each in psutil.process_iter(["cmdline"]) if each.pid != process.pid)
        return {each.pid for each in here if any(str(tmp_path) in word for word in each.info["cmdline"] or ())}

    eventually(lambda: len(nodes()) == 3, "three nodes are up")
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == Exit.INTERRUPTED
    assert not nodes()
    assert not list(tmp_path.iterdir()), "the folder of the league goes with it"


@pytest.mark.data
def test_four_motor_loads_learn_from_each_other(tmp_path: Path) -> None:
    report = devnet(tmp_path, "--factories", "4", "--data", shared_data("cwru"), "--rounds", "3", "--privacy", "none")
    accuracy = report["accuracy"]
    assert accuracy["federated"] > accuracy["local_mean"]
    assert len(accuracy["own"]["served"]) == 4
    assert all(0.5 < own <= 1.0 for own in accuracy["own"]["served"])


@pytest.mark.data
def test_factories_that_know_two_digits_each(tmp_path: Path) -> None:
    options = ("--split", "class2", "--rounds", "2")
    report = devnet(tmp_path, "--factories", "3", "--data", shared_data("mnist"), *options)
    accuracy = report["accuracy"]
    assert accuracy["federated"] > accuracy["local_mean"]
    own = accuracy["own"]
    assert sum(own["served"]) > sum(own["global"]), "what a factory serves itself knows its own two digits better"
    assert {each["charge"]["mode"] for each in report["privacy"]} == {"sound"}
