"""Making proofs out of our own chain, for readers who trust no node. Shapes: `ledger/proofs.py`; which headers:
`ledger/light_path.py`.

Synchronous and cheap: one head, no waiting. Records are read elsewhere, blobs are not needed to prove an aggregate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ledger import merkle
from ledger.aggregate_check import task_shown
from ledger.blocks import FinalBlock, FinalHeader, Header
from ledger.entries import Fate, Receipt, Request, anchor_key, receipt_key, receipts_prefix, request_key
from ledger.errors import InvalidProof
from ledger.genesis import Genesis
from ledger.light import SKIP_HEIGHTS_MAX
from ledger.light_path import ancestors_between, path_between
from ledger.proof_parts import ENTRIES_MAX, ProvenEntry
from ledger.proofs import (
    AggregateProof,
    BranchStep,
    EntryProof,
    HeadersProof,
    ProtectedAggregateProof,
    RecordProof,
    RewardProof,
    TransactionProof,
)
from ledger.protection_entries import protection_key, unmasking_key
from ledger.state_tree import StateProof
from ledger.transactions import Protection
from ledger.types import Hash32, OrgId

T = TypeVar("T")


class NothingToProve(LookupError):
    """What is to be proven is not on the ledger, or no longer kept here."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What the reader of a proof trusts, and how far he lets headers be skipped (`ledger/light.py`)."""

    trusted_height: int = 0
    skip_heights_max: int = SKIP_HEIGHTS_MAX


class ProvingChain(Protocol):
    """What of `chain.Chain` is needed."""

    @property
    def genesis(self) -> Genesis: ...
    @property
    def height(self) -> int: ...
    def block(self, height: int) -> FinalBlock | None: ...
    def header(self, height: int) -> Header | None: ...
    def final_header(self, height: int) -> FinalHeader | None: ...
    def committee_changes(self, after: int, up_to: int) -> Iterator[FinalHeader]: ...
    def find_transaction(self, tx_id: bytes) -> tuple[int, int] | None: ...
    def read(self, kind: type[T], key: bytes) -> T | None: ...
    def scan(self, kind: type[T], prefix: bytes) -> Iterator[tuple[bytes, T]]: ...
    def value(self, key: bytes) -> bytes | None: ...
    def prove(self, key: bytes) -> StateProof: ...


class ProvingState(Protocol):
    """The state at the head."""

    def value(self, key: bytes) -> bytes | None: ...
    def prove(self, key: bytes) -> StateProof: ...


def proven_entry(chain: ProvingState, key: bytes) -> ProvenEntry:
    """The entry under `key` at the head, or its absence."""
    return ProvenEntry(key, chain.value(key), chain.prove(key))


def prove_headers(chain: ProvingChain, reader: Reader, height: int | None = None) -> HeadersProof:
    """That a height is final, the head's when none is named. Raises InvalidProof when it cannot be shown."""
    path, ancestors = _way_to(chain, reader, chain.height if height is None else height)
    return HeadersProof(path, ancestors)


def prove_entry(chain: ProvingChain, reader: Reader, key: bytes) -> EntryProof:
    """What lies under a key at the head, or that nothing does. Raises InvalidProof."""
    return EntryProof(_path(chain, reader), proven_entry(chain, key))


def prove_record(
    chain: ProvingChain,
    reader: Reader,
    org: OrgId | bytes,
    period: int,
    index: int,
    record: bytes,
    inclusion: Sequence[Hash32],
) -> RecordProof:
    """That a record of ours is under its anchor: `inclusion` as `RecordStore` gives it. Raises InvalidProof."""
    anchor = proven_entry(chain, anchor_key(org, period))
    return RecordProof(_path(chain, reader), anchor, index, record, tuple(inclusion))


def prove_transaction(chain: ProvingChain, reader: Reader, transaction_id: bytes) -> TransactionProof:
    """That a transaction is in a final block. Raises NothingToProve, InvalidProof."""
    place = chain.find_transaction(transaction_id)
    final = None if place is None else chain.block(place[0])
    if place is None or final is None:
        raise NothingToProve(f"no final transaction {transaction_id.hex()} in the blocks that are kept here")
    height, index = place
    path, ancestors = _way_to(chain, reader, height)
    encoded = [each.encoded for each in final.block.transactions]
    hashes = merkle.MerkleTree([merkle.leaf_hash(each) for each in encoded]).inclusion_proof(index)
    branch = tuple(map(BranchStep, merkle.sides(index, len(encoded)), hashes))
    return TransactionProof(path, ancestors, encoded[index], branch)


def prove_reward(
    chain: ProvingChain,
    reader: Reader,
    request_id: bytes,
    number: int,
    attempt: int | None = None,
    provider: bytes | None = None,
) -> RewardProof:
    """What a closed round paid, to all or to one. Raises NothingToProve, InvalidProof."""
    receipt = _receipt(chain, request_id, number, attempt)
    lines = [line for line in receipt.lines if line.fate is Fate.DELIVERED and provider in (None, line.org)]
    if provider is not None and not lines:
        raise NothingToProve(f"{provider.hex()[:16]} has delivered nothing in round {number} attempt {receipt.attempt}")
    keys = [anchor_key(line.org, period) for line in lines for period in line.periods]
    if len(keys) > ENTRIES_MAX:
        raise InvalidProof(f"{len(keys)} anchored periods, at most {ENTRIES_MAX} fit in a proof: name one provider")
    return RewardProof(
        _path(chain, reader),
        proven_entry(chain, receipt_key(request_id, number, receipt.attempt)),
        proven_entry(chain, request_key(request_id)),
        provider or b"",
        tuple(proven_entry(chain, key) for key in keys),
    )


def prove_aggregate(
    chain: ProvingChain, reader: Reader, request_id: bytes, number: int, attempt: int | None = None
) -> tuple[AggregateProof | ProtectedAggregateProof, tuple[bytes, ...]]:
    """The proof of a round's model, and the digests of the blobs that its reader needs beside it.

    Raises NothingToProve, InvalidProof.
    """
    receipt = _receipt(chain, request_id, number, attempt)
    if not receipt.model:
        raise NothingToProve(f"round {number} attempt {receipt.attempt} has no aggregate")
    path = _path(chain, reader)
    shown = (
        proven_entry(chain, receipt_key(request_id, number, receipt.attempt)),
        proven_entry(chain, request_key(request_id)),
    )
    protection = chain.read(Protection, protection_key(request_id))
    if protection is None:
        plain = AggregateProof(path, *shown)
        return plain, task_shown(plain, path[-1].header).blobs
    unmasking, previous, attempts = [], [], range(0)
    if protection.masked:
        unmasking.append(proven_entry(chain, unmasking_key(request_id, number, receipt.attempt)))
    else:
        attempts = range(receipt.attempt)
    if number > 1 and not protection.masked:
        before = _receipt(chain, request_id, number - 1, None)
        previous.append(proven_entry(chain, receipt_key(request_id, number - 1, before.attempt)))
    protected = ProtectedAggregateProof(
        path,
        *shown,
        proven_entry(chain, protection_key(request_id)),
        tuple(unmasking),
        tuple(previous),
        tuple(proven_entry(chain, receipt_key(request_id, number, attempt)) for attempt in attempts),
    )
    return protected, task_shown(protected, path[-1].header).blobs


def _receipt(chain: ProvingChain, request_id: bytes, number: int, attempt: int | None) -> Receipt:
    """The receipt of a round's attempt, by default the last that was closed."""
    if chain.read(Request, request_key(request_id)) is None:
        raise NothingToProve(f"there is no request {request_id.hex()}")
    if attempt is None:
        closed = [each for _, each in chain.scan(Receipt, receipts_prefix(request_id)) if each.round == number]
        found = closed[-1] if closed else None
    else:
        found = chain.read(Receipt, receipt_key(request_id, number, attempt))
    if found is None:
        which = f"round {number}" if attempt is None else f"round {number} attempt {attempt}"
        raise NothingToProve(f"{which} of request {request_id.hex()[:16]} is not closed")
    return found


def _path(chain: ProvingChain, reader: Reader) -> tuple[FinalHeader, ...]:
    """To the head, under whose state root entries are shown."""
    if not chain.height:
        raise InvalidProof("nothing is agreed on yet: the first proof needs the first block")
    if reader.trusted_height > chain.height:
        raise InvalidProof(f"the reader trusts height {reader.trusted_height}, the head is at {chain.height}")
    return path_between(chain, reader.trusted_height, chain.height, reader.skip_heights_max)


def _way_to(chain: ProvingChain, reader: Reader, height: int) -> tuple[tuple[FinalHeader, ...], tuple[Header, ...]]:
    """Path and ancestors: forwards from what is trusted, or back from it."""
    if not 1 <= height <= chain.height:
        raise InvalidProof(f"height {height} is not final here, the head is at {chain.height}")
    if reader.trusted_height > chain.height:
        raise InvalidProof(f"the reader trusts height {reader.trusted_height}, the head is at {chain.height}")
    if height >= reader.trusted_height:
        return path_between(chain, reader.trusted_height, height, reader.skip_heights_max), ()
    trusted = path_between(chain, reader.trusted_height, reader.trusted_height)
    return trusted, ancestors_between(chain, reader.trusted_height, height)
