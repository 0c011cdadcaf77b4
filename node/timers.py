"""Named timers for one task: setting one replaces it. Times in seconds."""

import math
import random

import trio


class Timers:
    """`set` and `cancel` never block; one task awaits `next`."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._changed = trio.Event()

    def set(self, name: str, delay_s: float, *, jitter: bool = False) -> None:
        """`jitter`: give or take a quarter, so that nodes do not march in step."""
        self._due[name] = trio.current_time() + delay_s * (random.uniform(0.75, 1.25) if jitter else 1.0)
        self._changed.set()

    def cancel(self, name: str) -> None:
        self._due.pop(name, None)

    async def next(self) -> str:
        """The name of the next timer to run out, once it has."""
        while True:
            name = min(self._due, key=self._due.__getitem__, default=None)
            due = self._due[name] if name is not None else math.inf
            if name is not None and due <= trio.current_time():
                await trio.lowlevel.checkpoint()
                if self._due.get(name) == due:
                    del self._due[name]
                    return name
                continue
            self._changed = trio.Event()
            with trio.move_on_at(due):
                await self._changed.wait()
