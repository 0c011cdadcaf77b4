"""Opening a dispute at the node that owns the records: look at the store, resolve, and write what an auditor can check.

The rules are `ledger/disputes.py`'s, the file and its check `ledger/bundles.py`'s. Blocks on the disk.
"""

from dataclasses import dataclass
from pathlib import Path

from ledger.bundles import DisputeBundle, Statement, bundle_to_json, sign_statement
from ledger.disputes import Finding, RecordFault, Resolution, resolve
from ledger.entries import Anchor, anchor_key
from ledger.keys import KeyPair
from ledger.league_entries import key_owner_key
from ledger.light_path import path_between
from ledger.merkle import MerkleTree
from ledger.types import Hash32, OrgId
from node.anchoring import NotAnchored
from node.disk import publish_file
from node.ports import ChainView
from node.proving import proven_entry
from node.record_store import RecordStore


@dataclass(frozen=True, slots=True)
class Dispute:
    """`resolution` is about the whole period, `bundle` about one record of it."""

    resolution: Resolution
    bundle: DisputeBundle


def resolve_period(chain: ChainView, store: RecordStore, org: bytes, period: int) -> Resolution:
    """Rebuild the period's tree from the store and compare it with the anchor. Raises NotAnchored."""
    anchor = chain.read(Anchor, anchor_key(org, period))
    if anchor is None:
        raise NotAnchored(f"period {period} is not anchored")
    return resolve(anchor.root, anchor.record_count, store.kept_leaves(period), store.found_leaves(period))


def open_dispute(chain: ChainView, store: RecordStore, key: KeyPair, period: int, index: int | None = None) -> Dispute:
    """The bundle of one record, by default the first that is not as it was anchored (the first of all when all are).

    `key`: what our node signs with. Raises NotAnchored, and IndexError for a record that neither was anchored nor lies
    in the store.
    """
    org = chain.org_of(key.public)
    anchor = None if org is None else chain.read(Anchor, anchor_key(org, period))
    if org is None or anchor is None:
        raise NotAnchored(f"period {period} is not anchored")
    kept, found = store.kept_leaves(period), store.found_leaves(period)
    resolution = resolve(anchor.root, anchor.record_count, kept, found)
    if index is not None and not 0 <= index < anchor.record_count and index not in found:
        raise IndexError(f"record {index} of period {period}, which has {anchor.record_count}")
    fault = _fault_of(resolution, index, kept, found)
    statement = _statement(chain, store, org, key, period, resolution, fault)
    named = bool(statement.anchored_leaf)
    bundle = DisputeBundle(
        path_between(chain, 0, chain.height),
        statement,
        sign_statement(key, statement),
        proven_entry(chain, key_owner_key(key.public)),
        proven_entry(chain, anchor_key(org, period)),
        MerkleTree(kept).inclusion_proof(statement.index) if named else (),
    )
    return Dispute(resolution, bundle)


def write_bundle(path: Path, bundle: DisputeBundle) -> None:
    """Raises OSError."""
    publish_file(path, bundle_to_json(bundle).encode())


def _fault_of(resolution: Resolution, index: int | None, kept: list[Hash32], found: dict[int, Hash32]) -> RecordFault:
    """What there is to say of the record that is asked for; of the first fault when none is."""
    if resolution.finding is Finding.PERIOD_CHANGED:
        return RecordFault(0, Finding.PERIOD_CHANGED, None, None)
    if index is None:
        return resolution.faults[0] if resolution.faults else _untouched(0, kept)
    expected = kept[index] if 0 <= index < len(kept) else None
    now = found.get(index)
    if expected is None:
        return RecordFault(index, Finding.RECORD_ADDED, None, now)
    if now is None:
        return RecordFault(index, Finding.RECORD_MISSING, expected, None)
    return _untouched(index, kept) if now == expected else RecordFault(index, Finding.RECORD_CHANGED, expected, now)


def _untouched(index: int, kept: list[Hash32]) -> RecordFault:
    return RecordFault(index, Finding.UNTOUCHED, kept[index], kept[index])


def _statement(
    chain: ChainView,
    store: RecordStore,
    org: OrgId,
    key: KeyPair,
    period: int,
    resolution: Resolution,
    fault: RecordFault,
) -> Statement:
    record = b""
    if fault.found is not None:
        record = store.record_bytes(period, fault.index) or b""
    return Statement(
        chain.chain_id,
        org,
        key.public,
        period,
        fault.finding,
        fault.index,
        record,
        fault.expected or b"",
        resolution.found_root,
    )
