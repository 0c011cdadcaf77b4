"""What a node keeps of the ledger and on its disk, and how it gets to the head."""

import trio

from node.disk_use import DiskWatch, measure
from node.rpc.method import INTEGER, OBJECT, STRING, ledger_answer, listing, method
from node.rpc.node import Node
from node.rpc.views import Json


async def disk(node: Node) -> Json:
    """Bytes the data folder takes, by what they are for, and what is free; whether the node still takes on new work.

    `room`: enough, scarce (what nobody needs is deleted), none (no new work). Measured every ten seconds.
    """
    keeping, data_dir = node.services.keeping, node.settings.data_dir
    watch = keeping.disk if keeping is not None else DiskWatch(data_dir, 0, node.settings.disk_free_bytes_min)
    if not watch.use.parts:
        # The node is starting, and has not looked yet.
        watch.use = await trio.to_thread.run_sync(measure, data_dir)
    return {
        "head": node.head(),
        "bytes": watch.use.total,
        "parts": watch.use.parts,
        "bytes_max": watch.bytes_max,
        "free": watch.use.free,
        "free_min": watch.free_min,
        "room": watch.room.name.lower(),
        "refusal": watch.refusal,
    }


async def sync(node: Node) -> Json:
    """From which heights on headers and blocks are held here, which snapshots are offered to others, and how far a
    snapshot is that this node is fetching (null when it fetches none)."""
    keeping, held, status = node.services.keeping, node.chain.held, node.services.consensus_status()
    # While the node starts it offers and fetches nothing.
    offers = keeping.snapshots.offers if keeping is not None else ()
    progress = keeping.joiner.progress if keeping is not None and keeping.joiner is not None else None
    return {
        "head": node.head(),
        "synced": status.synced,
        "syncing_to": status.syncing_to,
        "first_header": held.first_header,
        "first_block": held.first_block,
        "snapshots": [{"height": each.final.header.height, "chunks": len(each.slices)} for each in offers],
        "joining": None
        if progress is None
        else {
            "stage": progress.stage,
            "height": progress.height,
            "chunks": progress.chunks,
            "chunks_in": progress.chunks_in,
        },
    }


_NULLABLE_OBJECT = {"type": ["object", "null"]}
_NULLABLE_TEXT = {"type": ["string", "null"]}

METHODS = (
    method(
        "disk",
        disk,
        ledger_answer(
            bytes=INTEGER,
            parts=OBJECT,
            bytes_max=INTEGER,
            free=INTEGER,
            free_min=INTEGER,
            room=STRING,
            refusal=_NULLABLE_TEXT,
        ),
        ("unavailable",),
    ),
    method(
        "sync",
        sync,
        ledger_answer(first_header=INTEGER, first_block=INTEGER, snapshots=listing(OBJECT), joining=_NULLABLE_OBJECT),
    ),
)
