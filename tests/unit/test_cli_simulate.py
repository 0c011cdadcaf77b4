"""`hanse simulate`: one answer for people and for programs, and a clear word when there is nothing to simulate."""

import json
import os
import sys
from pathlib import Path

import pytest

from fl.simulate import scenarios
from node.cli.exit_codes import Exit
from node.cli.main import run
from node.request_template import request_template

SMALL = {"train_records": "60", "test_records": "40", "mix": "even"}
LINE = ["simulate", "--data", "bearings", "--clients", "4", "--rounds", "3", "--epochs", "2"]


@pytest.fixture(autouse=True)
def few_records(monkeypatch, tmp_path):
    small = scenarios.replace(scenarios.SCENARIOS["bearings"], settings=SMALL)
    monkeypatch.setitem(scenarios.SCENARIOS, "bearings", small)
    monkeypatch.chdir(tmp_path)


def said(capsys, *line: str):
    """The JSON that a line which ends well prints."""
    assert run([*line, "--json"]) == Exit.OK
    return json.loads(capsys.readouterr().out)


def settings_of(capsys, *line: str):
    """What a line would run, by way of the run file that it prints."""
    assert run([*line, "--write-file"]) == Exit.OK
    Path("printed.toml").write_text(capsys.readouterr().out)
    return Path("printed.toml")


class TestOneRun:
    def test_both_accuracies_are_told_to_programs_and_people(self, capsys):
        told = said(capsys, *LINE)
        (only,) = told["runs"]
        assert (only["rule"], only["attack"], only["inspected"]) == ("even-mean", None, False)
        assert only["records"] == [60] * 4
        assert [row["round"] for row in only["per_round"]] == [1, 2, 3]
        for name in ("accuracy_global", "accuracy_own", "accuracy_own_of_global"):
            assert 0 < only[name] <= 1
            assert only[name] == pytest.approx(sum(row[name] for row in only["per_round"]) / 3)
        assert run(LINE) == Exit.OK
        printed = capsys.readouterr().out
        assert "bearing-simulator: 4 clients with 60 records each, mlp layers 8,150,150,4" in printed
        for share in ("accuracy_global", "accuracy_own"):
            assert f"{100 * only[share]:.1f}" in printed
        assert "own mix of classes" in printed

    def test_lines_of_json_come_a_round_at_a_time_and_end_with_the_whole(self, capsys):
        assert run([*LINE, "--json-lines"]) == Exit.OK
        printed = capsys.readouterr()
        lines = [json.loads(line) for line in printed.out.splitlines()]
        assert [line["event"] for line in lines] == ["began", "round", "round", "round", "end"]
        assert [line["round"] for line in lines[1:4]] == [1, 2, 3]
        assert lines[4]["runs"][0]["model_digest"] == lines[3]["digest"]
        assert printed.err == ""

    def test_seeds_differ_and_their_mean_and_spread_are_told(self, capsys):
        told = said(capsys, *LINE, "--seed", "5", "--seeds", "2")
        one, other = told["runs"]
        assert (one["seed"], other["seed"]) == (5, 6)
        assert one["model_digest"] != other["model_digest"]
        (found,) = told["variants"].values()
        values = [one["accuracy_own"], other["accuracy_own"]]
        assert found["seeds"] == 2
        assert found["accuracy_own"]["mean"] == pytest.approx(sum(values) / 2)
        # Of two values the sample standard deviation is their distance over the root of two.
        assert found["accuracy_own"]["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert run([*LINE, "--seeds", "2"]) == Exit.OK
        assert "mean ± sd" in capsys.readouterr().out

    def test_a_share_of_the_clients_is_drawn_for_a_round(self, capsys):
        (only,) = said(capsys, *LINE, "--per-round", "0.5")["runs"]
        assert [row["clients"] for row in only["per_round"]] == [2, 2, 2]

    def test_a_round_that_is_not_tested_says_no_accuracy(self, capsys):
        (only,) = said(capsys, *LINE, "--evaluate-every", "2")["runs"]
        # The last round always is.
        assert [row["accuracy_global"] is None for row in only["per_round"]] == [True, False, False]

    def test_worker_processes_and_this_one_come_to_the_same_bits(self, capsys):
        (here,) = said(capsys, *LINE)["runs"]
        (there,) = said(capsys, *LINE, "--workers", "1")["runs"]
        assert here["per_round"] == there["per_round"]


class TestAttacks:
    def test_what_an_attack_does_and_who_is_rejected_is_told(self, capsys):
        attack = ["--attack", "free-rider", "--attackers", "1", "--rule", "trimmed-mean", "--rule-set", "share=0.3"]
        # With so few records corrected steps differ little from the last movement, and a free rider among them.
        attack += ["--strategy", "fedavg"]
        told = said(capsys, *LINE, *attack)["runs"]
        assert [(each["rule"], each["inspected"], each["attack"]) for each in told] == [
            ("mean", False, None),
            ("mean", False, "free-rider"),
            ("trimmed-mean", True, None),
            ("trimmed-mean", True, "free-rider"),
        ]
        assert [each["attackers"] for each in told] == [[], [3], [], [3]]
        assert told[3]["settings"]["aggregation"]["settings"] == {"share": "0.3"}
        assert [each["attackers_rejected"] for each in told] == [0, 0, 0, 3]
        assert [each["honest_rejected"] for each in told] == [0] * 4
        assert set(told[3]["rejections"]) == {"3"}
        assert run([*LINE, *attack]) == Exit.OK
        printed = capsys.readouterr().out
        assert "trimmed-mean, inspected, free-rider" in printed
        assert "3 of 3" in printed
        assert "repeats the last movement" in printed

    def test_an_attack_alone_is_one_run(self, capsys):
        (only,) = said(capsys, *LINE, "--attack", "noise", "--alone", "--rounds", "1")["runs"]
        assert (only["attack"], only["attackers"]) == ("noise", [3])


class TestRunFiles:
    def test_a_printed_file_runs_what_its_options_said(self, capsys):
        line = [*LINE, "--strategy", "dlmu", "--strategy-set", "tau=0.5", "--lr", "0.025", "--seed", "3"]
        file = settings_of(capsys, *line)
        assert "learning_rate = 0.025" in file.read_text()
        by_file, by_options = said(capsys, "simulate", str(file)), said(capsys, *line)
        (one,), (other,) = by_file["runs"], by_options["runs"]
        # The file is written before the records are read, which decide on the model.
        assert one["settings"] == other["settings"]
        assert one["model_digest"] == other["model_digest"]

    def test_a_file_says_every_setting_and_options_go_before_it(self, capsys):
        file = settings_of(capsys, *LINE)
        again = settings_of(capsys, "simulate", str(file), "--rounds", "9")
        assert "rounds = 9" in again.read_text()
        assert "clients = 4" in again.read_text()

    def test_another_strategy_does_not_inherit_settings(self, capsys):
        file = settings_of(capsys, *LINE, "--strategy", "dlmu", "--strategy-set", "tau=0.5")
        assert 'settings = {"tau" = "0.5"}' in file.read_text()
        added = settings_of(capsys, "simulate", str(file), "--strategy-set", "cap=0.4")
        assert 'settings = {"tau" = "0.5", "cap" = "0.4"}' in added.read_text()
        assert "tau" not in settings_of(capsys, "simulate", "printed.toml", "--strategy", "fedavg").read_text()

    def test_a_request_says_what_its_providers_would_train(self, capsys):
        Path("request.toml").write_text(
            request_template().replace("# epochs = 10", "epochs = 7").replace("# rounds_max = 10", "rounds_max = 4")
        )
        file = settings_of(capsys, "simulate", "--request", "request.toml", "--privacy", "none")
        text = file.read_text()
        assert 'source = "bearing-simulator"' in text
        assert "epochs = 7" in text
        assert "rounds = 4" in text
        assert 'name = "mlp"' in text

    def test_data_of_ones_own_may_stand_in_the_file(self, capsys):
        rows = "\n".join(f"{at % 7},{at % 3},{'bad' if at % 7 > 3 else 'good'}" for at in range(80))
        Path("press.csv").write_text("pressure,speed,verdict\n" + rows + "\n")
        Path("press.toml").write_text(
            '[data]\nclients = 2\n[data.block]\nkind = "csv"\npath = "press.csv"\nlabel = "verdict"\n'
            'classes = ["good", "bad"]\n[[data.block.features]]\ncolumn = "pressure"\nlow = 0\nhigh = 6\n'
            '[[data.block.features]]\ncolumn = "speed"\nlow = 0\nhigh = 2\n'
        )
        (only,) = said(capsys, "simulate", "press.toml", "--rounds", "2", "--epochs", "1")["runs"]
        assert only["settings"]["model"] == {
            "name": "mlp",
            "arguments": {"layers": "2,64,2"},
            "scale_bits": 20,
            "limit": 512,
        }
        assert only["settings"]["data"]["source"] == "own"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[rounds]\nround = 3\n", "[rounds] has no round; did you mean rounds?"),
            ("[round]\n", "has no round; did you mean rounds?"),
            ("[data]\nclients = 0\n", "[data] clients is 0, want a whole number from 1 to"),
            ("[training]\nepochs = '3'\n", "[training] epochs is '3', want a whole number"),
            ("rounds = 3\n", "[rounds] is 3, want a table"),
            ("[data\n", "is not TOML"),
            ('[data]\nsource = "mnist"\n[data.block]\nkind = "csv"\n', "[data.block] beside another source"),
        ],
    )
    def test_a_mistake_in_a_file_names_the_place(self, text, said, capsys):
        Path("wrong.toml").write_text(text)
        assert run(["simulate", "wrong.toml"]) == Exit.CONFIGURATION
        printed = capsys.readouterr().err
        assert "wrong.toml" in printed
        assert said in printed


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--attack", "magic"], Exit.USAGE, "unknown attack 'magic', want one of label-flip"),
        (["--attack", "noise", "--attackers", "4"], Exit.USAGE, "4 attackers of 4 clients, want 1 to 3"),
        (["--attackers", "1"], Exit.USAGE, "1 attackers without an attack"),
        (["--rule", "magic"], Exit.USAGE, "unknown rule 'magic', want one of "),
        (["--rule-set", "share"], Exit.USAGE, "share: want NAME=VALUE"),
        (["--rule-set", "share=0.1"], Exit.USAGE, "[aggregation] settings without a rule"),
        (["--rule", "median", "--rule-set", "share=0.1"], Exit.USAGE, "rule median has no setting share"),
        (["--privacy", "magic"], Exit.USAGE, "unknown privacy mode 'magic'"),
        (["--privacy", "distributed"], Exit.USAGE, "for masked updates, and the simulator masks none"),
        (["--strategy", "magic", "--rounds", "1"], Exit.USAGE, "unknown strategy 'magic'"),
        (["--per-round", "5"], Exit.USAGE, "per_round is 5, want 0, a share below 1, or 1 to 4 clients"),
        (["--per-round", "1.5"], Exit.USAGE, "per_round is 1.5"),
        (["--lr", "fast"], Exit.USAGE, "'fast', want a number"),
        (["--epochs", "0"], Exit.USAGE, "[training] epochs is 0, want a whole number from 1"),
        (["--engine", "magic"], Exit.USAGE, "engine is 'magic', want one of auto, inline, processes, ray"),
        (["--engine", "inline", "--workers", "2"], Exit.USAGE, "engine inline with 2 workers"),
        (["--plots"], Exit.USAGE, "--plots without --out DIR"),
        (["--split", "magic"], Exit.CONFIGURATION, "partition is 'magic'"),
        (["--path", os.curdir], Exit.CONFIGURATION, "reads no file"),
        (["--data", "magic"], Exit.CONFIGURATION, "no source is called 'magic'"),
        (["away.toml"], Exit.USAGE, "'away.toml' does not exist"),
        (["--privacy", "paper", "--epochs", "2"], Exit.USAGE, "privacy mode paper with 2 epochs, want at least 3"),
        (
            ["--strategy", "fedobd", "--strategy-set", "second_stage=2", "--privacy", "paper", "--epochs", "3"],
            Exit.USAGE,
            "strategy fedobd and second_stage 2: from there on a round is one epoch",
        ),
    ],
)
def test_what_cannot_be_simulated_is_said_before_anything_is_trained(more, code, said, capsys):
    assert run(["simulate", "--data", "bearings", "--clients", "4", *more]) == code
    assert said in capsys.readouterr().err


def test_without_data_there_is_a_word_on_how_to_name_some(capsys):
    assert run(["simulate"]) == Exit.USAGE
    assert "want --data NAME, or [data] source in a run file" in capsys.readouterr().err


class TestFolders:
    @pytest.fixture
    def ended(self, capsys):
        """A folder with a run that is at its end."""
        assert run([*LINE, "--rounds", "1", "--out", "ended"]) == Exit.OK
        assert f"Files: {Path.cwd() / 'ended'}" in capsys.readouterr().out
        return "ended"

    @pytest.mark.parametrize(
        ("line", "code", "said"),
        [
            ([*LINE, "--out", "ended"], Exit.CONFIGURATION, "holds a run already: want --resume"),
            (["simulate", "--resume", "ended", "--epochs", "9"], Exit.CONFIGURATION, "[training] epochs is 9, was 2"),
            (["simulate", "--resume", "ended", "--out", "there"], Exit.USAGE, "want no --out beside it"),
            (["simulate", "--resume", "."], Exit.CONFIGURATION, "run.toml: cannot be read"),
            (["simulate", "plot", "."], Exit.CONFIGURATION, "rounds.jsonl: is missing"),
            (["simulate", "plot", "ended", "ended"], Exit.USAGE, "want --to DIR"),
        ],
    )
    def test_what_is_there_is_neither_written_over_nor_mixed_up(self, ended, line, code, said, capsys):
        if line[-1] == ".":
            Path(ended, "rounds.jsonl").unlink()
        before = {path.name: path.read_bytes() for path in Path(ended).iterdir()}
        assert run(line) == code
        assert said in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in Path(ended).iterdir()} == before

    def test_without_the_library_nothing_is_trained_for_pictures(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert run([*LINE, "--plots", "--out", "here"]) == Exit.CONFIGURATION
        assert "pictures need matplotlib: pip install 'hanse[plots]'" in capsys.readouterr().err
        assert not Path("here").exists()

    def test_without_the_library_there_are_lines_and_no_parquet(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert run([*LINE, "--rounds", "1", "--out", "here"]) == Exit.OK
        assert {path.suffix for path in Path("here").iterdir()} == {".jsonl", ".json", ".toml", ".safetensors", ""}
