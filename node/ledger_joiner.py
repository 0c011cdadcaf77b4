"""Looks whether a snapshot is the way to the others' head, fetches one, and puts it in the ledger's place.

How one is fetched is `snapshot_sync.py`'s business, which folder is the ledger `ledger_folder.py`'s.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import trio

from node.ledger_folder import drop_joining, open_joining, put_in_place
from node.leveldb import LevelDbStore
from node.network.transport import Transport
from node.replica import ReplicaDriver
from node.snapshot_sync import JoinFailed, Progress, SnapshotFetch

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# How long a failed attempt rests, twice as long each time: meanwhile blocks are asked for again, and a member may have
# written a snapshot. A member that only claims heights nobody can reach costs little this way.
REST_S = 30.0
REST_S_MAX = 480.0
# No read of a thread in the rows that were replaced takes so long.
LAST_READS_S = 60.0


class LedgerJoiner:
    """`gap`: heights behind the others from which on a snapshot is fetched; 0: only when no blocks can be had.

    `keeps_all`: a node that keeps every block, and has more than `gap` of them already, fetches the missing ones
    however many they are: a snapshot would end its archive. `disk_work` keeps others out of the store's rows while its
    folder changes.
    """

    def __init__(
        self,
        driver: ReplicaDriver,
        transport: Transport,
        store: LevelDbStore,
        data_dir: Path,
        disk_work: trio.Lock,
        gap: int,
        keeps_all: bool,
    ) -> None:
        self._driver = driver
        self._transport = transport
        self._store = store
        self._data_dir = data_dir
        self._disk_work = disk_work
        self._gap = gap
        self._keeps_all = keeps_all
        self.progress: Progress | None = None

    async def run(self) -> None:
        """Until cancelled. Raises OSError, StoreUnavailable, CorruptStore of our own disk."""
        rest_s = REST_S
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(LOOK_EVERY_S)
                if not self._is_needed():
                    continue
                try:
                    await self._join(nursery)
                    rest_s = REST_S
                except JoinFailed as error:
                    log.warning("joining by a snapshot failed, blocks are fetched instead: %s", error)
                    await trio.sleep(rest_s)
                    rest_s = min(2 * rest_s, REST_S_MAX)

    def _is_needed(self) -> bool:
        chain = self._driver.replica.chain
        gap = 0 if self._keeps_all and chain.height > self._gap else self._gap
        return self._driver.needs_snapshot(gap)

    async def _join(self, nursery: trio.Nursery) -> None:
        chain = self._driver.replica.chain
        peers = [peer.org for peer in self._transport.peers() if peer.connected]
        self._driver.pause_catch_up(True)
        try:
            joining = await trio.to_thread.run_sync(open_joining, self._data_dir)
            try:
                fetch = SnapshotFetch(self._transport, chain.genesis, joining, above=chain.height)
                self.progress = fetch.progress
                height = await fetch.run(peers)
            except BaseException:
                joining.close()
                raise
            async with self._disk_work:
                if height <= chain.height:  # its own votes led further meanwhile
                    joining.close()
                    drop_joining(self._data_dir)
                    return
                delete_old = put_in_place(self._store, joining, self._data_dir, height)
                self._driver.rebase()
            log.info("joined by the snapshot of height %d", height)
            nursery.start_soon(_delete_later, delete_old)
        finally:
            self.progress = None
            self._driver.pause_catch_up(False)


async def _delete_later(delete: Callable[[], None]) -> None:
    try:
        await trio.sleep(LAST_READS_S)
    finally:
        # At the end of the node too: nobody reads any more then.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(delete)
