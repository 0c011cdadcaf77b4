"""One node's disk that forgets: small files and the ledger's rows under power cuts, full disks and failing writes.

What was synced stays. Of the rest a power cut leaves a part: a file's last bytes torn at any byte or turned to zeros, a
rename undone, batches of rows missing from some point on. A killed process leaves all of it, and unsynced still.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from ledger.errors import StoreFull, StoreUnavailable
from ledger.memory_store import MemoryStore
from ledger.store import WriteBatch
from node.files import AppendFile


class PowerCut(BaseException):
    """The process or its machine ended within a call to the disk. Nothing of it runs after that."""


@dataclass(slots=True)
class DiskFaults:
    """Chances for each write or sync. `cut_short`: the process ends in the midst of it, in a share of `power` of all
    cases with its machine. `full`: nothing can be written until there is room again."""

    cut_short: float = 0.0
    power: float = 0.5
    failing: float = 0.0
    full: bool = False


@dataclass(slots=True)
class _Inode:
    """A file's bytes: those a power cut leaves for certain, and those a reader sees now."""

    durable: bytes = b""
    seen: bytes = b""


@dataclass(slots=True)
class _Names:
    """A folder's names now, and what happened to them since they were last synced: (name, inode before)."""

    now: dict[str, _Inode] = field(default_factory=dict)
    unsynced: list[tuple[str, _Inode | None]] = field(default_factory=list)


class SimDisk:
    """`files.Files` and a `Store` for the ledger, over one process's life after the other; `rng` says what is lost."""

    def __init__(self, rng: Random) -> None:
        self.faults = DiskFaults()
        self._rng = rng
        self._names = _Names()
        self._rows = MemoryStore()
        self._undo: list[dict[bytes, bytes | None]] = []
        self._limbo: WriteBatch | None = None
        self._life = 0
        self.power_cuts = self.faults_met = 0

    # --- what happens to it

    def kill(self) -> None:
        """The process ends: its handles are dead, and what it wrote stays as it is."""
        self._life += 1

    def cut_power(self) -> None:
        """The machine ends: of what was not synced some is lost."""
        self.kill()
        self.power_cuts += 1
        names = self._names
        for _ in range(self._rng.randint(0, len(names.unsynced))):
            name, before = names.unsynced.pop()
            if before is None:
                names.now.pop(name, None)
            else:
                names.now[name] = before
        names.unsynced.clear()
        for inode in names.now.values():
            inode.durable = inode.seen = self._torn(inode)
        for _ in range(self._rng.randint(0, len(self._undo))):
            self._rows.write(WriteBatch(self._undo.pop()))
        self._undo.clear()

    def wipe(self) -> None:
        """An empty data directory."""
        self.kill()
        self._names, self._rows, self._undo, self._limbo = _Names(), MemoryStore(), [], None

    def lose(self, name: str) -> None:
        """Somebody deletes a file."""
        self._names.now.pop(name, None)

    def rot(self, name: str, at: int) -> None:
        """One bit of a file turns over."""
        inode = self._names.now[name]
        inode.seen = inode.durable = inode.seen[:at] + bytes([inode.seen[at] ^ 0x10]) + inode.seen[at + 1 :]

    def length(self, name: str) -> int:
        inode = self._names.now.get(name)
        return len(inode.seen) if inode else 0

    @property
    def has_ledger(self) -> bool:
        return self._rows.get(b"M") is not None

    def _torn(self, inode: _Inode) -> bytes:
        if not inode.seen.startswith(inode.durable):
            # Shorter, or written over from some byte on: the disk has done it or it has not.
            return self._rng.choice((inode.seen, inode.durable))
        end = self._rng.randint(len(inode.durable), len(inode.seen))
        if self._rng.random() < 0.3:
            # The file was made longer before its bytes were there.
            return inode.seen[:end] + bytes(len(inode.seen) - end)
        return inode.seen[:end]

    # --- one process's view

    def files(self) -> "SimFiles":
        return SimFiles(self, self._names, self._life)

    def open_store(self) -> "SimStore":
        """As LevelDB opens: what was in its log is written to tables, and so is durable; half a batch is dropped."""
        if self._limbo is not None and self._rng.random() < 0.5:
            self._rows.write(self._limbo)
        self._limbo = None
        self._undo.clear()
        return SimStore(self, self._rows, self._life)

    def step(
        self, life: int, done: Callable[[], None], partly: Callable[[], None] | None = None, *, grows: bool = True
    ) -> None:
        """One write or sync of a process: done, refused, or cut short before or after it. `grows`: it needs room."""
        if life != self._life:
            raise PowerCut("a dead process writes")
        chance = self._rng.random()
        if chance < self.faults.cut_short:
            if self._rng.random() < 0.5:
                done()
            if self._rng.random() < self.faults.power:
                self.cut_power()
            else:
                self.kill()
            raise PowerCut("cut short")
        full = self.faults.full and grows
        if full or chance > 1 - self.faults.failing:
            self.faults_met += 1
            if partly is not None:
                partly()
            code = errno.ENOSPC if full else errno.EIO
            raise OSError(code, os.strerror(code))
        done()

    def keep(self, batch: WriteBatch, sync: bool) -> None:
        """Called by the store."""
        self._undo.append({key: self._rows.get(key) for key in batch.changes})
        self._rows.write(batch)
        if sync:
            self._undo.clear()

    def fail(self, batch: WriteBatch) -> None:
        """A batch that was not acknowledged: after the next start it is there, or it is not."""
        self._limbo = batch


class SimFiles:
    """See files.Files. All paths are in one folder: the node's."""

    def __init__(self, disk: SimDisk, names: _Names, life: int) -> None:
        self._disk = disk
        self._names = names
        self._life = life

    def exists(self, path: Path) -> bool:
        return path.name in self._names.now

    def read(self, path: Path) -> bytes:
        return self._names.now[path.name].seen

    def open(self, path: Path, *, fresh: bool = False) -> AppendFile:
        inode = self._names.now.get(path.name)
        if inode is None:
            inode = _Inode()
            self._disk.step(self._life, lambda: self._set(path.name, inode))
        elif fresh:
            emptied = inode
            self._disk.step(self._life, lambda: setattr(emptied, "seen", b""))
        return _SimAppendFile(self._disk, inode, self._life)

    def rename(self, path: Path, to: Path) -> None:
        def move() -> None:
            self._set(to.name, self._names.now[path.name])
            self._set(path.name, None)

        self._disk.step(self._life, move)

    def remove(self, path: Path) -> None:
        self._disk.step(self._life, lambda: self._set(path.name, None), grows=False)

    def sync_folder(self, folder: Path) -> None:
        self._disk.step(self._life, self._names.unsynced.clear, grows=bool(self._names.unsynced))

    def publish(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        def replace() -> None:
            self._names.now[path.name] = _Inode(content, content)
            self._names.unsynced = [each for each in self._names.unsynced if each[0] != path.name]

        self._disk.step(self._life, replace)

    def _set(self, name: str, inode: _Inode | None) -> None:
        self._names.unsynced.append((name, self._names.now.get(name)))
        if inode is None:
            self._names.now.pop(name, None)
        else:
            self._names.now[name] = inode


class _SimAppendFile:
    def __init__(self, disk: SimDisk, inode: _Inode, life: int) -> None:
        self._disk = disk
        self._inode = inode
        self._life = life

    @property
    def size(self) -> int:
        return len(self._inode.seen)

    def append(self, data: bytes) -> None:
        before = self._inode.seen

        def write(count: int) -> None:
            self._inode.seen = before + data[:count]

        self._disk.step(self._life, lambda: write(len(data)), lambda: write(len(data) // 2))

    def cut(self, size: int) -> None:
        # Not a step that can fail for want of room: it frees some.
        self._inode.seen = self._inode.seen[:size]

    def sync(self) -> None:
        def keep() -> None:
            self._inode.durable = self._inode.seen

        # Room is found for bytes when they are written out, not when they are handed over.
        self._disk.step(self._life, keep, grows=len(self._inode.seen) > len(self._inode.durable))

    def close(self) -> None:
        """A process that is gone has closed everything already."""


class SimStore:
    """The ledger's `Store` for one process. As `leveldb.py`: after a write that failed no other is tried."""

    def __init__(self, disk: SimDisk, rows: MemoryStore, life: int) -> None:
        self._disk = disk
        self._rows = rows
        self._life = life
        self._broken: Exception | None = None
        self.get = rows.get
        self.scan = rows.scan
        self.snapshot = rows.snapshot

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        if self._broken is not None:
            raise type(self._broken)(f"{self._broken}; an earlier write failed, open the store anew")
        kept = WriteBatch(dict(batch.changes))
        try:
            self._disk.step(self._life, lambda: self._disk.keep(kept, sync), lambda: self._disk.fail(kept))
        except OSError as error:
            kind = StoreFull if error.errno == errno.ENOSPC else StoreUnavailable
            self._broken = kind(f"the simulated ledger: {error.strerror}")
            raise self._broken from error

    def close(self) -> None:
        """Nothing to let go of."""
