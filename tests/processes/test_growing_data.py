"""A factory's table grows while its daemon runs: every hour's records are anchored, and trained on in later rounds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.devnet.league import DevLeague, DevNode, NodePlan
from tests.support.processes import FAST, PATIENCE_S, end, hanse, publish, receipts_of, restart, wait

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

PERIOD = 20
FIRST, TESTED = 100, 20
SCHEMA = """
label = "State"
classes = ["ok", "worn"]

[[features]]
column = "Heat"
low = 0
high = 100

[[features]]
column = "Shake"
low = -1
high = 1
"""


class Press:
    """The file that a machine writes to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "press.csv"
        (folder / "press.csv.schema.toml").write_text(SCHEMA)
        self.path.write_text("Heat,Shake,State\n")
        self._rng = np.random.default_rng(1)

    def write(self, rows: int) -> None:
        worn = self._rng.integers(0, 2, rows)
        heat = 30 + 40 * worn + self._rng.normal(0, 5, rows)
        shake = self._rng.normal(0, 0.2, rows)
        with self.path.open("a") as file:
            for each in range(rows):
                file.write(f"{heat[each]:.3f},{shake[each]:.4f},{('ok', 'worn')[worn[each]]}\n")


@pytest.fixture
def press(tmp_path: Path) -> Press:
    press = Press(tmp_path)
    press.write(FIRST)
    return press


@pytest.fixture
def league(tmp_path: Path, press: Press) -> Iterator[DevLeague]:
    """Alice asks for models, bob has a press."""
    growing = {**FAST, "data": {"follow_seconds": 1}}
    bob = NodePlan("bob", "table", press.path, {"test_percent": "20"}, PERIOD, growing)
    with DevLeague(tmp_path / "league", [NodePlan("alice", settings=FAST), bob], "growing") as league:
        league.start(PATIENCE_S)
        yield league


def records_of(node: DevNode) -> dict[str, Any]:
    shown: dict[str, Any] | None = node.call("health")["records"]
    return shown or {}


def wait_anchored(league: DevLeague, node: DevNode, anchored: int, open_: int = 0) -> dict[str, Any]:
    def there() -> bool:
        shown = records_of(node)
        return (shown.get("anchored"), shown.get("open")) == (anchored, open_)

    wait(league, there, f"{node.name} has anchored {anchored} records and {open_} wait")
    return records_of(node)


def test_rows_written_to_a_table_are_anchored_without_a_restart_and_after_one(league: DevLeague, press: Press) -> None:
    alice, bob = league.nodes
    assert records_of(alice) == {}
    first = wait_anchored(league, bob, FIRST - TESTED)
    assert (first["last_period"], first["tested"], first["problem"], first["follows"]) == (4, TESTED, None, True)

    # 40 rows: 8 to test on, a period of 20 and 12 that wait for more.
    press.write(40)
    wait_anchored(league, bob, 100, open_=12)

    bob.kill()
    press.write(10)
    restart(league, bob)
    later = wait_anchored(league, bob, 120)
    assert (later["collected"], later["tested"], later["last_period"]) == (120, 30, 6)
    anchors = alice.call("anchor.list", org="bob")["anchors"]
    assert [(each["period"], each["record_count"]) for each in anchors] == [(period, PERIOD) for period in range(1, 7)]
    assert bob.call("status")["records"] == later
    shown = " ".join(hanse("status", "-c", bob.folder).out.split())
    assert "120 collected; 120 anchored in 6 periods, the last is 6; 30 to test on" in shown

    # Somebody edits the past: it is named, and what was anchored stands.
    lines = press.path.read_text().splitlines()
    press.path.write_text("\n".join([*lines[:5], "1,0,ok", *lines[6:]]) + "\n")
    wait(league, lambda: bool(records_of(bob)["problem"]), "bob tells that the past was rewritten")
    told = records_of(bob)
    assert told["problem"].startswith(f"{press.path}: line 6 (record 5) is not what was taken in from there")
    assert {**told, "problem": None} == later
    assert bob.call("health")["ready"]
    # A restart does not stop at it, and the row put back is the end of it.
    bob.kill()
    restart(league, bob)
    wait(league, lambda: "line 6" in (records_of(bob).get("problem") or ""), "bob says so after a restart too")
    press.path.write_text("\n".join(lines) + "\n")
    press.write(25)
    assert wait_anchored(league, bob, 140)["problem"] is None


def test_a_later_round_is_trained_on_what_was_anchored_meanwhile(league: DevLeague, press: Press) -> None:
    alice, bob = league.nodes
    wait_anchored(league, bob, FIRST - TESTED)
    request = publish(
        alice,
        model_arguments={"layers": "2,8,2"},
        data_type="table",
        rounds_max=500,
        providers_min=1,
        providers_max=1,
    )

    def named() -> list[list[int]]:
        return [line["periods"] for each in receipts_of(alice, request) for line in each["lines"]]

    wait(league, lambda: bool(named()), "a round is over")
    press.write(25)
    wait(league, lambda: named()[-1] == [1, 2, 3, 4, 5], "a round was trained on the fifth period")
    assert named()[0] == [1, 2, 3, 4]
    # Offered were the records of the beginning: more is not paid.
    assert {line["paid"] for each in receipts_of(alice, request) for line in each["lines"]} == {FIRST - TESTED}
    end(league, alice, request)
