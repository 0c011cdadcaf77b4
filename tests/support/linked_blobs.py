"""Blobs of several nodes over real stores, without a network between them: a fetch copies from a source's store."""

from collections.abc import Sequence
from pathlib import Path

import trio

from fl.fixed_point import Bytes
from ledger.types import Hash32, OrgId
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import BlobStore


class LinkedBlobs:
    """`node.ports.Blobs`. `league` maps every organisation to its store; an absent one is unreachable."""

    def __init__(self, folder: Path, org: OrgId, league: dict[OrgId, BlobStore]) -> None:
        self.store = league[org] = BlobStore(folder)
        self.league = league
        self.asked: list[tuple[bytes, tuple[OrgId, ...]]] = []

    def has(self, digest: bytes) -> bool:
        return digest in self.store

    def view(self, digest: bytes) -> Bytes:
        if digest not in self.store:
            raise BlobUnavailable(digest.hex())
        return self.store.read(Hash32(digest))

    async def put(self, data: bytes) -> Hash32:
        await trio.lowlevel.checkpoint()
        return self.store.put(data)

    async def fetch(self, digest: bytes, bytes_max: int, sources: Sequence[OrgId]) -> None:
        await trio.lowlevel.checkpoint()
        if digest in self.store:
            return
        self.asked.append((digest, tuple(sources)))
        for source in sources:
            other = self.league.get(source)
            if other is not None and digest in other and other.size(Hash32(digest)) <= bytes_max:
                self.store.put(other.read(Hash32(digest)))
                return
        raise BlobUnavailable(f"nobody has {digest.hex()[:16]}")
