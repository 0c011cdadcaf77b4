"""The pictures of runs: accuracy, loss, drift, beta, bytes and epsilon over rounds, and the classes of every client.

Runs are read from their folders; several are drawn into one picture, those that differ by their seed only as one line
with its spread.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import numpy as np

from node.federations.result_files import RESULT_FILE, RunFolderError, read_run, rows_of
from node.federations.rows import Row
from node.federations.settings import AUTO
from node.plots.bars import draw_stacks
from node.plots.drawing import files_of, picture
from node.plots.lines import Line, Points, draw_lines

# As many lines as colours: more of them tell nobody anything.
GROUPS_MAX = 8
Take: TypeAlias = Callable[[Sequence[Row]], Points]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Runs of the same settings but for the seed: one line. `folders`: theirs, ascending by seed."""

    label: str
    folders: tuple[Path, ...]


def runs_under(places: Sequence[Path]) -> list[Drawn]:
    """The runs in these folders, and in the folders of them, by what tells them apart.

    Raises RunFolderError for a folder without one, and for more than can be drawn.
    """
    found: list[Drawn] = []
    for place in places:
        folders = sorted(path.parent for path in place.rglob(RESULT_FILE))
        if not folders:
            raise RunFolderError(f"{place}: holds no simulated run (no {RESULT_FILE})")
        alike: dict[str, list[tuple[int, Path]]] = {}
        for folder in folders:
            settings = read_run(folder)["settings"]
            seed = settings["run"].pop("seed")
            alike.setdefault(json.dumps(settings, sort_keys=True), []).append((seed, folder))
        for text, runs in alike.items():
            label = place.resolve().name if len(places) > 1 else ""
            if len(alike) > 1:
                label = f"{label} {_told_apart(json.loads(text))}".strip()
            found.append(Drawn(label, tuple(folder for _, folder in sorted(runs))))
    if len(found) > GROUPS_MAX:
        raise RunFolderError(f"{len(found)} kinds of runs to compare, want at most {GROUPS_MAX} in one picture")
    return found


def draw_runs(groups: Sequence[Drawn], to: Path) -> list[Path]:
    """The pictures of these runs in `to`, which is made; the files that were written, in order.

    A picture of which there is nothing to see is left out: beta where nobody mixes, epsilon without a guarantee.
    Raises RunFolderError, PlotsMissing, OSError.
    """
    to.mkdir(parents=True, exist_ok=True)
    rows = [(group.label, [list(rows_of(folder, "rounds")) for folder in group.folders]) for group in groups]
    alone = len(groups) == 1
    written: list[Path] = []
    for name, title, unit, kinds in _PICTURES:
        lines = []
        for at, (label, seeds) in enumerate(rows):
            for dash, (kind, take, always) in enumerate(kinds):
                if (always or alone) and any(runs := [take(each) for each in seeds]):
                    # Of runs that are compared each has its colour, whatever is drawn of it.
                    place = (None, None) if alone else (at, dash)
                    lines.append(Line(_name(label, kind), runs, *place))
        if not any(value for line in lines for run in line.runs for value in run.values()):
            continue
        with picture(to, name) as axes:
            draw_lines(axes, lines, title, unit)
        written += files_of(to, name)
    return written + _draw_classes(groups, to)


def _draw_classes(groups: Sequence[Drawn], to: Path) -> list[Path]:
    """Who has which classes: one picture for each division of the records, which runs that are compared often share."""
    divisions: list[tuple[str, list[Row]]] = []
    for group in groups:
        rows = list(rows_of(group.folders[0], "distribution"))
        if rows not in [known for _, known in divisions]:
            divisions.append((group.label, rows))
    written: list[Path] = []
    for at, (label, rows) in enumerate(divisions, start=1):
        classes = list(dict.fromkeys(row["class"] for row in rows))
        counts = np.array([row["records"] for row in rows], np.int64).reshape(-1, len(classes))
        alone = len(divisions) == 1
        name = "classes" if alone else f"classes-{at}"
        with picture(to, name) as axes:
            draw_stacks(axes, counts, classes, "Classes of every client" + ("" if alone else f": {label}"))
        written += files_of(to, name)
    return written


def _column(name: str, scale: float = 1.0) -> Take:
    return lambda rows: {row["round"]: scale * row[name] for row in rows if row[name] is not None}


def _sum_of(name: str, scale: float) -> Take:
    """Of all rounds so far."""
    return lambda rows: dict(
        zip((row["round"] for row in rows), accumulate(scale * row[name] for row in rows), strict=True)
    )


def _name(label: str, kind: str) -> str:
    return ", ".join(part for part in (label, kind) if part)


def _told_apart(settings: dict[str, dict[str, object]]) -> str:
    """What the runs of one command differ by."""
    aggregation, attack = settings["aggregation"], settings["attack"]
    checked = "inspected" if aggregation["inspected"] else "unchecked"
    rule = "usual rule" if aggregation["rule"] == AUTO else aggregation["rule"]
    return f"{rule}, {checked}, {attack['name'] or 'honest'}"


# File, title, unit, and its lines: name, how it is read, and whether it is drawn where runs are compared too.
_PICTURES: tuple[tuple[str, str, str, tuple[tuple[str, Take, bool], ...]], ...] = (
    (
        "accuracy",
        "Accuracy",
        "% of test records",
        (
            ("global model, common test", _column("accuracy_global", 100), True),
            ("served models, own mixes", _column("accuracy_own", 100), True),
            ("global model, own mixes", _column("accuracy_own_of_global", 100), False),
        ),
    ),
    (
        "loss",
        "Loss",
        "cross-entropy, nats a record",
        (
            ("global model, common test", _column("loss_global_nats"), True),
            ("training, last local epoch", _column("loss_training_nats"), False),
        ),
    ),
    (
        "divergence",
        "How far clients move from where they start",
        "L2 length of update minus start",
        (("mean of clients", _column("drift_l2_mean"), True), ("largest", _column("drift_l2_max"), False)),
    ),
    (
        "beta",
        "Share of the own last model in a client's start",
        "beta",
        (("mean of clients", _column("beta_mean"), True), ("largest", _column("beta_max"), False)),
    ),
    (
        "bytes",
        "Bytes so far, all clients",
        "MB",
        (
            ("updates sent", _sum_of("bytes_up", 1e-6), True),
            ("global models fetched", _sum_of("bytes_down", 1e-6), False),
        ),
    ),
    ("epsilon", "Privacy spent, most of any client", "epsilon", (("", _column("epsilon"), True),)),
)
