"""The proof of a dispute: what became of a record since it was anchored, as an auditor checks it offline. Pure.

What was anchored, the ledger proves. What the owner's store holds *now* only the owner can say, so it says it under its
signature: nobody else can accuse it with bytes of his own. One kind of proof beside those of `proofs.py`.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ledger.blocks import Header
from ledger.codec import Size, encode
from ledger.disputes import Finding
from ledger.entries import Anchor, anchor_key
from ledger.errors import InvalidBytes, InvalidProof
from ledger.fields import Amount, Digest, Key, Org
from ledger.genesis import Genesis
from ledger.keys import KeyPair, verify
from ledger.league_entries import KeyOwner, key_owner_key
from ledger.light import SKIP_HEIGHTS_MAX, follow, trust_genesis
from ledger.merkle import PROOF_HASHES_MAX, leaf_hash, verify_inclusion
from ledger.proof_parts import Path, ProvenEntry, from_file, read_entry, to_file
from ledger.records import RECORD_BYTES_MAX
from ledger.types import Hash32, NodeKey


@dataclass(frozen=True, slots=True)
class Statement:
    """What the owner of a store says of one record of a period that it anchored.

    `org`: whose store and anchor it is. `signer`: the key that its node signs this with.
    `record`: the record's canonical bytes as they lie in the store now, empty for a missing one and when the finding is
    PERIOD_CHANGED. `anchored_leaf`: the leaf under the anchor, empty for an added record and PERIOD_CHANGED.
    `found_root`: over all records of the period that the store holds now. `index` may be any number for an added one.
    """

    chain_id: Digest
    org: Org
    signer: Key
    period: Amount
    finding: Finding
    index: int
    record: Annotated[bytes, Size(0, RECORD_BYTES_MAX)]
    anchored_leaf: Annotated[bytes, Size(0, 32)]
    found_root: Digest


@dataclass(frozen=True, slots=True)
class DisputeBundle:
    """`owner`: whose key the signer is, and that it is not given up. `anchor`: the period's entry.

    `inclusion`: RFC 6962 proof of `anchored_leaf` under the anchor.
    """

    KIND: ClassVar[str] = "dispute"
    path: Path
    statement: Statement
    signature: Annotated[bytes, Size(64, 64)]
    owner: ProvenEntry
    anchor: ProvenEntry
    inclusion: Annotated[tuple[Digest, ...], Size(0, PROOF_HASHES_MAX)]


@dataclass(frozen=True, slots=True)
class BundleCheck:
    """`accepted`: everything in the bundle fits together; then `finding` holds. `reasons`: each step that held, and
    last the one that did not."""

    accepted: bool
    finding: Finding | None
    reasons: tuple[str, ...]


def sign_statement(key: KeyPair, statement: Statement) -> bytes:
    return key.sign(Hash32(statement.chain_id), "dispute", encode(statement))


def verify_bundle(bundle: DisputeBundle, genesis: Genesis, skip_heights_max: int = SKIP_HEIGHTS_MAX) -> BundleCheck:
    """Check a bundle offline, from the genesis file alone. Never raises: what does not hold is said in the reasons."""
    reasons: list[str] = []
    try:
        encode(bundle)
        trusted = follow(trust_genesis(genesis), bundle.path, skip_heights_max)
        assert trusted.header is not None, "a path has a header at least"
        reasons.append(f"height {trusted.height} is final, by {len(bundle.path)} headers from the genesis")
        check_dispute(bundle, trusted.header, reasons)
    except (InvalidProof, InvalidBytes) as error:
        return BundleCheck(False, None, (*reasons, str(error)))
    return BundleCheck(True, bundle.statement.finding, tuple(reasons))


def check_dispute(bundle: DisputeBundle, header: Header, reasons: list[str]) -> None:
    """That the finding holds under a header that is trusted. Raises InvalidProof; each step that held goes into
    `reasons`."""
    _check_owner(bundle, header, reasons)
    statement = bundle.statement
    anchor = read_entry(header, bundle.anchor, Anchor, anchor_key(statement.org, statement.period))
    reasons.append(
        f"period {statement.period} was anchored at height {anchor.height}: "
        f"{anchor.record_count} records, root {anchor.root.hex()[:16]}"
    )
    _check_record(bundle, anchor, reasons)


def _check_owner(bundle: DisputeBundle, header: Header, reasons: list[str]) -> None:
    statement = bundle.statement
    if statement.chain_id != header.chain_id:
        raise InvalidProof(f"of chain {statement.chain_id.hex()[:16]}, the header of {header.chain_id.hex()[:16]}")
    signer = NodeKey(statement.signer)
    owner = read_entry(header, bundle.owner, KeyOwner, key_owner_key(signer))
    # A key that was given up may be in anybody's hands.
    if owner.org != statement.org or owner.until_height:
        raise InvalidProof(
            f"{signer.hex()[:16]} is not the key of {statement.org.hex()[:16]}, whose store it speaks of"
        )
    if not verify(signer, bundle.signature, Hash32(header.chain_id), "dispute", encode(statement)):
        raise InvalidProof(f"the statement is not signed by {signer.hex()[:16]}")
    reasons.append(f"{statement.org.hex()[:16]} signed what its store holds")


def _check_record(bundle: DisputeBundle, anchor: Anchor, reasons: list[str]) -> None:
    """That the finding is what the evidence says."""
    statement = bundle.statement
    index, leaf, named = statement.index, statement.anchored_leaf, f"record {statement.index}"
    # A leaf holds its record's place, so any change at all changes the root.
    if statement.finding is not Finding.UNTOUCHED and statement.found_root == anchor.root:
        raise InvalidProof(f"{statement.finding.name}, but the root found is the anchored one")
    if statement.finding is Finding.PERIOD_CHANGED:
        if statement.record or leaf or bundle.inclusion or index:
            raise InvalidProof("a changed period names no record")
        reasons.append("the records found have another root; which one was changed cannot be shown")
        return
    if statement.finding is Finding.RECORD_ADDED:
        if 0 <= index < anchor.record_count or leaf or bundle.inclusion or not statement.record:
            raise InvalidProof(f"{named} is no addition to {anchor.record_count} records")
        reasons.append(f"{named} was not there when {anchor.record_count} records were anchored")
        return
    if not verify_inclusion(anchor.root, leaf, index, anchor.record_count, bundle.inclusion):
        raise InvalidProof(f"the leaf of {named} is not under the anchored root")
    reasons.append(f"{named} was anchored with leaf {leaf.hex()[:16]}")
    if (statement.finding is Finding.RECORD_MISSING) != (not statement.record):
        raise InvalidProof(f"{named} with {len(statement.record)} bytes is called {statement.finding.name}")
    if statement.record:
        found = leaf_hash(statement.record)
        if (found == leaf) != (statement.finding is Finding.UNTOUCHED):
            raise InvalidProof(f"{named} has leaf {found.hex()[:16]} and is called {statement.finding.name}")
        same = "the same" if found == leaf else "another"
        reasons.append(f"{named} in the store now has leaf {found.hex()[:16]}: {same}")
    else:
        reasons.append(f"{named} is no longer in the store")


def bundle_to_json(bundle: DisputeBundle) -> str:
    """The file form."""
    return to_file(bundle.KIND, bundle)


def bundle_from_json(text: str) -> DisputeBundle:
    """Parse a dispute's file. Raises InvalidBytes naming what is wrong in it."""
    bundle: DisputeBundle = from_file(text, {DisputeBundle.KIND: DisputeBundle})
    return bundle
