"""What a member has heard of one height: votes and certificates taken in, checked, counted and passed on.

Rules 2 and 14 of Simplex, and what rule 3 says of certificates. What follows from it is `machine`'s business.
"""

from consensus.events import Broadcast, HeightSetup, Refused, Report
from consensus.evidence import EvidenceFinder
from consensus.journal import CertificateHeld
from consensus.messages import CertificateMessage
from consensus.outbox import Outbox
from consensus.proofs import Proofs
from consensus.votes import SignatureChecks, VoteBox, vote_shape_error, votes_of
from ledger.blocks import NULLIFIED_MAX
from ledger.certificates import Certificate, Subject, Vote, VoteKind
from ledger.errors import InvalidCertificate
from ledger.types import NodeKey

# The W of rule 2: how far ahead of our own view votes are kept. Re-sends bring back what comes earlier than that.
VIEWS_AHEAD_MAX = 4
# A block lists every nullified view before it, so no block can be born later than this. Nobody nullifies the last view:
# with timers that grow by half a second a view it is reached after three days in which a quorum agreed only to fail.
LAST_VIEW = NULLIFIED_MAX


class Heard:
    """`awake`: members that were heard to take part (rule 5). `seat`: our own, None for who only watches."""

    def __init__(
        self, setup: HeightSetup, seat: NodeKey | None, checks: SignatureChecks, proofs: Proofs, out: Outbox
    ) -> None:
        self._setup, self._seat, self._checks, self._proofs, self._out = setup, seat, checks, proofs, out
        self.box = VoteBox(setup.committee)
        self.evidence = EvidenceFinder()
        self.awake: set[bytes] = set()

    def vote(self, sender: NodeKey, vote: Vote, view: int) -> None:
        """A vote arrived while we are in `view`. The cheap questions first, the signature last."""
        subject = vote.subject
        if subject.height != self._setup.height:
            return
        error = vote_shape_error(self._setup.committee, vote)
        if error is not None:
            self._out.now(Refused(sender, error))
            return
        counts = self._in_window(subject, view) and self.box.has_room(vote)
        if not counts and self.evidence.contradicted(vote) is None:
            return
        if not self._checks.is_good(vote):
            self._out.now(Refused(sender, f"signature of {vote.voter.hex()[:16]} under a vote does not verify"))
            return
        self.note(vote)
        if counts:
            self.awake.add(vote.voter)
            self.count(vote)

    def _in_window(self, subject: Subject, view: int) -> bool:
        """Rule 2. A notarization moves its view into the past before it is final: finalize votes have no lower end."""
        if subject.view > min(view + VIEWS_AHEAD_MAX, LAST_VIEW):
            return False
        if subject.kind is VoteKind.FINALIZE:
            return subject.view not in self._proofs.nullified
        return subject.view >= view

    def certificate(self, sender: NodeKey, certificate: Certificate) -> None:
        """A certificate arrived: one that is known costs nothing, another is verified whole."""
        subject = certificate.subject
        if subject.height != self._setup.height or subject.view > LAST_VIEW:
            return
        known = self._proofs.known(certificate)
        if known is not None and known.subject.block == subject.block:
            return
        try:
            self._checks.check(self._setup.committee, certificate)
        except InvalidCertificate as error:
            self._out.now(Refused(sender, f"{subject.kind.name} certificate of view {subject.view}: {error}"))
            return
        self.learn(certificate)

    def count(self, vote: Vote) -> None:
        """Count a vote whose signature is good; with it, a certificate may be complete."""
        certificate = self.box.add(vote)
        if certificate is not None:
            self.learn(certificate)

    def learn(self, certificate: Certificate) -> None:
        """Rule 2: a verified certificate is kept as a unit and passed on once."""
        conflict = self._proofs.conflict(certificate)
        if conflict is not None:
            self._out.halt(f"height {self._setup.height}: {conflict}: more than f members lie, or lost their journals")
            return
        if self._proofs.known(certificate) is not None:
            return
        self._proofs.add(certificate)
        if certificate.subject.kind is not VoteKind.FINALIZE:
            # Rule 3: a notarization is on disk before the finalize vote that rests on it; nullifications come along.
            self._out.persist(CertificateHeld(certificate))
        if self._seat is not None:
            self._out.send(Broadcast(CertificateMessage(certificate)))
        for vote in votes_of(certificate):
            self.note(vote)
            self.awake.add(vote.voter)

    def note(self, vote: Vote) -> None:
        """Rule 14: remember a well-signed vote, and report its voter if it contradicts another."""
        if vote.voter != self._seat:
            evidence = self.evidence.note(vote)
            if evidence is not None:
                self._out.now(Report(evidence))
