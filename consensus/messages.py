"""What replicas say to each other about blocks: one frozen dataclass a message, and the bounds a frame must keep.

Bytes become a `Message` here and nowhere else. Who may send what, and when, is `machine`'s and `catchup`'s business.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from ledger.blocks import NULLIFIED_MAX, Block, FinalBlock
from ledger.certificates import Certificate, Subject, Vote
from ledger.codec import Range, Size, decode_union, encode, encode_union
from ledger.errors import InvalidBytes
from ledger.transactions import Transaction
from ledger.types import AMOUNT_MAX, BLOCK_BYTES_MAX

Digest = Annotated[bytes, Size(32, 32)]
SignatureBytes = Annotated[bytes, Size(64, 64)]
Count = Annotated[int, Range(0, AMOUNT_MAX)]

# The longest message is a full block with its certificate; a proof of 1 025 certificates of 21 votes is 2.3 MB.
MESSAGE_BYTES_MAX = BLOCK_BYTES_MAX + 64 * 1024
# A proof is one notarization and a nullification for each view after it.
PROOF_MAX = NULLIFIED_MAX + 1
# One answer of catch-up: enough to hide a round trip behind the checking of small blocks; big ones fill the frame.
BLOCKS_PER_MESSAGE_MAX = 64
# One frame of gossip: some 150 kB of ordinary transactions; more would delay the votes queued behind it.
TRANSACTIONS_PER_MESSAGE_MAX = 512
TRANSACTIONS_MESSAGE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Proposal:
    """A leader's word for a view. `subject.kind` is PROPOSE and `signature` is that of the view's leader over it.

    A fresh block travels whole and shows inside, in `block.nullified`, why it may be proposed; `proof` is then empty.
    A re-proposal names the block by `subject.block` only, and `proof` is its notarization in an earlier view followed
    by a nullification for every view since (simplex rule 7).
    """

    KIND: ClassVar[int] = 1
    subject: Subject
    signature: SignatureBytes
    block: Block | None
    proof: Annotated[tuple[Certificate, ...], Size(0, PROOF_MAX)]


@dataclass(frozen=True, slots=True)
class VoteMessage:
    KIND: ClassVar[int] = 2
    vote: Vote


@dataclass(frozen=True, slots=True)
class CertificateMessage:
    KIND: ClassVar[int] = 3
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class BodyRequest:
    """Asks for the block of a height that is still being agreed on; the answer is `Body`, or silence."""

    KIND: ClassVar[int] = 4
    height: Count
    block: Digest


@dataclass(frozen=True, slots=True)
class Body:
    KIND: ClassVar[int] = 5
    block: Block


@dataclass(frozen=True, slots=True)
class Decided:
    """The answer to anything about a height that the sender has behind it (simplex rule 13)."""

    KIND: ClassVar[int] = 6
    final: FinalBlock


@dataclass(frozen=True, slots=True)
class Status:
    """Where a peer says it is: its newest final block, and the view it works in above that. A hint, never believed.

    `first`: the lowest height whose block it holds and serves; one more than `height` when it holds none.
    """

    KIND: ClassVar[int] = 7
    height: Count
    head: Digest
    view: Count
    first: Count


@dataclass(frozen=True, slots=True)
class BlocksRequest:
    """Asks for final blocks of `count` heights from `from_height` on."""

    KIND: ClassVar[int] = 8
    from_height: Count
    count: Annotated[int, Range(1, BLOCKS_PER_MESSAGE_MAX)]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Final blocks of consecutive heights from the height asked for on; fewer than asked when a frame is full."""

    KIND: ClassVar[int] = 9
    blocks: Annotated[tuple[FinalBlock, ...], Size(0, BLOCKS_PER_MESSAGE_MAX)]


@dataclass(frozen=True, slots=True)
class Transactions:
    KIND: ClassVar[int] = 10
    transactions: Annotated[tuple[Transaction, ...], Size(1, TRANSACTIONS_PER_MESSAGE_MAX)]


Message = (
    Proposal
    | VoteMessage
    | CertificateMessage
    | BodyRequest
    | Body
    | Decided
    | Status
    | BlocksRequest
    | Blocks
    | Transactions
)


def encode_message(message: Message) -> bytes:
    """Canonical bytes. Raises InvalidBytes when the message breaks one of its own bounds, its length among them."""
    data = encode_union(message, Message)
    if len(data) > MESSAGE_BYTES_MAX:
        raise InvalidBytes(f"{type(message).__name__} of {len(data)} bytes, at most {MESSAGE_BYTES_MAX} travel")
    return data


def parse_message(data: bytes) -> Message:
    """A message from untrusted bytes. Raises InvalidBytes; nothing is decoded of a frame that is too long."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise InvalidBytes(f"a message of {len(data)} bytes, at most {MESSAGE_BYTES_MAX} are read")
    message: Message = decode_union(Message, data)
    return message


# msgpack: a list of two, then the kind as one byte.
_GOSSIP_BEGINS = bytes((0x92, Transactions.KIND))


def is_gossip(data: bytes) -> bool:
    """Whether these bytes say that they are transactions: what may be lost, for whoever has it says it again."""
    return data.startswith(_GOSSIP_BEGINS)


def fit_blocks(blocks: Iterable[FinalBlock]) -> Blocks:
    """As many of the first `blocks` as one message holds: at least one if there is one."""
    fitting: list[FinalBlock] = []
    room = MESSAGE_BYTES_MAX - 1024  # the envelope: kind and list headers
    for final in blocks:
        size = len(final.block.encoded) + len(encode(final.certificate)) + 16
        if len(fitting) == BLOCKS_PER_MESSAGE_MAX or (fitting and size > room):
            break
        fitting.append(final)
        room -= size
    return Blocks(tuple(fitting))


def fit_transactions(transactions: Iterable[Transaction]) -> list[Transactions]:
    """All of `transactions`, in order, in as few messages as the bounds allow."""
    messages: list[Transactions] = []
    batch: list[Transaction] = []
    room = TRANSACTIONS_MESSAGE_BYTES_MAX
    for transaction in transactions:
        size = len(transaction.encoded)
        if batch and (size > room or len(batch) == TRANSACTIONS_PER_MESSAGE_MAX):
            messages.append(Transactions(tuple(batch)))
            batch, room = [], TRANSACTIONS_MESSAGE_BYTES_MAX
        batch.append(transaction)
        room -= size
    if batch:
        messages.append(Transactions(tuple(batch)))
    return messages
