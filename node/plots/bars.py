"""Bars: which classes every client has, and figures side by side with their spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from node.plots.drawing import COLOURS, legend, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More names than this beside a picture are no help: a scale says it.
CLASSES_NAMED_MAX = 24
# More bars than this are thinner than what an eye tells apart.
STACKS_MAX = 100
GAPS_UP_TO = 60
TICKS_MAX = 20


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with its name; `spread` is drawn as a line up and down (one sample standard deviation)."""

    label: str
    value: float
    spread: float = 0.0


def draw_stacks(axes: "Axes", counts: NDArray[np.int64], classes: Sequence[str], title: str) -> None:
    """`counts` int64 [clients, classes]: a bar a client, a colour a class; of very many clients every k-th."""
    every = -(-len(counts) // STACKS_MAX)
    shown = counts[::every]
    places = np.arange(len(shown))
    # With many clients the gaps between bars would be all there is to see.
    width, edge = (0.85, "white") if len(shown) <= GAPS_UP_TO else (1.0, "none")
    below = np.zeros(len(shown), np.int64)
    colours = shades(len(classes))
    for at, name in enumerate(classes):
        axes.bar(
            places, shown[:, at], width, bottom=below, color=colours[at], edgecolor=edge, linewidth=0.4, label=name
        )
        below += shown[:, at]
    axes.set_title(title)
    axes.set_xlabel("client" if every == 1 else f"client: one in {every} of {len(counts)}")
    axes.set_ylabel("training records")
    axes.grid(False, axis="x")
    axes.set_xlim(-0.5, len(shown) - 0.5)
    marked = np.arange(0, len(shown), -(-len(shown) // TICKS_MAX))
    axes.set_xticks(marked, [str(at * every) for at in marked.tolist()])
    if len(classes) <= CLASSES_NAMED_MAX:
        legend(axes, len(classes), outside_from=1, upwards=True)
    else:
        axes.text(
            1.01, 1.0, f"{len(classes)} classes,\nfrom dark to light", transform=axes.transAxes, va="top", fontsize=9
        )


def draw_bars(axes: "Axes", bars: Sequence[Bar], title: str, unit: str) -> None:
    """One bar each, in the order given, with its spread."""
    places = np.arange(len(bars))
    axes.bar(
        places,
        [bar.value for bar in bars],
        0.7,
        yerr=[bar.spread for bar in bars] if any(bar.spread for bar in bars) else None,
        color=COLOURS[0],
        ecolor="#333333",
        capsize=4,
    )
    axes.set_xticks(
        places,
        [bar.label for bar in bars],
        rotation=30 if len(bars) > 4 else 0,
        ha="right" if len(bars) > 4 else "center",
    )
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.grid(False, axis="x")
