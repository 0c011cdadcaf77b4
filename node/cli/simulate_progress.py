"""How a simulation is watched: a bar on a terminal, lines in a log, JSON lines for programs, or nothing."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from node.federations.carry_out import Watcher
    from node.federations.planned_runs import PlannedRun
    from node.federations.rows import Row

# In a log, a line at most so often, counted in the seconds that rounds took.
LOG_EVERY_S = 10.0
# Columns of a terminal from which on a bar has room for everything.
WIDE = 100


@contextmanager
def watching(as_json: bool, json_lines: bool, runs: int) -> "Iterator[Watcher]":
    """Who looks on at `runs` runs. A bar goes to stderr, where it does not mix with results."""
    if json_lines:
        yield _JsonLines()
    elif as_json:
        yield _Nobody()
    elif sys.stderr.isatty():
        with _bar(runs) as bar:
            yield bar
    else:
        yield _Log(runs)


def told_of(row: "Row", loss: bool = True) -> str:
    """A round in a few words: both accuracies, always."""
    if row["accuracy_global"] is None:
        return f"loss in training {_number(row['loss_training_nats'], 3)}"
    accuracies = f"global {_percent(row['accuracy_global'])}  own {_percent(row['accuracy_own'])}"
    return f"{accuracies}  loss {_number(row['loss_global_nats'], 3)}" if loss else accuracies


def name_of(run: "PlannedRun", runs: int) -> str:
    """What a run is called where there are several."""
    return f"{run.variant}, seed {run.seed}" if runs > 1 else run.variant


class _Nobody:
    def began(self, run: "PlannedRun", done: int, rounds: int) -> None:
        pass

    def round_done(self, run: "PlannedRun", row: "Row", seconds: float) -> None:
        pass


class _JsonLines:
    """One object a round on stdout, flushed: a program reads them as they come."""

    def began(self, run: "PlannedRun", done: int, rounds: int) -> None:
        _print_line({"event": "began", **_named(run), "rounds_done": done, "rounds": rounds})

    def round_done(self, run: "PlannedRun", row: "Row", seconds: float) -> None:
        _print_line({"event": "round", **_named(run), **row, "seconds": round(seconds, 6)})


class _Log:
    """Plain lines on stderr, for a file that somebody looks into now and then."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._rounds = 0
        self._seconds = LOG_EVERY_S

    def began(self, run: "PlannedRun", done: int, rounds: int) -> None:
        self._rounds = rounds

    def round_done(self, run: "PlannedRun", row: "Row", seconds: float) -> None:
        self._seconds += seconds
        if self._seconds >= LOG_EVERY_S or row["round"] == self._rounds:
            self._seconds = 0.0
            text = f"{name_of(run, self._runs)}: round {row['round']} of {self._rounds}, {told_of(row)}"
            click.echo(f"{text}, {seconds:.2f} s", err=True)


@contextmanager
def _bar(runs: int) -> "Iterator[Watcher]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    wide = console.width >= WIDE
    columns = (
        TextColumn("{task.fields[run]}", markup=False),
        BarColumn(bar_width=20 if wide else 8),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[last]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as drawn:

        class Bar:
            task: Any = None

            def began(self, run: "PlannedRun", done: int, rounds: int) -> None:
                if self.task is not None:
                    drawn.remove_task(self.task)
                self.task = drawn.add_task("", total=rounds, completed=done, run=name_of(run, runs), last="")

            def round_done(self, run: "PlannedRun", row: "Row", seconds: float) -> None:
                drawn.update(self.task, completed=row["round"], last=f"{told_of(row, wide)}  {seconds:.2f} s")

        yield Bar()


def _named(run: "PlannedRun") -> dict[str, Any]:
    return {"variant": run.variant, "seed": run.seed}


def _print_line(told: dict[str, Any]) -> None:
    click.echo(json.dumps(told, ensure_ascii=False))
    sys.stdout.flush()


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:5.1f} %"


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"
