"""`hanse reproduce`, killed or asked to stop: no worker and no node outlives it, and what was done is kept."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL

import pytest

from node.cli.exit_codes import Exit
from node.devnet.sigterm import ended_by_sigterm
from node.reproduce.experiment import Asked, Experiment, Run
from node.reproduce.results import Measured
from node.reproduce.results_folder import ResultsFolder
from node.reproduce.running import carry_out
from tests.support.processes import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

PATIENCE_S = 40


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
    with ended_by_sigterm():
        carry_out(Stuck(pipes), Asked("quick", (1, 2, 3)), ResultsFolder(Path(results), "stuck"), 2, print)


@pytest.mark.parametrize("word", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_command_that_started_them(tmp_path, word):
    for seed in (2, 3):
        os.mkfifo(tmp_path / f"alive-{seed}")
    program = f"from {__name__} import main; main({str(tmp_path)!r}, {str(tmp_path / 'results')!r})"
    project, kept = Path(__file__).parents[2], tmp_path / "results/runs"
    command = subprocess.Popen([sys.executable, "-c", program], cwd=project, stdout=DEVNULL, stderr=DEVNULL)
    try:
        # Opening waits until a worker has opened the other end.
        with open(tmp_path / "alive-2", "rb") as second, open(tmp_path / "alive-3", "rb") as third:
            assert (second.read(1), third.read(1)) == (b"x", b"x")
            eventually(lambda: len(list(kept.glob("a-seed-1-*.json"))) == 1, "the first result is kept")
            command.send_signal(word)
            command.wait(PATIENCE_S)
            # The end of a pipe comes when its only writer is gone.
            assert (second.read(), third.read()) == (b"", b"")
    finally:
        command.kill()
        command.wait(PATIENCE_S)
    assert len(list(kept.iterdir())) == 1


def test_nodes_end_with_the_command_that_started_them(tmp_path):
    """Asked to stop, it stops the league of its run, and says how to go on."""
    line = (sys.executable, "-m", "node.cli.main", "reproduce", "anchor-time", "--seeds", "1", "--out", str(tmp_path))
    place = tmp_path / "places"
    place.mkdir()
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) as command:
        assert command.stderr is not None
        command.stderr.readline()
        eventually(lambda: len(list(place.glob("hanse-reproduce-*/*/node.log"))) > 1, "nodes were started")
        command.send_signal(signal.SIGTERM)
        _, told = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == Exit.INTERRUPTED
    assert f"what was done is in {tmp_path}, give the same command" in told
    assert not list(place.iterdir()), "its folder goes when its nodes are gone"
