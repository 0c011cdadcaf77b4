"""Bars in groups: the same methods side by side at every place, each with its spread. Draws only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.plots.drawing import COLOURS, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--", "oo")


@dataclass(frozen=True, slots=True)
class Group:
    """One method. `bars`: (value, one sample standard deviation) at each place, None where it has none."""

    label: str
    bars: Sequence[tuple[float, float] | None]


def draw_groups(axes: "Axes", groups: Sequence[Group], places: Sequence[str], title: str, unit: str) -> None:
    """A colour and a hatching a group; `places` stand below the bars, `unit` is the title of the y axis."""
    width = 0.8 / len(groups)
    for at, group in enumerate(groups):
        drawn = [(place, bar) for place, bar in enumerate(group.bars) if bar is not None]
        axes.bar(
            [place + (at - (len(groups) - 1) / 2) * width for place, _ in drawn],
            [value for _, (value, _) in drawn],
            width,
            yerr=[deviation for _, (_, deviation) in drawn],
            color=COLOURS[at % len(COLOURS)],
            hatch=HATCHES[at % len(HATCHES)],
            edgecolor="white",
            linewidth=0.4,
            label=group.label,
            error_kw={"elinewidth": 0.8, "capsize": 2, "ecolor": "#333333"},
        )
    axes.set_xticks(range(len(places)), list(places))
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.grid(False, axis="x")
    legend(axes, len(groups), outside_from=2)
