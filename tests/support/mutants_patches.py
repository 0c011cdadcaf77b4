"""Faults planted in what the machine is made of: its checks, its counting, its outbox. Each lasts for one test."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from consensus import acceptance, machine, votes
from consensus.events import Effect, Persist
from consensus.evidence import EvidenceFinder
from consensus.heard import Heard
from consensus.messages import Proposal
from consensus.outbox import Outbox
from consensus.proofs import Proofs
from consensus.votes import SignatureChecks, VoteBox, votes_of
from ledger.blocks import Block
from ledger.certificates import Certificate, Committee, Equivocation, Vote, VoteKind, check_certificate_shape
from ledger.errors import InvalidCertificate
from ledger.types import Hash32, NodeKey

Planted = Callable[[], AbstractContextManager[object]]

_CHECK_UNBROKEN = acceptance._check_unbroken
_CHECK_NULLIFICATIONS = acceptance._check_nullifications
_CHECK_SHAPE = check_certificate_shape
_DRAIN = Outbox.drain
_CONTRADICTED = EvidenceFinder.contradicted
_DROP_BELOW = VoteBox.drop_below


def nothing() -> AbstractContextManager[object]:
    return patch.object(acceptance, "_check_unbroken", _CHECK_UNBROKEN)


# --- rule 8


def _any_proof(proposal: Proposal) -> None:
    """Nobody looks at what is shown."""


def _any_block_of_the_view(proposal: Proposal) -> None:
    """Without 'the notarization names the same block'."""
    named = replace(proposal.subject, block=proposal.proof[0].subject.block) if proposal.proof else proposal.subject
    _CHECK_UNBROKEN(replace(proposal, subject=named))


def _gaps_in_fresh(certificates: Sequence[Certificate], first: int, end: int) -> None:
    if first > 0:
        _CHECK_NULLIFICATIONS(certificates, first, end)


def _gaps_in_reproposals(certificates: Sequence[Certificate], first: int, end: int) -> None:
    if first == 0:
        _CHECK_NULLIFICATIONS(certificates, first, end)


def _one_gap(certificates: Sequence[Certificate], first: int, end: int) -> None:
    """One view may be missing."""
    views = [certificate.subject.view for certificate in certificates]
    if len(set(range(first, end)) - set(views)) > 1:
        _CHECK_NULLIFICATIONS(certificates, first, end)


@contextmanager
def no_proof() -> Iterator[None]:
    with patch.object(acceptance, "_check_unbroken", _any_proof):
        with patch.object(acceptance, "_check_nullifications", lambda certificates, first, end: None):
            yield


def wrong_block() -> AbstractContextManager[object]:
    return patch.object(acceptance, "_check_unbroken", _any_block_of_the_view)


def gaps_in_fresh() -> AbstractContextManager[object]:
    return patch.object(acceptance, "_check_nullifications", _gaps_in_fresh)


def gaps_in_reproposals() -> AbstractContextManager[object]:
    return patch.object(acceptance, "_check_nullifications", _gaps_in_reproposals)


def one_gap() -> AbstractContextManager[object]:
    return patch.object(acceptance, "_check_nullifications", _one_gap)


# --- rule 2


def _not_distinct(committee: Committee, certificate: Certificate) -> None:
    """Signers are counted, not told apart."""
    once = {signed.voter: signed for signed in certificate.signatures}
    if len(certificate.signatures) < committee.quorum:
        raise InvalidCertificate("too few")
    some = replace(certificate, signatures=tuple(once.values()))
    _CHECK_SHAPE(replace_quorum(committee), some)


def replace_quorum(committee: Committee) -> Committee:
    """The same members and hash, content with one signer."""

    class Content(Committee):
        @property
        def quorum(self) -> int:
            return 1

        @property
        def hash(self) -> Hash32:
            return committee.hash

    return Content(committee.members)


def not_distinct() -> AbstractContextManager[object]:
    return patch.object(votes, "check_certificate_shape", _not_distinct)


def not_verified() -> AbstractContextManager[object]:
    return patch.object(
        SignatureChecks, "check", lambda self, committee, certificate: _CHECK_SHAPE(committee, certificate)
    )


def _vote_by_vote(self: Heard, sender: NodeKey, certificate: Certificate) -> None:
    """The votes of a certificate fall under the cap for votes."""
    subject = certificate.subject
    if subject.height != self._setup.height or self._proofs.known(certificate) is not None:
        return
    try:
        self._checks.check(self._setup.committee, certificate)
    except InvalidCertificate:
        return
    for vote in votes_of(certificate):
        self.note(vote)
        self.count(vote)


def capped_certificates() -> AbstractContextManager[object]:
    return patch.object(Heard, "certificate", _vote_by_vote)


# --- rule 3


def _sends_first(self: Outbox) -> list[Effect]:
    effects = _DRAIN(self)
    return [each for each in effects if not isinstance(each, Persist)] + [
        each for each in effects if isinstance(each, Persist)
    ]


def _backwards(self: Outbox) -> list[Effect]:
    return [Persist(each.records[::-1]) if isinstance(each, Persist) else each for each in _DRAIN(self)]


def sends_first() -> AbstractContextManager[object]:
    return patch.object(Outbox, "drain", _sends_first)


def backwards() -> AbstractContextManager[object]:
    return patch.object(Outbox, "drain", _backwards)


# --- rule 14


def _accuses(kinds: tuple[VoteKind, VoteKind]) -> Callable[[EvidenceFinder, Vote], Vote | None]:
    def contradicted(self: EvidenceFinder, vote: Vote) -> Vote | None:
        found = _CONTRADICTED(self, vote)
        if found is None and vote.subject.kind in kinds and vote.voter not in self._guilty:
            other = kinds[0] if vote.subject.kind is kinds[1] else kinds[1]
            first = self._first.get((vote.voter, vote.subject.view, other))
            if first is not None and first.subject.block != vote.subject.block:
                return first
        return found

    return contradicted


def accuses_of_nullify_after_notarize() -> AbstractContextManager[object]:
    return patch.object(EvidenceFinder, "contradicted", _accuses((VoteKind.NOTARIZE, VoteKind.NULLIFY)))


def accuses_of_finalizing_another() -> AbstractContextManager[object]:
    return patch.object(EvidenceFinder, "contradicted", _accuses((VoteKind.NOTARIZE, VoteKind.FINALIZE)))


def _forgives(self: EvidenceFinder, vote: Vote) -> Equivocation | None:
    self._first.setdefault((vote.voter, vote.subject.view, vote.subject.kind), vote)
    return None


def forgives() -> AbstractContextManager[object]:
    return patch.object(EvidenceFinder, "note", _forgives)


# --- bodies


def _any_body(block: Block) -> bool:
    return True


@contextmanager
def any_body() -> Iterator[None]:
    with patch.object(machine, "is_whole", _any_body), patch.object(acceptance, "is_whole", _any_body):
        yield


# --- a variant that must survive


def _view_by_gap(self: Proofs) -> int:
    """The view after the newest certificate of any kind, whatever is missing below it."""
    return max([-1, *self.notarized, *self.nullified]) + 1


def _proof_with_gap(self: Proofs, view: int) -> tuple[Certificate, ...]:
    held: list[Certificate] = []
    below = view - 1
    while below >= 0 and below not in self.notarized:
        if below in self.nullified:
            held.append(self.nullified[below])
        below -= 1
    if below >= 0:
        held.append(self.notarized[below])
    return tuple(reversed(held))


@contextmanager
def enters_by_gap() -> Iterator[None]:
    with patch.object(Proofs, "view", _view_by_gap), patch.object(Proofs, "proof", _proof_with_gap):
        yield
