"""The proof bundle of a dispute: everything an auditor needs beside the genesis file, and the check of it. Pure.

The chain of trust: genesis → its committee → headers at which the committee changed → a final header → its state root →
the anchor of the period → the leaf of the record. What the owner's store holds *now* only the owner can say, so it says
it under its signature: nobody else can accuse it with bytes of his own. docs/bundle.md describes the file.

Trust rests on each committee while it was in office: a quorum of one that colludes after leaving it can sign false
headers, as with any light client that has no clock.
"""

import json
from dataclasses import dataclass
from typing import Annotated

from ledger.blocks import FinalHeader
from ledger.certificates import VoteKind, check_certificate
from ledger.codec import Size, encode
from ledger.disputes import Finding
from ledger.entries import Anchor, anchor_key
from ledger.errors import InvalidBytes, InvalidCertificate
from ledger.genesis import Genesis
from ledger.json_form import from_json, to_json
from ledger.keys import KeyPair, verify
from ledger.merkle import PROOF_HASHES_MAX, leaf_hash, verify_inclusion
from ledger.records import VALUES_BYTES_MAX
from ledger.state_tree import StateProof, verify_present
from ledger.transactions import Amount, Digest, Org
from ledger.types import Hash32, OrgId

FORMAT = "hanse-dispute-bundle-1"
# Seats change once an epoch at most, and a committee that comes back is shown once: years of epochs.
COMMITTEE_CHANGES_MAX = 4096
# A record's canonical bytes: its values and some words about them.
RECORD_BYTES_MAX = VALUES_BYTES_MAX + 4096
# A thousand changes of the largest committee, in hex.
FILE_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Statement:
    """What the owner of a store says of one record of a period that it anchored.

    `record`: the record's canonical bytes as they lie in the store now, empty for a missing one and when the finding is
    PERIOD_CHANGED. `anchored_leaf`: the leaf under the anchor, empty for an added record and PERIOD_CHANGED.
    `found_root`: over all records of the period that the store holds now. `index` may be any number for an added one.
    """

    chain_id: Digest
    org: Org
    period: Amount
    finding: Finding
    index: int
    record: Annotated[bytes, Size(0, RECORD_BYTES_MAX)]
    anchored_leaf: Annotated[bytes, Size(0, 32)]
    found_root: Digest


@dataclass(frozen=True, slots=True)
class DisputeBundle:
    """`inclusion`: RFC 6962 proof of `anchored_leaf` under the anchor. `header`: the anchor lies under its state root.

    `changes`: headers, ascending, each signed by the committee known so far and naming the next one.
    """

    statement: Statement
    signature: Annotated[bytes, Size(64, 64)]
    anchor: Anchor
    inclusion: Annotated[tuple[Digest, ...], Size(0, PROOF_HASHES_MAX)]
    anchor_proof: StateProof
    header: FinalHeader
    changes: Annotated[tuple[FinalHeader, ...], Size(0, COMMITTEE_CHANGES_MAX)]


@dataclass(frozen=True, slots=True)
class BundleCheck:
    """`accepted`: everything in the bundle fits together; then `finding` holds. `reasons`: each step that held, and
    last the one that did not."""

    accepted: bool
    finding: Finding | None
    reasons: tuple[str, ...]


class _Refused(Exception):
    pass


def sign_statement(key: KeyPair, statement: Statement) -> bytes:
    return key.sign(Hash32(statement.chain_id), "dispute", encode(statement))


def verify_bundle(bundle: DisputeBundle, genesis: Genesis) -> BundleCheck:
    """Check a bundle offline, from the genesis file alone. Never raises: what does not hold is said in the reasons."""
    reasons: list[str] = []
    try:
        encode(bundle)
        _check_owner(bundle, genesis, reasons)
        _check_headers(bundle, genesis, reasons)
        _check_anchor(bundle, reasons)
        _check_record(bundle, reasons)
    except (_Refused, InvalidBytes, InvalidCertificate) as error:
        return BundleCheck(False, None, (*reasons, str(error)))
    return BundleCheck(True, bundle.statement.finding, tuple(reasons))


def _check_owner(bundle: DisputeBundle, genesis: Genesis, reasons: list[str]) -> None:
    statement = bundle.statement
    if statement.chain_id != genesis.chain_id:
        raise _Refused(f"of chain {statement.chain_id.hex()[:16]}, the genesis gives {genesis.chain_id.hex()[:16]}")
    if not verify(OrgId(statement.org), bundle.signature, genesis.chain_id, "dispute", encode(statement)):
        raise _Refused(f"the statement is not signed by {statement.org.hex()[:16]}, whose store it speaks of")
    reasons.append(f"{statement.org.hex()[:16]} signed what its store holds")


def _check_headers(bundle: DisputeBundle, genesis: Genesis, reasons: list[str]) -> None:
    """From the founders' committee, change by change, to the header that the anchor is shown under."""
    committee, height = genesis.committee.hash, 0
    for change in bundle.changes:
        if not height < change.header.height < bundle.header.header.height:
            raise _Refused(f"a change of the committee at height {change.header.height}, out of order")
        _check_final(change, committee, genesis)
        if change.header.next_committee == committee:
            raise _Refused(f"the committee does not change at height {change.header.height}")
        committee, height = Hash32(change.header.next_committee), change.header.height
    _check_final(bundle.header, committee, genesis)
    reasons.append(f"height {bundle.header.header.height} is final, by {len(bundle.changes)} changes of the committee")


def _check_final(final: FinalHeader, committee: Hash32, genesis: Genesis) -> None:
    header, subject = final.header, final.certificate.subject
    if header.chain_id != genesis.chain_id:
        raise _Refused(f"the header of height {header.height} is of another chain")
    if not final.committee.hash == header.committee == committee:
        raise _Refused(f"height {header.height} is not signed by the committee {committee.hex()[:16]}")
    if (subject.kind, subject.height, subject.block) != (VoteKind.FINALIZE, header.height, header.id):
        raise _Refused(f"the certificate is not of the block of height {header.height}")
    if subject.view < header.view:
        raise _Refused(f"a certificate of view {subject.view} for a block born in view {header.view}")
    check_certificate(genesis.chain_id, final.committee, final.certificate)


def _check_anchor(bundle: DisputeBundle, reasons: list[str]) -> None:
    statement, header = bundle.statement, bundle.header.header
    key = anchor_key(statement.org, statement.period)
    if not verify_present(header.state_root, key, encode(bundle.anchor), bundle.anchor_proof):
        raise _Refused(f"the anchor of period {statement.period} is not in the state of height {header.height}")
    reasons.append(
        f"period {statement.period} was anchored at height {bundle.anchor.height}: "
        f"{bundle.anchor.record_count} records, root {bundle.anchor.root.hex()[:16]}"
    )


def _check_record(bundle: DisputeBundle, reasons: list[str]) -> None:
    """That the finding is what the evidence says."""
    statement, anchor = bundle.statement, bundle.anchor
    index, leaf, named = statement.index, statement.anchored_leaf, f"record {statement.index}"
    # A leaf holds its record's place, so any change at all changes the root.
    if statement.finding is not Finding.UNTOUCHED and statement.found_root == anchor.root:
        raise _Refused(f"{statement.finding.name}, but the root found is the anchored one")
    if statement.finding is Finding.PERIOD_CHANGED:
        if statement.record or leaf or bundle.inclusion or index:
            raise _Refused("a changed period names no record")
        reasons.append("the records found have another root; which one was changed cannot be shown")
        return
    if statement.finding is Finding.RECORD_ADDED:
        if 0 <= index < anchor.record_count or leaf or bundle.inclusion or not statement.record:
            raise _Refused(f"{named} is no addition to {anchor.record_count} records")
        reasons.append(f"{named} was not there when {anchor.record_count} records were anchored")
        return
    if not verify_inclusion(anchor.root, leaf, index, anchor.record_count, bundle.inclusion):
        raise _Refused(f"the leaf of {named} is not under the anchored root")
    reasons.append(f"{named} was anchored with leaf {leaf.hex()[:16]}")
    if (statement.finding is Finding.RECORD_MISSING) != (not statement.record):
        raise _Refused(f"{named} with {len(statement.record)} bytes is called {statement.finding.name}")
    if statement.record:
        found = leaf_hash(statement.record)
        if (found == leaf) != (statement.finding is Finding.UNTOUCHED):
            raise _Refused(f"{named} has leaf {found.hex()[:16]} and is called {statement.finding.name}")
        same = "the same" if found == leaf else "another"
        reasons.append(f"{named} in the store now has leaf {found.hex()[:16]}: {same}")
    else:
        reasons.append(f"{named} is no longer in the store")


def bundle_to_json(bundle: DisputeBundle) -> str:
    """The file form."""
    return json.dumps({"format": FORMAT, **to_json(bundle)}, indent=1) + "\n"


def bundle_from_json(text: str) -> DisputeBundle:
    """Parse a bundle file. Raises InvalidBytes naming what is wrong in it."""
    if len(text) > FILE_BYTES_MAX:
        raise InvalidBytes(f"a bundle of {len(text)} characters, want at most {FILE_BYTES_MAX}")
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidBytes(f"not JSON: {error}"[:200]) from None
    if type(plain) is not dict or plain.pop("format", None) != FORMAT:
        raise InvalidBytes(f"not a {FORMAT} file")
    return from_json(DisputeBundle, plain)
