"""RFC 6962 logs: published vectors, a slow twin for every small tree, and every damaged proof."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.merkle import (
    EMPTY_ROOT,
    PROOF_HASHES_MAX,
    MerkleTree,
    inner_hash,
    leaf_hash,
    leaf_hashes,
    root,
    sides,
    verify_consistency,
    verify_inclusion,
)
from tests.support.slow_trees import slow_path, slow_proof, slow_root

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rfc6962-eight-leaves.json").read_text())
INPUTS = [bytes.fromhex(each) for each in VECTORS["inputs"]]
ROOTS = [bytes.fromhex(each) for each in VECTORS["roots"]]

# Past one whole power of two, so that ragged edges of every kind occur.
SIZE_MAX = 70
RECORDS = [f"record {at}".encode() for at in range(SIZE_MAX)]
TREE = MerkleTree(leaf_hashes(RECORDS))
SLOW_ROOTS = [slow_root(RECORDS[:size]) for size in range(SIZE_MAX + 1)]


def unhex(hashes: list[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(each) for each in hashes)


def test_roots_are_the_published_ones():
    assert [leaf_hash(data).hex() for data in INPUTS] == VECTORS["leaf_hashes"]
    for size, want in enumerate(ROOTS):
        assert root(leaf_hashes(INPUTS[:size])) == want
    assert ROOTS[0] == EMPTY_ROOT


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda v: f"{v['index']}-of-{v['size']}")
def test_inclusion_proofs_are_the_published_ones(vector):
    index, size, proof = vector["index"], vector["size"], unhex(vector["proof"])
    assert MerkleTree(leaf_hashes(INPUTS)).inclusion_proof(index, size) == proof
    assert verify_inclusion(ROOTS[size], leaf_hash(INPUTS[index]), index, size, proof)


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda v: f"{v['old']}-to-{v['new']}")
def test_consistency_proofs_are_the_published_ones(vector):
    old, new, proof = vector["old"], vector["new"], unhex(vector["proof"])
    assert MerkleTree(leaf_hashes(INPUTS[:new])).consistency_proof(old) == proof
    assert verify_consistency(ROOTS[old], old, ROOTS[new], new, proof)


def test_every_root_and_inclusion_proof_is_the_slow_twins():
    for size in range(SIZE_MAX + 1):
        assert TREE.root_at(size) == root(leaf_hashes(RECORDS[:size])) == SLOW_ROOTS[size]
        for index in range(size):
            proof = TREE.inclusion_proof(index, size)
            assert proof == tuple(slow_path(index, RECORDS[:size]))
            assert verify_inclusion(SLOW_ROOTS[size], leaf_hash(RECORDS[index]), index, size, proof)


def test_every_consistency_proof_is_the_slow_twins():
    for new in range(1, SIZE_MAX + 1):
        tree = MerkleTree(leaf_hashes(RECORDS[:new]))
        for old in range(1, new):
            proof = tree.consistency_proof(old)
            assert proof == tuple(slow_proof(old, RECORDS[:new]))
            assert verify_consistency(SLOW_ROOTS[old], old, SLOW_ROOTS[new], new, proof)


def test_a_proof_holds_for_no_other_leaf_and_no_other_index_of_its_size():
    for size in (1, 2, 3, 5, 7, 8, 13):
        for index in range(size):
            proof = TREE.inclusion_proof(index, size)
            holds = {
                (leaf, at, of)
                for leaf in range(size)
                for at in range(-2, 2 * size + 2)
                for of in range(2 * size + 2)
                if verify_inclusion(SLOW_ROOTS[size], leaf_hash(RECORDS[leaf]), at, of, proof)
            }
            # A root means something with its size only: leaf 2 of 3 takes the same turns as leaf 1 of 2.
            assert {leaf for leaf, _, _ in holds} == {index}
            assert [at for _, at, of in holds if of == size] == [index]
            assert all(len(proof) == len(slow_path(at, RECORDS[:of])) for _, at, of in holds)


def test_a_proof_of_the_wrong_length_for_its_sizes_is_refused_though_its_hashes_meet():
    # Leaf 2 of 3 hashes up to the root in one step; sizes that ask for none, or for two, must not take it.
    proof = TREE.inclusion_proof(2, 3)
    leaf = leaf_hash(RECORDS[2])
    assert verify_inclusion(SLOW_ROOTS[3], leaf, 2, 3, proof)
    assert not verify_inclusion(SLOW_ROOTS[3], leaf, 0, 1, proof)
    assert not verify_inclusion(SLOW_ROOTS[3], leaf, 3, 4, proof)


def test_a_consistency_proof_holds_for_no_sizes_that_ask_for_another_length():
    for new in range(2, 12):
        tree = MerkleTree(leaf_hashes(RECORDS[:new]))
        for old in range(1, new):
            proof = tree.consistency_proof(old)
            for claimed_new in range(2 * new + 2):
                for claimed_old in range(1, claimed_new):
                    if verify_consistency(SLOW_ROOTS[old], claimed_old, SLOW_ROOTS[new], claimed_new, proof):
                        assert len(proof) == len(slow_proof(claimed_old, RECORDS[:claimed_new]))
                        assert claimed_new != new or claimed_old == old


def damaged(proof: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Every way a proof can be bent: bits, order, lengths."""
    extra = b"\xab" * 32
    bent = [(*proof, extra), (extra, *proof), (*proof, b""), (b"", *proof), (*proof, *proof[-1:], extra)]
    for at, each in enumerate(proof):
        bent.append((*proof[:at], bytes([each[0] ^ 8]) + each[1:], *proof[at + 1 :]))
        bent.append((*proof[:at], each[:-1], *proof[at + 1 :]))
        bent.append((*proof[:at], *proof[at + 1 :]))
        bent.append((*proof[:at], extra, *proof[at:]))
        if at and proof[at] != proof[at - 1]:
            bent.append((*proof[: at - 1], proof[at], proof[at - 1], *proof[at + 1 :]))
    return bent


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 8, 11, 16, 33])
def test_damaged_inclusion_proofs_are_refused(size):
    for index in range(size):
        leaf, proof = leaf_hash(RECORDS[index]), TREE.inclusion_proof(index, size)
        for bent in damaged(proof):
            assert not verify_inclusion(SLOW_ROOTS[size], leaf, index, size, bent), bent
        assert not verify_inclusion(EMPTY_ROOT, leaf, index, size, proof)
        assert not verify_inclusion(SLOW_ROOTS[size][:-1], leaf, index, size, proof)
        assert not verify_inclusion(SLOW_ROOTS[size], leaf[:-1], index, size, proof)
        assert not verify_inclusion(SLOW_ROOTS[size], leaf, size, size, proof)
        assert not verify_inclusion(SLOW_ROOTS[size], leaf, -1, size, proof)


@pytest.mark.parametrize("new", [1, 2, 3, 6, 7, 8, 13, 32, 33])
def test_damaged_consistency_proofs_are_refused(new):
    tree = MerkleTree(leaf_hashes(RECORDS[:new]))
    for old in range(1, new + 1):
        proof = tree.consistency_proof(old)
        old_root, new_root = SLOW_ROOTS[old], SLOW_ROOTS[new]
        for bent in damaged(proof):
            assert not verify_consistency(old_root, old, new_root, new, bent), bent
        forked = root(leaf_hashes([*RECORDS[: old - 1], b"forged"]))
        assert not verify_consistency(forked, old, new_root, new, proof)
        if old < new:
            assert not verify_consistency(old_root, old, new_root, new, ())
            assert not verify_consistency(new_root, old, old_root, new, proof)
            assert not verify_consistency(new_root, new, old_root, old, proof)


def test_empty_logs():
    some = root(leaf_hashes([b"a"]))
    assert MerkleTree([]).consistency_proof(0) == ()
    assert verify_consistency(EMPTY_ROOT, 0, EMPTY_ROOT, 0, ())
    assert verify_consistency(EMPTY_ROOT, 0, some, 1, ())
    assert not verify_consistency(some, 0, some, 1, ())
    assert not verify_consistency(EMPTY_ROOT, 0, some, 0, ())
    assert not verify_consistency(EMPTY_ROOT, 0, some, 1, (some,))
    assert not verify_inclusion(EMPTY_ROOT, EMPTY_ROOT, 0, 0, ())


def test_an_empty_proof_shows_only_the_one_leaf_of_a_tree_of_one():
    # leaf == root with an empty proof is how a whole tree was once passed off as a record.
    whole = SLOW_ROOTS[8]
    assert not verify_inclusion(whole, whole, 0, 8, ())
    assert verify_inclusion(whole, whole, 0, 1, ()), "size 1: the caller must know the size, and hash the data itself"
    assert leaf_hash(whole) != whole


def test_an_inner_node_is_never_a_leaf():
    left, right = leaf_hashes(RECORDS[:2])
    assert not verify_inclusion(SLOW_ROOTS[4], leaf_hash(left + right), 0, 2, (TREE.root_at(4),))
    assert leaf_hash(left + right) != TREE.root_at(2)
    assert leaf_hash(b"\x01" + left + right) != TREE.root_at(2)


def test_a_duplicated_tail_changes_the_root():
    # CVE-2012-2459.
    for size in range(1, 20):
        assert root(leaf_hashes([*RECORDS[:size], RECORDS[size - 1]])) != SLOW_ROOTS[size]


def test_what_is_asked_of_a_tree_must_lie_in_it():
    tree = MerkleTree(leaf_hashes(RECORDS[:5]))
    for index, size in ((5, 5), (-1, 5), (0, 6), (0, 0), (3, 2)):
        with pytest.raises(ValueError):
            tree.inclusion_proof(index, size)
    for size in (-1, 6):
        with pytest.raises(ValueError):
            tree.consistency_proof(size)
    with pytest.raises(AssertionError):
        MerkleTree([b"x" * 31, b"y" * 33])


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=300), st.data())
def test_any_log_proves_its_records_and_its_past(records, data):
    tree = MerkleTree(leaf_hashes(records))
    index = data.draw(st.integers(0, len(records) - 1))
    size = data.draw(st.integers(index + 1, len(records)))
    proof = tree.inclusion_proof(index, size)
    assert len(proof) <= PROOF_HASHES_MAX
    assert verify_inclusion(tree.root_at(size), leaf_hash(records[index]), index, size, proof)
    assert verify_consistency(tree.root_at(size), size, tree.root, tree.size, tree.consistency_proof(size))


@given(
    st.binary(max_size=40),
    st.integers(-(2**65), 2**65),
    st.integers(-(2**65), 2**65),
    st.lists(st.binary(min_size=31, max_size=33), max_size=70),
)
def test_noise_is_refused_and_raises_nothing(noise, first, second, proof):
    assert not verify_inclusion(noise, noise, first, second, proof) or (first, second, proof) == (0, 1, [])
    if not verify_consistency(noise, first, noise, second, proof):
        return
    assert not proof
    assert first == second


def test_the_sides_of_an_inclusion_proof_lead_from_every_leaf_to_the_root():
    """A reader who is told the sides needs neither the place nor the number of leaves."""
    for size in range(1, 40):
        tree = MerkleTree([leaf_hash(bytes([each])) for each in range(size)])
        for index in range(size):
            proof, on_the_left = tree.inclusion_proof(index), sides(index, size)
            assert len(proof) == len(on_the_left)
            reached = leaf_hash(bytes([index]))
            for sibling, left in zip(proof, on_the_left, strict=True):
                reached = inner_hash(sibling, reached) if left else inner_hash(reached, sibling)
            assert reached == tree.root
