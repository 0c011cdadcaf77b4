"""`python -m node.simulation`: many seeds on all cores, or one of them with what it saw. Stops at the first failure.

Exit code 0: nothing broke; 1: an invariant did, and the last line says how to see it again.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from node.simulation.faults import draw_faults
from node.simulation.referee import SimulationFailed
from node.simulation.run import drawn_size, outcome_of, run
from node.simulation.world import Report

# A seed takes a second or two: often enough to see that it goes on, seldom enough for a log.
TOLD_EVERY_S = 10.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m node.simulation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default %(default)s)")
    parser.add_argument("--seed", type=int, help="run this one only, and print its weather and what it saw")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--masked", action="store_true", help="requests want their updates masked")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _show(options.seed, options.masked)
    return _run_many(range(options.first, options.first + options.seeds), options.jobs, options.masked)


def _show(seed: int, masked: bool) -> int:
    size = drawn_size(seed)
    for name, value in asdict(draw_faults(seed, size)).items():
        print(f"{name:20} {value}")
    try:
        report = run(seed, masked=masked)
    except SimulationFailed as failure:
        print(failure)
        return 1
    for name, value in asdict(report).items():
        print(f"{name:20} {value}")
    return 0


def _run_many(seeds: range, jobs: int, masked: bool) -> int:
    began = told = time.monotonic()
    rounds = transactions = crashes = 0
    again = " --masked" if masked else ""
    for done, (seed, outcome) in enumerate(_outcomes(seeds, jobs, masked), 1):
        if isinstance(outcome, str):
            print(f"{outcome}\nsee it again: python -m node.simulation --seed {seed}{again}")
            return 1
        rounds += outcome.aggregates
        transactions += outcome.transactions_final
        crashes += outcome.crashes + outcome.power_cuts
        if time.monotonic() - told > TOLD_EVERY_S or done == len(seeds):
            told = time.monotonic()
            rate = done / (told - began)
            print(
                f"{done} of {len(seeds)} seeds, {rate:.2f} a second: {transactions} transactions final, "
                f"{rounds} aggregates recomputed, {crashes} crashes",
                flush=True,
            )
    return 0


def _outcomes(seeds: range, jobs: int, masked: bool) -> Iterator[tuple[int, Report | str]]:
    if jobs <= 1:
        yield from map(partial(outcome_of, masked=masked), seeds)
        return
    # Spawned: a fork of a process that has run trio or numpy is nobody's promise.
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=200) as pool:
        yield from pool.imap(partial(outcome_of, masked=masked), seeds)


if __name__ == "__main__":
    sys.exit(main())
