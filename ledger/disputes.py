"""The dispute resolver [ANCHOR]: rebuild a period's tree from the records there are now and compare it with the anchor.

Pure: who reads the records hands in their leaves. What an outsider is shown of it is `bundles.py`'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ledger.merkle import MerkleTree
from ledger.types import Hash32

# Enough to see what happened; a period of which more was changed is named by its first ones and the count.
FAULTS_SHOWN_MAX = 100


class Finding(IntEnum):
    """What became of a record, or of a period, since it was anchored."""

    UNTOUCHED = 0
    RECORD_CHANGED = 1
    RECORD_MISSING = 2
    RECORD_ADDED = 3
    # The root differs, and so do the leaves kept beside the records: which record it was cannot be said.
    PERIOD_CHANGED = 4


@dataclass(frozen=True, slots=True)
class RecordFault:
    """One record that is not as anchored. `expected`: its anchored leaf, None for an added one; `found`: its leaf now,
    None for a missing one."""

    index: int
    finding: Finding
    expected: Hash32 | None
    found: Hash32 | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """`finding` is that of the first fault. `faults`: the first FAULTS_SHOWN_MAX of `fault_count`, by index."""

    finding: Finding
    anchored_root: Hash32
    found_root: Hash32
    record_count: int
    found_count: int
    fault_count: int
    faults: tuple[RecordFault, ...]


def resolve(anchored_root: bytes, record_count: int, kept: Sequence[Hash32], found: Mapping[int, Hash32]) -> Resolution:
    """Compare. `kept`: the leaves written down when the period was closed; `found`: index → leaf of each record now."""
    places = sorted(found)
    found_root = MerkleTree([found[place] for place in places]).root
    anchored = Hash32(anchored_root)
    # A leaf holds its record's place, so records that were renumbered have another root too.
    if found_root == anchored:
        return Resolution(Finding.UNTOUCHED, anchored, found_root, record_count, len(places), 0, ())
    faults: list[RecordFault] = []
    if len(kept) == record_count and MerkleTree(kept).root == anchored:
        faults = [
            fault
            for index in sorted({*places, *range(record_count)})
            if (fault := _fault(index, kept, found)) is not None
        ]
    first = faults[0].finding if faults else Finding.PERIOD_CHANGED
    shown = tuple(faults[:FAULTS_SHOWN_MAX])
    return Resolution(first, anchored, found_root, record_count, len(places), len(faults), shown)


def _fault(index: int, kept: Sequence[Hash32], found: Mapping[int, Hash32]) -> RecordFault | None:
    leaf = found.get(index)
    if not 0 <= index < len(kept):
        return RecordFault(index, Finding.RECORD_ADDED, None, leaf)
    if leaf is None:
        return RecordFault(index, Finding.RECORD_MISSING, kept[index], None)
    if leaf != kept[index]:
        return RecordFault(index, Finding.RECORD_CHANGED, kept[index], leaf)
    return None
