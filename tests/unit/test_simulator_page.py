"""docs/simulator.md says what is so: its tables are those of the code, its lines are lines that hanse takes."""

import json
import re
import shlex
from pathlib import Path

import pytest

from node.cli.exit_codes import Exit
from node.cli.main import run
from node.cli.simulate_run import run as verb
from node.federations.result_files import GROWING, RESULT_FILE
from node.federations.rows import TABLES
from node.request_template import request_template

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"
KINDS = {"whole": "int64", "number": "float64", "text": "string", "flag": "bool", "numbers": "list of float64"}
WHAT = {
    "rounds": "one row a round",
    "clients": "one row a client that took part in a round",
    "own": "one row a tested round, all clients in it, also those that did not take part",
    "distribution": "one row a client and class",
}


def tables() -> str:
    """The tables of the page, from the columns of the code."""
    parts = []
    for name, columns in TABLES.items():
        parts.append(f"### `{name}`: {WHAT[name]}\n\n| column | type | |\n| --- | --- | --- |")
        parts += [f"| `{each.name}` | {KINDS[each.kind]} | {each.meaning} |" for each in columns]
        parts.append("")
    return "\n".join(parts)


def test_every_column_is_on_the_page_with_its_type_and_meaning():
    assert tables() in PAGE.read_text(), f"docs/simulator.md, want these tables:\n{tables()}"


def lines_of(text: str) -> list[str]:
    found = re.findall(r"^hanse simulate (?!plot)([^\n]*)$", text, re.MULTILINE)
    return [line.split("  ")[0].split(" > ")[0].strip() for line in found]


@pytest.mark.parametrize("line", [*lines_of(PAGE.read_text()), *lines_of("\n".join(verb.examples))])
def test_every_line_is_one_that_hanse_takes(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("mnist", "dlmu", "press"):
        Path(folder).mkdir()
    for file in ("press.toml", "dlmu.toml", "press-run.toml", "dlmu/run.toml", "press/run.toml"):
        Path(file).write_text('[data]\nsource = "bearing-simulator"\n')
    Path("request.toml").write_text(request_template())
    arguments = shlex.split(line)
    # What is printed instead of run says that all of it was understood.
    assert run(["simulate", *arguments, "--write-file"]) == Exit.OK
    assert "[data]" in capsys.readouterr().out


def test_every_file_is_named():
    text = PAGE.read_text()
    assert RESULT_FILE in text
    assert all(f"`{name}`" in text for name in (*GROWING, "distribution", "run.toml", "checkpoint", "timings.jsonl"))


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


SMALL = "--data bearings --data-set train_records=60 --data-set test_records=40 --clients 3 --epochs 1 --rounds 6"


def test_the_example_that_reads_tables_reads_those_of_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", *shlex.split(SMALL), "--evaluate-every", "2", "--out", "dlmu"]) == Exit.OK
    rows = [json.loads(line) for line in Path("dlmu/rounds.jsonl").read_text().splitlines()]
    trained = [json.loads(line) for line in Path("dlmu/clients.jsonl").read_text().splitlines()]
    capsys.readouterr()
    (example,) = [each for each in examples() if "parquet" in each]
    exec(compile(example, "docs/simulator.md", "exec"), {})
    told = [f"{row['round']} {row['accuracy_global']} {row['accuracy_own']}" for row in rows[1:]]
    last = sorted((row["accuracy_own"], row["client"]) for row in trained if row["round"] == 6)
    assert sorted(capsys.readouterr().out.splitlines()) == sorted([*told, *(f"{who} {value}" for value, who in last)])


def test_the_example_from_python_trains(capsys):
    (example,) = [each for each in examples() if "Federation(" in each]
    shorter = example.replace("rounds=10, epochs=5", "rounds=2, epochs=1").replace(' 6, "site"', ' 2, "site"')
    assert len(shorter) == len(example) - 1
    exec(compile(shorter, "docs/simulator.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
