"""One line on a terminal's stderr that says how far a long verb has come, and is gone when it ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_line() -> Iterator[Callable[[str], object]]:
    """Gives what shows a text in that line. rich is imported here."""
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update
