"""The task that collects: growing files, restarts and problems between, and periods that are closed in time."""

import os
from dataclasses import replace

import numpy as np
import pytest

from fl.data.errors import DataError
from node.collecting import Collecting
from node.config_sections import DataConfig
from node.record_errors import RecordStoreFull
from node.record_store import RecordStore
from tests.support.sealed_chain import wait_until

SCHEMA = """
label = "State"
classes = ["ok", "worn"]
{time}
[[features]]
column = "Heat"
low = 0
high = 100
"""
START = 1_700_000_000_000
HOUR = 3_600_000


class Press:
    """A factory's file, and the clock on its wall."""

    def __init__(self, folder, time=""):
        self.path = folder / "press.csv"
        (folder / "press.csv.schema.toml").write_text(SCHEMA.format(time=time))
        self.path.write_text("When,Heat,State\n")
        self.rows = 0
        self.now = START

    def write(self, count, end="\n", when=None):
        lines = []
        for row in range(self.rows, self.rows + count):
            lines.append(f"{when or row},{row % 97},{('ok', 'worn')[row % 2]}")
        self.rows += count
        with self.path.open("a") as file:
            file.write("\n".join(lines) + end)

    def rewrite(self, row, heat):
        lines = self.path.read_text().splitlines()
        when, _, state = lines[row + 1].split(",")
        lines[row + 1] = f"{when},{heat},{state}"
        self.path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def press(tmp_path):
    return Press(tmp_path)


@pytest.fixture
def store(tmp_path):
    with RecordStore(tmp_path / "records.sqlite") as store:
        yield store


@pytest.fixture
def told():
    return []


def collecting_of(press, store, told, source="table", **changes):
    data = DataConfig(source, press.path, (("test_percent", "20"),), period_records=10, follow_seconds=1)
    return Collecting(
        store,
        replace(data, **changes),
        lambda: 0,
        lambda: told.append("closed"),
        lambda _, event: told.append(event["reason"]),
        lambda: press.now,
    )


@pytest.mark.trio
async def test_rows_written_while_it_runs_are_taken_in_and_while_it_was_down_too(press, store, told):
    press.write(50)
    collecting = collecting_of(press, store, told)
    await collecting.begin()
    assert (collecting.standing.collected, collecting.standing.open, collecting.standing.tested) == (40, 0, 10)
    press.write(20)
    await collecting.look()
    assert (collecting.standing.collected, collecting.standing.open, collecting.standing.tested) == (56, 6, 14)
    press.write(30)
    again = collecting_of(press, store, told)
    await again.begin()
    assert (again.standing.collected, again.standing.open, again.standing.tested) == (80, 0, 20)
    assert [each.record_count for each in store.closed_periods()] == [10] * 8
    assert again.standing.problem is None


@pytest.mark.trio
async def test_a_file_that_did_not_change_is_not_read(press, store, told, monkeypatch):
    press.write(50)
    collecting = collecting_of(press, store, told)
    await collecting.begin()
    monkeypatch.setattr("fl.data.tabular_growing.read_tail", None)
    before = list(told)
    assert await collecting.look() is None
    assert told == before


@pytest.mark.trio
async def test_a_line_that_is_still_written_at_is_not_a_record_yet(press, store, told):
    press.write(50)
    collecting = collecting_of(press, store, told)
    await collecting.begin()
    with press.path.open("a") as file:
        file.write("50,5")
    assert await collecting.look() is None
    assert collecting.standing.collected == 40
    with press.path.open("a") as file:
        file.write("5,ok\n")
    await collecting.look()
    assert collecting.standing.collected + collecting.standing.tested == 51
    assert store.records([*range(1, 5), *store.open_periods()]).features[-1, 0] == pytest.approx(0.1)


@pytest.mark.trio
async def test_a_rewritten_past_is_told_once_and_the_node_goes_on(press, store, told):
    press.write(50)
    collecting = collecting_of(press, store, told)
    await collecting.begin()
    press.rewrite(7, 99)
    press.write(20)
    await collecting.look()
    await collecting.look()
    (reason,) = [each for each in told if each != "closed"]
    assert "line 9 (record 8)" in reason
    assert collecting.standing.problem == reason
    assert collecting.standing.collected == 40
    # After a restart as before it.
    again = collecting_of(press, store, told)
    await again.begin()
    assert "line 9" in again.standing.problem
    press.rewrite(7, 7)
    await again.look()
    assert again.standing.problem is None
    assert again.standing.collected == 56


@pytest.mark.trio
@pytest.mark.parametrize("damage", ["missing", "word", "cells", "schema", "class"])
async def test_a_source_that_cannot_be_read_is_named_and_read_once_it_can_be(press, store, told, damage):
    press.write(50)
    collecting = collecting_of(press, store, told)
    await collecting.begin()
    text, schema = press.path.read_text(), press.path.with_name("press.csv.schema.toml")
    if damage == "missing":
        press.path.rename(press.path.with_suffix(".old"))
    elif damage == "schema":
        schema.write_text(SCHEMA.format(time="tiem = 3"))
    else:
        bad = {"word": "50,hot,ok\n", "cells": "50,5\n", "class": "50,5,torn\n"}[damage]
        press.path.write_text(text + bad)
    problem = await collecting.look()
    assert isinstance(problem, DataError)
    assert str(press.path) in collecting.standing.problem
    assert collecting.standing.collected == 40
    schema.write_text(SCHEMA.format(time=""))
    press.path.write_text(text)
    press.write(10)
    assert await collecting.look() is None
    assert collecting.standing.problem is None
    assert collecting.standing.collected == 48


@pytest.mark.trio
@pytest.mark.parametrize("pages", [0, 3, 8])
async def test_a_full_disk_is_told_and_nothing_is_lost(press, store, told, pages):
    press.write(50)
    collecting = collecting_of(press, store, told)
    await collecting.begin()
    press.write(4000)
    (used,) = store._file.execute("PRAGMA page_count").fetchone()
    store._file.execute(f"PRAGMA max_page_count = {used + pages}")
    assert isinstance(await collecting.look(), RecordStoreFull)
    reason = collecting.standing.problem
    assert "no room to write" in reason
    assert str(store.path) in reason
    assert told.count(reason) == 1
    held = [each.root for each in store.closed_periods()]
    assert collecting.standing.collected < 3240
    store._file.execute(f"PRAGMA max_page_count = {2**30}")
    assert await collecting.look() is None
    assert (collecting.standing.collected, collecting.standing.tested) == (3240, 810)
    assert [each.root for each in store.closed_periods()][: len(held)] == held
    # Row for row what the file holds, none twice.
    press.now += 1
    again = collecting_of(press, store, told)
    await again.begin()
    assert (again.standing.collected, again.standing.problem) == (3240, None)


@pytest.mark.trio
async def test_at_the_first_start_a_source_must_be_usable(press, store, told):
    press.write(5)
    press.path.write_text(press.path.read_text().replace("Heat", "Haet"))
    with pytest.raises(DataError, match="column 'Heat': missing"):
        await collecting_of(press, store, told).begin()
    for changes, reason in [
        ({"source": "bearing-simulator", "path": None}, "does not grow; those that do: table"),
        ({"settings": (("partition", "iid"), ("parts", "2"))}, "which a table that grows cannot have"),
        ({"settings": (("sed", "1"),)}, "sed"),
    ]:
        with pytest.raises(DataError, match=reason):
            await collecting_of(press, store, told, **changes).begin()


@pytest.mark.trio
async def test_a_file_without_rows_yet_is_waited_for(press, store, told):
    collecting = collecting_of(press, store, told)
    await collecting.begin()
    assert collecting.standing.problem is None
    press.write(25)
    await collecting.look()
    assert collecting.standing.collected == 20


@pytest.mark.trio
@pytest.mark.parametrize("time", ["", 'time = "When"\ntime_unit = "ms"'])
async def test_an_hours_records_are_closed_when_it_is_over_though_nothing_comes(press, store, told, time):
    press = Press(press.path.parent, time)
    press.write(50, when=START - 5)
    collecting = collecting_of(press, store, told, period_records=0, period_seconds=3600)
    await collecting.begin()
    assert (collecting.standing.collected, collecting.standing.open) == (40, 40)
    press.now = (START // HOUR + 1) * HOUR - 1
    await collecting.look()
    assert store.closed_periods() == ()
    # Also when the source is gone by then.
    os.remove(press.path)
    press.now += 1
    told.clear()
    await collecting.look()
    (closed,) = store.closed_periods()
    assert (closed.period, closed.record_count, closed.ends) == (START // HOUR, 40, press.now)
    assert "closed" in told
    assert "cannot be read" in collecting.standing.problem


@pytest.mark.trio
async def test_a_record_is_of_the_hour_that_its_row_says(press, store, told):
    press = Press(press.path.parent, 'time = "When"')
    press.write(20, when="2023-11-14T09:30:00+01:00")
    press.write(10, when="2023-11-14 12:59:59")
    collecting = collecting_of(press, store, told, period_records=0, period_seconds=3600)
    await collecting.begin()
    begins = [np.datetime64(each.begins, "ms").astype(str) for each in store.closed_periods()]
    assert begins == ["2023-11-14T08:00:00.000", "2023-11-14T12:00:00.000"]


@pytest.mark.trio
async def test_a_followed_table_is_looked_at_once_at_a_start_when_it_is_no_longer_followed(press, store, told):
    press.write(50)
    await collecting_of(press, store, told).begin()
    press.write(20)
    once = collecting_of(press, store, told, follow_seconds=0)
    await once.begin()
    assert not once.follows
    assert once.standing.collected == 56


@pytest.mark.trio
async def test_it_looks_by_itself_when_a_period_is_over(press, store, told, nursery, monkeypatch):
    monkeypatch.setattr("node.collecting.PAUSE_LEAST_S", 0.01)
    press.now = (START // HOUR + 1) * HOUR - 5
    press.write(50)
    collecting = collecting_of(press, store, told, period_records=0, period_seconds=3600, follow_seconds=86_400)
    await collecting.begin()
    nursery.start_soon(collecting.run)
    # Meanwhile a last record is written, and the hour strikes.
    press.write(10)
    press.now += 10
    await wait_until(lambda: collecting.standing.collected == 48)
    assert [each.period for each in store.closed_periods()] == [START // HOUR]
