"""What a member must have on disk before anything that depends on it leaves (simplex rule 3), and what it means later.

The file itself is `node/journal_file.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

from consensus.messages import Proposal
from ledger.blocks import Block
from ledger.certificates import Certificate, Vote, VoteKind, contradicts
from ledger.errors import CorruptStore
from ledger.types import Hash32


@dataclass(frozen=True, slots=True)
class OwnVote:
    """A vote this member may have sent. Written before it leaves, or a restart could contradict it."""

    KIND: ClassVar[int] = 1
    vote: Vote


@dataclass(frozen=True, slots=True)
class OwnProposal:
    """A proposal this member may have sent, without its body: a fresh one's `BodyHeld` stands before it."""

    KIND: ClassVar[int] = 2
    proposal: Proposal
    fresh: bool


@dataclass(frozen=True, slots=True)
class BodyHeld:
    """A block this member notarized: a notarization promises others that the body can be had."""

    KIND: ClassVar[int] = 3
    block: Block


@dataclass(frozen=True, slots=True)
class CertificateHeld:
    """A notarization must survive with the finalize vote that rests on it, or its view can be stuck for ever."""

    KIND: ClassVar[int] = 4
    certificate: Certificate


JournalRecord = OwnVote | OwnProposal | BodyHeld | CertificateHeld


@dataclass(slots=True)
class Replayed:
    """What one height's records say, ready for a machine to go on from."""

    votes: dict[tuple[int, VoteKind], Vote] = field(default_factory=dict)
    proposals: dict[int, Proposal] = field(default_factory=dict)
    bodies: dict[Hash32, Block] = field(default_factory=dict)
    certificates: list[Certificate] = field(default_factory=list)


def own_proposal(proposal: Proposal) -> OwnProposal:
    """The record of a proposal about to leave; its body is recorded on its own, once."""
    return OwnProposal(replace(proposal, block=None), fresh=proposal.block is not None)


def replay(records: Iterable[JournalRecord]) -> Replayed:
    """Records of one height in the order they were written.

    Raises CorruptStore for what this member cannot have written: then nothing in the file can be relied on, and to go
    on would be to sign against what others may already hold.
    """
    state = Replayed()
    for record in records:
        match record:
            case OwnVote(vote):
                _check_vote(state, vote)
                state.votes[vote.subject.view, vote.subject.kind] = vote
            case OwnProposal(proposal, fresh):
                subject = proposal.subject
                body = state.bodies.get(Hash32(subject.block)) if fresh else None
                if fresh and body is None:
                    raise CorruptStore(f"vote journal: a proposal of view {subject.view} without its block before it")
                state.proposals[subject.view] = replace(proposal, block=body)
            case BodyHeld(block):
                state.bodies[block.id] = block
            case CertificateHeld(certificate):
                state.certificates.append(certificate)
    return state


def _check_vote(state: Replayed, vote: Vote) -> None:
    view = vote.subject.view
    for kind in VoteKind:
        before = state.votes.get((view, kind))
        if before is not None and contradicts(before, vote):
            raise CorruptStore(f"vote journal: {kind.name} and {vote.subject.kind.name} of view {view} contradict")


class Kept(Enum):
    """What of a member's disk is left when it starts."""

    ALL = "journal and chain"
    CHAIN = "the chain, but not the journal"
    NOTHING = "neither, or a chain put back from an older copy"


def first_height_to_vote(kept: Kept, head: int, heads_of_others: Sequence[int] = (), quorum: int = 0) -> int | None:
    """The first height a member may sign in without risk of contradicting itself; None: ask more members first.

    `head`: height of the own newest final block. `heads_of_others`: one for each other committee member asked, verified
    by catching up to it (a bare claim could silence us for ever). `quorum`: of the committee.

    With the chain kept, the only height it can have voted in is head + 1. With nothing kept, call H the height of its
    last vote. It had seen H - 1 become final, so at least n - 2f correct members had then voted in H - 1 and so have a
    head of H - 2 or more; one of them is among any q that answer. Hence H is at most the highest head plus 2.
    """
    if kept is Kept.ALL:
        return head + 1
    if kept is Kept.CHAIN:
        return head + 2
    if len(heads_of_others) < quorum:
        return None
    return max([head, *heads_of_others]) + 3
