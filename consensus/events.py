"""What goes into a height's machine and what comes out: its setup, the events it is told, the effects it asks for.

The driver carries effects out in the order they come. What follows a `Persist` may leave only once that is synced.
"""

from dataclasses import dataclass, field

from consensus.journal import JournalRecord
from consensus.messages import Message, Proposal
from ledger.blocks import Block
from ledger.certificates import Certificate, Committee, Equivocation, Vote
from ledger.keys import KeyPair
from ledger.types import Hash32, NodeKey


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds. View v may take `base + step * v` (simplex rule 6).

    `base` exceeds three message delays, re-sends included, plus building, checking and `grace`. `grace`: how long a
    leader waits for the finalization of the view before, so as not to propose again what is about to be final.
    """

    base_ms: int
    step_ms: int
    resend_ms: int
    grace_ms: int

    def __post_init__(self) -> None:
        if not (self.step_ms > 0 and self.resend_ms > 0 and 0 <= self.grace_ms < self.base_ms):
            raise ValueError(f"{self}: want step and resend above 0, and grace from 0 to below base")


@dataclass(frozen=True, slots=True)
class HeightSetup:
    """All that is fixed for one height (simplex rule 1). leader(view) is `leaders[view % len(leaders)]`.

    `parent`: id of the block before. `key`: ours, or None for who only watches; a key without a seat watches too.
    `may_vote`: False after the journal was lost, see `journal.first_height_to_vote`: follows, decides, signs nothing.
    """

    chain_id: Hash32
    height: int
    committee: Committee
    leaders: tuple[NodeKey, ...]
    parent: Hash32
    key: KeyPair | None = field(repr=False)
    timing: Timing
    may_vote: bool = True


# --- events


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of every machine, after a restart too."""


@dataclass(frozen=True, slots=True)
class WorkArrived:
    """There is something to decide: a pending valid transaction or a due deadline (simplex rule 5)."""


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    sender: NodeKey
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class VoteReceived:
    sender: NodeKey
    vote: Vote


@dataclass(frozen=True, slots=True)
class CertificateReceived:
    """Of a `Decided` message the driver passes on the certificate first, then the block as a `BodyReceived`."""

    sender: NodeKey
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class BodyReceived:
    block: Block


@dataclass(frozen=True, slots=True)
class BlockChecked:
    """The answer to `CheckBlock`: a pure function of the block and its parent state. Always comes, valid or not."""

    block_id: Hash32
    valid: bool


@dataclass(frozen=True, slots=True)
class BlockReady:
    """What only this node can say: the block's time is near its clock, it holds the blobs, it recomputed them."""

    block_id: Hash32


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """The answer to `BuildBlock`; None when there is nothing to put in a block now."""

    view: int
    block: Block | None


@dataclass(frozen=True, slots=True)
class TimerExpired:
    view: int


@dataclass(frozen=True, slots=True)
class ResendDue:
    pass


Event = (
    Started
    | WorkArrived
    | ProposalReceived
    | VoteReceived
    | CertificateReceived
    | BodyReceived
    | BlockChecked
    | BlockReady
    | BlockBuilt
    | TimerExpired
    | ResendDue
)


# --- effects


@dataclass(frozen=True, slots=True)
class Persist:
    """Append to the journal as one group and sync. At most one comes out of an event."""

    records: tuple[JournalRecord, ...]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """To every member we are connected to, never to ourselves."""

    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    to: NodeKey
    message: Message


@dataclass(frozen=True, slots=True)
class BuildBlock:
    """Make a block of this view with exactly these `nullified`; answer `BlockBuilt`."""

    view: int
    nullified: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class CheckBlock:
    """Execute the block on its parent's state; answer `BlockChecked`, then `BlockReady` when and if that is so."""

    block: Block


@dataclass(frozen=True, slots=True)
class FetchBody:
    """Ask each of `holders` with a `BodyRequest`. Comes again, with other holders, until the body is here."""

    block_id: Hash32
    holders: tuple[NodeKey, ...]


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Answer `TimerExpired(view)` after the delay; replaces the timer set before."""

    view: int
    delay_ms: int


@dataclass(frozen=True, slots=True)
class SetResend:
    """Answer `ResendDue` after the delay, give or take a random quarter, so that nodes do not march in step."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class Decide:
    """Commit block, certificate and new state in one synced batch. The last effect of a height."""

    block: Block
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Report:
    """Proof that a member contradicted itself: put it on the ledger."""

    evidence: Equivocation


@dataclass(frozen=True, slots=True)
class Refused:
    """What `sender` sent is provably wrong, not just late: drop it and count it against them."""

    sender: NodeKey
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop with a dump: members disagree on what is valid, or more than f of them lie. Nothing follows."""

    reason: str


Effect = (
    Persist
    | Broadcast
    | Send
    | BuildBlock
    | CheckBlock
    | FetchBody
    | SetTimer
    | SetResend
    | Decide
    | Report
    | Refused
    | Halt
)
