"""Tables of the command line in terminals of every width."""

import sys

import click
import pytest

from node.cli.output import print_fields, print_table

ROOT = "cea0136885abeed41330068e5ad15711e2f77982c117852d3908110d63e90516"
COLUMNS = ("period", "ends", "provider", "fate", "reason", "root")
ROW = ("7", "2026-11-21 12:15:46", "factory-12", "delivered", "late by more than the window allows", ROOT)


def shown(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table("Rounds", COLUMNS, [ROW, ROW], shorten=("root",))
    return click.unstyle(capsys.readouterr().out).splitlines()


def test_a_terminal_of_80_columns_breaks_no_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(80, monkeypatch, capsys)
    assert all(len(line) <= 80 for line in lines)
    for whole in (*COLUMNS, *ROW[1].split(), "factory-12", "delivered", *ROW[4].split(), ROOT[:12]):
        assert any(whole in line for line in lines), whole
    assert not any(ROOT[:13] in line for line in lines)


@pytest.mark.parametrize("width", [20, 30, 40, 60, 79])
def test_a_narrower_one_breaks_words_and_loses_none(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(width, monkeypatch, capsys)
    assert all(len(line) <= width for line in lines)
    letters = "".join(lines)
    for value in ROW[:-1]:
        assert all(letters.count(letter) >= 2 * value.count(letter) for letter in value.replace(" ", ""))


def test_piped_output_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Rounds", COLUMNS, [ROW], shorten=("root",))
    assert any(ROOT in line and ROW[4] in line for line in capsys.readouterr().out.splitlines())


def test_a_tuple_of_values_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"proof": ("aa", "bb"), "root": "cc"})
    assert capsys.readouterr().out == "proof  aa\n       bb\nroot   cc\n"
