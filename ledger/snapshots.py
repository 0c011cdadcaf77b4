"""A state in chunks, each of which can be checked alone against the state root of a certified header. Pure.

A chunk holds every entry of one slice of the state tree, and what lies beside the way from the root to that slice; so
its root can be computed from it alone (the trees of ledger/state_tree.py). Slices are cut by one rule from the entries
themselves: every member that cuts the same state makes the same chunks, and a joiner takes them from whom it likes.
How a chain is built from them is `joining.py`'s business; files and peers are the node's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from ledger.blocks import Digest, FinalHeader
from ledger.codec import Range, Size, digest, encode
from ledger.errors import InvalidSnapshot
from ledger.state_tree import PATH_BITS, StateLeaf, StateTree, state_leaf, subtree
from ledger.types import Hash32

# A slice with more is cut in two: large enough that a million entries are some hundreds of requests, small enough that
# a peer on a slow line gives one in seconds and what a liar made us fetch in vain costs little.
CHUNK_BYTES = 256 * 1024
# What one entry adds beside its key and value: the lists and lengths around them.
ENTRY_BYTES = 16
# The longest chunk that is read: one that holds a single long entry (a receipt of 256 providers has some 60 KiB).
CHUNK_BYTES_MAX = 4 * 1024 * 1024
# Entries of a chunk: none is shorter than its key and a value of some bytes.
ENTRIES_MAX = 16_384
# Slices of a snapshot: 16 GB of state.
SLICES_MAX = 65_536
# Entries are dealt out by the first byte of their path, so that a writer holds a 256th of the state at a time.
BUCKETS = 256
_BUCKET_BITS = 8


@dataclass(frozen=True, slots=True)
class Slice:
    """All keys whose path begins with the first `depth` bits of `prefix`, of which the bits after those are 0."""

    depth: Annotated[int, Range(0, PATH_BITS)]
    prefix: Annotated[bytes, Size(0, PATH_BITS // 8)]

    @property
    def first(self) -> int:
        """The lowest path of the slice, as a number of 256 bits."""
        return int.from_bytes(self.prefix.ljust(32, b"\x00"))

    @property
    def end(self) -> int:
        """The lowest path after the slice."""
        return self.first + (1 << (PATH_BITS - self.depth))


@dataclass(frozen=True, slots=True)
class Entry:
    key: Annotated[bytes, Size(1, 1024)]
    value: Annotated[bytes, Size(0, CHUNK_BYTES_MAX)]

    @property
    def size(self) -> int:
        """Bytes it takes in a chunk, roughly."""
        return len(self.key) + len(self.value) + ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Chunk:
    """One slice whole. `siblings`: from the root down; `entries`: by path ascending."""

    slice: Slice
    siblings: Annotated[tuple[Digest, ...], Size(0, PATH_BITS)]
    entries: Annotated[tuple[Entry, ...], Size(0, ENTRIES_MAX)]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a member offers: the state after `final`, in these slices, ascending."""

    final: FinalHeader
    slices: Annotated[tuple[Slice, ...], Size(1, SLICES_MAX)]

    @property
    def id(self) -> Hash32:
        """The same for the same chunks of the same state, whichever quorum signed the copy of the header."""
        return digest("hanse/snapshot", self.final.header.id + b"".join(encode(each) for each in self.slices))


@dataclass(frozen=True, slots=True)
class PlacedEntry:
    """An entry and its leaf, which says where in the tree it is."""

    leaf: StateLeaf
    entry: Entry


def place(key: bytes, value: bytes) -> PlacedEntry:
    return PlacedEntry(state_leaf(key, value), Entry(key, value))


def check_slices(slices: Sequence[Slice]) -> None:
    """That every key falls into exactly one of `slices`. Raises InvalidSnapshot."""
    reached = 0
    for each in slices:
        if len(each.prefix) != (each.depth + 7) // 8 or each.first % (1 << (PATH_BITS - each.depth)):
            raise InvalidSnapshot(f"a slice of {each.depth} bits with prefix {each.prefix.hex()}")
        if each.first != reached:
            raise InvalidSnapshot(
                f"the slice at {each.prefix.hex() or '0'} does not begin where the one before it ends"
            )
        reached = each.end
    if reached != 1 << PATH_BITS:
        raise InvalidSnapshot(f"{len(slices)} slices leave out the end of the state")


def check_chunk(root: bytes, wanted: Slice, chunk: Chunk) -> dict[bytes, bytes]:
    """The tree nodes (id → 65 bytes) in and above a chunk of the state under `root`. Raises InvalidSnapshot.

    A chunk that passes holds all entries of its slice, unchanged, and no other.
    """
    if chunk.slice != wanted:
        raise InvalidSnapshot(f"a chunk of {_named(chunk.slice)}, want {_named(wanted)}")
    if len(chunk.siblings) != wanted.depth:
        raise InvalidSnapshot(f"{len(chunk.siblings)} hashes beside {_named(wanted)}, want {wanted.depth}")
    leaves = [state_leaf(entry.key, entry.value) for entry in chunk.entries]
    reached = -1
    for leaf in leaves:
        path = int.from_bytes(leaf.path)
        if not wanted.first <= path < wanted.end:
            raise InvalidSnapshot(f"an entry that is not of {_named(wanted)}")
        if path <= reached:
            raise InvalidSnapshot(f"the entries of {_named(wanted)} are not ascending and distinct")
        reached = path
    found, nodes = subtree(wanted.first >> (PATH_BITS - wanted.depth), chunk.siblings, leaves)
    if found != root:
        raise InvalidSnapshot(f"{_named(wanted)} gives state root {found.hex()[:16]}, want {root.hex()[:16]}")
    return nodes


class Cutter:
    """Cuts a state into chunks, a bucket of entries at a time.

    `sizes`: bytes and number of the entries of each bucket (`Entry.size`); `load(bucket)` gives its entries in any
    order; `tree`: of the same state. A bucket is `bucket_of(leaf)`.
    """

    def __init__(
        self,
        tree: StateTree,
        sizes: Sequence[tuple[int, int]],
        load: Callable[[int], list[PlacedEntry]],
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        assert len(sizes) == BUCKETS
        self._tree = tree
        self._sizes = sizes
        self._load = load
        self._chunk_bytes = chunk_bytes

    def chunks(self) -> Iterator[Chunk]:
        """Every slice, ascending. Raises CorruptStore when tree and entries are not of one state."""
        yield from self._above(self._tree.root, 0, 0, ())

    def _above(self, node_id: Hash32, depth: int, prefix: int, siblings: tuple[Hash32, ...]) -> Iterator[Chunk]:
        """Slices of whole buckets."""
        width = BUCKETS >> depth
        buckets = range(prefix * width, (prefix + 1) * width)
        size = sum(self._sizes[bucket][0] for bucket in buckets)
        count = sum(self._sizes[bucket][1] for bucket in buckets)
        if self._is_small(size, count):
            placed = [each for bucket in buckets if self._sizes[bucket][1] for each in self._load(bucket)]
            yield _chunk(depth, prefix, siblings, _by_path(placed))
        elif depth == _BUCKET_BITS:
            yield from self._below(node_id, depth, prefix, siblings, _by_path(self._load(prefix)))
        else:
            left, right = self._tree.children(node_id)
            yield from self._above(left, depth + 1, prefix * 2, (*siblings, right))
            yield from self._above(right, depth + 1, prefix * 2 + 1, (*siblings, left))

    def _below(
        self, node_id: Hash32, depth: int, prefix: int, siblings: tuple[Hash32, ...], placed: list[PlacedEntry]
    ) -> Iterator[Chunk]:
        """Slices inside a bucket, of these entries."""
        if self._is_small(sum(each.entry.size for each in placed), len(placed)):
            yield _chunk(depth, prefix, siblings, placed)
            return
        left, right = self._tree.children(node_id)
        middle = (prefix * 2 + 1) << (PATH_BITS - depth - 1)
        cut = sum(int.from_bytes(each.leaf.path) < middle for each in placed)
        yield from self._below(left, depth + 1, prefix * 2, (*siblings, right), placed[:cut])
        yield from self._below(right, depth + 1, prefix * 2 + 1, (*siblings, left), placed[cut:])

    def _is_small(self, size: int, count: int) -> bool:
        # A lone entry is a leaf and has nothing below it, however long it is.
        return count < 2 or (size <= self._chunk_bytes and count <= ENTRIES_MAX)


def bucket_of(leaf: StateLeaf) -> int:
    return leaf.path[0]


def _by_path(placed: list[PlacedEntry]) -> list[PlacedEntry]:
    return sorted(placed, key=lambda each: each.leaf.path)


def _chunk(depth: int, prefix: int, siblings: tuple[Hash32, ...], placed: list[PlacedEntry]) -> Chunk:
    return Chunk(slice_at(depth, prefix), siblings, tuple(each.entry for each in placed))


def slice_at(depth: int, prefix: int) -> Slice:
    """The slice of the paths whose first `depth` bits are the number `prefix`."""
    length = (depth + 7) // 8
    return Slice(depth, (prefix << (length * 8 - depth)).to_bytes(length))


def _named(part: Slice) -> str:
    return f"slice {part.prefix.hex() or '-'}/{part.depth}"
