"""All runs that one command asks for, one after the other, each in its folder. What is at its end is not run again."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fl.simulate.engines.base import Engine
from node.disk import publish_file
from node.federations.carry_out import Interrupted, Watcher, carry_out, done_already
from node.federations.divided_data import DividedData, divided_data, with_model
from node.federations.outcome import Outcome
from node.federations.planned_runs import PlannedRun
from node.federations.result_files import RESULT_FILE, SETTINGS_FILE, RunFolderError
from node.federations.run_template import run_template
from node.federations.settings import AUTO, MachineSection, RunSettings
from node.federations.stopping import Stop


@dataclass(frozen=True, slots=True)
class EndedRun:
    """`settings`: with the model decided. `records`: of each client. `folder`: None where nothing was written."""

    run: PlannedRun
    settings: RunSettings
    records: tuple[int, ...]
    outcome: Outcome
    folder: Path | None


def check_free(folder: Path) -> None:
    """Raises RunFolderError for a folder in which there is a run already: nothing is ever written over one."""
    for name in (SETTINGS_FILE, RESULT_FILE):
        if (folder / name).exists():
            raise RunFolderError(
                f"{folder}: holds a run already: want --resume {folder} to go on with it, or another folder"
            )


def keep_settings(folder: Path, settings: RunSettings) -> None:
    """What the command asked for, for --resume to read again: where several runs share a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    publish_file(folder / SETTINGS_FILE, run_template(settings, without={"results"}).encode())


def run_all(plan: list[PlannedRun], folder: Path | None, watcher: Watcher, stop: Stop) -> Iterator[EndedRun]:
    """Each run as it ends. Raises DataError, ModelError and what `carry_out` does."""
    last: tuple[int, DividedData] | None = None
    for run in plan:
        if stop.asked:
            # The end was asked for in the last round of the run before.
            raise Interrupted(0, run.settings.rounds.rounds)
        # All variants of a seed have the same records.
        if last is None or last[0] != run.seed:
            last = run.seed, divided_data(run.settings)
        data = last[1]
        settings = with_model(run.settings, data)
        place = folder / run.place if folder is not None else None
        outcome = done_already(place, settings, run) if place is not None else None
        if outcome is None:
            outcome = carry_out(run, settings, data, partial(engine_of, run.settings.machine), place, watcher, stop)
        yield EndedRun(run, settings, tuple(len(table) for table in data.train), outcome, place)


def engine_of(machine: MachineSection) -> Engine | None:
    """Who carries out the rounds; None is this process. Raises SimulationError, also where Ray is not installed."""
    if machine.engine == "ray":
        from fl.simulate.engines.ray_cluster import RayCluster

        return RayCluster(machine.workers or None)
    if machine.engine == "processes" or (machine.engine == AUTO and machine.workers):
        from fl.simulate.engines.processes import Processes

        return Processes(machine.workers or 1)
    return None
