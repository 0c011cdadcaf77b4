"""Machines with one fault each, for the adversary to find; and variants that only look like faults."""

from consensus.events import Broadcast, BuildBlock, Effect, Event, ProposalReceived, ResendDue, Started
from consensus.journal import OwnVote
from consensus.machine import HeightMachine
from consensus.messages import CertificateMessage, Proposal, VoteMessage
from ledger.blocks import FinalBlock
from ledger.certificates import VoteKind
from ledger.types import ZERO_HASH

# --- what it signs


class NullifiesAndFinalizes(HeightMachine):
    """Against rule 11: a nullify vote does not keep it from finalizing."""

    def _finalize(self) -> bool:
        hidden = {key: vote for key, vote in self._own.items() if key[1] is VoteKind.NULLIFY}
        for key in hidden:
            del self._own[key]
        try:
            return super()._finalize()
        finally:
            self._own.update(hidden)


class NullifiesOldViews(HeightMachine):
    """Against rule 10: a timer that is late nullifies the view it was set for, finalized or not."""

    def _time_out(self, view: int) -> None:
        late = view - 1
        if late >= 0 and (late, VoteKind.NULLIFY) not in self._own:
            now, self.view = self.view, late
            hidden = self._own.pop((late, VoteKind.FINALIZE), None)
            self._vote(VoteKind.NULLIFY, late, ZERO_HASH)
            self.view = now
            if hidden is not None:
                self._own[late, VoteKind.FINALIZE] = hidden
        super()._time_out(view)


class NotarizesTwice(HeightMachine):
    """Against rule 9: the second proposal of a view is as good as the first."""

    def _take(self, event: Event) -> None:
        if isinstance(event, ProposalReceived) and self._voted(self.view, VoteKind.NOTARIZE):
            self._accepted = None
            del self._own[self.view, VoteKind.NOTARIZE]
        super()._take(event)


class NotarizesUnchecked(HeightMachine):
    """Against rule 9: a block is notarized before anybody has said that it is valid."""

    def _notarize(self) -> bool:
        accepted = self._accepted
        if accepted is not None and self._bodies.get(accepted.block_id) is not None:
            self._bodies.mark_ready(accepted.block_id)
            if not self._bodies.is_invalid(accepted.block_id):
                self._bodies.judge(accepted.block_id, True)
        return super()._notarize()


class FinalizesWhatItNotarized(HeightMachine):
    """Against rule 11: it finalizes its own notarize vote, not a notarization."""

    def _notarize(self) -> bool:
        if not super()._notarize():
            return False
        if not self._voted(self.view, VoteKind.FINALIZE) and not self._voted(self.view, VoteKind.NULLIFY):
            assert self._accepted is not None
            vote = self._signed(self._subject(VoteKind.FINALIZE, self.view, self._accepted.block_id))
            self._own[self.view, VoteKind.FINALIZE] = vote
            self._out.persist(OwnVote(vote))
            self._out.send(Broadcast(VoteMessage(vote)))
            self._heard.count(vote)
        return True


class CommitsNotarizations(HeightMachine):
    """Against rule 12: a quorum of notarize votes is taken for a final block."""

    def _conclude(self) -> bool:
        if self._proofs.final is None and self._proofs.notarized:
            self._proofs.final = self._proofs.notarized[max(self._proofs.notarized)]
        return super()._conclude()


class LocksOnFinalize(HeightMachine):
    """A tempting wrong rule: who finalized a block refuses others from then on."""

    def _notarize(self) -> bool:
        own = [vote.subject.block for (_, kind), vote in self._own.items() if kind is VoteKind.FINALIZE]
        if self._accepted is not None and own and self._accepted.block_id not in own:
            return False
        return super()._notarize()


# --- what it proposes


class ProposesFreshOverNotarized(HeightMachine):
    """Against rule 7: the leader forgets the block that was notarized, and shows what nullifications it has."""

    def _propose(self) -> bool:
        if self._leads() and self.active and self._built != self.view:
            held = (self._proofs.nullified.get(view) for view in range(self.view))
            self._built, self._declined = self.view, False
            self._out.now(BuildBlock(self.view, tuple(each for each in held if each is not None)))
        return False


class LeadsAnyView(HeightMachine):
    """Against rule 7: whoever is first proposes."""

    def _leads(self) -> bool:
        return self._signs and self.view > 0 and self.view not in self._own_proposals


# --- when it wakes and waits


class WakesForOwnWorkOnly(HeightMachine):
    """Against rule 5: who knows of no work lets the others wait for its vote."""

    @property
    def active(self) -> bool:
        return self._work


class TimesOneView(HeightMachine):
    """Against rule 6: the timer of the first view is the last."""

    def _arm(self) -> None:
        if self._armed is None:
            super()._arm()


class DecidesInItsViewOnly(HeightMachine):
    """Against rule 12: a finalization of an older view than the last is not for it."""

    def _conclude(self) -> bool:
        final = self._proofs.final
        if final is not None and final.subject.view + 1 < self._proofs.view():
            self._proofs.final = None
        return super()._conclude()


# --- what it sends again and passes on


class SilentWhenDecided(HeightMachine):
    """Against rule 13: who has decided lets the others wait."""

    def _answer(self, event: Event, final: FinalBlock) -> None:
        pass


class ResendsNothing(HeightMachine):
    """Against rule 13: what is lost once is lost for ever."""

    def _resend(self) -> None:
        pass


def _is_certificate(effect: Effect) -> bool:
    return isinstance(effect, Broadcast) and isinstance(effect.message, CertificateMessage)


class ResendsNoProof(HeightMachine):
    """Against rule 13: votes are sent again, and the proof of the view is not."""

    def handle(self, event: Event) -> list[Effect]:
        effects = super().handle(event)
        again = isinstance(event, ResendDue | Started)
        return [each for each in effects if not (again and _is_certificate(each))]


class PassesNoCertificates(HeightMachine):
    """Against rules 2 and 13: certificates stay with who made them, or were shown them."""

    def handle(self, event: Event) -> list[Effect]:
        return [each for each in super().handle(event) if not _is_certificate(each)]


class ResendsNoVotes(HeightMachine):
    """Against rule 13: the proof is sent again, and votes that were lost are lost."""

    def _resend(self) -> None:
        hidden, self._own = self._own, {}
        super()._resend()
        self._own = hidden


class ResendsNoProposal(HeightMachine):
    """Against rule 13: a proposal that was lost is lost. A view costs its leader; the last view may cost all."""

    def handle(self, event: Event) -> list[Effect]:
        effects = super().handle(event)
        again = isinstance(event, ResendDue | Started)
        return [e for e in effects if not (again and isinstance(e, Broadcast) and isinstance(e.message, Proposal))]


# --- variants that must survive: they are other ways to be right


class FinalizesNewestViewOnly(HeightMachine):
    """Harmless: a block that is not finalized in its view is proposed again."""

    def _finalize(self) -> bool:
        hidden = {view: cert for view, cert in self._proofs.notarized.items() if view + 1 < self._proofs.view()}
        for view in hidden:
            del self._proofs.notarized[view]
        try:
            return super()._finalize()
        finally:
            self._proofs.notarized = dict(sorted({**hidden, **self._proofs.notarized}.items()))


class NoNotarizeAfterNullify(HeightMachine):
    """Harmless: who gave a view up does not help it any more."""

    def _notarize(self) -> bool:
        return not self._voted(self.view, VoteKind.NULLIFY) and super()._notarize()


class FetchesBodyFirst(HeightMachine):
    """Harmless: a proposal made again is notarized only once its body is here."""

    def _notarize(self) -> bool:
        accepted = self._accepted
        return (accepted is None or self._bodies.get(accepted.block_id) is not None) and super()._notarize()


class PrefersNullifications(HeightMachine):
    """Harmless: a leader that could propose a notarized block or a fresh one makes a fresh one."""

    def _propose(self) -> bool:
        nullified = self._proofs.nullified
        if not all(view in nullified for view in range(self.view)):
            return super()._propose()
        if self._leads() and self.active and not self._grace and self._built != self.view:
            self._built, self._declined = self.view, False
            self._out.now(BuildBlock(self.view, tuple(nullified[view] for view in range(self.view))))
        return False


class NullifiesWithoutLooking(HeightMachine):
    """Harmless: a notarization moves the view on, so nobody's timer runs in a view that it finalized."""

    def _time_out(self, view: int) -> None:
        hidden = self._own.pop((view, VoteKind.FINALIZE), None)
        super()._time_out(view)
        if hidden is not None:
            self._own[view, VoteKind.FINALIZE] = hidden


class ProposesUnbrokenOnly(HeightMachine):
    """Harmless, where views are entered over gaps: a leader whose proof has a gap waits for the next view."""

    def _propose(self) -> bool:
        proof = self._proofs.proof(self.view)
        views = [certificate.subject.view for certificate in proof]
        first = views[0] if proof and proof[0].subject.kind is VoteKind.NOTARIZE else 0
        return views == list(range(first, self.view)) and super()._propose()
