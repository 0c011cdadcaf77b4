"""`hanse data` without a network: what it says of data that are good, and of those that are not."""

import json
from pathlib import Path

import pytest

from fl.simulate.scenarios import Scenario, clients_of
from fl.simulate.terms import Terms
from node.cli.exit_codes import Exit
from node.cli.main import run

BLOCK = """
kind = "csv"
path = "press.csv"
label = "State"
classes = ["ok", "worn", "gone"]
group = "Machine"
test_percent = 20
[[features]]
column = "Heat"
low = 0
high = 100
"""


@pytest.fixture(autouse=True)
def press(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{at * 6},{('ok', 'worn')[at % 2]},{'abcd'[at % 4]}" for at in range(20)]
    Path("press.csv").write_text("Heat,State,Machine\n" + "\n".join(rows) + "\n")
    Path("press.toml").write_text(BLOCK)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: Exit = Exit.OK) -> str:
    assert run(["data", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code is Exit.OK else captured.err


def test_check_counts_and_tells_what_is_cut_off(capsys: pytest.CaptureFixture[str]):
    told = json.loads(said(capsys, "check", "press.toml", "--json"))
    assert (told["source"], told["kind"], told["records"]) == ("own", "csv", {"train": 16, "test": 4})
    assert told["classes"]["worn"] == {"train": 8, "test": 2}
    assert told["groups"] == {"by": "Machine", "train": 4}
    assert told["features"] == [{"name": "Heat", "declared": "0 to 100", "low": 0, "high": 114, "outside": 3}]
    printed = said(capsys, "check", "press.toml")
    assert "16 to train on, 4 to test on" in printed
    assert "group:Machine (4 of them)" in printed
    assert "Note: Heat: 3 values lie outside of 0 to 100 and are cut off there." in printed


def test_check_tells_how_many_rows_are_left_out(capsys: pytest.CaptureFixture[str]):
    assert json.loads(said(capsys, "check", "press.toml", "--json"))["left_out"] == 0
    with Path("press.csv").open("a") as file:
        file.write(",ok,a\nnan,ok,a\n1,,b\n")
    assert "line 22, line 23, line 24: empty" in said(capsys, "check", "press.toml", code=Exit.CONFIGURATION)
    Path("press.toml").write_text(BLOCK.replace("[[features]]", 'missing = "drop"\n[[features]]', 1))
    assert json.loads(said(capsys, "check", "press.toml", "--json"))["left_out"] == 3
    printed = said(capsys, "check", "press.toml")
    assert "16 to train on, 4 to test on" in printed
    assert "Note: 3 rows have gaps and are left out." in printed


def test_check_names_the_first_fault(capsys: pytest.CaptureFixture[str]):
    Path("press.csv").write_text("Heat,State,Machine\nhot,ok,a\n")
    wrong = said(capsys, "check", "press.toml", code=Exit.CONFIGURATION)
    assert wrong == "hanse: press.csv, column 'Heat': line 2 has 'hot', want a number\n"
    assert "is no TOML file, no folder of a node and no source" in said(capsys, "check", "x", code=Exit.CONFIGURATION)
    assert "want NAME=VALUE" in said(capsys, "check", "press.toml", "--set", "x", code=Exit.USAGE)
    assert "says where its data lie, want no path" in said(
        capsys, "check", "press.toml", "--path", "press.csv", code=Exit.CONFIGURATION
    )


def test_check_warns_of_classes_that_are_never_trained_on(capsys: pytest.CaptureFixture[str]):
    with Path("press.csv").open("a") as file:
        file.write("1,gone,a\n")
    assert "Note: gone: tested on and never trained on here." in said(capsys, "check", "press.toml")
    Path("press.csv").write_text("Heat,State,Machine\n" + "1,ok,a\n" * 8 + "1,gone,a\n" * 2)
    assert "Note: no class that is trained on is tested on." in said(capsys, "check", "press.toml")


def test_a_node_is_named_by_its_folder(capsys: pytest.CaptureFixture[str]):
    Path("alice").mkdir()
    head = '[node]\nname = "Alice"\n[data]\nsource = "own"\n'
    Path("alice/config.toml").write_text(head + 'path = "../press.toml"\n')
    by_path = json.loads(said(capsys, "check", "alice", "--json"))
    inline = BLOCK.replace("press.csv", "../press.csv").replace("[[features]]", "[[data.block.features]]")
    Path("alice/config.toml").write_text(f"{head}[data.block]\n{inline}")
    by_block = json.loads(said(capsys, "check", "alice/config.toml", "--json"))
    assert {**by_path, "path": ""} == {**by_block, "path": ""}
    Path("alice/config.toml").write_text('[node]\nname = "Alice"\n')
    assert "names no data" in said(capsys, "check", "alice", code=Exit.CONFIGURATION)
    Path("alice/config.toml").write_text('[node]\nnme = "Alice"\n')
    assert "did you mean name?" in said(capsys, "check", "alice", code=Exit.CONFIGURATION)


def test_show_gives_records_as_a_model_is_fed_them(capsys: pytest.CaptureFixture[str]):
    Path("press.schema.toml").write_text(
        BLOCK.replace('kind = "csv"\npath = "press.csv"', "").replace("test_percent = 20", "")
    )
    told = json.loads(said(capsys, "show", "press.toml", "--records", "2", "--json"))
    assert [each["class"] for each in told["first"]] == ["ok", "worn"]
    assert [each["inputs"] for each in told["first"]] == [[-1.0], [pytest.approx(-0.88)]]
    assert told["first"][1]["group"] == "b"
    printed = said(capsys, "show", "table", "--path", "press.csv", "--set", "schema=press.schema.toml")
    assert "1 numbers" in printed
    assert "-0.88" in printed


def test_split_shows_the_division_that_a_simulation_makes(capsys: pytest.CaptureFixture[str]):
    told = json.loads(said(capsys, "split", "press.toml", "--clients", "4", "--split", "class(1)", "--json"))
    chosen = Scenario("own", {}, "class(1)", Terms("mlp", 1, 1, 1, 0.1, 0.0, {}))
    clients, _ = clients_of(chosen, Path("press.toml"), 4, "class(1)", 1)
    assert [list(each.values()) for each in told["clients"]] == [
        client.train.class_counts().tolist() for client in clients
    ]
    assert "class(1)" in said(capsys, "split", "press.toml", "--clients", "4", "--split", "class(1)")
    by_machine = json.loads(said(capsys, "split", "press.toml", "--clients", "4", "--split", "group", "--json"))
    assert [sum(each.values()) for each in by_machine["clients"]] == [4, 4, 4, 4]
    wrong = said(capsys, "split", "press.toml", "--split", "by-colour", code=Exit.CONFIGURATION)
    assert "partition is 'by-colour', want iid" in wrong
