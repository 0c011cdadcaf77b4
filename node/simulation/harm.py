"""Phase one: what is done to the members' network, processes, machines and disks until it heals.

How much of it there is `faults.py` says, how a disk forgets `disk.py`, what the network loses `network.py`.
"""

from collections.abc import Callable
from random import Random
from typing import Protocol

import trio

from node.network.memory_transport import MemoryNetwork
from node.simulation.faults import Faults
from node.simulation.member import Member
from node.simulation.network import Weather


class Harmed(Protocol):
    """What there is to do harm to. `correct`: members that are held to something, `tolerated`: how many more of them
    may be made faulty."""

    faults: Faults
    weather: Weather
    network: MemoryNetwork
    members: list[Member]

    @property
    def correct(self) -> list[Member]: ...

    @property
    def tolerated(self) -> int: ...


class Harm:
    """All of it. Cancel `run` for healing."""

    def __init__(self, world: Harmed, rng: Random) -> None:
        self._world = world
        self._rng = rng

    async def run(self) -> None:
        faults = self._world.faults
        self._world.weather.slow = frozenset(
            member.key.public for member in self._rng.sample(self._world.members, faults.slow_members)
        )
        async with trio.open_nursery() as nursery:

            async def every(period_ms: int, act: Callable[[], object]) -> None:
                while period_ms:
                    await trio.sleep(self._rng.uniform(0.5, 1.5) * period_ms / 1000)
                    act()

            nursery.start_soon(every, faults.partition_every_ms, self._change_weather)
            nursery.start_soon(every, faults.crash_every_ms, lambda: nursery.start_soon(self._crash_one))
            nursery.start_soon(every, faults.full_every_ms, lambda: nursery.start_soon(self._fill_a_disk))
            await trio.sleep_forever()

    def _change_weather(self) -> None:
        self._world.weather.change(self._world.network, [member.key.public for member in self._world.members])

    async def _crash_one(self) -> None:
        """A process or its machine ends; while it is down, its disk may suffer more than a crash does."""
        faults, rng = self._world.faults, self._rng
        member = self._whom_to_crash()
        if member.alive is None:
            return
        down_s = rng.uniform(*faults.down_ms) / 1000
        member.crash(rng.random() < faults.power, down_s)
        if member.leaving or sum(each.forgetful for each in self._world.correct) >= self._world.tolerated:
            return
        chance = rng.random()
        if chance < faults.wiped:
            member.wipe()
        elif chance < faults.wiped + faults.journal_lost:
            member.lose_journal()
        elif rng.random() < faults.rot and member.disk.length("journal"):
            length = member.disk.length("journal")
            # Mostly where the newest votes are: of old heights nobody asks any more.
            member.rot_journal(rng.randrange(max(0, length - 60) if rng.random() < 0.8 else 0, length))

    def _whom_to_crash(self) -> Member:
        """Mostly in the midst of a height, its leader before others: at rest there is nothing to be forgotten."""
        machines = [(member, member.alive.driver.replica.machine) for member in self._world.correct if member.alive]
        busy = [(member, machine) for member, machine in machines if machine.active]
        leading = [member for member, machine in busy if machine.leader(machine.view) == member.key.public]
        chance = self._rng.random()
        if leading and chance < 0.4:
            return self._rng.choice(leading)
        if busy and chance < 0.8:
            return self._rng.choice(busy)[0]
        return self._rng.choice(self._world.correct)

    async def _fill_a_disk(self) -> None:
        member = self._rng.choice(self._world.correct)
        member.disk.faults.full = True
        await trio.sleep(self._rng.uniform(0.3, 1.0) * self._world.faults.full_ms / 1000)
        member.disk.faults.full = False
