"""A plot as data: what is drawn, not how. matplotlib is in `node/plots` only."""

import math
from dataclasses import dataclass

from node.plots.groups import Group
from node.plots.lines import Line
from node.reproduce.results import Keys, Results, Spread


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes: lines over rounds (or over `x`), or bars in groups over `places`."""

    title: str
    y: str
    x: str = "round"
    lines: tuple[Line, ...] = ()
    groups: tuple[Group, ...] = ()
    places: tuple[str, ...] = ()
    log: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture, its panels one below the other. `name` becomes the files' name."""

    name: str
    panels: tuple[Panel, ...]


def by_round(label: str, results: Results, curve: str, keys: Keys) -> Line:
    """A curve of every seed of one cell that has one (what diverged has none); rounds are counted from 1."""
    found = [each.measured.curves.get(curve, ()) for each in results.where(**keys).all]
    return Line(label, [dict(enumerate(values, start=1)) for values in found])


def bar(found: Spread | None) -> tuple[float, float] | None:
    """A mean and its deviation, 0 where one seed was run."""
    if found is None or math.isnan(found.mean):
        return None
    return found.mean, 0.0 if math.isnan(found.deviation) else found.deviation
