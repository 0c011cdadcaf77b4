"""The files of one run in its folder. Lines of JSON while it runs, tables in Parquet and the model at its end.

    run.toml            the settings, for `hanse simulate run.toml`
    run.json            settings, versions, and at the end the result: the same on every machine
    rounds.jsonl, clients.jsonl, own.jsonl, distribution.jsonl      the rows of rows.py, as they come
    rounds.parquet, ...                                             the same rows at the end, where pyarrow is installed
    model.safetensors   the last global model
    checkpoint          what a run goes on from
    timings.jsonl       how long it took and on what: the only file that differs between two runs of the same settings

A checkpoint is on disk only after the lines of its rounds are. So a run that is killed goes on from its checkpoint, and
lines of later rounds are cut off.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from fl.simulate.checkpoint import Checkpoint
from node.disk import publish_file, sync_folder
from node.federations.rows import TABLES, Row
from node.federations.settings import OF_THIS_MACHINE, SECTIONS

FORMAT = "hanse-run-1"
SETTINGS_FILE, RESULT_FILE, CHECKPOINT_FILE, MODEL_FILE = "run.toml", "run.json", "checkpoint", "model.safetensors"
TIMINGS_FILE = "timings.jsonl"
GROWING = ("rounds", "clients", "own")


class RunFolderError(Exception):
    """A folder that holds no run, another run, or a damaged one. Says which file, what came and what was wanted."""


class RunFolder:
    """The result files of one run, held by one process at a time. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. Raises RunFolderError while another process runs there, and OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._timings = (folder / TIMINGS_FILE).open("a", encoding="utf-8")
        try:
            fcntl.flock(self._timings, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._timings.close()
            raise RunFolderError(f"{folder}: another process is running there, want one at a time") from None
        self._lines: dict[str, IO[str]] = {}

    def open_lines(self, round_number: int) -> None:
        """Go on with the lines after round `round_number`: later ones are cut off, and a last one that is not whole."""
        for name in GROWING:
            path = self.folder / f"{name}.jsonl"
            kept = [row for row in rows_of(self.folder, name) if row["round"] <= round_number] if path.exists() else []
            publish_file(path, "".join(map(line_of, kept)).encode())
            self._lines[name] = path.open("a", encoding="utf-8")

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._lines.values(), self._timings):
            file.close()

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Rows of one of GROWING; readers see them at once, a power cut may lose them until the next checkpoint."""
        file = self._lines[table]
        file.writelines(line_of(row) for row in rows)
        file.flush()

    def time(self, **told: Any) -> None:
        """A line of timings.jsonl."""
        self._timings.write(line_of(told))
        self._timings.flush()

    def write_rows(self, table: str, rows: Iterable[Row]) -> None:
        """A table that is known as a whole: distribution."""
        publish_file(self.folder / f"{table}.jsonl", "".join(map(line_of, rows)).encode())

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        publish_file(self.folder / name, (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        publish_file(self.folder / name, content)

    def save(self, checkpoint: Checkpoint) -> None:
        """The checkpoint, there as a whole or as it was before; the lines of its rounds are on disk before it."""
        for file in self._lines.values():
            file.flush()
            os.fsync(file.fileno())
        beside = self.folder / f".{CHECKPOINT_FILE}.new"
        with beside.open("wb") as sink:
            # Written state by state: the states of a thousand clients need not fit into memory twice.
            checkpoint.write(sink)
            sink.flush()
            os.fsync(sink.fileno())
        beside.replace(self.folder / CHECKPOINT_FILE)
        sync_folder(self.folder)


def line_of(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON; a number that is none is refused, for no reader would take it."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def rows_of(folder: Path, table: str) -> Iterator[Row]:
    """The rows of a table that are in its lines, the last one left out when it was cut short.

    Raises RunFolderError when the file is not there, or a line before the last is damaged.
    """
    path = folder / f"{table}.jsonl"
    names = {column.name for column in TABLES[table]}
    for at, line in enumerate(_whole_lines(path), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RunFolderError(f"{path}, line {at}: is not JSON: {error}") from None
        if not isinstance(row, dict) or row.keys() != names:
            raise RunFolderError(f"{path}, line {at}: want the columns {', '.join(c.name for c in TABLES[table])}")
        for column in TABLES[table]:
            if not column.takes(row[column.name]):
                came = repr(row[column.name])[:40]
                raise RunFolderError(f"{path}, line {at}: {column.name} is {came}, want {column.kind}")
        yield row


def read_run(folder: Path) -> dict[str, Any]:
    """run.json. Raises RunFolderError when the folder holds no run."""
    path = folder / RESULT_FILE
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{folder}: holds no simulated run (no {RESULT_FILE})") from None
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: is not JSON: {error}") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        came = told.get("format") if isinstance(told, dict) else type(told).__name__
        raise RunFolderError(f"{path}: format is {came!r}, want {FORMAT!r}")
    settings, result = told.get("settings"), told.get("result")
    sections = [name for name in SECTIONS if name not in OF_THIS_MACHINE]
    if not isinstance(settings, dict) or not all(isinstance(settings.get(name), dict) for name in sections):
        raise RunFolderError(f"{path}: has no settings, want {', '.join(sections)}")
    if type(settings["run"].get("seed")) is not int:
        raise RunFolderError(f"{path}: [run] seed is {settings['run'].get('seed')!r}, want a whole number")
    if result is not None and (not isinstance(result, dict) or type(result.get("rounds")) is not int):
        raise RunFolderError(f"{path}: result does not say of how many rounds it is")
    return told


def _whole_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.endswith("\n"))
    except FileNotFoundError:
        raise RunFolderError(f"{path}: is missing") from None
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{path}: is not text: {error}") from None
