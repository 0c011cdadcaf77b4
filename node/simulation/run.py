"""`run(seed)`: one simulated league on virtual time, from what the seed draws to what it saw."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import structlog

from node import journal_file
from node.simulation.assembly import Agenda, draw_agenda
from node.simulation.faults import Faults, draw_faults
from node.simulation.referee import SimulationFailed
from node.simulation.scheduling import run_on_virtual_time
from node.simulation.world import Report, World

# Journals are written anew hundreds of times as often as in a factory, or no run would see it.
JOURNAL_REWRITE_BYTES = 6_000


def run(
    seed: int,
    members: int | None = None,
    faults: Faults | None = None,
    agenda: Agenda | None = None,
    transfers: int = 12,
    requests: int = 1,
    masked: bool = False,
) -> Report:
    """One simulated league; the seed draws what is not given. Raises SimulationFailed, naming the seed.

    `masked`: requests want their updates masked, and so three providers at least.
    """
    drawn = drawn_size(seed) if members is None else members
    weather = draw_faults(seed, drawn) if faults is None else faults
    if agenda is None:
        agenda = draw_agenda(seed, drawn) if faults is None else Agenda()
    with _quiet(), _short_journals(), _scratch_folder() as folder:
        world = World(seed, drawn, weather, agenda, transfers, requests if drawn > 1 else 0, folder, masked)
        try:
            return run_on_virtual_time(world.run, seed)
        except BaseException as error:
            if world.referee.failure is not None:
                raise world.referee.failure from None
            if isinstance(error, KeyboardInterrupt):
                raise
            raise SimulationFailed(f"seed {seed}, {drawn} members: a bug came up: {error!r}") from error


def outcome_of(seed: int, masked: bool = False) -> tuple[int, Report | str]:
    """`run(seed)`, or in words what failed: for processes that hand results to each other."""
    try:
        return seed, run(seed, masked=masked)
    except SimulationFailed as failure:
        return seed, str(failure)


def drawn_size(seed: int) -> int:
    """How many members a seed's league has: leagues of four are the least that bear a fault, and the most common."""
    return Random(f"size/{seed}").choice((1, 2, 3, 4, 4, 4, 4, 5, 6, 7))


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """For blobs: in memory where the system has such a folder, for nothing here outlives the run."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="hanse-simulation-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _short_journals() -> Iterator[None]:
    before, journal_file.REWRITE_BYTES = journal_file.REWRITE_BYTES, JOURNAL_REWRITE_BYTES
    try:
        yield
    finally:
        journal_file.REWRITE_BYTES = before


@contextmanager
def _quiet() -> Iterator[None]:
    """A simulated league has nobody who reads its log."""
    before, known = structlog.get_config(), structlog.is_configured()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        if known:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()
