"""`hanse reproduce`: means over seeds, runs that are kept, reports, and words that follow from figures."""

import csv
import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from node.cli.exit_codes import Exit
from node.cli.main import run
from node.reproduce import catalogue
from node.reproduce.catalogue import EXPERIMENTS, experiment
from node.reproduce.experiment import SCALES, Asked, CannotReproduce, Experiment, Published, Report, ReportTable, Run
from node.reproduce.federations import data_set
from node.reproduce.plot import Panel, Plot, bar, by_round
from node.reproduce.report_files import as_markdown, rows_of
from node.reproduce.reproducing import reproduce_experiment
from node.reproduce.results import Measured, MissingResult, Result, Results, spread
from node.reproduce.results_folder import ResultsFolder, run_id
from node.reproduce.running import carry_out


@dataclass(frozen=True, slots=True)
class Size:
    factor: float = 1.0


class Doubling(Experiment):
    """Measures twice its seed, and counts how often it was asked to."""

    name = "doubling"
    summary = "twice a seed"
    source = "nowhere"
    sizes: ClassVar = {"quick": Size(), "full": Size(2.0)}
    measured: ClassVar[list[tuple[str, int]]] = []
    fail_at: ClassVar[tuple[str, int] | None] = None

    def runs(self, asked):
        return [
            Run({"method": method}, seed, {"factor": self.size.factor}, partial(self._measure, method, seed))
            for seed in asked.seeds
            for method in ("a", "b")
        ]

    def _measure(self, method, seed, tell):
        if self.fail_at == (method, seed):
            raise KeyboardInterrupt
        tell("working")
        self.measured.append((method, seed))
        value = 2.0 * seed * self.size.factor + (method == "b")
        return Measured({"points": value, "never": math.nan}, {"points": (0.0, value)})

    def published(self, keys, figure):
        return Published(7.5, "a book") if keys["method"] == "a" and figure == "points" else None

    def report(self, results):
        rows = tuple((m, results.spread("points", method=m).text()) for m in results.named("method"))
        panel = Panel("doubles", "points", lines=(by_round("a", results, "points", {"method": "a"}),))
        return Report(
            "All of it.", (ReportTable("Points", ("method", "mean"), rows),), (Plot("points", (panel,)),), "So."
        )


@pytest.fixture
def doubling():
    found = Doubling.at("quick")
    Doubling.measured, Doubling.fail_at = [], None
    return found


def cuda_is_there():
    import torch

    return torch.cuda.is_available()


ASKED = Asked("quick", (1, 2, 3))


def results(**figures):
    """Results of three seeds: `figures` by "method/split" or "method", each a figure's three values."""
    found = []
    for name, by_figure in figures.items():
        for seed in (1, 2, 3):
            measured = {figure: values[seed - 1] for figure, values in by_figure.items()}
            found.append(Result({"method": name}, seed, Measured(measured)))
    return Results(tuple(found))


def test_means_and_sample_deviations_by_hand():
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.seeds, found.lost) == (3.0, 3, 0)
    assert found.deviation == pytest.approx(math.sqrt(7.0))
    assert found.text() == "3.0 ± 2.6"
    assert spread([4.0]).text(2) == "4.00"
    assert math.isnan(spread([4.0]).deviation)
    assert spread([4.0, math.nan, 6.0]).text() == "5.0 ± 1.4 (1 diverged)"
    assert spread([math.nan]).text() == "diverged"
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_a_difference_is_paired_by_seed():
    """The seeds differ by far more than the methods: only pairs show that b is always one better."""
    found = results(a={"points": (10.0, 50.0, 90.0)}, b={"points": (11.0, 51.0, 91.0)})
    apart = found.difference("points", {"method": "b"}, {"method": "a"})
    assert (apart.mean, apart.deviation) == (1.0, 0.0)
    short = Results(found.all[:-1])
    with pytest.raises(MissingResult, match=r"seeds \[1, 2\] of \{'method': 'b'\}, \[1, 2, 3\]"):
        short.difference("points", {"method": "b"}, {"method": "a"})
    with pytest.raises(MissingResult, match="nothing of 6 runs"):
        found.spread("nothing")


def test_what_was_run_is_not_run_again(doubling, tmp_path):
    done = reproduce_experiment(doubling, ASKED, tmp_path, 1, lambda _: None)
    assert len(Doubling.measured) == 6
    again = reproduce_experiment(doubling, ASKED, tmp_path, 1, lambda _: None)
    assert len(Doubling.measured) == 6
    assert again.report == done.report
    # One seed more: only that one is run. Another size: nothing of the old ones fits.
    reproduce_experiment(doubling, replace(ASKED, seeds=(1, 2, 3, 4)), tmp_path, 1, lambda _: None)
    assert Doubling.measured[6:] == [("a", 4), ("b", 4)]
    reproduce_experiment(Doubling.at("full"), ASKED, tmp_path, 1, lambda _: None)
    assert len(Doubling.measured) == 14


def test_an_interrupted_experiment_goes_on_where_it_was(doubling, tmp_path):
    Doubling.fail_at = ("b", 2)
    with pytest.raises(KeyboardInterrupt):
        reproduce_experiment(doubling, ASKED, tmp_path, 1, lambda _: None)
    assert Doubling.measured == [("a", 1), ("b", 1), ("a", 2)]
    Doubling.fail_at = None
    told = []
    reproduce_experiment(doubling, ASKED, tmp_path, 1, told.append)
    assert Doubling.measured[3:] == [("b", 2), ("a", 3), ("b", 3)]
    assert told[0] == "about 1 min of CPU in all"
    assert told[1] == "3 of 6 runs; b, seed 2"
    assert told[-1] == "6 of 6 runs; b, seed 3: done"


def test_two_processes_measure_what_one_does(doubling, tmp_path):
    one, two = (ResultsFolder(tmp_path / name, "doubling") for name in ("one", "two"))
    alone = carry_out(doubling, ASKED, one, 1, lambda *_: None)
    shared = carry_out(doubling, ASKED, two, 2, lambda *_: None)
    assert len(Doubling.measured) == 6, "the second time they were measured elsewhere"
    assert [each.keys for each in shared.all] == [each.keys for each in alone.all]
    assert shared.values("points") == alone.values("points")
    assert {path.name for path in (tmp_path / "one/runs").iterdir()} == {
        path.name for path in (tmp_path / "two/runs").iterdir()
    }


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-30], "is no result of a run"),
        (lambda text: text.replace('"seed": 1', '"seed": 2'), "holds another run than its name says"),
        (lambda text: text.replace("run-1", "run-9"), "format 'hanse-reproduce-run-9'"),
        (lambda text: text.replace('"points": 2.0', '"points": "two"'), "'two', want a number"),
        (lambda text: "[]", "is no result of a run"),
    ],
)
def test_a_damaged_result_is_named_not_believed(doubling, tmp_path, damage, said):
    folder = ResultsFolder(tmp_path, "doubling")
    carry_out(doubling, ASKED, folder, 1, lambda *_: None)
    path = tmp_path / "runs" / f"{run_id('doubling', doubling.runs(ASKED)[0])}.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(CannotReproduce, match=said):
        carry_out(doubling, ASKED, folder, 1, lambda *_: None)


def test_not_a_number_is_kept_as_nothing_and_comes_back(doubling, tmp_path):
    folder = ResultsFolder(tmp_path, "doubling")
    carry_out(doubling, ASKED, folder, 1, lambda *_: None)
    again = carry_out(doubling, ASKED, folder, 1, lambda *_: None)
    assert math.isnan(again.all[0].measured.figures["never"])
    assert again.spread("never", method="a").text() == "diverged"


def test_the_files_of_a_report_say_the_same(doubling, tmp_path):
    done = reproduce_experiment(doubling, ASKED, tmp_path, 1, lambda _: None)
    assert {path.name for path in done.written} == {
        "report.md",
        "table.json",
        "table.csv",
        "table.parquet",
        "points.png",
        "points.svg",
    }
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert rows[0] == {
        "method": "a",
        "figure": "points",
        "mean": 4.0,
        "deviation": 2.0,
        "seeds": 3,
        "published": 7.5,
        "published_source": "a book",
    }
    assert [row["mean"] for row in rows] == [4.0, None, 5.0, None]
    with (tmp_path / "table.csv").open() as file:
        assert [row["mean"] for row in csv.DictReader(file)] == ["4.0", "", "5.0", ""]
    from pyarrow import parquet

    assert parquet.read_table(tmp_path / "table.parquet").to_pylist() == rows
    page = (tmp_path / "report.md").read_text()
    assert "| a | 4.0 ± 2.0 |" in page
    assert "![points.png](points.png)" in page
    assert page.endswith("## What it shows\n\nSo.\n")
    assert as_markdown(doubling, ASKED, done.report).count("![") == 0
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")


def test_the_long_table_has_every_key_of_every_run(doubling):
    keys = ({"method": "a", "records": "10"}, {"method": "b"})
    found = Results(tuple(Result(each, 1, Measured({"points": 1.0})) for each in keys))
    rows = rows_of(doubling, found)
    assert [(row["method"], row["records"], row["published"]) for row in rows] == [("a", "10", 7.5), ("b", None, None)]
    assert found.named("records") == ("10",)
    assert bar(None) is None
    assert bar(spread([2.0])) == (2.0, 0.0)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_what_the_list_says(name):
    kind = experiment(name)
    assert (kind.name, kind.summary) == (name, EXPERIMENTS[name][1])
    assert set(kind.sizes) == set(SCALES)
    for scale in SCALES:
        runs = kind.at(scale).runs(Asked(scale, (1, 2)))
        names = [run_id(name, each) for each in runs]
        assert len(set(names)) == len(names), "every run has a file of its own"
        # Seed by seed, so that what was interrupted has whole seeds.
        assert [each.seed for each in runs] == sorted(each.seed for each in runs)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("dlmu-cifar", "iid-fedavg-seed-1-d2bc3ad3"),
        ("dlmu-text", "fedavg-seed-1-c1abf0b7"),
        ("dpsgd-tables", "cifar10-plain-seed-1-588defd8"),
        ("bearing", "simulated-federated-seed-1-fc82a678"),
        ("communication", "models-1-100-seed-1-75ca6434"),
    ],
)
def test_what_an_earlier_release_measured_is_found(name, stored):
    """The name follows from all settings: one that is written otherwise, and hours of runs are done again."""
    first = experiment(name).at("quick").runs(Asked("quick", (1,)))[0]
    assert run_id(name, first) == stored


def test_an_unknown_experiment_is_named_with_the_nearest():
    with pytest.raises(CannotReproduce, match="no experiment 'dlmu-cifr', did you mean 'dlmu-cifar'"):
        experiment("dlmu-cifr")
    with pytest.raises(CannotReproduce, match="want one of dlmu-cifar, dlmu-text"):
        experiment("q")


def test_a_data_set_is_found_by_itself_or_in_a_folder_of_several(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/train-images-idx3-ubyte.gz").touch()
    for given in (tmp_path, tmp_path / "mnist"):
        assert data_set(given, "mnist", "train-images-idx3-ubyte") == tmp_path / "mnist"
    with pytest.raises(
        CannotReproduce, match=r"no labels\.npz and no folder cifar10 with it: want the data set cifar10"
    ):
        data_set(tmp_path, "cifar10", "labels.npz")


def test_the_command_lists_runs_and_refuses(doubling, tmp_path, monkeypatch, capsys):
    assert run(["reproduce"]) == Exit.OK
    assert "hanse reproduce dlmu-cifar" in capsys.readouterr().out
    monkeypatch.setitem(catalogue.EXPERIMENTS, "doubling", (f"{__name__}:Doubling", "twice a seed"))
    monkeypatch.setattr(catalogue, "experiment", lambda name: Doubling)
    out = ["--out", str(tmp_path / "out")]
    assert run(["reproduce", "doubling", "--seeds", "2", *out]) == Exit.OK
    told = capsys.readouterr()
    assert "3.0 ± 1.4" in told.out
    assert "So." in told.out
    assert "4 of 4 runs; b, seed 2: done" in told.err
    assert run(["reproduce", "doubling", "--seeds", "5,7", "--json", *out]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["seeds"] == [5, 7]
    Doubling.fail_at = ("a", 9)
    assert run(["reproduce", "doubling", "--seeds", "9,10", *out]) == Exit.INTERRUPTED
    assert "give the same command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["magic"], Exit.CONFIGURATION, "there is no experiment 'magic'"),
        (["dlmu-cifar"], Exit.CONFIGURATION, "dlmu-cifar needs --data PATH: the CIFAR-10 folder"),
        (["dlmu-text", "--data", "."], Exit.CONFIGURATION, "has none of input.txt"),
        (["dpsgd-tables", "--data", "."], Exit.CONFIGURATION, "want the data set cifar10"),
        (["bearing", "--data", "."], Exit.CONFIGURATION, "want the data set cwru"),
        (["bearing", "--seeds", "x"], Exit.USAGE, "want how many, or seeds parted by commas"),
        (["bearing", "--seeds", "3,3"], Exit.USAGE, "different seeds"),
        (["bearing", "--seeds", "40000000000"], Exit.USAGE, "1 to 100 different seeds"),
        (["bearing", "--seeds", "\u00b2"], Exit.USAGE, "want how many, or seeds parted by commas"),
        (["bearing", "--scale", "half"], Exit.USAGE, "'half' is not one of 'quick', 'full'"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is(line, code, said, capsys, tmp_path):
    assert run(["reproduce", *line, "--out", str(tmp_path / "out")]) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(cuda_is_there(), reason="there is a GPU to train on")
def test_a_device_that_is_not_there_is_named(capsys, tmp_path):
    assert run(["reproduce", "communication", "--device", "cuda", "--out", str(tmp_path)]) == Exit.USAGE
    assert "cuda" in capsys.readouterr().err


def test_the_experiment_on_the_page_runs(tmp_path):
    page = (Path(__file__).parents[2] / "docs/reproducing.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    defined: dict[str, object] = {}
    exec(code, defined)
    kind = defined["MoreEpochs"]
    done = reproduce_experiment(kind.at("quick"), Asked("quick", (1,)), tmp_path, 1, lambda _: None)
    assert done.report.verdict.startswith("Four epochs a round are ")
    assert (tmp_path / "accuracy.svg").exists()


def test_the_page_lists_every_experiment():
    page = (Path(__file__).parents[2] / "docs/reproducing.md").read_text()
    assert [name for name in EXPERIMENTS if f"| `{name}` |" not in page] == []
