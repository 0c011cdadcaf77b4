"""Snapshots cut in memory from a chain of a test, and what a joiner makes of them."""

from ledger.chain import Chain
from ledger.genesis import Genesis
from ledger.joining import Join, Path
from ledger.snapshots import BUCKETS, Chunk, Cutter, PlacedEntry, Snapshot, bucket_of, place
from ledger.state_tree import StateTree
from ledger.store import Reader, Store


def cut(store: Reader, root: bytes, chunk_bytes: int) -> list[Chunk]:
    """The state of a store in chunks."""
    buckets: list[list[PlacedEntry]] = [[] for _ in range(BUCKETS)]
    for key, value in store.scan(b"S"):
        placed = place(key[1:], value)
        buckets[bucket_of(placed.leaf)].append(placed)
    sizes = [(sum(each.entry.size for each in bucket), len(bucket)) for bucket in buckets]
    tree = StateTree(root, lambda node_id: store.get(b"N" + node_id))  # type: ignore[arg-type]
    return list(Cutter(tree, sizes, lambda bucket: buckets[bucket], chunk_bytes).chunks())


def snapshot_of(chain: Chain, chunk_bytes: int = 600) -> tuple[Snapshot, list[Chunk]]:
    """The state at a chain's head: what is offered, and its chunks."""
    chunks = cut(chain.store, chain.state_root, chunk_bytes)
    final = chain.final_header(chain.height)
    assert final is not None
    return Snapshot(final, tuple(chunk.slice for chunk in chunks)), chunks


def join(store: Store, genesis: Genesis, source: Chain, chunk_bytes: int = 600) -> Chain:
    """A chain in `store` from a snapshot of `source` at its head, by all the checks."""
    snapshot, chunks = snapshot_of(source, chunk_bytes)
    path = Path(genesis, store, snapshot.final)
    path.follow(list(source.committee_changes(path.trusted.height, source.height)))
    path.arrive()
    joining = Join(store, genesis, snapshot)
    by_slice = {chunk.slice: chunk for chunk in chunks}
    for wanted in list(joining.missing()):
        joining.add(wanted, by_slice[wanted])
    joining.finish()
    return Chain(store, genesis)
