"""Our simulator beside Flower's, the same work in one run: `python -m bench.flower [--mnist FOLDER] [--rounds N]`.

Two works: the reference work of five clients, and with --mnist (the folder of its four IDX files) a hundred clients of
two digits each. Contestants take turns: one bare loop without any framework, our simulator in one process, ours with a
worker process a core, and Flower's with Ray. All start from the same weights and take the mini-batches in the same
order, so all must reach the same accuracy, round by round, but for the last digits: that is checked. Costs are of the
whole command and of all processes it started: wall time, CPU, the most memory (proportional set size), processes.

Flower's pins contradict ours, so it gets an environment of its own, made once (`--environment`, by default in build/);
torch is borrowed from this one, so that both train with the same. Telemetry, update checks and installations at run
time are off. It runs by `run_simulation`, in one process beside Ray's: its quickest way, without SuperLink.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.flower_work import MNIST, REFERENCE, Work, mnist_clients, reference_clients, write_work
from bench.process_watch import Cost, cost_of
from fl.data.tables import Split, Table

ROOT = Path(__file__).parents[1]
FLOWER = "flwr[simulation]==1.41.0"
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
# Another order of float32 sums, and our model rounded to 20 binary places: some records change sides.
ACCURACY_APART_MAX = 0.01


@dataclass(frozen=True, slots=True)
class Run:
    """round_s: of each round. load: of the machine, in the minute before."""

    cost: Cost
    round_s: tuple[float, ...]
    accuracy: tuple[float, ...]
    load: float


def flower_python(folder: Path) -> Path:
    """The interpreter of Flower's environment, which is made where it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        print(f"making {folder} for {FLOWER}: some 500 MB, without torch", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", FLOWER], check=True)
        ours = sysconfig.get_paths()["purelib"]
        place = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        # At the end of the path: what Flower installed comes first, torch is found here.
        (Path(place) / "borrowed.pth").write_text(ours + "\n")
        (folder / "made").touch()
    return python


def run(command: Sequence[str], work: Path, folder: Path) -> Run:
    environment = {**os.environ, **QUIET, "BENCH_WORK": str(work), "FLWR_HOME": str(folder)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "bench")])
    load = os.getloadavg()[0]
    cost = cost_of(command, environment, folder)
    said = json.loads(cost.output.strip().splitlines()[-1])
    return Run(cost, tuple(said["round_s"]), tuple(said["accuracy"]), load)


def compare(work: Work, clients: Sequence[Split], test: Table, python: Path, repeats: int) -> None:
    cores = os.cpu_count() or 1
    app = str(ROOT / "bench" / "flower_app.py")
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as temporary:
        folder = Path(temporary)
        write_work(folder, work, clients, test)
        here = [sys.executable, "-m", "bench.flower_here", str(folder)]
        contestants = {
            "bare loop": [sys.executable, app, "--bare"],
            "ours, one process": [*here, "0"],
            f"ours, {cores} workers": [*here, str(cores)],
            "Flower": [str(python), app],
        }
        print(f"\n{work.name}; {work.rounds} rounds, {cores} cores")
        print(f"{'':<20}{'whole':>8}{'a round':>9}{'CPU-s':>8}{'MB':>7}{'procs':>7}{'accuracy':>10}{'load before':>13}")
        medians: dict[str, tuple[float, ...]] = {}
        reached: dict[str, tuple[float, ...]] = {}
        for name, command in contestants.items():
            runs = [run(command, folder, folder) for _ in range(repeats)]
            whole, cpu, memory = (
                statistics.median(getattr(each.cost, key) for each in runs) for key in ("wall_s", "cpu_s", "peak_mb")
            )
            a_round = statistics.median(second for each in runs for second in each.round_s[1:])
            medians[name], reached[name] = (whole, a_round, cpu, memory), runs[0].accuracy
            processes, load = max(each.cost.processes for each in runs), max(each.load for each in runs)
            row = f"{whole:>8.1f}{a_round:>9.3f}{cpu:>8.1f}{memory:>7.0f}{processes:>7}{reached[name][-1]:>10.4f}"
            print(f"{name:<20}{row}{load:>13.1f}", flush=True)
    _summary(medians, reached, f"ours, {cores} workers")


def _summary(medians: dict[str, tuple[float, ...]], reached: dict[str, tuple[float, ...]], ours: str) -> None:
    ratios = [theirs / own for own, theirs in zip(medians[ours], medians["Flower"], strict=True)]
    told = ", ".join(f"{name} {each:.1f}" for name, each in zip(("whole", "a round", "CPU", "MB"), ratios, strict=True))
    print(f"Flower over ours with workers: {told}")
    apart = max(
        abs(one - other) for each in reached.values() for one, other in zip(each, reached["bare loop"], strict=True)
    )
    print(f"accuracies of all rounds at most {apart:.4f} apart (wanted: at most {ACCURACY_APART_MAX})")
    if apart > ACCURACY_APART_MAX:
        sys.exit("the contestants did not do the same work")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.flower")
    parser.add_argument("--mnist", type=Path, help="folder of MNIST's four IDX files; without it the first work only")
    parser.add_argument("--rounds", type=int, help="of both works, in place of their own ten; 2 at least")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "flower-1.41.0")
    given = parser.parse_args()
    python = flower_python(given.environment.absolute())
    rounds = max(2, given.rounds or REFERENCE.rounds)
    compare(replace(REFERENCE, rounds=rounds), *reference_clients(), python, given.repeats)
    if given.mnist is not None:
        compare(replace(MNIST, rounds=rounds), *mnist_clients(given.mnist), python, given.repeats)


if __name__ == "__main__":
    main()
