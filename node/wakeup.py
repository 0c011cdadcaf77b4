"""A bell for one sleeping task: rung as often as one likes, heard once."""

import math

import trio


class Wakeup:
    """`ring` never blocks and is not lost when nobody waits."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, at_most_s: float = math.inf) -> None:
        """Until the bell was rung since the last wait, or so many seconds have passed."""
        with trio.move_on_after(at_most_s):
            await self._rung.wait()
        self._rung = trio.Event()
