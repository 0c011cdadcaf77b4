"""`hanse simulate` as a process: killed without warning it goes on to the same bits, asked to stop it ends in order."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.cli.exit_codes import Exit
from node.cli.main import run
from node.federations.result_files import read_run, rows_of

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

ROUNDS = 30
# So little fits into the pipe that a process waits for its reader: it cannot end before it is killed.
PIPE_BYTES = 4096
LINE = (
    *("--data", "bearings", "--clients", "4", "--data-set", "train_records=120", "--data-set", "test_records=40"),
    *("--data-set", "mix=skewed", "--strategy", "dlmu", "--epochs", "2", "--rounds", str(ROUNDS)),
    *("--checkpoint-every", "4", "--device", "cpu"),
)
# How long Ctrl-C can come before the round that it is to end is over.
PATIENCE_S = 120


@contextmanager
def simulation(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process with a group of its own, as a terminal starts one; gone at the end."""
    command = [sys.executable, "-m", "node.cli.main", "simulate", *arguments, "--json-lines"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        pipesize=PIPE_BYTES,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def told_until(process: "subprocess.Popen[str]", number: int) -> None:
    """Read what it tells until a round is done."""
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        if told["event"] == "round" and told["round"] == number:
            return
    raise AssertionError(f"it ended before round {number}: {process.communicate()[1]}")


def finished(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run to the end, in this process; the result."""
    assert run(["simulate", *arguments, "--json"]) == Exit.OK
    return dict(read_run(folder)["result"])


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    finished(folder, *LINE, "--out", str(folder))
    return folder


def test_a_run_that_was_killed_goes_on_to_the_same_bits(unbroken: Path, tmp_path: Path) -> None:
    """With worker processes, which must not outlive it; and resumed without them."""
    folder = tmp_path / "run"
    with simulation(*LINE, "--out", str(folder), "--workers", "2") as process:
        told_until(process, 6)
        # Only the process itself: its workers find out by themselves.
        process.kill()
        process.wait()
    assert read_run(folder)["result"] is None
    assert finished(folder, "--resume", str(folder), "--workers", "0") == read_run(unbroken)["result"]
    for table in ("rounds", "clients", "own", "distribution"):
        assert list(rows_of(folder, table)) == list(rows_of(unbroken, table))
    assert (folder / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


def test_a_run_that_is_asked_to_stop_says_how_to_go_on(unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with simulation(*LINE, "--out", str(folder), "--workers", "1") as process:
        told_until(process, 1)
        # A terminal sends Ctrl-C to all processes of the group.
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == Exit.INTERRUPTED, error
    done = len(list(rows_of(folder, "rounds")))
    # Between two rounds there is none to finish.
    assert 1 <= done < ROUNDS
    assert "finishing this round" in error
    assert f"stopped after round {done} of {ROUNDS}; go on with: hanse simulate --resume {folder}" in error
    assert "Traceback" not in error
    assert finished(folder, "--resume", str(folder), "--workers", "0") == read_run(unbroken)["result"]
