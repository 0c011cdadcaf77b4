"""A picture from nothing to its two files: size, letters, colours, and how it is saved. matplotlib is imported here,
when something is drawn."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.disk import publish_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008: eight colours that people with any colour vision tell apart; yellow last, it is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
# Tol's muted ten, for more things than that: also told apart by all.
TEN_COLOURS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#BBBBBB",
)
# Lines differ in more than their colour: a picture is read in grey too.
DASHES = ("-", "--", "-.", ":")
# Inches; at 150 dots an inch a picture fills a page of a report and half of a screen.
WIDTH, HEIGHT, DOTS = 7.2, 4.2, 150

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.fonttype": "path",
    "svg.hashsalt": "hanse",  # else every SVG has other ids
}


class PlotsMissing(Exception):
    """The library that draws is not installed. The text says how to install it."""


def check_drawable() -> None:
    """Raises PlotsMissing where nothing can be drawn, before anything long is run for a picture."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlotsMissing("pictures need matplotlib: pip install 'hanse[plots]'") from None


@contextmanager
def picture(folder: Path, name: str, height: float = HEIGHT, width: float = WIDTH, rows: int = 1) -> Iterator[Any]:
    """One figure to draw in; written as `name`.png and `name`.svg in `folder` when the block ends well.

    Gives the axes, or the list of them for several `rows`, which share their x axis. Sizes in inches. Raises
    PlotsMissing, and OSError from the disk.
    """
    check_drawable()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()  # a matplotlibrc of the user's would give other pictures
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, 1, sharex=True)
        yield axes if rows == 1 else list(axes)
        _save(figure, folder, name)


def files_of(folder: Path, name: str) -> tuple[Path, Path]:
    """The two files of a picture."""
    return folder / f"{name}.png", folder / f"{name}.svg"


def _save(figure: "Figure", folder: Path, name: str) -> None:
    # No time and no version in the files: the same run gives the same bytes.
    plain: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    for path in files_of(folder, name):
        written = io.BytesIO()
        kind = path.suffix[1:]
        figure.savefig(written, format=kind, dpi=DOTS, metadata=plain[kind])
        publish_file(path, written.getvalue())


def legend(axes: "Axes", entries: int, outside_from: int = 5, upwards: bool = False) -> None:
    """What the colours mean: inside where there is room, beside the picture from `outside_from` entries on. `upwards`:
    the first entry lowest, as what is stacked."""
    if entries >= outside_from:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, reverse=upwards)
    elif entries > 1:
        axes.legend(loc="best")


def shades(count: int) -> Sequence[str]:
    """`count` colours for things that have no order: up to ten that all can tell apart, more than that from a scale
    that also grows lighter."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    if count <= len(TEN_COLOURS):
        return TEN_COLOURS[:count]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["cividis"]
    return [to_hex(scale(at / (count - 1))) for at in range(count)]
