"""A lockstep run in lines: who was told what, and what it did. The same seed gives the same lines in every process."""

import hashlib

from consensus.events import (
    BlockBuilt,
    BlockChecked,
    BlockReady,
    BodyReceived,
    Broadcast,
    BuildBlock,
    CertificateReceived,
    CheckBlock,
    Decide,
    Effect,
    Event,
    FetchBody,
    Halt,
    Persist,
    ProposalReceived,
    Refused,
    Report,
    Send,
    SetTimer,
    TimerExpired,
    VoteReceived,
)
from consensus.messages import CertificateMessage, Decided, Message, Proposal, VoteMessage
from ledger.certificates import Certificate, Subject, VoteKind

LETTERS = {VoteKind.NOTARIZE: "N", VoteKind.NULLIFY: "X", VoteKind.FINALIZE: "F", VoteKind.PROPOSE: "P"}


def subject_text(subject: Subject) -> str:
    block = "" if subject.kind is VoteKind.NULLIFY else f" {short(subject.block)}"
    return f"{LETTERS[subject.kind]}({subject.view}{block})"


def short(block: bytes) -> str:
    return block.hex()[:6]


def _certificate(certificate: Certificate) -> str:
    voters = "".join(str(each.voter[0] - 1) + "," for each in certificate.signatures)
    return f"cert {subject_text(certificate.subject)} by {voters.rstrip(',')}"


def _proposal(proposal: Proposal) -> str:
    proof = " ".join(subject_text(each.subject) for each in proposal.proof)
    if proposal.block is None:
        return f"{subject_text(proposal.subject)} again, showing {proof or 'nothing'}"
    return f"{subject_text(proposal.subject)} fresh, {len(proposal.block.nullified)} views nullified"


def message_text(message: Message) -> str:
    match message:
        case VoteMessage(vote):
            return f"{subject_text(vote.subject)} by {vote.voter[0] - 1}"
        case CertificateMessage(certificate):
            return _certificate(certificate)
        case Proposal():
            return _proposal(message)
        case Decided(final):
            return f"decided {short(final.block.id)}, {_certificate(final.certificate)}"
        case _:
            return type(message).__name__


def event_text(event: Event) -> str:
    match event:
        case ProposalReceived(sender, proposal):
            return f"from {sender[0] - 1}: {_proposal(proposal)}"
        case VoteReceived(sender, vote):
            return f"from {sender[0] - 1}: {message_text(VoteMessage(vote))}"
        case CertificateReceived(sender, certificate):
            return f"from {sender[0] - 1}: {_certificate(certificate)}"
        case BodyReceived(block):
            return f"body {short(block.id)}"
        case BlockChecked(block_id, valid):
            return f"block {short(block_id)} is {'valid' if valid else 'invalid'}"
        case BlockReady(block_id):
            return f"block {short(block_id)} is ready"
        case BlockBuilt(view, block):
            return f"built for view {view}: {short(block.id) if block else 'nothing'}"
        case TimerExpired(view):
            return f"timer of view {view}"
        case _:
            return type(event).__name__


def effect_text(effect: Effect) -> str:
    match effect:
        case Persist(records):
            return f"writes {len(records)}"
        case Broadcast(message):
            return f"says {message_text(message)}"
        case Send(to, message):
            return f"tells {to[0] - 1}: {message_text(message)}"
        case BuildBlock(view, _):
            return f"builds for view {view}"
        case CheckBlock(block):
            return f"checks {short(block.id)}"
        case FetchBody(block_id, holders):
            return f"asks {','.join(str(holder[0] - 1) for holder in holders)} for {short(block_id)}"
        case SetTimer(view, delay_ms):
            return f"sets the timer of view {view} to {delay_ms}"
        case Decide(block, certificate):
            return f"DECIDES {short(block.id)}, {_certificate(certificate)}"
        case Report(evidence):
            return f"accuses {evidence.first.voter[0] - 1}"
        case Refused(sender, reason):
            return f"refuses what {sender[0] - 1} sent: {reason}"
        case Halt(reason):
            return f"HALTS: {reason}"
        case _:
            return type(effect).__name__


class Trace:
    """Lines of one run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, name: str, view: int, event: Event) -> None:
        self.lines.append(f"{name} v{view} <- {event_text(event)}")

    def effect(self, effect: Effect) -> None:
        self.lines.append(f"      {effect_text(effect)}")

    def note(self, text: str) -> None:
        self.lines.append(text)

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
