"""Writes a snapshot for others now and then: at heights that all members agree on, in a thread, of one moment's rows.

Members write at the same heights, so that a joiner finds each chunk at several of them.
"""

import logging
from contextlib import AbstractContextManager

import trio

from ledger.chain import Chain
from ledger.errors import CorruptStore
from ledger.store import Reader
from node.snapshot_store import SnapshotStore

log = logging.getLogger(__name__)


class SnapshotWriter:
    """`every`: heights between two snapshots (0: none); `every_ms`: block time that lies between them at least.

    `disk_work` is held while the ledger's rows are read, so that its folder is not moved meanwhile.
    """

    def __init__(self, chain: Chain, store: SnapshotStore, disk_work: trio.Lock, every: int, every_ms: int) -> None:
        self._chain = chain
        self._store = store
        self._disk_work = disk_work
        self._every = every
        self._every_ms = every_ms
        self._due: AbstractContextManager[Reader] | None = None
        self._wakeup = trio.Event()
        self.busy = False
        self.allowed = True  # False while the disk has no room to spare

    def committed(self) -> None:
        """There is a new head. The rows are taken hold of now: later they would be those of another height."""
        if self.busy or not self.allowed or not self._is_due():
            return
        self.busy = True
        self._due = self._chain.store.snapshot()
        self._wakeup.set()

    async def run(self) -> None:
        """Until cancelled. Raises CorruptStore."""
        while True:
            await self._wakeup.wait()
            self._wakeup = trio.Event()
            due, self._due = self._due, None
            if due is not None:
                async with self._disk_work:
                    await trio.to_thread.run_sync(self._write, due)
            self.busy = False

    def _write(self, due: AbstractContextManager[Reader]) -> None:
        try:
            with due as rows:
                snapshot = self._store.write(rows)
        except CorruptStore:
            raise
        except OSError as error:
            # Others have some; nothing else depends on it.
            log.warning("no snapshot was written: %s", error)
            return
        log.info("snapshot of height %d: %d chunks", snapshot.final.header.height, len(snapshot.slices))

    def _is_due(self) -> bool:
        height = self._chain.height
        if not self._every or height % self._every:
            return False
        before = self._chain.header(height - self._every)
        if before is None or not self._every_ms:
            return True
        return self._chain.head_time // self._every_ms != before.time // self._every_ms
