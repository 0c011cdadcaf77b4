"""What a verb prints: JSON for programs, tables and bars for people. rich is imported when something is drawn."""

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import click


def print_json(value: object) -> None:
    """One JSON value, keys in the order given."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


# A word of at most this many letters (a date, a name) is not broken in a narrow terminal; hashes and paths give way.
WORD_KEPT_WHOLE = 20
# Between columns: the box of rich draws one, the padding is the other.
COLUMN_GAP = 2


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], shorten: Collection[str] = ()
) -> None:
    """A table; numbers stand right. Text that others wrote is shown as it is, never read as markup.

    `shorten`: columns of hashes of which a terminal that is too narrow shows the beginning only.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Piped output is not cut at 80 columns: a program or grep reads it.
    console = Console(width=None if sys.stdout.isatty() else 240, highlight=False)
    room = console.width - COLUMN_GAP * len(columns)
    cells = [[cell_text(value) for value in row] for row in rows]
    if sum(max(map(len, column)) for column in zip(columns, *cells, strict=True)) > room:
        cells = [
            [short_hash(cell) if name in shorten else cell for name, cell in zip(columns, row, strict=True)]
            for row in cells
        ]
    words = [max(map(len, " ".join((name, *column)).split())) for name, *column in zip(columns, *cells, strict=True)]
    # As much as there is room for: rich would cut off the last columns.
    kept = next((kept for kept in range(WORD_KEPT_WHOLE, 1, -1) if sum(min(kept, each) for each in words) <= room), 1)
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, COLUMN_GAP - 1, 0, 0),
    )
    for at, name in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[at], (int, float)) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold", min_width=min(words[at], kept))
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def print_fields(fields: Mapping[str, object]) -> None:
    """One `name  value` line each, names aligned; a tuple of values is a line each."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        for at, line in enumerate(value if isinstance(value, tuple) else (value,)):
            click.echo(f"{'' if at else name:<{width}}  {cell_text(line)}")


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


def judged(accuracy: int) -> str:
    """The accuracy that providers measured, given in millionths; a dash until they have measured one."""
    return percent(accuracy) if accuracy else "-"


def so_far(fate: str | None) -> str:
    """A provider's fate in a round that is still in work, where who is missing may yet deliver."""
    return "awaited" if fate == "missing" else fate or "-"


def short_hash(text: object) -> str:
    """As much of a hash as people compare, and as verbs take for the whole of a request's id."""
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
