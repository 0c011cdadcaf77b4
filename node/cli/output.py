"""What a verb prints: JSON for programs, tables and bars for people. rich is imported when something is drawn."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import click


def print_json(value: object) -> None:
    """One JSON value, keys in the order given."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; numbers stand right. Text that others wrote is shown as it is, never read as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for at, name in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[at], (int, float)) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell_text(value)) for value in row])
    # Piped output is not cut at 80 columns: a program or grep reads it.
    Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """One `name  value` line each, names aligned."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {cell_text(value)}")


def cell_text(value: object) -> str:
    """A value in a table: yes and no, thousands parted by spaces, control characters made harmless."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value))


def percent(millionths: object) -> str:
    """0.9534 of one, given in millionths, as `95.3 %`."""
    return f"{int(str(millionths)) / 10_000:.1f} %"


def short_hash(text: object) -> str:
    return str(text)[:12]


class Bar(Protocol):
    def advance(self, by: int) -> None: ...

    def say(self, text: str) -> None: ...


class _Silent:
    def advance(self, by: int) -> None:
        pass

    def say(self, text: str) -> None:
        pass


@contextmanager
def progress(what: str, total: int | None, as_json: bool) -> Iterator[Bar]:
    """A bar on stderr while something long runs; nothing when nobody watches. `total` None: how long is not known."""
    if as_json or not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(what, total=total)

        class Drawn:
            def advance(self, by: int) -> None:
                drawn.advance(task, by)

            def say(self, text: str) -> None:
                drawn.update(task, description=text)

        yield Drawn()
