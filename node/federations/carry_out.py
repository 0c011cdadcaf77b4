"""One run from its records to its result files: rounds, lines, checkpoints, and going on after a break."""

import json
import os
import platform
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, Protocol

from fl.export import export_model
from fl.models.shapes import parameter_shapes
from fl.simulate.attacks import attack
from fl.simulate.blob_shelf import BlobShelf
from fl.simulate.checkpoint import Checkpoint
from fl.simulate.engines.base import Engine
from fl.simulate.federation import Federation
from fl.simulate.results import RoundResult
from node.federations.divided_data import DividedData
from node.federations.outcome import Outcome, OutcomeSoFar
from node.federations.parquet_tables import parquet_writable, write_parquet
from node.federations.planned_runs import PlannedRun, terms_of
from node.federations.result_files import (
    CHECKPOINT_FILE,
    FORMAT,
    MODEL_FILE,
    RESULT_FILE,
    SETTINGS_FILE,
    RunFolder,
    RunFolderError,
    read_run,
    rows_of,
)
from node.federations.rows import TABLES, Row, client_rows, distribution_rows, own_rows, round_row
from node.federations.run_template import run_template
from node.federations.settings import RunSettings, differences
from node.federations.stopping import Stop


class Watcher(Protocol):
    """Who looks on. `done` rounds were there before."""

    def began(self, run: PlannedRun, done: int, rounds: int) -> None: ...

    def round_done(self, run: PlannedRun, row: Row, seconds: float) -> None: ...


class Interrupted(Exception):
    """Somebody asked for the end. `rounds_done`: what a checkpoint, if there is a folder, holds."""

    def __init__(self, rounds_done: int, rounds: int) -> None:
        super().__init__(f"stopped after round {rounds_done} of {rounds}")
        self.rounds_done = rounds_done


def carry_out(
    run: PlannedRun,
    settings: RunSettings,
    data: DividedData,
    engine: Callable[[], Engine | None],
    folder: Path | None,
    watcher: Watcher,
    stop: Stop,
) -> Outcome:
    """Run it to its end. `settings`: those of the run with the model decided. A folder that holds this run is gone on
    with; `done_already` tells one that is at its end.

    Raises Interrupted, RunFolderError for a folder of another run, CheckpointError, and what `Federation` does.
    """
    cheat = attack(settings.attack.name, settings.attack.strength) if settings.attack.name else None
    given = (terms_of(settings), data.clients, data.test, run.seed, cheat, run.attackers)
    so_far = OutcomeSoFar(run.attackers)
    with ExitStack() as left:
        files = left.enter_context(RunFolder(folder)) if folder is not None else None
        # States of a thousand clients lie in files, not in memory.
        shelf = left.enter_context(closing(BlobShelf()))
        checkpoint = _checkpoint(files.folder, settings, shelf) if files is not None else None
        federation = left.enter_context(Federation(*given, engine(), checkpoint=checkpoint))
        shelf.close()
        if files is not None:
            files.open_lines(federation.rounds_done)
            _keep_rows(so_far, files.folder)
            _head(files, settings, data, None)
            files.time(**_machine(settings))
        rounds = federation.terms.rounds
        watcher.began(run, federation.rounds_done, rounds)
        saved = federation.rounds_done
        while federation.rounds_done < rounds:
            result = federation.round(federation.rounds_done)
            row = _keep(result, run, so_far, files)
            watcher.round_done(run, row, result.seconds)
            due = result.number - saved >= settings.results.checkpoint_every
            if files is not None and (due or stop.asked or result.number == rounds):
                files.save(federation.checkpoint())
                saved = result.number
            if stop.asked and result.number < rounds:
                raise Interrupted(result.number, rounds)
        outcome = so_far.outcome()
        if files is not None:
            _finish(files, settings, data, outcome, federation)
    return outcome


def done_already(folder: Path, settings: RunSettings, run: PlannedRun) -> Outcome | None:
    """What came of this run when it is at its end in `folder`; None when it is not there or not at its end.

    Raises RunFolderError for another run, or damaged files.
    """
    if not (folder / RESULT_FILE).exists():
        return None
    told = read_run(folder)
    _check_same(folder, told, settings)
    if told.get("result") is None or told["result"]["rounds"] != settings.rounds.rounds:
        return None
    so_far = OutcomeSoFar(run.attackers)
    _keep_rows(so_far, folder)
    return so_far.outcome()


def _checkpoint(folder: Path, settings: RunSettings, states: MutableMapping[int, bytes]) -> Checkpoint | None:
    """The checkpoint to go on from, what clients remember in `states`; None where the run begins."""
    path = folder / CHECKPOINT_FILE
    if not (folder / RESULT_FILE).exists():
        if path.exists():
            raise RunFolderError(f"{path}: a checkpoint without {RESULT_FILE}, which says of what it is")
        return None
    _check_same(folder, read_run(folder), settings)
    if not path.exists():
        return None
    with path.open("rb") as source:
        return Checkpoint.read(source, states)


def _check_same(folder: Path, told: dict[str, Any], settings: RunSettings) -> None:
    """More rounds are the same run, gone on with, where nothing hangs on their number."""
    before, now = told.get("settings"), json.loads(json.dumps(settings.as_json()))
    if not isinstance(before, dict):
        raise RunFolderError(f"{folder / RESULT_FILE}: has no settings")
    prolonged = now["privacy"]["mode"] == "none" and now["rounds"]["rounds"] > before.get("rounds", {}).get("rounds", 0)
    if prolonged:
        now["rounds"]["rounds"] = before["rounds"]["rounds"]
    other = differences(now, before)
    if other:
        raise RunFolderError(f"{folder}: holds a run of other settings: {'; '.join(other)}")


def _keep(result: RoundResult, run: PlannedRun, so_far: OutcomeSoFar, files: RunFolder | None) -> Row:
    row = round_row(result)
    clients = list(client_rows(result, run.attackers))
    so_far.add_round(row)
    for each in clients:
        so_far.add_client(each)
    if files is not None:
        files.add("clients", clients)
        files.add("own", own_rows(result))
        files.add("rounds", [row])
        files.time(round=result.number, seconds=round(result.seconds, 6))
    return row


def _keep_rows(so_far: OutcomeSoFar, folder: Path) -> None:
    """The rows of the rounds before a break."""
    for row in rows_of(folder, "rounds"):
        so_far.add_round(row)
    for row in rows_of(folder, "clients"):
        so_far.add_client(row)


def _head(files: RunFolder, settings: RunSettings, data: DividedData, result: dict[str, Any] | None) -> None:
    """run.toml and run.json, and who has which classes."""
    shapes = parameter_shapes(settings.model.name, dict(settings.model.arguments))
    files.write_bytes(SETTINGS_FILE, run_template(settings, without={"results"}).encode())
    files.write_rows("distribution", distribution_rows(data.train))
    told: dict[str, Any] = {
        "format": FORMAT,
        "settings": settings.as_json(),
        "versions": {
            "hanse": version("hanse"),
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
        },
        "data": {
            "classes": list(data.test.classes),
            "records_train": [len(table) for table in data.train],
            "records_test": len(data.test),
        },
        "parameters": sum(prod(shape) for _, shape in shapes),
        "tables": {name: [column.name for column in columns] for name, columns in TABLES.items()},
        "result": result,
    }
    files.write_json(RESULT_FILE, told)


def _finish(
    files: RunFolder, settings: RunSettings, data: DividedData, outcome: Outcome, federation: Federation
) -> None:
    """Tables, model, and last of all the result: a run with a result is at its end."""
    ending = outcome.ending()
    if parquet_writable():
        for name in TABLES:
            write_parquet(files.folder / f"{name}.parquet", name, rows_of(files.folder, name))
    shapes = parameter_shapes(settings.model.name, dict(settings.model.arguments))
    vector = federation.base[: sum(prod(shape) for _, shape in shapes)]
    about = {
        "digest": ending["model_digest"],
        "round": str(ending["rounds"]),
        "model": settings.model.name,
        "arguments": json.dumps(dict(settings.model.arguments), sort_keys=True),
    }
    files.write_bytes(MODEL_FILE, export_model(vector, settings.model.scale_bits, shapes, about))
    _head(files, settings, data, ending)


def _machine(settings: RunSettings) -> dict[str, Any]:
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "engine": settings.machine.engine,
        "workers": settings.machine.workers,
        "device": settings.machine.device,
    }
