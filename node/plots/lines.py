"""Lines over rounds, one a run or one a group of runs with the spread of its seeds. Draws, computes only the spread."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, TypeAlias

from node.plots.drawing import COLOURS, DASHES, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points: TypeAlias = Mapping[int, float]
"""A figure by round; rounds without one are left out."""
# Up to so many points a line shows each of them.
DOTS_UP_TO = 40


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its name. `runs`: the same figure of several seeds: their mean is drawn, and a band of one sample
    standard deviation round it. `colour`, `dash`: places in COLOURS and DASHES where lines belong together; by default
    each line has its own."""

    label: str
    runs: Sequence[Points]
    colour: int | None = None
    dash: int | None = None

    def mean_and_spread(self) -> list[tuple[int, float, float]]:
        """(round, mean, sample standard deviation) where at least one run has a finite figure; 0.0 with one run."""
        rounds = sorted({number for run in self.runs for number in run})
        found = []
        for number in rounds:
            values = [run[number] for run in self.runs if number in run and math.isfinite(run[number])]
            if values:
                found.append((number, mean(values), stdev(values) if len(values) > 1 else 0.0))
        return found


def draw_lines(axes: "Axes", lines: Sequence[Line], title: str, unit: str, across: str = "round") -> None:
    """All lines in one picture; `unit` is the title of the y axis, `across` that of the x axis."""
    drawn = 0
    for at, line in enumerate(lines):
        points = line.mean_and_spread()
        if not points:
            continue
        drawn += 1
        numbers = [number for number, _, _ in points]
        middle = [value for _, value, _ in points]
        colour = COLOURS[(at if line.colour is None else line.colour) % len(COLOURS)]
        # A dash tells apart what has the same colour, or is printed without any.
        dash = at // len(COLOURS) + at if line.dash is None else line.dash
        mark = "o" if len(points) <= DOTS_UP_TO else None
        axes.plot(
            numbers,
            middle,
            color=colour,
            linestyle=DASHES[dash % len(DASHES)],
            marker=mark,
            markersize=3.5,
            label=line.label,
        )
        if any(spread for _, _, spread in points):
            low = [value - spread for _, value, spread in points]
            high = [value + spread for _, value, spread in points]
            axes.fill_between(numbers, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.label_outer()  # of pictures one above the other only the lowest says what goes across
    axes.set_ylabel(unit)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes, drawn)
