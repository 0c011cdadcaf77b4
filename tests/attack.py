"""The adversary, for as many seeds as there is time: `make attack SEEDS=1000000`.

    python -m tests.attack --seeds 1000000 --first 0     until one breaks; says where to go on after an interruption
    python -m tests.attack --seed 123                    that one again, with all that happened
    python -m tests.attack --mutants 1000                how often each planted fault is noticed in so many seeds
    python -m tests.attack --seed 1 --mutant NAME        how a planted fault shows, if it does with this seed

What it does and what must hold: docs/adversary.md.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from tests.support.lockstep import Lockstep, attempt
from tests.support.lockstep_plan import STYLES, Plan
from tests.support.lockstep_watch import CAUSES
from tests.support.mutants import HARMLESS, MUTANTS, Mutant, noticed

# Seeds a worker takes at a time: a second of work, so that a failure or an interruption stops all soon.
CHUNK = 100
PROGRESS_S = 5.0


def chunk(first: int, count: int, members: int | None, style: str | None) -> tuple[int, str] | None:
    """The first seed of a chunk that breaks, and what."""
    for seed in range(first, first + count):
        broken = attempt(Plan(seed, members, style))
        if broken is not None:
            return seed, broken
    return None


def chunks(first: int, seeds: int) -> Iterator[tuple[int, int]]:
    for begin in range(first, first + seeds, CHUNK):
        yield begin, min(CHUNK, first + seeds - begin)


def workers(jobs: int) -> ProcessPoolExecutor:
    """Processes that leave an interruption to us: a pool whose workers die of it may wait for them for ever."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))


class Interrupted:
    """True once somebody asked to stop; a second request is answered as Python does."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __bool__(self) -> bool:
        return self._asked


def attack(options: argparse.Namespace) -> int:
    """All seeds, on all cores, in order, until one breaks."""
    first, done, begun, shown = options.first, 0, time.monotonic(), 0.0
    interrupted = Interrupted()
    with workers(options.jobs) as pool:
        # A few chunks ahead of the oldest that is still running: a million futures would be memory for nothing.
        waiting = chunks(first, options.seeds)
        running: list[tuple[tuple[int, int], Future[tuple[int, str] | None]]] = []
        while not interrupted:
            while len(running) < 4 * options.jobs and (work := next(waiting, None)) is not None:
                running.append((work, pool.submit(chunk, *work, options.members, options.style)))
            if not running:
                break
            (_, count), future = running.pop(0)
            broken = future.result()
            if broken is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                seed, reason = broken
                print(f"\nseed {seed} breaks: {reason}\nsee how: make attack SEED={seed}", flush=True)
                return 1
            done += count
            elapsed = time.monotonic() - begun
            if elapsed - shown >= PROGRESS_S:
                shown = elapsed
                print(f"\r{done:,} of {options.seeds:,} seeds, {done / elapsed:,.0f}/s ", end="", flush=True)
        pool.shutdown(wait=False, cancel_futures=True)
    if interrupted:
        print(f"\ninterrupted; nothing broke below seed {first + done}: go on with FROM={first + done}", flush=True)
        return 130
    elapsed = time.monotonic() - begun
    print(f"\r{done:,} seeds from {first} on: none breaks; {elapsed:,.0f} s, {done / elapsed:,.0f}/s", flush=True)
    return 0


def replay(seed: int, mutant: Mutant | None, members: int | None, style: str | None) -> int:
    """One seed, line by line. Returns 1 when it breaks."""
    if mutant is None:
        return show(Lockstep(Plan(seed, members, style), trace=True))
    with mutant.planted():
        return show(Lockstep(mutant.plan(seed), trace=True))


def show(run: Lockstep) -> int:
    assert run.trace is not None
    status, end = 0, "all held"
    try:
        run.run()
    except Exception as error:
        status, end = 1, f"BROKEN {type(error).__name__}: {error}"
    print("\n".join(run.trace.lines))
    print(f"{end}\ntrace {run.trace.digest()}")
    return status


def rate(name: str, seeds: int) -> tuple[str, int, int]:
    """How many seeds show a fault: with all checks, and by its consequences alone."""
    mutant = {**MUTANTS, **HARMLESS}[name]
    all_checks, consequences = (sum(1 for _ in noticed(mutant, range(seeds), blind)) for blind in ((), CAUSES))
    return name, all_checks, consequences


def rates(seeds: int, jobs: int) -> int:
    names = [*MUTANTS, *HARMLESS]
    with workers(jobs) as pool:
        print(f"of {seeds} seeds: noticed, and by consequences alone")
        for name, all_checks, consequences in pool.map(rate, names, [seeds] * len(names)):
            print(f"{name:52}{all_checks:8}{consequences:8}", flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="replay this one and print its trace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--members", type=int, help="instead of what the seed draws")
    parser.add_argument("--style", choices=[style.name for style in STYLES], help="instead of what the seed draws")
    parser.add_argument("--mutant", choices=[*MUTANTS, *HARMLESS], metavar="NAME")
    parser.add_argument("--mutants", type=int, metavar="SEEDS", help="how often each planted fault is noticed")
    options = parser.parse_args()
    if options.mutants is not None:
        return rates(options.mutants, options.jobs)
    if options.seed is not None:
        mutant = {**MUTANTS, **HARMLESS}[options.mutant] if options.mutant else None
        return replay(options.seed, mutant, options.members, options.style)
    return attack(options)


if __name__ == "__main__":
    sys.exit(main())
