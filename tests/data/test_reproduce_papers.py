"""Every experiment on recorded data, from its files to its report, at a size that takes seconds."""

import json
from dataclasses import replace

import pytest

from node.reproduce.bearing import Bearing, BearingSize
from node.reproduce.dlmu_cifar import CifarSize, DlmuCifar
from node.reproduce.dlmu_text import DlmuText, TextSize
from node.reproduce.dpsgd_sizes import TablesSize, small
from node.reproduce.dpsgd_tables import DpsgdTables
from node.reproduce.experiment import Asked
from node.reproduce.federations import LocalTraining
from node.reproduce.reproducing import reproduce_experiment
from tests.support.shared_data import shared_data

pytestmark = pytest.mark.data

CNN = {"input": "3x8x8", "classes": "10", "channels": "4", "hidden": "8"}
LSTM = {"vocabulary": "65", "embedding": "4", "hidden": "8", "layers": "1"}
TABLES = TablesSize(
    rounds=2,
    plain=LocalTraining(epochs=3, batch=50, lr=0.1, momentum=0.8),
    valid=LocalTraining(epochs=1, batch=50, lr=0.5, momentum=0.5),
    pictures={
        "cifar10": small({"downscale": "4", "mosaics": "1", "limit": "400", "test_limit": "100"}, 192),
        "mnist": small({"downscale": "4", "limit": "400", "test_limit": "100"}, 49),
    },
    clients=4,
    split="iid",
    epsilons=(2, 10),
    clips=(0.1, 1.0),
)
TINY = {
    "dlmu-cifar": DlmuCifar(
        CifarSize(rounds=2, epochs=1, lr=0.05, arguments=CNN, mosaics=1, downscale=4, limit=400, test_limit=200)
    ),
    "dlmu-text": DlmuText(TextSize(rounds=2, epochs=1, lr=0.3, arguments=LSTM, speakers=3, window=10, step=200)),
    "dpsgd-tables": DpsgdTables(TABLES),
    "bearing": Bearing(BearingSize(rounds=2, epochs=1, factories=2, train_records=60, test_records=40)),
}
RUNS = {"dlmu-cifar": 4 * 3, "dlmu-text": 3, "dpsgd-tables": 2 * (1 + 5 + 4), "bearing": 2 * 2}
FILES = {"report.md", "table.json", "table.csv", "table.parquet"}


@pytest.mark.parametrize("name", TINY)
def test_an_experiment_goes_from_its_files_to_its_report(name, tmp_path):
    asked = Asked("quick", (1,), shared_data("."), "cpu")
    done = reproduce_experiment(TINY[name], asked, tmp_path, 1, lambda _: None)
    assert {path.name for path in done.written} >= FILES
    assert len(list((tmp_path / "runs").iterdir())) == RUNS[name]
    table = json.loads((tmp_path / "table.json").read_text())
    assert all(row["mean"] is not None for row in table["rows"])
    accuracies = [row["mean"] for row in table["rows"] if row["figure"].endswith("_percent")]
    assert accuracies
    assert all(0 <= each <= 100 for each in accuracies)
    assert table["verdict"] in (tmp_path / "report.md").read_text()
    epsilons = {row["mean"] for row in table["rows"] if row["figure"] == "epsilon"}
    if name == "dpsgd-tables":
        # Only the valid rows have an epsilon, and it is the one asked for.
        assert {round(each) for each in epsilons} == {2, 10}
        assert max(epsilons) <= 10
        assert {row["method"] for row in table["rows"] if row["figure"] == "epsilon"} == {
            "valid-fixed",
            "valid-dynamic",
        }
    else:
        assert not epsilons


def test_the_same_seed_is_the_same_report_and_another_is_another(tmp_path):
    text = TINY["dlmu-text"]
    asked = Asked("quick", (1,), shared_data("."), "cpu")
    first, again = (reproduce_experiment(text, asked, tmp_path / at, 1, lambda _: None) for at in ("a", "b"))
    other = reproduce_experiment(text, replace(asked, seeds=(2,)), tmp_path / "c", 1, lambda _: None)
    assert first.report == again.report
    for name in ("table.json", "report.md", "accuracy.png", "accuracy.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert first.report.tables != other.report.tables
