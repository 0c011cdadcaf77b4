"""What a strategy is shown in a round, without a round: a model of one tensor, and terms that do not matter."""

from typing import Any

from fl.fixed_point import Floats
from fl.strategies.base import Layout, View


def layout(count: int) -> Layout:
    return Layout((("weight", (count,)),))


def view(global_vector: Floats, state: bytes | None, round_number: int, vectors: int = 1, **changes: Any) -> View:
    """The start of a round; `changes` overrule epochs, batch, lr, momentum, records or the layout."""
    terms = {"epochs": 1, "batch": 1, "lr": 0.1, "momentum": 0.0, "records": 1}
    return View(
        global_vector,
        state,
        round_number,
        **({"layout": layout(len(global_vector) // vectors)} | terms | changes),  # type: ignore[arg-type]
    )
