"""Blocks: a header that says everything by digest, and the transactions behind it.

Shapes only; the rules are in `chain.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from ledger import merkle
from ledger.certificates import Certificate, Committee
from ledger.codec import Range, Size, digest, encode
from ledger.transactions import Transaction
from ledger.types import AMOUNT_MAX, BLOCK_TRANSACTIONS_MAX, TIME_MAX, Hash32

Digest = Annotated[bytes, Size(32, 32)]
Key = Annotated[bytes, Size(32, 32)]
Count = Annotated[int, Range(0, AMOUNT_MAX)]

# Views that may fail before a block is born; a leader that would show more waits for the view timer's next quorum.
NULLIFIED_MAX = 1024


@dataclass(frozen=True)
class Header:
    """What is voted on. `author`: the key that led view `view` of this height when the block was born; a re-proposal
    changes neither. `version`: of the protocol that holds at this height.

    `time`: milliseconds since 1970, strictly above the parent's. `state_root`: after this block. `committee`: hash of
    those who vote on this height; `next_committee`: on the next. `nullified_root`: over `Block.nullified`.
    """

    version: Annotated[int, Range(1, 2**16)]
    chain_id: Digest
    height: Count
    view: Count
    time: Annotated[int, Range(0, TIME_MAX)]
    parent: Digest
    author: Key
    transactions_root: Digest
    nullified_root: Digest
    state_root: Digest
    committee: Digest
    next_committee: Digest

    @cached_property
    def id(self) -> Hash32:
        return digest("hanse/block", encode(self))


@dataclass(frozen=True)
class Block:
    """`nullified`: certificates that views 0 .. header.view-1 of this height failed: they cost their leaders."""

    header: Header
    nullified: Annotated[tuple[Certificate, ...], Size(0, NULLIFIED_MAX)]
    transactions: Annotated[tuple[Transaction, ...], Size(0, BLOCK_TRANSACTIONS_MAX)]

    @property
    def id(self) -> Hash32:
        return self.header.id

    @property
    def height(self) -> int:
        return self.header.height

    @cached_property
    def encoded(self) -> bytes:
        return encode(self)


@dataclass(frozen=True, slots=True)
class FinalBlock:
    """A block with a certificate that makes it final. Which quorum signed may differ from node to node."""

    block: Block
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class FinalHeader:
    """What a light client needs of a height: the header, its certificate and who was entitled to sign it."""

    header: Header
    certificate: Certificate
    committee: Committee


def transactions_root(transactions: Sequence[Transaction]) -> Hash32:
    """RFC 6962 root over the transactions' bytes, signatures included: a header has one body only."""
    return merkle.root([merkle.leaf_hash(transaction.encoded) for transaction in transactions])


def nullified_root(certificates: Sequence[Certificate]) -> Hash32:
    return merkle.root([merkle.leaf_hash(encode(certificate)) for certificate in certificates])
