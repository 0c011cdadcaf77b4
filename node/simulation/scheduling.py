"""trio on virtual time, the same order of tasks for the same seed: the one file that touches trio's private parts.

`tests/unit/test_simulation_scheduling.py` tells when a version of trio no longer has them.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio
from trio._core import _run
from trio.testing import MockClock

T = TypeVar("T")

SWITCH, SOURCE = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"


def run_on_virtual_time(main: Callable[[], Awaitable[T]], seed: int) -> T:
    """`trio.run(main)` in which time jumps to whatever is due next, and which of two ready tasks runs first follows
    from the seed. What would run in a thread runs at once: threads end in any order."""
    with _in_one_order(seed):
        return trio.run(main, clock=MockClock(autojump_threshold=0))


@contextmanager
def _in_one_order(seed: int) -> Iterator[None]:
    for name in (SWITCH, SOURCE):
        assert hasattr(_run, name), f"this version of trio cannot be put in one order: it has no {name}"
    before = getattr(_run, SWITCH), getattr(_run, SOURCE), trio.to_thread.run_sync, random.getstate()
    setattr(_run, SWITCH, True)
    setattr(_run, SOURCE, random.Random(seed))
    trio.to_thread.run_sync = _run_here  # type: ignore[assignment]
    # `node/timers.py` jitters with the module's own source.
    random.seed(seed)
    try:
        yield
    finally:
        setattr(_run, SWITCH, before[0])
        setattr(_run, SOURCE, before[1])
        trio.to_thread.run_sync = before[2]
        random.setstate(before[3])


async def _run_here(function: Callable[..., T], *arguments: Any, **_options: Any) -> T:
    await trio.lowlevel.checkpoint()
    return function(*arguments)
