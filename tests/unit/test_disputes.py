"""The dispute resolver: what was changed after anchoring is found and named; what was not is cleared."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.disputes import FAULTS_SHOWN_MAX, Finding, resolve
from ledger.merkle import MerkleTree, leaf_hash
from tests.support.factory_records import filled_store

LEAVES = [leaf_hash(b"record %d" % index) for index in range(13)]
ROOT = MerkleTree(LEAVES).root
FOUND = dict(enumerate(LEAVES))
OTHER = leaf_hash(b"forged")


def test_an_untouched_period_wins():
    resolution = resolve(ROOT, 13, LEAVES, FOUND)
    assert resolution.finding is Finding.UNTOUCHED
    assert resolution.faults == ()


@given(st.integers(0, 12))
def test_a_changed_record_is_named(index):
    resolution = resolve(ROOT, 13, LEAVES, FOUND | {index: OTHER})
    assert resolution.finding is Finding.RECORD_CHANGED
    (fault,) = resolution.faults
    assert (fault.index, fault.expected, fault.found) == (index, LEAVES[index], OTHER)


@given(st.sets(st.integers(0, 12), min_size=1), st.sets(st.integers(13, 99) | st.integers(-9, -1)))
def test_missing_and_added_records_are_named(missing, added):
    found = {index: leaf for index, leaf in FOUND.items() if index not in missing} | dict.fromkeys(added, OTHER)
    resolution = resolve(ROOT, 13, LEAVES, found)
    named = {fault.index: fault.finding for fault in resolution.faults}
    want = dict.fromkeys(missing, Finding.RECORD_MISSING) | dict.fromkeys(added, Finding.RECORD_ADDED)
    assert named == want
    assert resolution.fault_count == len(want)


def test_an_emptied_period_misses_every_record():
    assert [fault.finding for fault in resolve(ROOT, 13, LEAVES, {}).faults] == [Finding.RECORD_MISSING] * 13


@pytest.mark.parametrize("kept", [[], LEAVES[:-1], [OTHER, *LEAVES[1:]], [*LEAVES, OTHER]])
def test_without_the_anchored_leaves_the_period_is_condemned_but_no_record(kept):
    resolution = resolve(ROOT, 13, kept, FOUND | {4: OTHER})
    assert resolution.finding is Finding.PERIOD_CHANGED
    assert resolution.faults == ()
    # Damaged leaves alone harm nobody: the records themselves make the root.
    assert resolve(ROOT, 13, kept, FOUND).finding is Finding.UNTOUCHED


def test_what_is_shown_is_bounded_and_counted():
    leaves = [leaf_hash(b"%d" % index) for index in range(500)]
    resolution = resolve(MerkleTree(leaves).root, 500, leaves, dict.fromkeys(range(500), OTHER))
    assert len(resolution.faults) == FAULTS_SHOWN_MAX
    assert resolution.fault_count == 500


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("UPDATE records SET reading = zeroblob(32) WHERE period = 2 AND place = 4", Finding.RECORD_CHANGED),
        ("UPDATE records SET reading = x'00' WHERE period = 2 AND place = 4", Finding.RECORD_CHANGED),
        ("UPDATE records SET label = (label + 1) % 4 WHERE period = 2 AND place = 4", Finding.RECORD_CHANGED),
        ("UPDATE records SET time = time + 1 WHERE period = 2 AND place = 4", Finding.RECORD_CHANGED),
        ("DELETE FROM records WHERE period = 2 AND place = 4", Finding.RECORD_MISSING),
        ("UPDATE records SET place = 99 WHERE period = 2 AND place = 4", Finding.RECORD_MISSING),
        ("INSERT INTO records SELECT 2, 13, time, reading, label FROM records LIMIT 1", Finding.RECORD_ADDED),
    ],
)
def test_a_record_changed_in_the_file_is_found(tmp_path, change, finding):
    store, closed = filled_store(tmp_path / "records.sqlite")
    with sqlite3.connect(tmp_path / "records.sqlite") as other:
        assert other.execute(change).rowcount == 1
    anchor = closed[1]
    resolution = resolve(anchor.root, anchor.record_count, store.kept_leaves(2), store.found_leaves(2))
    assert resolution.finding is finding
    assert resolution.faults[0].index == (13 if finding is Finding.RECORD_ADDED else 4)
    untouched = closed[0]
    assert resolve(untouched.root, 13, store.kept_leaves(1), store.found_leaves(1)).finding is Finding.UNTOUCHED
