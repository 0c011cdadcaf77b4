"""`hanse dp plan` on the command line: figures for people and programs, terms from a request file, refusals."""

import json
from pathlib import Path

import pytest

from fl.privacy.plan import round_cost
from node.cli.exit_codes import Exit
from node.cli.main import run

REQUEST = """
title = "Bearings"
data_type = "bearing"

[model]
name = "mlp"
arguments = { layers = "8,16,4" }

[privacy]
mode = "MODE"
settings = { SETTINGS }

[training]
epochs = 2
batch = 16

[payment]
price = 1
budget = 100000

[rounds]
rounds_max = 5
providers_min = 4
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The oracle takes seconds to load, and has its own tests."""
    monkeypatch.setattr("fl.privacy.outlook.tight_epsilon", lambda parts, delta: None)


def request_file(folder: Path, mode: str = "sound", settings: str = 'epsilon = "4"') -> str:
    path = folder / "request.toml"
    path.write_text(REQUEST.replace("MODE", mode).replace("SETTINGS", settings))
    return str(path)


def plan(capsys, *arguments):
    code = run(["dp", "plan", "--json", *arguments])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def test_a_plan_is_what_a_node_would_charge(capsys):
    code, found = plan(capsys, "--records", "900", "--epochs", "5", "--rounds", "20", "--epsilon", "3")
    cost = round_cost("sound", {"epsilon": "3"}, 900, 32, 5, 20)
    assert code == Exit.OK
    assert (found["noise"], found["steps"], found["units"]) == (cost.noise.sigma_micro, 145, 900)
    assert found["epsilon"] == cost.epsilon(20) <= 3.0
    assert found["trial"] is None


def test_terms_come_from_a_request_file_and_what_is_given_goes_before(capsys, tmp_path):
    file = request_file(tmp_path)
    _, found = plan(capsys, "--records", "300", "--request", file)
    assert (found["batch"], found["rounds"], found["steps"]) == (16, 5, 2 * 19)
    assert found["epsilon"] == pytest.approx(4.0, abs=1e-3)
    _, other = plan(capsys, "--records", "300", "--request", file, "--rounds", "9", "--epsilon", "2")
    assert (other["rounds"], other["batch"]) == (9, 16)
    assert other["epsilon"] == pytest.approx(2.0, abs=1e-3)
    assert other["noise"] > found["noise"]


def test_people_read_the_noise_and_what_it_leaves(capsys):
    assert run(["dp", "plan", "--records", "500", "--epochs", "10", "--rounds", "100", "--epsilon", "2"]) == Exit.OK
    said = capsys.readouterr().out
    # The research's own warning: so few records, so often looked at, want sixteen times the clipping norm.
    assert "noise multiplier  17." in said
    assert "one epoch a round would need noise 5." in said
    assert "much is lost to the noise" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--records", "900", "--epsilon", "0.01", "--delta", "1e-10", "--rounds", "1000"], Exit.REFUSED),
        (["--records", "0"], Exit.USAGE),
        ([], Exit.USAGE),
        (["--records", "900", "--epsilon", "-1"], Exit.REFUSED),
    ],
)
def test_wishes_that_cannot_be_granted_are_refused(capsys, arguments, code):
    assert run(["dp", "plan", *arguments]) == code
    assert capsys.readouterr().err.startswith("hanse")


def test_a_request_that_promises_nothing_has_no_plan(capsys, tmp_path):
    assert run(["dp", "plan", "--records", "900", "--request", request_file(tmp_path, "none", "")]) == Exit.USAGE
    assert "mode none costs nothing that could be planned" in capsys.readouterr().err


def test_a_trial_trains_with_and_without_noise_on_made_up_records(capsys):
    arguments = ["--records", "60", "--rounds", "2", "--providers", "2", "--epsilon", "100", "--trial"]
    code, found = plan(capsys, *arguments)
    assert code == Exit.OK
    assert set(found["trial"]) == {"private", "plain"}
    assert all(0.0 < each <= 1.0 for each in found["trial"].values())
