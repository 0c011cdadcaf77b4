"""Experiments that found leagues of real daemons: their figures are what those did, on one league for both."""

import json
from contextlib import contextmanager

import pytest

from fl.models.shapes import parameter_count
from node.reproduce import leagues
from node.reproduce.anchor_time import AnchorSize, AnchorTime
from node.reproduce.communication import Communication, CommunicationSize
from node.reproduce.experiment import Asked
from node.reproduce.reproducing import reproduce_experiment

pytestmark = pytest.mark.processes

ROUNDS = 2


def test_leagues_are_timed_and_their_traffic_is_counted(tmp_path, monkeypatch):
    with leagues.bearing_league(1, 60) as league:

        @contextmanager
        def this_one(factories, records):
            assert (factories, records) == (1, 60)
            yield league

        monkeypatch.setattr(leagues, "bearing_league", this_one)
        times = AnchorTime(AnchorSize(records=(50,), roots=2, rounds=1, factories=1, factory_records=60, builds=1))
        timed = reproduce_experiment(times, Asked("quick", (1,)), tmp_path / "times", 1, lambda _: None)
        size = CommunicationSize((1, 2), (1,), league_rounds=ROUNDS, records=60, rounds=ROUNDS)
        reproduce_experiment(Communication(size), Asked("quick", (1,)), tmp_path / "kilobytes", 1, lambda _: None)
        anchored = league.nodes[0].call("anchor.list", org="me")["totals"]

    found = figures(tmp_path / "times")
    assert all(value > 0 for value in found.values())
    assert found.keys() == {
        ("tree", "tree_ms"),
        ("league", "root_final_s"),
        ("league", "contribution_final_s"),
        ("league", "cores"),
    }
    assert "in a league of 2 nodes" in timed.report.verdict
    assert anchored["periods"] == 2, "both roots are on the ledger"
    # An update a round travels once, deflated, and the ledger has some blocks of it.
    found = figures(tmp_path / "kilobytes")
    update_kb = ROUNDS * 4 * parameter_count("mlp", {"layers": "8,150,150,4"}) / 1000
    assert 0.5 * update_kb < found["league", "network_kb"] < 2 * update_kb
    assert 1 < found["league", "ledger_kb"] < 0.2 * update_kb


def figures(folder):
    rows = json.loads((folder / "table.json").read_text())["rows"]
    return {(row["what"], row["figure"]): row["mean"] for row in rows}
