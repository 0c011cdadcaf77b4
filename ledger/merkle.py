"""RFC 6962 / RFC 9162 Merkle logs over an ordered list: roots, inclusion proofs, consistency proofs.

Leaf = SHA-256(0x00 ‖ data), inner = SHA-256(0x01 ‖ left ‖ right), empty tree = SHA-256(""); n leaves split at the
largest power of two below n. The authenticated *map* is `state_tree.py`; what a leaf means is its caller's business.

An odd node moves up as it is, it is never paired with itself: duplication lets [1,2,3] and [1,2,3,3] share a root
(CVE-2012-2459, Bitcoin). The two prefixes keep an inner node from ever being shown as a leaf.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import cast

from ledger.types import Hash32

HASH_BYTES = 32
EMPTY_ROOT = Hash32(sha256(b"").digest())

# Sizes travel as signed 64-bit integers, so no tree is deeper; bound proofs on the wire with it.
PROOF_HASHES_MAX = 64

_LEAF, _INNER = b"\x00", b"\x01"


def leaf_hash(data: bytes) -> Hash32:
    """SHA-256(0x00 ‖ data): what `data` is in a tree (RFC 9162, 2.1.1)."""
    return Hash32(sha256(_LEAF + data).digest())


def leaf_hashes(records: Iterable[bytes]) -> list[Hash32]:
    """`leaf_hash` of every record, in order; the quick way for a whole period of them."""
    hash_of, prefix = sha256, _LEAF
    # Cast whole: a call of Hash32 for each would cost as much as a fifth of the hashing.
    return cast(list[Hash32], [hash_of(prefix + record).digest() for record in records])


def root(leaf_hashes: Sequence[bytes]) -> Hash32:
    """The root over leaf hashes of 32 bytes each; `EMPTY_ROOT` over none."""
    return MerkleTree(leaf_hashes).root


class MerkleTree:
    """A whole tree, kept level by level so that every proof costs O(log n). Immutable.

    `leaf_hashes`: 32 bytes each, as `leaf_hash` makes them. Takes 64 bytes of memory a leaf.
    """

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        level = b"".join(leaf_hashes)
        # Hashes of 31 and 33 bytes would add up; a wrong leaf is our own mistake, not a peer's.
        assert set(map(len, leaf_hashes)) <= {HASH_BYTES}, "a leaf hash has 32 bytes"
        self.size = len(leaf_hashes)
        # Entry i of level k covers the leaves from i * 2^k on, at most 2^k of them. One string a level, not one
        # object a node: 100 000 records are 6 MB.
        self._levels = [level]
        while len(level) > HASH_BYTES:
            level = _parents(level)
            self._levels.append(level)

    @property
    def root(self) -> Hash32:
        """The root over all leaves; `EMPTY_ROOT` when there are none."""
        return Hash32(self._levels[-1]) if self.size else EMPTY_ROOT

    def root_at(self, size: int) -> Hash32:
        """The root that the first `size` leaves had. Raises ValueError outside 0..size."""
        self._check_size(size)
        return self._range_root(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[Hash32, ...]:
        """Sibling hashes from leaf `index` up to the root of the first `size` leaves (RFC 9162, 2.1.3.1).

        `size` defaults to the whole tree. Raises ValueError unless 0 <= index < size <= the tree's size.
        """
        size = self.size if size is None else size
        self._check_size(size)
        if not 0 <= index < size:
            raise ValueError(f"leaf {index} of a tree of {size}")
        path = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._range_root(middle, high))
                high = middle
            else:
                path.append(self._range_root(low, middle))
                low = middle
        return tuple(reversed(path))

    def consistency_proof(self, old_size: int) -> tuple[Hash32, ...]:
        """What shows that the first `old_size` leaves are still a prefix of this tree (RFC 9162, 2.1.4.1).

        Empty for an old tree that is empty or as large as this one. Raises ValueError outside 0..size.
        """
        self._check_size(old_size)
        if old_size in (0, self.size):
            return ()
        path = []
        low, high = 0, self.size
        # RFC 9162's SUBPROOF: walk to where the old tree ends; its own root is left out when it is one whole subtree.
        while old_size != high:
            middle = low + _split(high - low)
            if old_size <= middle:
                path.append(self._range_root(middle, high))
                high = middle
            else:
                path.append(self._range_root(low, middle))
                low = middle
        if low:
            path.append(self._range_root(low, high))
        return tuple(reversed(path))

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise ValueError(f"size {size}, want 0 to {self.size}")

    def _range_root(self, low: int, high: int) -> Hash32:
        """The root over the leaves low..high-1, a range as RFC 9162 splits them: `low` is a multiple of its width."""
        height = (high - low - 1).bit_length()
        if high - low == 1 << height or high == self.size:
            at = (low >> height) * HASH_BYTES
            return Hash32(self._levels[height][at : at + HASH_BYTES])
        # Only the ragged right edge of an earlier, smaller tree is hashed anew: O(log n).
        middle = low + (1 << (height - 1))
        return inner_hash(self._range_root(low, middle), self._range_root(middle, high))


def verify_inclusion(root: bytes, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows `leaf_hash` at `index` under the `root` of a tree of `size` leaves (RFC 9162, 2.1.3.2).

    Compute `leaf_hash` from the data oneself: a hash that a peer hands over may be an inner node. A proof of any
    other length than the one that (index, size) asks for is False, and so is anything damaged; nothing raises.
    """
    if not 0 <= index < size or len(leaf_hash) != HASH_BYTES:
        return False
    at, last = index, size - 1
    reached = leaf_hash
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_BYTES:
            return False
        if at & 1 or at == last:
            reached = inner_hash(sibling, reached)
            # A node without a right neighbour moves up unpaired, to the next level where it is a right child.
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            reached = inner_hash(reached, sibling)
        at >>= 1
        last >>= 1
    return last == 0 and reached == root


def sides(index: int, size: int) -> list[bool]:
    """Of every hash of leaf `index`'s inclusion proof in a tree of `size`, whether it stands on the left."""
    at, last, found = index, size - 1, []
    while last:
        left = bool(at & 1) or at == last
        found.append(left)
        # A node without a right neighbour moves up unpaired, to the next level where it is a right child.
        while left and not at & 1 and at:
            at >>= 1
            last >>= 1
        at >>= 1
        last >>= 1
    return found


def verify_consistency(old_root: bytes, old_size: int, new_root: bytes, new_size: int, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the old tree is a prefix of the new one (RFC 9162, 2.1.4.2). Nothing raises.

    An empty old tree is a prefix of every tree: its root must be `EMPTY_ROOT`, the proof empty.
    """
    if not 0 <= old_size <= new_size or any(len(each) != HASH_BYTES for each in proof):
        return False
    if old_size == 0:
        return old_root == EMPTY_ROOT and not proof and (new_size > 0 or new_root == EMPTY_ROOT)
    if old_size == new_size:
        return old_root == new_root and not proof
    # An old tree that is one whole subtree is where the walk starts; the proof leaves its root out.
    hashes = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if len(hashes) < 1 or len(old_root) != HASH_BYTES:
        return False
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old = inner_hash(sibling, old)
            new = inner_hash(sibling, new)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            new = inner_hash(new, sibling)
        at >>= 1
        last >>= 1
    return last == 0 and old == old_root and new == new_root


def inner_hash(left: bytes, right: bytes) -> Hash32:
    """SHA-256(0x01 ‖ left ‖ right): the node over two others (RFC 9162, 2.1.1)."""
    return Hash32(sha256(_INNER + left + right).digest())


def _split(width: int) -> int:
    """The largest power of two below `width` (>= 2): how many leaves go left."""
    return 1 << ((width - 1).bit_length() - 1)


def _parents(level: bytes) -> bytes:
    """The level above: pairs hashed, an odd last node moved up as it is."""
    hash_of, prefix, pair = sha256, _INNER, 2 * HASH_BYTES
    whole = len(level) - len(level) % pair
    parents = [hash_of(prefix + level[at : at + pair]).digest() for at in range(0, whole, pair)]
    return b"".join(parents) + level[whole:]
