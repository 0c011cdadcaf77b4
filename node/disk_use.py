"""How much of the disk a node takes, by what it is for, and what follows when that is too much.

Room gets scarce before it is gone: first what nobody needs any more makes way, then the node takes on no new work, and
before a write could fail half way it stops. Consensus goes on as long as there is room for its blocks and votes.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import trio

from ledger.errors import StoreFull
from node.data_folder import JOINED, JOINING, LEDGER

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
# Of the bound, in percent: above it what nobody needs is deleted.
SCARCE_PERCENT = 90
# With twice the free space that is wanted, too.
SCARCE_FREE_FACTOR = 2
# With a quarter of it the node stops. The largest writes of one moment are a block and a group of votes, 20 MB.
STOP_FREE_DIVISOR = 4
# Files by the beginning of their path in the data folder; the first that fits counts.
PARTS: tuple[tuple[str, str], ...] = (
    (JOINING, "snapshots"),
    (JOINED, "ledger"),
    (LEDGER, "ledger"),
    ("snapshots", "snapshots"),
    ("journal", "journal"),
    ("blobs", "blobs"),
    ("records.sqlite", "records"),
    ("models", "models"),
    ("strategies", "strategies"),
    ("masking", "masking"),
    ("privacy", "privacy"),
)


class Room(IntEnum):
    """ENOUGH; SCARCE: old things make way; NONE: no new work; LOST: the node stops."""

    ENOUGH = 0
    SCARCE = 1
    NONE = 2
    LOST = 3


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes that a data folder takes, by part ("other" for the rest), and that are free beside it."""

    parts: dict[str, int]
    free: int

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def measure(data_dir: Path) -> DiskUse:
    """Blocks on the disk: it looks at every file. Files that go meanwhile are left out."""
    parts = dict.fromkeys([*dict.fromkeys(part for _, part in PARTS), "other"], 0)
    for folder, _, names in os.walk(data_dir):
        for name in names:
            path = Path(folder) / name
            try:
                # What it takes on the disk: a file with holes, or one that is deflated, is not as long as it looks.
                taken = path.lstat().st_blocks * 512
            except FileNotFoundError:
                continue
            parts[_part_of(path.relative_to(data_dir).as_posix())] += taken
    disk = os.statvfs(data_dir)
    return DiskUse(parts, disk.f_bavail * disk.f_frsize)


def _part_of(name: str) -> str:
    return next((part for prefix, part in PARTS if name.startswith(prefix)), "other")


@dataclass(slots=True)
class DiskWatch:
    """Run it once. `bytes_max`: what the folder may take (0: as much as there is); `free_min`: what must stay free.

    `changed` is called with the room there is after every look.
    """

    data_dir: Path
    bytes_max: int
    free_min: int
    changed: Callable[[Room], None] = lambda room: None
    measure: Callable[[Path], DiskUse] = measure
    use: DiskUse = field(default_factory=lambda: DiskUse({}, 0))
    room: Room = Room.ENOUGH

    @property
    def refusal(self) -> str | None:
        """Why this node takes on no new work; None while it does."""
        if self.room < Room.NONE:
            return None
        if self.bytes_max and self.use.total > self.bytes_max:
            return (
                f"{self.data_dir} takes {_mb(self.use.total)} MB, allowed are {_mb(self.bytes_max)}:"
                " raise [storage] bytes_max or keep fewer blocks"
            )
        return f"{_mb(self.use.free)} MB are free in {self.data_dir}, want {_mb(self.free_min)}: free some space"

    async def run(self) -> None:
        """Until cancelled. Raises StoreFull when there is no room left to write safely."""
        while True:
            await self.look()
            await trio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Measure, and say what follows. Raises StoreFull."""
        self.use = await trio.to_thread.run_sync(self.measure, self.data_dir)
        before, self.room = self.room, self._room()
        if self.room is Room.LOST:
            raise StoreFull(
                f"{_mb(self.use.free)} MB are free in {self.data_dir}: too little to write safely. Nothing is lost;"
                " free some space and start the node again"
            )
        if self.room is not before:
            log.warning("room on the disk: %s. %s", self.room.name.lower(), self.refusal or "")
        self.changed(self.room)

    def _room(self) -> Room:
        use = self.use
        if use.free < self.free_min // STOP_FREE_DIVISOR:
            return Room.LOST
        if use.free < self.free_min or (self.bytes_max and use.total > self.bytes_max):
            return Room.NONE
        near = self.bytes_max and use.total * 100 > self.bytes_max * SCARCE_PERCENT
        return Room.SCARCE if near or use.free < self.free_min * SCARCE_FREE_FACTOR else Room.ENOUGH


def _mb(count: int) -> int:
    return count // 2**20
