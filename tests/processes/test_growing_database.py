"""A factory's database grows while its daemon runs: rows are followed by their key, past a restart too."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from node.devnet.league import DevLeague, DevNode, NodePlan
from tests.support.processes import FAST, PATIENCE_S, restart, wait

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

BLOCK = """
kind = "sql"
path = "plant.sqlite"
query = "SELECT id, heat, state FROM runs WHERE line = 3"
key = "id"
label = "state"
classes = ["ok", "worn"]
test_percent = 20
[[features]]
column = "heat"
low = 0
high = 100
"""


class Plant:
    """A database that machines write to, and this factory may read."""

    def __init__(self, folder: Path) -> None:
        self.block = folder / "plant.toml"
        self.block.write_text(BLOCK)
        self.connection = sqlite3.connect(folder / "plant.sqlite", isolation_level=None)
        # As a database that is read while it is written to is set up.
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, line INTEGER, heat REAL, state TEXT)")

    def write(self, rows: int) -> None:
        """So many rows of this line, and as many of another."""
        for row in range(rows):
            for line in (3, 4):
                self.connection.execute(
                    "INSERT INTO runs (line, heat, state) VALUES (?, ?, ?)", (line, row % 97, ("ok", "worn")[row % 2])
                )


def records_of(node: DevNode) -> dict[str, Any]:
    return node.call("health")["records"] or {}


def wait_anchored(league: DevLeague, node: DevNode, anchored: int, open_: int) -> None:
    def there() -> bool:
        shown = records_of(node)
        return (shown.get("anchored"), shown.get("open"), shown.get("problem")) == (anchored, open_, None)

    wait(league, there, f"{node.name} has anchored {anchored} records and {open_} wait")


def test_rows_written_to_a_database_are_anchored_without_a_restart_and_after_one(tmp_path: Path):
    plant = Plant(tmp_path)
    plant.write(50)
    growing = {**FAST, "data": {"follow_seconds": 1}}
    bob = NodePlan("bob", "own", plant.block, {}, 20, growing)
    with DevLeague(tmp_path / "league", [NodePlan("alice", settings=FAST), bob], "database") as league:
        league.start(PATIENCE_S)
        node = league.nodes[1]
        # 50 rows: 10 to test on, two periods of 20.
        wait_anchored(league, node, 40, 0)
        plant.write(30)
        wait_anchored(league, node, 60, 4)
        node.kill()
        plant.write(20)
        restart(league, node)
        wait_anchored(league, node, 80, 0)
    plant.connection.close()
