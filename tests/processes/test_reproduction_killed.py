"""`hanse reproduce` over worker processes, killed without warning: no worker outlives it, and what was done is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.reproduce.experiment import Asked, Experiment, Run
from node.reproduce.results import Measured
from node.reproduce.results_folder import ResultsFolder
from node.reproduce.running import carry_out

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]

PATIENCE_S = 20


class Stuck(Experiment):
    """Seed 1 is done at once; the others hold a pipe of their own open and never end."""

    name = "stuck"
    summary = "two of three runs never end"
    source = "nowhere"

    def __init__(self, pipes: str) -> None:
        self.pipes = pipes

    def runs(self, asked):
        return [Run({"method": "a"}, seed, {}, Measurement(self.pipes, seed)) for seed in asked.seeds]

    def report(self, results):
        raise NotImplementedError("it never comes to one")


class Measurement:
    def __init__(self, pipes: str, seed: int) -> None:
        self.pipes, self.seed = pipes, seed

    def __call__(self, tell):
        if self.seed > 1:
            # Held open while this process lives: the test reads the end of it.
            with open(Path(self.pipes) / f"alive-{self.seed}", "wb") as alive:
                alive.write(b"x")
                alive.flush()
                os.read(os.pipe()[0], 1)
        return Measured({"points": 1.0})


def main(pipes: str, results: str) -> None:
    carry_out(Stuck(pipes), Asked("quick", (1, 2, 3)), ResultsFolder(Path(results), "stuck"), 2, print)


def test_workers_end_with_the_command_that_started_them(tmp_path):
    for seed in (2, 3):
        os.mkfifo(tmp_path / f"alive-{seed}")
    program = f"from {__name__} import main; main({str(tmp_path)!r}, {str(tmp_path / 'results')!r})"
    project = Path(__file__).parents[2]
    command = subprocess.Popen([sys.executable, "-c", program], cwd=project, stdout=subprocess.DEVNULL)
    try:
        # Opening waits until a worker has opened the other end.
        with open(tmp_path / "alive-2", "rb") as second, open(tmp_path / "alive-3", "rb") as third:
            assert (second.read(1), third.read(1)) == (b"x", b"x")
            command.kill()
            command.wait(PATIENCE_S)
            # The end of a pipe comes when its only writer is gone.
            assert (second.read(), third.read()) == (b"", b"")
    finally:
        command.kill()
        command.wait(PATIENCE_S)
    assert [path.name.startswith("a-seed-1-") for path in (tmp_path / "results/runs").iterdir()] == [True]
