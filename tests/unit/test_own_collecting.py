"""A node whose records stand in a database: it follows them by their key, from a file or by a URL nobody else sees."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.collecting import Collecting
from node.config import parse_config
from node.record_store import RecordStore

CONFIG = """
[node]
name = "Alice"
[data]
source = "own"
period_records = 10
follow_seconds = 1
[data.block]
kind = "sql"
{address}
query = "SELECT * FROM runs"
key = "id"
time = "at"
time_unit = "s"
test_percent = 20
label = "state"
classes = ["ok", "worn"]
[[data.block.features]]
column = "heat"
low = 0
high = 100
"""
START = 1_700_000_000


class Plant:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "plant.sqlite"
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, heat REAL, state TEXT, at INTEGER)")
        self.rows = 0

    def write(self, count: int) -> None:
        rows = [(row % 97, ("ok", "worn")[row % 2], START + row) for row in range(self.rows, self.rows + count)]
        self.connection.executemany("INSERT INTO runs (heat, state, at) VALUES (?, ?, ?)", rows)
        self.rows += count


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    yield made
    made.connection.close()


@pytest.fixture(params=['path = "plant.sqlite"', 'url_env = "PLANT"'], ids=["file", "url"])
def address(request: pytest.FixtureRequest, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PLANT", f"sqlite:///{plant.path}")
    return str(request.param)


def collecting_of(folder: Path, store: RecordStore, address: str) -> Collecting:
    data = parse_config(CONFIG.format(address=address), folder / "config.toml").data
    (folder / "config.toml").write_text(CONFIG.format(address=address))
    return Collecting(store, data, lambda: 0, lambda: None, lambda *_: None, lambda: (START + 10_000) * 1000)


@pytest.mark.trio
async def test_a_database_is_followed_over_restarts(tmp_path: Path, plant: Plant, address: str):
    with RecordStore(tmp_path / "records.sqlite") as store:
        plant.write(50)
        collecting = collecting_of(tmp_path, store, address)
        await collecting.begin()
        assert (collecting.standing.collected, collecting.standing.tested) == (40, 10)
        plant.write(20)
        await collecting.look()
        assert (collecting.standing.collected, collecting.standing.tested) == (56, 14)
        again = collecting_of(tmp_path, store, address)
        plant.write(30)
        await again.begin()
        assert (again.standing.collected, again.standing.tested, again.standing.problem) == (80, 20, None)


@pytest.mark.trio
async def test_a_past_that_was_rewritten_is_told_and_nothing_is_taken_in(tmp_path: Path, plant: Plant, address: str):
    with RecordStore(tmp_path / "records.sqlite") as store:
        plant.write(50)
        collecting = collecting_of(tmp_path, store, address)
        await collecting.begin()
        plant.connection.execute("DELETE FROM runs WHERE id = 7")
        plant.write(1)
        await collecting.look()
        assert "the row with id 8 (record 7) is not what was taken in from there" in str(collecting.standing.problem)
        assert collecting.standing.collected == 40
        plant.connection.execute("INSERT INTO runs VALUES (7, 6, 'ok', ?)", (START + 6,))
        await collecting.look()
        assert (collecting.standing.problem, collecting.standing.collected) == (None, 41)


@pytest.mark.trio
async def test_a_database_that_is_away_for_a_while_is_told_and_comes_back(tmp_path: Path, plant: Plant, address: str):
    with RecordStore(tmp_path / "records.sqlite") as store:
        plant.write(50)
        collecting = collecting_of(tmp_path, store, address)
        await collecting.begin()
        plant.connection.execute("ALTER TABLE runs RENAME TO elsewhere")
        await collecting.look()
        assert "no such table: runs" in str(collecting.standing.problem)
        plant.connection.execute("ALTER TABLE elsewhere RENAME TO runs")
        plant.write(5)
        await collecting.look()
        assert (collecting.standing.problem, collecting.standing.collected) == (None, 44)
