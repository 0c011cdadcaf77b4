"""A member of the lockstep runs with its disk. What it writes can be cut off at any record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consensus.events import Event, SetTimer
from consensus.journal import BodyHeld, CertificateHeld, JournalRecord, OwnProposal, OwnVote
from consensus.machine import HeightMachine
from consensus.messages import Message
from ledger.blocks import FinalBlock
from ledger.certificates import Subject, Vote, VoteKind
from ledger.types import Hash32, NodeKey


class Disk:
    """A member's journal of the height. `keeps` filters what is kept: mutants forget."""

    def __init__(self, keeps: Callable[[JournalRecord], bool]) -> None:
        self._keeps = keeps
        self.wipe()

    def wipe(self) -> None:
        self.records: list[JournalRecord] = []
        self.signed: set[Subject] = set()
        self.bodies: set[Hash32] = set()
        self.certified: set[tuple[int, VoteKind, Hash32]] = set()

    def write(self, records: Sequence[JournalRecord]) -> None:
        for record in filter(self._keeps, records):
            self.records.append(record)
            match record:
                case OwnVote(vote):
                    self.signed.add(vote.subject)
                case OwnProposal(proposal):
                    self.signed.add(proposal.subject)
                case BodyHeld(block):
                    self.bodies.add(block.id)
                case CertificateHeld(certificate):
                    subject = certificate.subject
                    self.certified.add((subject.view, subject.kind, Hash32(subject.block)))


@dataclass
class Letter:
    """A message on its way. `sender` is the node that sent it, None when a liar made it up."""

    by: NodeKey
    message: Message
    sender: "Node | None"


@dataclass(eq=False)
class Node:
    """A machine, its driver's memory and its disk. Twins are two nodes of one liar, each with a disk of its own.

    `seat`: False for who only watches. `forgets`: loses its journal at its next crash, and then may sign nothing.
    `misjudges`: finds every block invalid, so that it is one of those that may not be more than f.
    """

    name: str
    key: NodeKey
    machine: HeightMachine
    disk: Disk
    correct: bool = True
    seat: bool = True
    forgets: bool = False
    forgot: bool = False
    misjudges: bool = False
    final: FinalBlock | None = None
    timer: SetTimer | None = None
    down: bool = False
    halted: bool = False
    half: int = 0
    writes: int = 0
    inbox: list[Letter] = field(default_factory=list)
    todo: list[Event] = field(default_factory=list)
    unready: list[Hash32] = field(default_factory=list)
    declined: bool = False
    # What the watch remembers of it; `heard` and `reported` since its last start.
    view: int = 0
    spoke_in: int = 0
    told: set[tuple[str, Hash32]] = field(default_factory=set)
    heard: dict[tuple[bytes, int, VoteKind], Vote] = field(default_factory=dict)
    reported: set[bytes] = field(default_factory=set)

    def runs(self) -> bool:
        """Asked anew after every effect: carrying one out may have been its end."""
        return not self.down

    @property
    def undecided(self) -> bool:
        return self.final is None and not self.halted
