"""Everything that keeps a member's ledger and disk in shape beside the agreement itself: snapshots for others and from
others, old blocks, room on the disk. Wiring only.
"""

from itertools import islice

import trio

from ledger.blocks import FinalHeader
from ledger.chain import Chain
from node.blob_upkeep import BlobUpkeep
from node.config import Config
from node.disk_use import DiskWatch, Room
from node.ledger_joiner import LedgerJoiner
from node.ledger_pruning import BlockPruner
from node.leveldb import LevelDbStore
from node.network.blob_store import BlobStore
from node.network.snapshot_exchange import serve_snapshots
from node.network.transport import Transport
from node.replica import ReplicaDriver
from node.snapshot_store import KEPT_MAX, SnapshotStore
from node.snapshot_writer import SnapshotWriter


class LedgerKeeping:
    """Call `committed` at every new head; run it once."""

    def __init__(
        self, config: Config, chain: Chain, transport: Transport, blobs: BlobStore, upkeep: BlobUpkeep
    ) -> None:
        store = chain.store
        assert isinstance(store, LevelDbStore), "a running node's ledger is on its disk"
        self._config = config
        self._chain = chain
        self._transport = transport
        self._store = store
        self._blobs = blobs
        self._upkeep = upkeep
        self._disk_work = trio.Lock()
        data_dir, sync, storage = config.node.data_dir, config.sync, config.storage
        self.snapshots = SnapshotStore(data_dir / "snapshots")
        self._writer = SnapshotWriter(
            chain, self.snapshots, self._disk_work, sync.snapshot_every, sync.snapshot_seconds * 1000
        )
        self._pruner = BlockPruner(chain, store, self._disk_work, storage.keep_blocks, self._oldest_snapshot)
        self.disk = DiskWatch(data_dir, storage.bytes_max, storage.disk_free_min, self._make_room)
        self.joiner: LedgerJoiner | None = None
        serve_snapshots(transport, self.snapshots, self._changes)

    def committed(self) -> None:
        self._writer.committed()
        self._pruner.wake()

    async def run(self, driver: ReplicaDriver) -> None:
        """Until cancelled. Raises CorruptStore, StoreUnavailable, OSError; StoreFull when the disk has no room left."""
        sync, storage = self._config.sync, self._config.storage
        self.joiner = LedgerJoiner(
            driver,
            self._transport,
            self._store,
            self._config.node.data_dir,
            self._disk_work,
            gap=sync.snapshot_gap,
            keeps_all=storage.keep_blocks == 0,
        )
        async with trio.open_nursery() as nursery:
            for part in (self._writer, self._pruner, self.disk, self.joiner):
                nursery.start_soon(part.run)

    def _make_room(self, room: Room) -> None:
        self._writer.allowed = room is Room.ENOUGH
        if room is not Room.ENOUGH:
            self.snapshots.keep(1 if room is Room.SCARCE else 0)
        self._blobs.closed_because = self.disk.refusal
        self._upkeep.press(room)

    def _oldest_snapshot(self) -> int | None:
        """Who joins by the oldest snapshot that is offered here goes on with the block after it."""
        offers = self.snapshots.offers[:KEPT_MAX]
        return offers[-1].final.header.height + 1 if offers else None

    def _changes(self, after: int, up_to: int, limit: int) -> tuple[FinalHeader, ...]:
        return tuple(islice(self._chain.committee_changes(after, min(up_to, self._chain.height)), limit))
