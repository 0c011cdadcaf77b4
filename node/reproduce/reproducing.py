"""`hanse reproduce NAME` from start to end: check, run what is missing, report, write, draw."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.plots.drawing import PlotsMissing, check_drawable
from node.reproduce.drawing import draw
from node.reproduce.experiment import Asked, Experiment, Report
from node.reproduce.report_files import write_report
from node.reproduce.results_folder import ResultsFolder
from node.reproduce.running import carry_out


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What came out. `not_drawn`: why there are no plots, "" where there are."""

    experiment: str
    report: Report
    written: tuple[Path, ...]
    not_drawn: str

    def as_json(self) -> dict[str, object]:
        """table.json, and where everything lies."""
        table = next(path for path in self.written if path.name == "table.json")
        said: dict[str, object] = json.loads(table.read_text(encoding="utf-8"))
        return {**said, "written": [str(path) for path in self.written]}


def reproduce_experiment(
    experiment: Experiment, asked: Asked, folder: Path, workers: int, tell: Callable[[str], object]
) -> Reproduced:
    """Raises CannotReproduce, and what the code under measurement and the disk raise."""
    experiment.check(asked)
    if asked.scale == "quick":
        tell(f"about {experiment.minutes_quick * len(asked.seeds) / experiment.seeds_usual:.0f} min of CPU in all")

    def told(what: str, done: int, of: int) -> None:
        tell(f"{done} of {of} runs; {what}")

    results = carry_out(experiment, asked, ResultsFolder(folder, experiment.name), workers, told)
    report = experiment.report(results)
    drawn: list[Path] = []
    not_drawn = ""
    try:
        check_drawable()
        for plot in report.plots:
            drawn += draw(plot, folder)
    except PlotsMissing as missing:
        not_drawn = str(missing)
    written = write_report(folder, experiment, asked, results, report)
    return Reproduced(experiment.name, report, (*written, *drawn), not_drawn)
