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


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with its name; `spread` is drawn as a line up and down (one sample standard deviation)."""

    label: str
    value: float
    spread: float = 0.0


def draw_stacks(axes: "Axes", counts: NDArray[np.int64], classes: Sequence[str], title: str) -> None:
    """`counts` int64 [clients, classes]: a bar a client, a colour a class."""
    clients = np.arange(len(counts))
    below = np.zeros(len(counts), np.int64)
    # With hundreds of clients the gaps between bars would be all there is to see.
    width = 0.85 if len(counts) <= 60 else 1.0
    edge = "white" if len(counts) <= 60 else "none"
    colours = shades(len(classes))
    for at, name in enumerate(classes):
        axes.bar(
            clients, counts[:, at], width, bottom=below, color=colours[at], edgecolor=edge, linewidth=0.4, label=name
        )
        below += counts[:, at]
    axes.set_title(title)
    axes.set_xlabel("client")
    axes.set_ylabel("training records")
    axes.grid(False, axis="x")
    axes.set_xlim(-0.5, len(counts) - 0.5)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True, min_n_ticks=1))
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
