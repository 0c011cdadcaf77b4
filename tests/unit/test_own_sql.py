"""The answer of a database: read only, row by row, named when it is not as described; and its growth by a key."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy

from fl.data.errors import DataError
from fl.data.own.block import parse_block
from fl.data.own.sql_columns import Selection, read_selection
from fl.data.own.sql_open import Answer, without_secrets

RUNS: dict[str, Any] = {
    "kind": "sql",
    "path": "plant.sqlite",
    "query": "SELECT * FROM runs -- all of them",
    "key": "id",
    "label": "state",
    "classes": ["0", "1"],
    "group": "line",
    "test_percent": 20,
    "features": [{"column": "heat", "low": 0, "high": 100}, {"column": "grade", "values": ["L", "M"]}],
}
BY_URL = {name: value for name, value in RUNS.items() if name != "path"} | {"url_env": "PLANT"}


class Plant:
    """A SQLite database that somebody else writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection = sqlite3.connect(folder / "plant.sqlite", isolation_level=None)
        self.connection.execute(
            "CREATE TABLE runs (id INTEGER PRIMARY KEY, heat REAL, grade TEXT, state INTEGER, line TEXT, at TEXT)"
        )

    def add(self, *heats: float, **odd: Any) -> None:
        for heat in heats:
            row = {"heat": heat, "grade": "L", "state": int(heat > 50), "line": "a", "at": "2026-01-02T03:04:05"} | odd
            self.connection.execute(
                f"INSERT INTO runs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
            )

    def block(self, **change: Any) -> Any:
        return parse_block(RUNS | change, self.folder, "block")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    made.add(0, 25, 50, 75, 100)
    yield made
    made.connection.close()


@pytest.fixture(params=["sqlite", "sqlalchemy"])
def either(request: pytest.FixtureRequest, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The block of the same database, once by the standard library and once as any other database is read."""
    if request.param == "sqlite":
        return lambda **change: plant.block(**change)
    monkeypatch.setenv("PLANT", f"sqlite:///{plant.folder / 'plant.sqlite'}")
    return lambda **change: parse_block(BY_URL | change, plant.folder, "block")


def test_rows_become_records_in_the_order_of_their_key(either: Any, plant: Plant):
    split = either(query="SELECT * FROM runs ORDER BY heat DESC").load()
    assert split.train.features.tolist() == [[-1, 1, -1], [-0.5, 1, -1], [0, 1, -1], [0.5, 1, -1]]
    assert split.test.features.tolist() == [[1, 1, -1]]
    assert (split.train.labels.tolist(), split.train.grouped_by) == ([0, 0, 0, 1], "line")


def test_a_second_query_may_say_what_to_test_on(either: Any, plant: Plant):
    plant.add(60, line="b")
    block = {"query": "SELECT * FROM runs WHERE line = 'a'", "test_query": "SELECT * FROM runs WHERE line = 'b'"}
    told = {name: value for name, value in RUNS.items() if name != "test_percent"} | block
    split = parse_block(told, plant.folder, "block").load()
    assert (len(split.train), split.test.features[0, 0]) == (5, pytest.approx(0.2))
    with pytest.raises(DataError, match="want no test_query"):
        parse_block(told, plant.folder, "block").growing()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, heat, grade, state, line FROM runs WHERE at > '2026-01-01 00:00:00' AND line NOT LIKE '%:x'",
        "WITH hot AS (SELECT * FROM runs WHERE heat >= 0) SELECT * FROM hot;",
        'SELECT r.id, r.heat, upper("grade") AS grade, r.state, r.line FROM runs AS r',
    ],
)
def test_any_select_is_taken_as_it_is_written(either: Any, query: str):
    assert len(either(query=query).load().train) >= 2


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM runs",
        "SELECT 1; DROP TABLE runs",
        "PRAGMA journal_mode = DELETE",
        "ATTACH 'x' AS y",
        "",
        "  ",
        "-- SELECT\nDELETE FROM runs",
    ],
)
def test_what_is_no_single_select_is_refused_before_a_database_is_opened(tmp_path: Path, query: str):
    with pytest.raises(DataError, match=r"query is .*, want (a single|one) SELECT"):
        parse_block(RUNS | {"query": query}, tmp_path, "block")


@pytest.mark.parametrize(
    "query",
    [
        "WITH gone AS (SELECT 1) DELETE FROM runs",
        "WITH gone AS (SELECT 1) INSERT INTO runs (id) VALUES (99) RETURNING *",
        "SELECT 1) x UNION ALL DELETE FROM runs WHERE (1 = 1",
    ],
)
def test_what_writes_never_runs_however_it_is_dressed(either: Any, plant: Plant, query: str):
    with pytest.raises(DataError):
        either(query=query).load()
    assert plant.connection.execute("SELECT count(*), max(id) FROM runs").fetchone() == (5, 5)


def test_sqlite_may_read_and_call_functions_and_nothing_else(plant: Plant):
    with pytest.raises(DataError, match=r"not authorized|prohibited"):
        plant.block(query="SELECT *, (SELECT name FROM pragma_table_info('runs')) FROM runs").load()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": "SELECT id, heat, state, line FROM runs"}, "column 'grade': missing; the file has 4 columns"),
        ({"key": "number"}, "number"),
        ({"key": "line"}, "column 'line': is 'a' in two rows, want a value that names one"),
        ({"query": "SELECT NULL AS id, heat, grade, state, line FROM runs"}, "column 'id': is empty in a row"),
        ({"classes": ["0", "2"]}, "column 'state': the row with id 4 has '1', want one of '0', '2'"),
        ({"query": "SELECT * FROM rans"}, "no such table: rans"),
        ({"query": "SELECT id, heat FROM runs WHERE id < 0"}, "missing"),
        ({"query": "SELECT * FROM runs WHERE id < 0"}, "has no records"),
        (
            {"query": "SELECT id, x'00' AS heat, grade, state, line FROM runs"},
            "column 'heat': the row with id 1 has bytes",
        ),
        (
            {"query": "SELECT id, 'hot' AS heat, grade, state, line FROM runs"},
            "the row with id 1 has 'hot', want a number",
        ),
    ],
)
def test_an_answer_that_is_not_as_described_is_named(either: Any, change: dict[str, Any], said: str):
    with pytest.raises(DataError) as refused:
        either(**change).load()
    assert said in str(refused.value)


def test_gaps_are_refused_by_their_row_or_dropped(either: Any, plant: Plant):
    plant.add(5, grade=None)
    plant.add(7)
    with pytest.raises(DataError, match="column 'grade': the row with id 6: empty"):
        either().load()
    split = either(missing="drop").load()
    assert len(split.train) + len(split.test) == 6


def test_a_survey_tells_what_lies_outside(either: Any):
    found = either(features=[{"column": "heat", "low": 10, "high": 60}]).survey().found
    assert (found[0].low, found[0].high, found[0].outside) == (0, 100, 3)


def test_a_query_that_takes_too_long_is_given_up(plant: Plant, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10**9, 20))
    monkeypatch.setattr("fl.data.own.sql_open.time.monotonic", lambda: next(clock))
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT * FROM n"
    with pytest.raises(DataError, match=r"plant\.sqlite: no whole answer after 5 s"):
        plant.block(query=endless, timeout_s=5).load()


# --- values of databases that are richer than SQLite


class Script:
    """A database that answers as it was told."""

    name = "the plant"

    def __init__(self, names: list[str], *parts: list[tuple[object, ...]]) -> None:
        self._answer = Answer(tuple(names), iter(parts))

    def quoted(self, column: str) -> str:
        return column

    def rows(self, before: str, query: str, after: str, values: Any) -> Answer:
        return self._answer


def cells(*values: object, parts: int = 1) -> Any:
    rows = list(enumerate(values))
    size = -(-len(rows) // parts)
    script = Script(["id", "x"], *(rows[at : at + size] for at in range(0, len(rows), size)))
    return read_selection(script, Selection("SELECT", "id", ("x",))).columns.cells["x"]


def test_a_column_that_is_answered_twice_is_refused():
    script = Script(["id", "x", "x"], [(1, 2, 3)])
    with pytest.raises(DataError, match="the plant, column 'x': is answered 2 times, want it once"):
        read_selection(script, Selection("SELECT", "id", ("x",)))


def test_values_become_what_a_csv_file_would_say():
    assert cells(Decimal("2.50"), True, None, datetime(2026, 1, 2, tzinfo=UTC), "a", 3.0, Decimal("4.00")) == [
        "2.50", "1", "", "2026-01-02T00:00:00+00:00", "a", "3", "4"
    ]  # fmt: skip


def test_decimals_that_are_no_numbers_of_a_machine_are_words_and_no_fault():
    odd = [
        Decimal(text)
        for text in ("NaN", "-Infinity", "1E+30", "1.50E+9999", "123456789012345678901234567890.0", "-0.0")
    ]
    assert cells(None, *odd)[1:] == [
        "NaN", "-Infinity", "1" + 30 * "0", "1.50E+9999", "123456789012345678901234567890", "0"
    ]  # fmt: skip


def test_numbers_stay_numbers_until_something_else_comes():
    whole = cells(1, 2, 3, 4, parts=2)
    assert isinstance(whole, np.ndarray)
    assert whole.dtype == np.int64
    assert cells(1, 2, 2.5, 3.0, parts=2).tolist() == [1, 2, 2.5, 3]
    assert cells(1, 2.0, 2.5, "x", parts=2) == ["1", "2", "2.5", "x"]
    assert cells(1, 2, None, 3, parts=2) == ["1", "2", "", "3"]
    assert cells(2**70, 1) == [str(2**70), "1"]


@pytest.mark.parametrize("value", [b"x", memoryview(b"x"), [1], {"a": 1}])
def test_what_is_no_number_text_or_time_is_refused(value: object):
    with pytest.raises(DataError, match=r"column 'x': the row with id 1 has .*, want a number, a text or a time"):
        cells(1.0, value)


# --- where the database is


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "path and url_env are set, want one of path"),
        ({"path": None, "url_env": None}, "no database is named"),
        ({"path": "postgresql://reader:secret@host/plant", "url_env": None}, "path is a URL, want url_env or url_file"),
        (
            {"path": None, "url_env": "postgresql://reader:secret@host"},
            "url_env is a URL, want the name of the variable",
        ),
        ({"path": None, "timeout_s": 0}, "timeout_s is 0"),
        ({"path": None, "key": ""}, "key is ''"),
        ({"path": None, "delimiter": ","}, "kind 'sql' has no delimiter"),
    ],
)
def test_a_block_names_one_database_and_never_a_password(tmp_path: Path, change: dict[str, Any], said: str):
    told = {name: value for name, value in (BY_URL | {"path": "x"} | change).items() if value is not None}
    with pytest.raises(DataError) as refused:
        parse_block(told, tmp_path, "block")
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_url_comes_from_the_environment_or_from_a_file_of_ones_own(plant: Plant, monkeypatch: pytest.MonkeyPatch):
    block = parse_block(BY_URL, plant.folder, "block")
    monkeypatch.delenv("PLANT", raising=False)
    with pytest.raises(DataError, match="the variable PLANT is not set"):
        block.load()
    by_file = {name: value for name, value in BY_URL.items() if name != "url_env"} | {"url_file": "plant.url"}
    secret = plant.folder / "plant.url"
    with pytest.raises(DataError, match=r"plant\.url: cannot be read"):
        parse_block(by_file, plant.folder, "block").load()
    secret.write_text(f"sqlite:///{plant.folder / 'plant.sqlite'}\n# ours\n")
    secret.chmod(0o644)
    with pytest.raises(DataError, match=r"plant\.url: can be read by others, want mode 0600"):
        parse_block(by_file, plant.folder, "block").load()
    secret.chmod(0o600)
    assert len(parse_block(by_file, plant.folder, "block").load().train) == 4
    for content, said in ((b"\n", "is empty"), (b"\xff", "is not UTF-8")):
        secret.write_bytes(content)
        with pytest.raises(DataError, match=said):
            parse_block(by_file, plant.folder, "block").load()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url", "want a URL such as postgresql"),
        ("postgresql://reader:secret@host:secret/plant", "want a URL such as postgresql"),
        ("nosuchdb://reader:secret@host/plant", "wants a driver that is not installed"),
        ("postgresql+psycopg://reader:secret@host/plant", "wants a driver that is not installed"),
        ("sqlite:////nowhere/secret/plant.sqlite", "unable to open database file"),
        ("postgresql+psycopg://reader:se@secret@host/plant", "holds an @, want it written %40"),
        ("sqlite:////nowhere/plant.sqlite?timeout=secret", "does not take the URL's options (timeout)"),
    ],
)
def test_a_database_that_cannot_be_opened_says_why_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
):
    monkeypatch.setenv("PLANT", url)
    with pytest.raises(DataError) as refused:
        parse_block(BY_URL, tmp_path, "block").load()
    assert said in str(refused.value)
    assert "$PLANT" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_driver_that_repeats_a_password_is_not_repeated():
    url = sqlalchemy.make_url("postgresql://reader:s%20e%2Fcret@host/plant?sslpassword=other")
    fault = RuntimeError("no 's e/cret', s%20e%2Fcret, s+e%2Fcret, other for reader\nand more")
    assert without_secrets(url, fault) == "no '***', ***, ***, *** for reader"


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"plant\.sqlite: does not exist"):
        parse_block(RUNS, tmp_path, "block").load()
    (tmp_path / "plant.sqlite").write_bytes(b"no database at all, whatever its name says" * 50)
    with pytest.raises(DataError, match=r"plant\.sqlite: file is not a database"):
        parse_block(RUNS, tmp_path, "block").load()


# --- growth


def test_a_database_is_asked_for_what_is_new(either: Any, plant: Plant):
    source = either(time="at").growing()
    seen = source.read()
    assert (seen.first, seen.total, seen.times[0]) == (0, 5, 1_767_323_045_000)
    assert source.read(5).total == 5
    plant.add(10, 20)
    seen = source.read(5)
    assert (seen.first, seen.total, seen.place(1)) == (5, 7, "the row with id 7")
    # Who holds another number of records than were given gets them all.
    assert source.read(6).first == 0


def test_rows_with_gaps_are_no_records_and_are_not_asked_for_again(either: Any, plant: Plant):
    source = either(missing="drop").growing()
    plant.add(1, grade=None)
    assert source.read().total == 5
    plant.add(2)
    seen = source.read(5)
    assert (seen.first, seen.total) == (5, 6)
    assert seen.place(0) == "the row with id 7"


@pytest.mark.parametrize(
    "rewrite",
    [
        "DELETE FROM runs WHERE id = 2",
        "UPDATE runs SET heat = 1 WHERE id = 5",
        "INSERT INTO runs (id, heat, grade, state, line) VALUES (-1, 1, 'L', 0, 'a')",
        "DELETE FROM runs",
    ],
)
def test_a_past_that_was_rewritten_is_read_again_whole(either: Any, plant: Plant, rewrite: str):
    source = either().growing()
    source.read()
    plant.connection.execute(rewrite)
    plant.add(60)
    seen = source.read(5)
    assert seen.first == 0
    assert seen.total == plant.connection.execute("SELECT count(*) FROM runs").fetchone()[0]


def test_nothing_yet_is_nothing(tmp_path: Path):
    plant = Plant(tmp_path)
    source = plant.block().growing()
    assert source.read() is None
    plant.add(1)
    assert source.read().total == 1
    plant.connection.close()


def test_a_sqlite_file_shows_its_changes_and_another_database_does_not(either: Any, plant: Plant):
    files = either().growing().files
    assert files in ((), (plant.folder / "plant.sqlite", plant.folder / "plant.sqlite-wal"))
