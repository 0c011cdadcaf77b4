"""Snapshots from node to node: what is offered, the headers that lead to it, and the chunks. Frames, no decisions.

Three kinds of request between members: `snapshot.offers` (empty) → Offers; `snapshot.changes` ChangesWanted → Changes;
`snapshot.chunk` ChunkWanted → the bytes of one encoded chunk, or the refusal "missing".
"""

from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

import trio

from ledger.blocks import Count, FinalHeader
from ledger.codec import Size, decode, encode
from ledger.errors import InvalidBytes
from ledger.snapshots import CHUNK_BYTES_MAX, Chunk, Slice, Snapshot
from ledger.types import NodeKey
from node.network.transport import RequestRefused, Transport
from node.snapshot_store import KEPT_MAX, SnapshotStore

T = TypeVar("T")

OFFERS, CHANGES, CHUNK = "snapshot.offers", "snapshot.changes", "snapshot.chunk"
# The largest committee's header with its certificate has some 4.5 KB: half a megabyte a page.
CHANGES_PER_PAGE_MAX = 128
# One joiner keeps a connection busy with two; a member that asks for more gains nothing.
CHUNKS_PER_PEER_MAX = 4
OTHERS_PER_PEER_MAX = 2
_ASK_BYTES_MAX = 1024
OFFERS_S, CHANGES_S = 15.0, 20.0
# 50 KB/s, as for a piece of a blob.
CHUNK_S = 30.0


@dataclass(frozen=True, slots=True)
class Offers:
    snapshots: Annotated[tuple[Snapshot, ...], Size(0, KEPT_MAX)]


@dataclass(frozen=True, slots=True)
class ChangesWanted:
    """Headers of heights in after+1 .. up_to that hand over to another committee."""

    after: Count
    up_to: Count


@dataclass(frozen=True, slots=True)
class Changes:
    """The first of them, ascending; none when there are none."""

    headers: Annotated[tuple[FinalHeader, ...], Size(0, CHANGES_PER_PAGE_MAX)]


@dataclass(frozen=True, slots=True)
class ChunkWanted:
    height: Count
    slice: Slice


class ChangesOf(Protocol):
    """Up to `limit` of a chain's changes of committee in after+1 .. up_to."""

    def __call__(self, after: int, up_to: int, limit: int) -> tuple[FinalHeader, ...]: ...


def serve_snapshots(transport: Transport, store: SnapshotStore, changes_of: ChangesOf) -> None:
    """Answer members that join."""

    async def offers(peer: NodeKey, body: bytes) -> bytes:
        return encode(Offers(store.offers))

    async def changes(peer: NodeKey, body: bytes) -> bytes:
        wanted = _parsed(ChangesWanted, body)
        return encode(Changes(changes_of(wanted.after, wanted.up_to, CHANGES_PER_PAGE_MAX)))

    async def chunk(peer: NodeKey, body: bytes) -> bytes:
        wanted = _parsed(ChunkWanted, body)
        found = await trio.to_thread.run_sync(store.chunk, wanted.height, wanted.slice)
        if found is None:
            raise RequestRefused("missing", f"no such chunk of height {wanted.height} here")
        return found

    for kind, answer, concurrent in (
        (OFFERS, offers, OTHERS_PER_PEER_MAX),
        (CHANGES, changes, OTHERS_PER_PEER_MAX),
        (CHUNK, chunk, CHUNKS_PER_PEER_MAX),
    ):
        transport.serve(kind, answer, body_bytes_max=_ASK_BYTES_MAX, concurrent_per_peer=concurrent)


async def ask_offers(transport: Transport, peer: NodeKey) -> tuple[Snapshot, ...]:
    """Raises TransportError, InvalidBytes."""
    body = await transport.request(peer, OFFERS, b"", OFFERS_S)
    offers: Offers = await trio.to_thread.run_sync(decode, Offers, body)
    return offers.snapshots


async def ask_changes(transport: Transport, peer: NodeKey, after: int, up_to: int) -> tuple[FinalHeader, ...]:
    """Raises TransportError, InvalidBytes."""
    body = await transport.request(peer, CHANGES, encode(ChangesWanted(after, up_to)), CHANGES_S)
    changes: Changes = await trio.to_thread.run_sync(decode, Changes, body)
    return changes.headers


async def ask_chunk(transport: Transport, peer: NodeKey, height: int, part: Slice) -> Chunk:
    """Raises TransportError, InvalidBytes."""
    body = await transport.request(peer, CHUNK, encode(ChunkWanted(height, part)), CHUNK_S)
    if len(body) > CHUNK_BYTES_MAX:
        raise InvalidBytes(f"a chunk of {len(body)} bytes, want at most {CHUNK_BYTES_MAX}")
    chunk: Chunk = await trio.to_thread.run_sync(decode, Chunk, body)
    return chunk


def _parsed(kind: type[T], body: bytes) -> T:
    try:
        return decode(kind, body)
    except InvalidBytes as error:
        raise RequestRefused("invalid", str(error)) from None
