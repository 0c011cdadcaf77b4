"""Proof bundles: what a file holds with which somebody without a node checks one statement. Shapes and the file form.

A proof is a path of headers from what its reader trusts (`light.py`) to one header, and what lies under that header.
The checks are `proof_check.py`'s, a dispute's shape is `bundles.py`'s. docs/proofs.md describes the files byte by byte.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ledger.blocks import Header
from ledger.bundles import DisputeBundle
from ledger.codec import Range, Size
from ledger.fields import Digest
from ledger.light_path import ANCESTORS_MAX
from ledger.merkle import PROOF_HASHES_MAX
from ledger.proof_parts import ENTRIES_MAX, Path, ProvenEntry, from_file, to_file
from ledger.records import PERIOD_RECORDS_MAX, RECORD_BYTES_MAX
from ledger.types import TRANSACTION_BYTES_MAX

# Attempts at one round are numbered up to this.
ATTEMPTS_MAX = 100


@dataclass(frozen=True, slots=True)
class HeadersProof:
    """The last header of `path` is final. `ancestors`: when it is earlier than the trusted one, see `light.link_back`;
    `path` then begins, and ends, with the trusted header."""

    KIND: ClassVar[str] = "headers"
    path: Path
    ancestors: Annotated[tuple[Header, ...], Size(0, ANCESTORS_MAX)]


@dataclass(frozen=True, slots=True)
class EntryProof:
    """A key of the state holds a value, or nothing: a balance, a member, an anchor, a receipt, an absence."""

    KIND: ClassVar[str] = "state"
    path: Path
    entry: ProvenEntry


@dataclass(frozen=True, slots=True)
class RecordProof:
    """A sensor record is in an anchored period. `anchor`: the entry of the period; `inclusion`: RFC 6962, of `record`
    at `index` among the anchored records."""

    KIND: ClassVar[str] = "record"
    path: Path
    anchor: ProvenEntry
    index: Annotated[int, Range(0, PERIOD_RECORDS_MAX - 1)]
    record: Annotated[bytes, Size(1, RECORD_BYTES_MAX)]
    inclusion: Annotated[tuple[Digest, ...], Size(0, PROOF_HASHES_MAX)]


@dataclass(frozen=True, slots=True)
class BranchStep:
    """A sibling on the way from a leaf to the root, and whether it stands on the left."""

    left: bool
    sibling: Digest


@dataclass(frozen=True, slots=True)
class TransactionProof:
    """A transaction is in the block of a height. `branch`: from its RFC 6962 leaf up to the header's root.

    Not at which place: a header does not say how many transactions there are, and without their number neither a place
    in an audit path nor a list of leaf hashes (some may be inner nodes) pins it. `ancestors` as in `HeadersProof`.
    """

    KIND: ClassVar[str] = "transaction"
    path: Path
    ancestors: Annotated[tuple[Header, ...], Size(0, ANCESTORS_MAX)]
    transaction: Annotated[bytes, Size(1, TRANSACTION_BYTES_MAX)]
    branch: Annotated[tuple[BranchStep, ...], Size(0, PROOF_HASHES_MAX)]


@dataclass(frozen=True, slots=True)
class RewardProof:
    """What a closed round paid, to all or to one: the receipt, the request with its price, and the anchors of every
    period that a paid line names, in the order of the lines and of their periods.

    `provider`: the only line that is proven, empty for all of them.
    """

    KIND: ClassVar[str] = "reward"
    path: Path
    receipt: ProvenEntry
    request: ProvenEntry
    provider: Annotated[bytes, Size(0, 32)]
    anchors: Annotated[tuple[ProvenEntry, ...], Size(0, ENTRIES_MAX)]


@dataclass(frozen=True, slots=True)
class AggregateProof:
    """The model of a closed round is the weighted mean of what was delivered. The blobs lie beside this file: the
    receipt names them by digest, the request says how long they are and in which scale."""

    KIND: ClassVar[str] = "aggregate"
    path: Path
    receipt: ProvenEntry
    request: ProvenEntry


@dataclass(frozen=True, slots=True)
class ProtectedAggregateProof:
    """The model of a protected request's closed round is what the request's rule makes of the blobs beside this file.

    `protection`: of the request. `unmasking`: of a masked round, what its sum was unmasked with. Of one that is not
    masked, what the rule may look at beside its updates: `previous`, the receipt of the round before, if there is one;
    `attempts`, those of the earlier attempts at this round, in order.
    """

    KIND: ClassVar[str] = "protected-aggregate"
    path: Path
    receipt: ProvenEntry
    request: ProvenEntry
    protection: ProvenEntry
    unmasking: Annotated[tuple[ProvenEntry, ...], Size(0, 1)]
    previous: Annotated[tuple[ProvenEntry, ...], Size(0, 1)]
    attempts: Annotated[tuple[ProvenEntry, ...], Size(0, ATTEMPTS_MAX)]


Proof = (
    HeadersProof
    | EntryProof
    | RecordProof
    | TransactionProof
    | RewardProof
    | AggregateProof
    | ProtectedAggregateProof
    | DisputeBundle
)
KINDS: dict[str, type[Any]] = {
    kind.KIND: kind
    for kind in (
        HeadersProof,
        EntryProof,
        RecordProof,
        TransactionProof,
        RewardProof,
        AggregateProof,
        ProtectedAggregateProof,
        DisputeBundle,
    )
}


def proof_to_json(proof: Proof) -> str:
    """The file form. Raises InvalidBytes when it would be too large to be read again."""
    return to_file(proof.KIND, proof)


def proof_from_json(text: str) -> Proof:
    """Parse a proof file. Raises InvalidBytes naming what is wrong in it."""
    proof: Proof = from_file(text, KINDS)
    return proof
