"""`hanse simulate`: one answer for people and for programs, and a clear word when there is nothing to simulate."""

import json

import pytest

from fl.simulate import scenarios
from node.cli.exit_codes import Exit
from node.cli.main import run

SMALL = {"train_records": "60", "test_records": "40", "mix": "even"}


@pytest.fixture(autouse=True)
def few_records(monkeypatch):
    small = scenarios.replace(scenarios.SCENARIOS["bearings"], settings=SMALL)
    monkeypatch.setitem(scenarios.SCENARIOS, "bearings", small)


def test_what_an_attack_does_and_who_is_rejected_is_told_to_programs_and_people(capsys):
    line = ["simulate", "--data", "bearings", "--clients", "4", "--rounds", "3", "--epochs", "2"]
    attacked = [
        *line,
        "--attack",
        "free-rider",
        "--attackers",
        "1",
        "--rule",
        "trimmed-mean",
        "--rule-set",
        "share=0.3",
    ]
    assert run([*attacked, "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert said["records"] == [60] * 4
    assert said["asked"]["rule_settings"] == {"share": "0.3"}
    assert [(each["rule"], each["inspected"], each["attack"]) for each in said["runs"]] == [
        ("mean", False, None),
        ("mean", False, "free-rider"),
        ("trimmed-mean", True, None),
        ("trimmed-mean", True, "free-rider"),
    ]
    assert [each["attackers_rejected"] for each in said["runs"]] == [0, 0, 0, 3]
    assert [each["honest_rejected"] for each in said["runs"]] == [0] * 4
    assert set(said["runs"][3]["rejections"]) == {"3"}
    assert all(len(each["rounds"]) == 3 and 0 < each["accuracy"] <= 1 for each in said["runs"])
    assert run(attacked) == Exit.OK
    told = capsys.readouterr().out
    assert "bearings: 4 clients with 60 records each" in told
    assert "trimmed-mean, checked" in told
    assert "3 of 3" in told
    assert "repeats the last movement" in told


def test_without_an_attack_two_rules_are_compared(capsys):
    assert run(["simulate", "--data", "bearings", "--clients", "2", "--rounds", "1", "--epochs", "1", "--json"]) == 0
    assert [each["attack"] for each in json.loads(capsys.readouterr().out)["runs"]] == [None, None]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--attack", "magic"], Exit.USAGE, "unknown attack 'magic', want one of label-flip"),
        (["--attack", "noise", "--attackers", "4"], Exit.USAGE, "4 attackers of 4 clients, want 1 to 3"),
        (["--attackers", "1"], Exit.USAGE, "--attackers 1 without --attack"),
        (["--rule", "magic"], Exit.USAGE, "unknown rule 'magic', want one of mean, median"),
        (["--rule-set", "share"], Exit.USAGE, "share: want NAME=VALUE"),
        (["--rule", "median", "--rule-set", "share=0.1"], Exit.USAGE, "rule median has no setting share"),
        (["--privacy", "magic"], Exit.USAGE, "unknown privacy mode 'magic'"),
        (["--privacy", "distributed"], Exit.USAGE, "for masked updates, and the simulator masks none"),
        (["--strategy", "magic", "--rounds", "1"], Exit.USAGE, "unknown strategy 'magic'"),
        (["--split", "magic"], Exit.CONFIGURATION, "partition is 'magic'"),
        (["--path", "."], Exit.CONFIGURATION, "reads no file"),
    ],
)
def test_what_cannot_be_simulated_is_said_before_anything_is_trained(more, code, said, capsys):
    assert run(["simulate", "--data", "bearings", "--clients", "4", *more]) == code
    assert said in capsys.readouterr().err
