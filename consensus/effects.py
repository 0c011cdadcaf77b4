"""What a replica asks of its driver. Carried out in order; what follows a Persist only once that is synced.

The effects of one height's machine, which the replica turns into these, are in `events.py`.
"""

from dataclasses import dataclass, field

from consensus.journal import JournalRecord
from consensus.messages import Message
from ledger.aggregation import AggregationTask
from ledger.blocks import FinalBlock
from ledger.chain import Outcome
from ledger.errors import InvalidTransaction
from ledger.transactions import Transaction
from ledger.types import NodeKey


@dataclass(frozen=True, slots=True)
class Persist:
    height: int
    records: tuple[JournalRecord, ...]


@dataclass(frozen=True, slots=True)
class Transmit:
    """To one member, or to all that are connected when `to` is None."""

    to: NodeKey | None
    message: Message


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire `name` after the delay, replacing what was set under it; `jitter`: give or take a quarter at random."""

    name: str
    delay_ms: int
    jitter: bool = False


@dataclass(frozen=True, slots=True)
class CancelTimer:
    name: str


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute an aggregate, and tell `aggregate_computed`. Asked once a task."""

    task: AggregationTask


@dataclass(frozen=True, slots=True)
class Committed:
    """A block became final and is on disk; the journal may begin anew at the next height."""

    final: FinalBlock
    outcome: Outcome = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rebased:
    """A snapshot took the place of the chain: its head has this height, the blocks between were never seen here."""

    height: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A transaction that waited can never run any more."""

    transaction: Transaction
    error: InvalidTransaction


@dataclass(frozen=True, slots=True)
class Refused:
    """A peer sent something provably wrong."""

    sender: NodeKey
    reason: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A proposed aggregate is not what this member computed from the same blobs: it does not vote for it."""

    task: AggregationTask
    author: NodeKey


@dataclass(frozen=True, slots=True)
class VoteFrom:
    """A replica that lost its journal found out from which height on it may sign: to be remembered across restarts."""

    height: int


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop with a dump (simplex rule 12)."""

    reason: str


Effect = (
    Persist
    | Transmit
    | SetTimer
    | CancelTimer
    | Compute
    | Committed
    | Rebased
    | Dropped
    | Refused
    | Disagreement
    | VoteFrom
    | Halt
)

VIEW_TIMER, RESEND_TIMER, DEADLINE_TIMER, STATUS_TIMER, CATCHUP_TIMER, APPEND_TIMER, CLOCK_TIMER, REST_TIMER = (
    "view",
    "resend",
    "deadline",
    "status",
    "catchup",
    "append",
    "clock",
    "rest",
)
