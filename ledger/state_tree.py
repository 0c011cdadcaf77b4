"""The authenticated map: a compact sparse Merkle tree with proofs that a key holds a value, or that it is absent.

A key's path is H(tag ‖ key); a leaf sits at the shallowest prefix that no other key shares, so the shape, and with it
the root, depends on the contents alone and never on the order of changes.

    leaf  = H(0x00 ‖ path ‖ H(value))      inner = H(0x01 ‖ left ‖ right)      empty = 32 zero bytes

A node's id is the hash of its 65 bytes. The values themselves are not here: who keeps the tree keeps flat
`key → value` rows beside it. Ordered lists have their own tree in `merkle.py`; where nodes lie is the caller's.

Pruning. Within one tree no two places share a node: a leaf holds its full path, so an inner node fixes the set of its
leaves, and its depth too (a node and its only non-empty child differ by one hash). So what an update calls `stale` is
in the new tree nowhere, and **may be deleted in the same atomic batch that writes `new_nodes`**. It must not be deleted
later: a value that changes from A to B and back to A brings the very same node back to life. Who wants to keep
old versions for a while must forget a node's pending deletion as soon as a later update writes it again.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated

from ledger.codec import Size, digest
from ledger.errors import CorruptStore
from ledger.types import ZERO_HASH, Hash32

EMPTY_ROOT = ZERO_HASH
PATH_BITS = 256

ReadNode = Callable[[bytes], bytes | None]

_LEAF, _INNER = 0, 1
_NODE_BYTES = 1 + 32 + 32


@dataclass(frozen=True, slots=True)
class StateLeaf:
    """One key and its value as the tree sees them: both hashed."""

    path: Annotated[Hash32, Size(32, 32)]
    value_hash: Annotated[Hash32, Size(32, 32)]

    @property
    def node(self) -> bytes:
        """The 65 bytes that are hashed and stored."""
        return b"\x00" + self.path + self.value_hash


@dataclass(frozen=True, slots=True)
class StateProof:
    """What lies beside a key's path. `siblings`: from the root down, empty ones included.

    `other`: for an absent key whose slot another key's leaf occupies, that leaf; None where the slot is empty, and for
    a key that is present (its own leaf is computed by the verifier).
    """

    siblings: Annotated[tuple[Annotated[Hash32, Size(32, 32)], ...], Size(0, PATH_BITS)]
    other: StateLeaf | None


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """A new root, the nodes (id → 65 bytes) it needs that the old one lacked, and the ids only the old one needed."""

    root: Hash32
    new_nodes: dict[bytes, bytes]
    stale: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StateTree:
    """The tree under `root`, read node by node through `read_node(id)`. Immutable: an update gives a new root.

    Every method that reads raises CorruptStore when a node is missing or is not what its id says.
    """

    root: Hash32
    read_node: ReadNode

    def update(self, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """Put (bytes) and delete (None) many keys in one pass: O(changes · depth) reads and hashes.

        Deleting an absent key and putting the value that is already there change nothing.
        """
        leaves = sorted(
            (key_path(key), None if value is None else sha256(value).digest()) for key, value in changes.items()
        )
        work = _Update(self.read_node)
        root = work.change(self.root, 0, leaves)
        # A node that was given up in one branch and made anew in another was there before and stays.
        kept = work.stale.keys() & work.new_nodes.keys()
        return TreeUpdate(
            Hash32(root),
            {node_id: node for node_id, node in work.new_nodes.items() if node_id not in kept},
            tuple(node_id for node_id in work.stale if node_id not in kept),
        )

    def prove(self, key: bytes) -> StateProof:
        """The proof for `verify_present` when `key` is in the map, for `verify_absent` when it is not."""
        path = key_path(key)
        siblings: list[Hash32] = []
        node_id: bytes = self.root
        while node_id != EMPTY_ROOT:
            kind, first, second = _read(self.read_node, node_id)
            if kind == _LEAF:
                other = StateLeaf(Hash32(first), Hash32(second)) if first != path else None
                return StateProof(tuple(siblings), other)
            node_id, sibling = (second, first) if _bit(path, len(siblings)) else (first, second)
            siblings.append(Hash32(sibling))
        return StateProof(tuple(siblings), None)

    def children(self, node_id: bytes) -> tuple[Hash32, Hash32]:
        """The two halves below a node that holds at least two keys."""
        kind, left, right = _read(self.read_node, node_id)
        if kind != _INNER:
            raise CorruptStore(f"state node {node_id.hex()} is a leaf where the rows have several keys")
        return Hash32(left), Hash32(right)

    def leaves(self) -> Iterator[StateLeaf]:
        """Every leaf in path order: to check flat rows against the tree, whole."""
        waiting: list[bytes] = [self.root]
        while waiting:
            node_id = waiting.pop()
            if node_id == EMPTY_ROOT:
                continue
            kind, first, second = _read(self.read_node, node_id)
            if kind == _LEAF:
                yield StateLeaf(Hash32(first), Hash32(second))
            else:
                waiting += (second, first)


def key_path(key: bytes) -> Hash32:
    """Where a key lives: its 256 bits, first bit first, are the turns from the root (0 left, 1 right)."""
    return digest("hanse/state/key", key)


def state_leaf(key: bytes, value: bytes) -> StateLeaf:
    """The leaf of a key that holds `value`."""
    return StateLeaf(key_path(key), Hash32(sha256(value).digest()))


def state_root(items: Mapping[bytes, bytes]) -> Hash32:
    """The root of a map given whole: for genesis, and to check flat rows against a header."""
    return StateTree(EMPTY_ROOT, lambda _: None).update(items).root


def subtree(prefix: int, siblings: Sequence[bytes], leaves: Sequence[StateLeaf]) -> tuple[Hash32, dict[bytes, bytes]]:
    """The root of a tree of which only one part is known, and its nodes (id → 65 bytes) in and above that part.

    `prefix`: the first len(siblings) bits of every path in the part. `siblings`: what lies beside the way to it, from
    the root down, 32 bytes each. `leaves`: all of the part, by path ascending and distinct, each with that prefix.
    """
    work = _Update(lambda _: None)
    reached = work.build(len(siblings), [(leaf.path, leaf.value_hash) for leaf in leaves])
    for depth in range(len(siblings) - 1, -1, -1):
        sibling = siblings[depth]
        right = prefix >> (len(siblings) - 1 - depth) & 1
        reached = work.add(b"\x01" + (sibling + reached if right else reached + sibling))
    return Hash32(reached), work.new_nodes


def verify_present(root: bytes, key: bytes, value: bytes, proof: StateProof) -> bool:
    """Whether `proof` shows that `key` holds exactly `value` in the map under `root`. Nothing raises."""
    if proof.other is not None:
        return False
    leaf = state_leaf(key, value)
    return _climb(leaf.path, sha256(leaf.node).digest(), proof) == root


def verify_absent(root: bytes, key: bytes, proof: StateProof) -> bool:
    """Whether `proof` shows that `key` holds nothing in the map under `root`. Nothing raises.

    The slot that the key's path leads to is empty, or holds the leaf of a *different* key: without that "different"
    every present key could be "proven" absent by its own leaf.
    """
    path, other = key_path(key), proof.other
    if other is None:
        return _climb(path, EMPTY_ROOT, proof) == root
    if other.path == path or len(other.path) != 32 or len(other.value_hash) != 32:
        return False
    # The other leaf must belong in the key's own slot: as many equal leading bits as there are turns. A tree that was
    # built by the rules cannot break this, a root that somebody made up can.
    turns = len(proof.siblings)
    if turns > PATH_BITS or _prefix(other.path, turns) != _prefix(path, turns):
        return False
    return _climb(path, sha256(other.node).digest(), proof) == root


def _climb(path: bytes, bottom: bytes, proof: StateProof) -> bytes | None:
    """The root that `bottom` at `path` has beside these siblings; None for siblings that cannot be."""
    if len(proof.siblings) > PATH_BITS or any(len(sibling) != 32 for sibling in proof.siblings):
        return None
    reached = bottom
    for depth in range(len(proof.siblings) - 1, -1, -1):
        sibling = proof.siblings[depth]
        pair = sibling + reached if _bit(path, depth) else reached + sibling
        reached = sha256(b"\x01" + pair).digest()
    return reached


def _bit(path: bytes, depth: int) -> int:
    return path[depth >> 3] >> (7 - (depth & 7)) & 1


def _prefix(path: bytes, bits: int) -> int:
    return int.from_bytes(path) >> (PATH_BITS - bits)


def _read(read_node: ReadNode, node_id: bytes) -> tuple[int, bytes, bytes]:
    """Kind and the two halves of a node: (path, value hash) of a leaf, (left, right) of an inner one."""
    node = read_node(node_id)
    if node is None:
        raise CorruptStore(f"state node {node_id.hex()} is missing")
    # Half a microsecond beside a disk read of several: a rotten bit stops here, not in a wrong state root.
    if len(node) != _NODE_BYTES or node[0] > _INNER or sha256(node).digest() != node_id:
        raise CorruptStore(f"state node {node_id.hex()} holds {len(node)} bytes that do not hash to it")
    return node[0], node[1:33], node[33:]


# (path, value hash or None to delete), sorted by path, paths distinct.
_Leaves = list[tuple[Hash32, bytes | None]]


@dataclass(slots=True)
class _Update:
    """One batch under way. `stale` is a dict for its order, so that the outcome is the same on every machine."""

    read_node: ReadNode
    new_nodes: dict[bytes, bytes] = field(default_factory=dict)
    stale: dict[bytes, None] = field(default_factory=dict)

    def change(self, node_id: bytes, depth: int, leaves: _Leaves) -> bytes:
        """The id of the subtree at `depth` after the changes that fall into it."""
        if not leaves:
            return node_id
        if node_id == EMPTY_ROOT:
            return self.build(depth, [leaf for leaf in leaves if leaf[1] is not None])
        kind, first, second = _read(self.read_node, node_id)
        if kind == _LEAF:
            self.stale[node_id] = None
            at = bisect_left(leaves, first, key=lambda leaf: leaf[0])
            if at == len(leaves) or leaves[at][0] != first:
                leaves = [*leaves[:at], (Hash32(first), second), *leaves[at:]]
            return self.build(depth, [leaf for leaf in leaves if leaf[1] is not None])
        cut = _cut(leaves, depth)
        left = self.change(first, depth + 1, leaves[:cut])
        right = self.change(second, depth + 1, leaves[cut:])
        if left == first and right == second:
            return node_id
        self.stale[node_id] = None
        return self.join(left, right)

    def build(self, depth: int, leaves: _Leaves) -> bytes:
        """The id of a subtree of these leaves alone."""
        if not leaves:
            return EMPTY_ROOT
        if len(leaves) == 1:
            path, value_hash = leaves[0]
            assert value_hash is not None
            return self.add(b"\x00" + path + value_hash)
        cut = _cut(leaves, depth)
        left = self.build(depth + 1, leaves[:cut])
        return self.add(b"\x01" + left + self.build(depth + 1, leaves[cut:]))

    def join(self, left: bytes, right: bytes) -> bytes:
        """The node over two changed halves. A lone leaf moves up: it belongs at its shallowest unique prefix."""
        if left == EMPTY_ROOT or right == EMPTY_ROOT:
            only = left if right == EMPTY_ROOT else right
            if only == EMPTY_ROOT or self.is_leaf(only):
                return only
        return self.add(b"\x01" + left + right)

    def is_leaf(self, node_id: bytes) -> bool:
        node = self.new_nodes.get(node_id)
        return (node[0] if node else _read(self.read_node, node_id)[0]) == _LEAF

    def add(self, node: bytes) -> bytes:
        node_id = sha256(node).digest()
        self.new_nodes[node_id] = node
        return node_id


def _cut(leaves: _Leaves, depth: int) -> int:
    """Where the sorted leaves turn from left to right at `depth`."""
    return bisect_left(leaves, 1, key=lambda leaf: _bit(leaf[0], depth))
