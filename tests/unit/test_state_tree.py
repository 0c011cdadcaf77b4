"""The authenticated map: its root depends on its contents alone; what it proves is true, what is bent is refused."""

import random
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.errors import CorruptStore, InvalidBytes
from ledger.state_tree import (
    EMPTY_ROOT,
    PATH_BITS,
    StateLeaf,
    StateProof,
    StateTree,
    TreeUpdate,
    key_path,
    state_leaf,
    state_root,
    verify_absent,
    verify_present,
)
from ledger.types import Hash32
from tests.support.slow_trees import slow_state_root

# Few keys, so that batches often meet the same ones.
keys = st.integers(0, 40).map(lambda number: f"key {number}".encode())
batches = st.lists(st.dictionaries(keys, st.none() | st.binary(max_size=3), max_size=15), max_size=6)


class Ledger:
    """A tree with its nodes kept and pruned as a chain does: in the same step as the update."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, bytes] = {}
        self.items: dict[bytes, bytes] = {}
        self.tree = StateTree(EMPTY_ROOT, self.nodes.get)

    def update(self, changes: dict[bytes, bytes | None]) -> TreeUpdate:
        outcome = self.tree.update(changes)
        assert not outcome.new_nodes.keys() & self.nodes.keys(), "a new node was there before"
        self.nodes |= outcome.new_nodes
        for node_id in outcome.stale:
            del self.nodes[node_id]
        for key, value in changes.items():
            if value is None:
                self.items.pop(key, None)
            else:
                self.items[key] = value
        self.tree = StateTree(outcome.root, self.nodes.get)
        return outcome


def ledger_of(count: int) -> Ledger:
    ledger = Ledger()
    ledger.update({f"account {at}".encode(): f"{at} tokens".encode() for at in range(count)})
    return ledger


@given(batches)
def test_every_batch_ends_at_the_slow_twins_root(batches):
    ledger = Ledger()
    for batch in batches:
        before = ledger.tree.root
        outcome = ledger.update(batch)
        assert ledger.tree.root == slow_state_root(ledger.items)
        assert (outcome.root == before) == (not outcome.new_nodes and not outcome.stale)
    # Nothing needed was pruned, nothing unneeded was kept.
    assert {leaf.path for leaf in ledger.tree.leaves()} == {key_path(key) for key in ledger.items}
    assert len(ledger.nodes) == len(reachable(ledger.tree))


def reachable(tree: StateTree) -> set[bytes]:
    seen, waiting = set(), [tree.root]
    while waiting:
        node_id = waiting.pop()
        node = tree.read_node(node_id)
        if node is not None:
            seen.add(node_id)
            waiting += [node[1:33], node[33:]] if node[0] == 1 else []
    return seen


@given(st.dictionaries(keys, st.binary(max_size=3)), batches, st.randoms(use_true_random=False))
def test_the_root_does_not_know_the_order(items, detours, rng):
    direct = state_root(items)
    ledger = Ledger()
    for batch in detours:
        ledger.update(batch)
    for key in [key for key in ledger.items if key not in items]:
        ledger.update({key: None})
    pairs = list(items.items())
    rng.shuffle(pairs)
    for key, value in pairs:
        ledger.update({key: value})
    assert ledger.tree.root == direct
    for key, _ in pairs:
        ledger.update({key: None})
    assert ledger.tree.root == EMPTY_ROOT
    assert ledger.nodes == {}


def test_ten_thousand_keys_one_by_one_and_at_once_are_one_tree():
    rng = random.Random(5)
    items = {rng.randbytes(20): rng.randbytes(8) for _ in range(10_000)}
    ledger = Ledger()
    rest = list(items.items())
    ledger.update(dict(rest[:9_000]))
    for key, value in rest[9_000:]:
        ledger.update({key: value})
    assert ledger.tree.root == state_root(items) == slow_state_root(items)


def test_a_value_that_comes_back_brings_its_node_back():
    # Why stale nodes are deleted with the update that made them stale, or not at all.
    ledger = ledger_of(20)
    first = ledger.tree.root
    away = ledger.update({b"account 3": b"other"})
    back = ledger.update({b"account 3": b"3 tokens"})
    assert ledger.tree.root == first
    assert set(away.stale) == back.new_nodes.keys()
    assert set(back.stale) == away.new_nodes.keys()


def test_changes_that_change_nothing_write_nothing():
    ledger = ledger_of(50)
    same = {f"account {at}".encode(): f"{at} tokens".encode() for at in range(0, 50, 3)}
    outcome = ledger.tree.update({**same, b"nobody": None})
    assert outcome == TreeUpdate(ledger.tree.root, {}, ())


def test_the_outcome_does_not_depend_on_the_order_of_the_dict():
    ledger = ledger_of(200)
    changes = {f"account {at}".encode(): b"new" if at % 3 else None for at in range(0, 260, 2)}
    one, other = ledger.tree.update(changes), ledger.tree.update(dict(reversed(changes.items())))
    assert list(one.new_nodes.items()) == list(other.new_nodes.items())
    assert one.stale == other.stale


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 300])
def test_present_keys_and_absent_keys_are_proven(count):
    ledger = ledger_of(count)
    root = ledger.tree.root
    for key, value in ledger.items.items():
        proof = ledger.tree.prove(key)
        assert verify_present(root, key, value, proof)
        assert not verify_present(root, key, value + b"0", proof)
        assert not verify_present(root, key + b"0", value, proof)
        assert not verify_absent(root, key, proof)
    empty_slots = other_leaves = 0
    for at in range(300):
        key = f"nobody {at}".encode()
        proof = ledger.tree.prove(key)
        assert verify_absent(root, key, proof)
        assert not verify_present(root, key, b"", proof)
        empty_slots += proof.other is None
        other_leaves += proof.other is not None
    assert (empty_slots, other_leaves) == (300, 0) if count == 0 else other_leaves > 0
    assert count < 300 or empty_slots > 0, "both kinds of absence must be met"


def test_a_present_key_is_never_proven_absent():
    ledger = ledger_of(64)
    root = ledger.tree.root
    for key, value in ledger.items.items():
        proof, own = ledger.tree.prove(key), state_leaf(key, value)
        # Its own leaf shown as "another", another's leaf, an empty slot at every depth on the way, and below.
        assert not verify_absent(root, key, replace(proof, other=own))
        for other in ledger.tree.leaves():
            assert not verify_absent(root, key, replace(proof, other=other))
        for depth in range(len(proof.siblings)):
            assert not verify_absent(root, key, StateProof(proof.siblings[:depth], None))
        assert not verify_absent(root, key, StateProof((*proof.siblings, EMPTY_ROOT), None))


def test_another_leafs_true_proof_does_not_show_a_key_absent():
    # The leaf is really there and the siblings are its own: only that it lies in another slot gives it away.
    ledger = ledger_of(64)
    present, stranger = b"account 7", b"account 8"
    proof = ledger.tree.prove(stranger)
    theirs = StateProof(proof.siblings, state_leaf(stranger, ledger.items[stranger]))
    assert verify_present(ledger.tree.root, stranger, ledger.items[stranger], proof)
    assert not verify_absent(ledger.tree.root, present, theirs)


def test_a_leaf_that_lies_where_it_cannot_shows_nothing_absent():
    # A root that was made wrong on purpose: the halves are swapped, so every path leads to the other key's leaf.
    ledger = ledger_of(2)
    left, right = ledger.tree.leaves()
    assert left.path[0] < 128 <= right.path[0], "these two keys part at the first bit"
    siblings = (sha256(right.node).digest(), sha256(left.node).digest())
    wrong_root = sha256(b"\x01" + siblings[0] + siblings[1]).digest()
    for key in ledger.items:
        turned_right = key_path(key)[0] >> 7
        other = left if turned_right else right
        proof = StateProof((Hash32(siblings[1 - turned_right]),), other)
        assert not verify_absent(wrong_root, key, proof)


def damaged(proof: StateProof) -> list[StateProof]:
    siblings, extra = proof.siblings, Hash32(b"\xab" * 32)
    bent = [(*siblings, extra), (extra, *siblings), (*siblings, EMPTY_ROOT), (EMPTY_ROOT, *siblings)]
    bent += [siblings * 40, (*siblings, *[EMPTY_ROOT] * (PATH_BITS + 1))]
    for at, each in enumerate(siblings):
        bent.append((*siblings[:at], Hash32(bytes([each[0] ^ 1]) + each[1:]), *siblings[at + 1 :]))
        bent.append((*siblings[:at], Hash32(each[:-1]), *siblings[at + 1 :]))
        bent.append((*siblings[:at], *siblings[at + 1 :]))
        if at and each != siblings[at - 1]:
            bent.append((*siblings[: at - 1], each, siblings[at - 1], *siblings[at + 1 :]))
    proofs = [replace(proof, siblings=each) for each in bent]
    if proof.other is not None:
        proofs += [replace(proof, other=None), replace(proof, other=replace(proof.other, value_hash=extra))]
        proofs += [replace(proof, other=replace(proof.other, path=extra))]
        proofs += [replace(proof, other=StateLeaf(Hash32(proof.other.path[:-1]), proof.other.value_hash))]
    else:
        proofs.append(replace(proof, other=StateLeaf(extra, extra)))
    return proofs


def test_damaged_proofs_are_refused():
    ledger = ledger_of(40)
    root = ledger.tree.root
    for key, value in ledger.items.items():
        for bent in damaged(ledger.tree.prove(key)):
            assert not verify_present(root, key, value, bent), bent
            assert not verify_absent(root, key, bent), bent
    for at in range(40):
        key = f"nobody {at}".encode()
        for bent in damaged(ledger.tree.prove(key)):
            assert not verify_absent(root, key, bent), bent


def test_a_proof_holds_for_its_own_root_only():
    ledger = ledger_of(30)
    before, proof = ledger.tree.root, ledger.tree.prove(b"account 5")
    ledger.update({b"account 5": b"spent"})
    assert verify_present(before, b"account 5", b"5 tokens", proof)
    assert not verify_present(ledger.tree.root, b"account 5", b"5 tokens", proof)
    assert not verify_present(bytes(32), b"account 5", b"5 tokens", proof)


def test_a_proof_travels_and_its_bounds_hold():
    proof = ledger_of(100).tree.prove(b"nobody")
    assert decode(StateProof, encode(proof)) == proof
    with pytest.raises(InvalidBytes):
        encode(StateProof((EMPTY_ROOT,) * (PATH_BITS + 1), None))
    with pytest.raises(InvalidBytes):
        encode(StateProof((Hash32(bytes(31)),), None))


def test_a_leaf_and_an_inner_node_never_pass_for_each_other():
    ledger = ledger_of(2)
    (left, right) = (sha256(leaf.node).digest() for leaf in ledger.tree.leaves())
    root_node = ledger.nodes.get(ledger.tree.root)
    if root_node == b"\x01" + left + right:
        # The inner node's halves, shown as the path and value hash of a leaf, hash to something else.
        assert sha256(StateLeaf(Hash32(left), Hash32(right)).node).digest() != ledger.tree.root
    assert not verify_absent(ledger.tree.root, b"x", StateProof((), StateLeaf(Hash32(left), Hash32(right))))


def test_a_missing_or_rotten_node_is_our_own_disks_fault():
    ledger = ledger_of(100)
    whole = dict(ledger.nodes)
    for rotten in (None, b"", bytes(65), b"\x02" + bytes(64)):
        if rotten is None:
            del ledger.nodes[ledger.tree.root]
        else:
            ledger.nodes[ledger.tree.root] = rotten
        with pytest.raises(CorruptStore, match=ledger.tree.root.hex()):
            ledger.tree.prove(b"account 1")
        with pytest.raises(CorruptStore):
            ledger.tree.update({b"account 1": b""})
        with pytest.raises(CorruptStore):
            list(ledger.tree.leaves())
    flipped = whole[ledger.tree.root]
    ledger.nodes[ledger.tree.root] = flipped[:-1] + bytes([flipped[-1] ^ 1])
    with pytest.raises(CorruptStore):
        ledger.tree.prove(b"account 1")
