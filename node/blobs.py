"""Blobs as the rest of the node uses them: one object over the store on disk and the exchange with other members."""

import mmap
from collections.abc import Sequence

import trio

from fl.fixed_point import Bytes
from ledger.types import Hash32, NodeKey
from node.network.blob_exchange import BlobExchange, BlobUnavailable
from node.network.blob_store import BlobStore, MissingBlob


class NodeBlobs:
    """`node.ports.Blobs` over a real store."""

    def __init__(self, store: BlobStore, exchange: BlobExchange) -> None:
        self.store = store
        self.exchange = exchange

    def has(self, digest: bytes) -> bool:
        return digest in self.store

    def view(self, digest: bytes) -> Bytes:
        """Mapped, not read: summing thirty large models takes no more memory than one."""
        try:
            path = self.store.path(Hash32(digest))
            if not self.store.size(Hash32(digest)):
                # Anybody may announce the digest of nothing, and nothing cannot be mapped.
                return b""
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (MissingBlob, FileNotFoundError):
            raise BlobUnavailable(f"blob {digest.hex()[:16]} is not here") from None

    async def put(self, data: bytes) -> Hash32:
        return await trio.to_thread.run_sync(self.store.put, data)

    async def fetch(self, digest: bytes, bytes_max: int, sources: Sequence[NodeKey]) -> None:
        if digest in self.store:
            return
        await self.exchange.fetch(Hash32(digest), sources, size_max=bytes_max)
