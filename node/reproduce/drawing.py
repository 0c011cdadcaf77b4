"""Draws the plots of a report as PNG and SVG."""

from pathlib import Path
from typing import Any

from node.plots.drawing import files_of, picture
from node.plots.groups import draw_groups
from node.plots.lines import draw_lines
from node.reproduce.plot import Panel, Plot

PANEL_INCHES = 3.6


def draw(plot: Plot, folder: Path) -> tuple[Path, ...]:
    """`folder`/NAME.png and NAME.svg. Raises PlotsMissing where matplotlib is not installed."""
    rows = len(plot.panels)
    with picture(folder, plot.name, height=PANEL_INCHES * rows, rows=rows) as drawn:
        for axes, panel in zip([drawn] if rows == 1 else drawn, plot.panels, strict=True):
            _draw(axes, panel)
    return files_of(folder, plot.name)


def _draw(axes: Any, panel: Panel) -> None:
    if panel.groups:
        draw_groups(axes, panel.groups, panel.places, panel.title, panel.y)
    else:
        draw_lines(axes, panel.lines, panel.title, panel.y, panel.x)
    if panel.log:
        axes.set_yscale("log")
        if panel.groups:
            # Bars have no zero to stand on there: a decade below the shortest.
            least = min(value for group in panel.groups for value, _ in filter(None, group.bars))
            axes.set_ylim(bottom=least / 10)
