"""A league's cost over that of the same training in one bare process: `python -m bench.league [--rounds N]`.

Five factories and the customer who pays them are six processes, and each factory has a training process of its own.
CPU seconds are those of all of them from start to end: imports, founding, anchoring, ten rounds with their blocks.
The bare process runs before and after, so that both meet the same load of the machine. Wall time of a round is between
the times of the blocks that closed it and the one before, its first one, with the processes' start, left out.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path

from bench.leagues import (
    OVER,
    anchored,
    bytes_sent,
    cpu_seconds,
    descendants,
    ended_processes,
    node_pids,
    proportional_mb,
    reference_request,
    round_ends_ms,
    training_plans,
    write_tables,
)
from node.devnet.league import DevLeague

CPU_RATIO_WANTED, WALL_RATIO_WANTED, MEMORY_MB_WANTED, ROUND_MB_WANTED = 1.6, 1.0, 1500, 2.0
MEMORY_LOOKS_EVERY_S = 1.0


class MemoryWatch:
    """The most memory that the league's processes held together, looked at now and then by a thread."""

    def __init__(self, league: DevLeague) -> None:
        self.peak_mb = self.of_trainers_mb = 0.0
        self._league = league
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(MEMORY_LOOKS_EVERY_S):
            nodes = node_pids(self._league)
            in_nodes = proportional_mb(nodes)
            in_trainers = proportional_mb([each for pid in nodes for each in descendants(pid)[1:]])
            if in_nodes + in_trainers > self.peak_mb:
                self.peak_mb, self.of_trainers_mb = in_nodes + in_trainers, in_trainers


class Bare:
    """Runs of the bare process: CPU seconds and seconds a round of each."""

    def __init__(self) -> None:
        self.cpu_s: list[float] = []
        self.round_s: list[float] = []

    def run(self, tables: Path, rounds: int) -> None:
        command = [sys.executable, "-m", "bench.bare_process", str(tables), str(rounds)]
        with ended_processes() as cpu:
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        self.cpu_s.append(cpu.seconds)
        self.round_s += [float(line) for line in said[1:-1]]
        print(f"bare process   {cpu.seconds:6.1f} CPU-s   {statistics.median(self.round_s):.2f} s a round   {said[-1]}")


def run_league(folder: Path, tables: list[Path], rounds: int) -> tuple[list[float], MemoryWatch, float]:
    """Seconds of each round, the most memory, MB sent a round."""
    with DevLeague(folder, training_plans(tables)) as league:
        league.start()
        league.wait_until(lambda: all(map(anchored, league.nodes[1:])), "all records are anchored")
        customer = league.nodes[0]
        sent = bytes_sent(league.nodes)
        with MemoryWatch(league) as memory:
            request = customer.call("request.publish", request=reference_request(rounds), mode="final")["request"]

            def over() -> bool:
                return str(customer.call("request.get", request=request)["request"]["stage"]).lower() in OVER

            league.wait_until(over, "the request is over", 60.0 + 30.0 * rounds)
        final = customer.call("request.get", request=request)["request"]
        assert final["model_round"] == rounds, f"{final['model_round']} rounds of {rounds}: {final['outcome']}"
        sent_mb = (bytes_sent(league.nodes) - sent) / rounds / 1e6
        ends = round_ends_ms(customer, request)
        blocks = customer.call("status")["head"]["height"] - customer.call("tx", id=request)["height"]
        nodes = node_pids(league)
        trainers = sum(cpu_seconds(each) for pid in nodes for each in descendants(pid)[1:])
        print(
            f"league         {sum(map(cpu_seconds, nodes)):6.1f} CPU-s in six nodes and {trainers:.1f} in trainers   "
            f"{blocks / rounds:.1f} blocks a round   accuracy {final['accuracy'] / 1e6:.4f}"
        )
    return [(end - begin) / 1000 for begin, end in pairwise(ends)], memory, sent_mb


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.league")
    parser.add_argument("--rounds", type=int, default=10)
    rounds: int = parser.parse_args().rounds
    bare = Bare()
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as temporary:
        folder = Path(temporary)
        tables = write_tables(folder)
        bare.run(folder, rounds)
        with ended_processes() as cpu:
            round_s, memory, sent_mb = run_league(folder / "league", tables, rounds)
        bare.run(folder, rounds)
    bare_cpu, bare_round = statistics.mean(bare.cpu_s), statistics.median(bare.round_s)
    median = statistics.median(round_s[1:])
    print(
        f"CPU            {cpu.seconds:6.1f} CPU-s   {cpu.seconds / bare_cpu:.2f} times the bare process   "
        f"(wanted: at most {CPU_RATIO_WANTED})\n"
        f"wall time      {median:6.2f} s a round, the slowest {max(round_s[1:]):.2f}, the first {round_s[0]:.2f}   "
        f"{median / bare_round:.2f} times the bare process   (wanted: at most {WALL_RATIO_WANTED})\n"
        f"memory         {memory.peak_mb:6.0f} MB at the peak, {memory.of_trainers_mb:.0f} of it in trainers   "
        f"(wanted: at most {MEMORY_MB_WANTED})\n"
        f"network        {sent_mb:6.2f} MB a round   (wanted: at most {ROUND_MB_WANTED})"
    )


if __name__ == "__main__":
    main()
