"""Whether trio can still be put in one order: the canary for the one file that touches its private parts."""

import random

import trio
from trio._core import _run

from node.simulation.scheduling import SOURCE, SWITCH, run_on_virtual_time


def order(seed: int) -> list[int]:
    """In which order ten tasks that are ready at once do ten steps."""
    seen: list[int] = []

    async def step(name: int) -> None:
        for _ in range(10):
            await trio.sleep(random.random())
            await trio.to_thread.run_sync(seen.append, name)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in range(10):
                nursery.start_soon(step, name)

    run_on_virtual_time(main, seed)
    return seen


def test_one_seed_is_one_order_and_another_seed_another() -> None:
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(6)}) == 6


def test_hours_pass_at_once() -> None:
    async def main() -> float:
        await trio.sleep(3 * 3600)
        return trio.current_time()

    assert run_on_virtual_time(main, 1) == 3 * 3600


def test_trio_is_as_it_was_afterwards() -> None:
    before = getattr(_run, SWITCH), getattr(_run, SOURCE), trio.to_thread.run_sync, random.getstate()
    order(1)
    assert (getattr(_run, SWITCH), getattr(_run, SOURCE), trio.to_thread.run_sync, random.getstate()) == before
