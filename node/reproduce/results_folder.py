"""Where an experiment's results lie: a small JSON file for each run, there whole or not at all.

`DIR/runs/<name>-<8 hex of its settings>.json` holds settings, keys, seed and what was measured.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from node.disk import publish_file
from node.reproduce.experiment import CannotReproduce, Run
from node.reproduce.results import Measured, Result

FORMAT = "hanse-reproduce-run-1"
# Far above the largest of ours (a hundred rounds of thirty curves), far below what would fill a memory.
FILE_BYTES_MAX = 16 * 1024 * 1024


def run_id(experiment: str, run: Run) -> str:
    """A file name that says what the run is, and depends on everything that decides its result."""
    words = re.sub(r"[^a-z0-9.]+", "-", run.name.lower()).strip("-")
    said = json.dumps([experiment, dict(run.keys), run.seed, dict(run.settings)], sort_keys=True, allow_nan=False)
    return f"{words[:80]}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


class ResultsFolder:
    """The results of one experiment in `folder`, which may be new. Raises OSError as the disk does."""

    def __init__(self, folder: Path, experiment: str) -> None:
        self.folder = folder
        self._experiment = experiment
        self._runs = folder / "runs"

    def prepare(self) -> None:
        self._runs.mkdir(parents=True, exist_ok=True)

    def find(self, run: Run) -> Result | None:
        """What the run measured when it was done before with these settings; None where it was not.

        Raises CannotReproduce for a file that is damaged: it is not silently measured again.
        """
        path = self._path(run)
        if not path.exists():
            return None
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CannotReproduce(f"{path} has {path.stat().st_size} bytes, want at most {FILE_BYTES_MAX}")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            measured = _measured(stored)
            same = (stored["experiment"], stored["keys"], stored["seed"], stored["settings"]) == (
                self._experiment,
                dict(run.keys),
                run.seed,
                json.loads(json.dumps(dict(run.settings))),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CannotReproduce(f"{path} is no result of a run ({error!r}); remove it, and it is run again") from None
        if not same:
            raise CannotReproduce(f"{path} holds another run than its name says; remove it, and it is run again")
        return Result(dict(run.keys), run.seed, measured)

    def keep(self, run: Run, measured: Measured) -> Result:
        """On disk when this returns."""
        content = {
            "format": FORMAT,
            "experiment": self._experiment,
            "keys": dict(run.keys),
            "seed": run.seed,
            "settings": dict(run.settings),
            "figures": {name: _plain(value) for name, value in measured.figures.items()},
            "curves": {name: [_plain(value) for value in values] for name, values in measured.curves.items()},
        }
        publish_file(self._path(run), (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
        return Result(dict(run.keys), run.seed, measured)

    def _path(self, run: Run) -> Path:
        return self._runs / f"{run_id(self._experiment, run)}.json"


def _plain(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r}, want a number")
    return float(value)


def _measured(stored: Mapping[str, object]) -> Measured:
    if stored["format"] != FORMAT:
        raise ValueError(f"format {stored['format']!r}, want {FORMAT!r}")
    figures, curves = stored["figures"], stored["curves"]
    if not isinstance(figures, dict) or not isinstance(curves, dict):
        raise ValueError("figures and curves, want objects")
    return Measured(
        {str(name): _number(value) for name, value in figures.items()},
        {str(name): tuple(map(_number, values)) for name, values in curves.items()},
    )
