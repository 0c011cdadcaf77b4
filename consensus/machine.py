"""One member's part in agreeing on one height: Simplex, rules 1-15. Feed it events, carry out the effects it returns.

Nothing here sends, sleeps, reads a clock, draws random numbers or touches a disk. What a proposal must show is in
`acceptance.py`, how votes and certificates are taken in, in `heard.py`, the view they give in `proofs.py`. Rule 15,
what a block says of its author and of failed views, is the ledger's; here a block is held to its proposal only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from consensus.acceptance import check_proposal
from consensus.bodies import Bodies, is_whole
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
    HeightSetup,
    ProposalReceived,
    Refused,
    ResendDue,
    Send,
    SetResend,
    SetTimer,
    Started,
    TimerExpired,
    VoteReceived,
    WorkArrived,
)
from consensus.heard import LAST_VIEW, Heard
from consensus.journal import BodyHeld, CertificateHeld, JournalRecord, OwnVote, own_proposal, replay
from consensus.messages import CertificateMessage, Decided, Proposal, VoteMessage
from consensus.outbox import Outbox
from consensus.proofs import Proofs
from consensus.stragglers import Stragglers
from consensus.votes import SignatureChecks, voters_of
from ledger.blocks import Block, FinalBlock
from ledger.certificates import Certificate, Subject, Vote, VoteKind, cast, vote_is_signed
from ledger.errors import InvalidBlock, InvalidCertificate
from ledger.types import ZERO_HASH, Hash32, NodeKey

# Own finalize votes sent again, newest first. Rule 13 needs the one of the proof's notarization, which is among them.
FINALIZES_RESENT_MAX = 4


@dataclass(frozen=True, slots=True)
class Accepted:
    """The proposal of the current view that may be notarized."""

    block_id: Hash32
    fresh: bool


class HeightMachine:
    """`records`: what the journal holds of this height. `verify` and `sign` replace real signatures in tests."""

    def __init__(
        self,
        setup: HeightSetup,
        records: Sequence[JournalRecord] = (),
        *,
        verify: Callable[[Vote], bool] | None = None,
        sign: Callable[[Subject], Vote] | None = None,
    ) -> None:
        self.setup = setup
        self.decided: FinalBlock | None = None
        key, committee = setup.key, setup.committee
        self._seat = key.public if key is not None and key.public in committee.members else None
        self._signs = self._seat is not None and setup.may_vote
        self._sign = sign or (partial(cast, key, setup.chain_id) if key is not None else None)
        self._checks = SignatureChecks(verify or partial(vote_is_signed, setup.chain_id))
        self._stragglers = Stragglers()
        self._out = Outbox()
        replayed = replay(records)
        self._own = replayed.votes
        self._own_proposals = replayed.proposals
        self._bodies = Bodies(replayed.bodies)
        self._proofs = Proofs()
        for certificate in replayed.certificates:
            self._proofs.add(certificate)
        self._heard = Heard(setup, self._seat, self._checks, self._proofs, self._out)
        self.view = self._proofs.view()
        self._accepted = self._own_accepted()
        self._work = False
        self._armed: int | None = None  # the view whose timer was set
        self._grace = False  # the timer that runs is the leader's grace
        self._built: int | None = None  # the view a block was asked for
        self._declined = False  # and the driver had nothing to put in it
        self._final_journaled = self._proofs.final is not None

    # --- what others may look at

    @property
    def halted(self) -> bool:
        return self._out.halted

    @property
    def active(self) -> bool:
        """Rule 5. One vote must not wake a member, or one liar could fail an idle leader's view; f + 1 must."""
        return (
            self._work
            or self.view > 0
            or self._accepted is not None
            or len(self._heard.awake) > self.setup.committee.faults
        )

    def leader(self, view: int) -> NodeKey:
        return self.setup.leaders[view % len(self.setup.leaders)]

    def body(self, block_id: Hash32) -> Block | None:
        """A block of this height, for who asks with a `BodyRequest`."""
        return self._bodies.get(block_id)

    # --- events

    def handle(self, event: Event) -> list[Effect]:
        """Effects in the order to carry them out; after `Persist` only once it is synced. After `Halt`: nothing."""
        if self.halted:
            return []
        if self.decided is not None:
            self._answer(event, self.decided)
        else:
            self._take(event)
            self._settle()
        return self._out.drain()

    def _take(self, event: Event) -> None:
        match event:
            case Started():
                self._start()
            case WorkArrived():
                self._work = True
                if self._declined:
                    self._built, self._declined = None, False
            case ProposalReceived(sender, proposal):
                self._hear_proposal(sender, proposal)
            case VoteReceived(sender, vote):
                self._heard.vote(sender, vote, self.view)
            case CertificateReceived(sender, certificate):
                self._heard.certificate(sender, certificate)
            case BodyReceived(block):
                # Only what was asked for: a body nobody wants would be memory that anybody can fill.
                if block.id in self._wanted() and is_whole(block):
                    self._bodies.hold(block)
            case BlockChecked(block_id, valid):
                self._bodies.judge(block_id, valid)
            case BlockReady(block_id):
                self._bodies.mark_ready(block_id)
            case BlockBuilt(view, block):
                self._take_built(view, block)
            case TimerExpired(view):
                self._time_out(view)
            case ResendDue():
                self._resend()
                self._out.now(SetResend(self.setup.timing.resend_ms))

    def _start(self) -> None:
        for vote in self._own.values():
            self._checks.trust(vote)
            self._heard.count(vote)
        if self._own or self._own_proposals or self.view > 0:
            self._resend()
        self._out.now(SetResend(self.setup.timing.resend_ms))

    def _hear_proposal(self, sender: NodeKey, proposal: Proposal) -> None:
        subject = proposal.subject
        if subject.height != self.setup.height or subject.view > LAST_VIEW:
            return
        again = self._accepted is not None and self._accepted.block_id == subject.block
        if subject.view == self.view and again:
            return
        signed = Vote(subject, self.leader(subject.view), proposal.signature)
        if subject.view < self.view and self._heard.evidence.contradicted(signed) is None:
            return
        try:
            check_proposal(self.setup, proposal, self._checks, self._proofs)
        except (InvalidBlock, InvalidCertificate) as error:
            self._out.now(Refused(sender, f"proposal of view {subject.view}: {error}"))
            return
        self._heard.note(signed)
        self._heard.awake.add(signed.voter)
        # Rule 8: whoever shows a proof teaches its certificates; that may move the view, even beyond the proposal.
        block = proposal.block
        for certificate in proposal.proof if block is None else block.nullified:
            self._heard.learn(certificate)
        self._move()
        if subject.view == self.view and self._accepted is None:
            self._accepted = Accepted(Hash32(subject.block), fresh=block is not None)
            if block is not None:
                self._bodies.hold(block)

    def _take_built(self, view: int, block: Block | None) -> None:
        if view != self.view or view in self._own_proposals or self._built != view or self._proofs.final is not None:
            return
        if block is None:
            self._declined = True
            return
        header, setup = block.header, self.setup
        assert (header.height, header.view, header.author) == (setup.height, view, self._seat), f"built {header}"
        assert (header.parent, header.committee) == (setup.parent, setup.committee.hash), f"built {header}"
        assert len(block.nullified) == view, f"{len(block.nullified)} nullified views shown in view {view}"
        self._bodies.hold(block)
        self._send_proposal(block.id, block, ())

    # --- own signatures

    def _subject(self, kind: VoteKind, view: int, block_id: Hash32) -> Subject:
        return Subject(self.setup.height, self.setup.committee.hash, view, kind, block_id)

    def _signed(self, subject: Subject) -> Vote:
        assert self._signs
        assert self._sign is not None
        vote = self._sign(subject)
        self._checks.trust(vote)
        return vote

    def _vote(self, kind: VoteKind, view: int, block_id: Hash32) -> None:
        """Rule 3: the vote is on disk before it leaves; its own count may complete a certificate at once."""
        assert (view, kind) not in self._own, f"a second {kind.name} of view {view}"
        if kind is VoteKind.FINALIZE:
            certificate = self._proofs.notarized[view]
            assert certificate.subject.block == block_id, f"view {view} did not notarize {block_id.hex()}"
            assert (view, VoteKind.NULLIFY) not in self._own, f"FINALIZE after NULLIFY of view {view}"
        else:
            assert view == self.view, f"{kind.name} of view {view} in view {self.view}"
            assert kind is not VoteKind.NULLIFY or (view, VoteKind.FINALIZE) not in self._own, f"view {view} finalized"
        vote = self._signed(self._subject(kind, view, block_id))
        self._own[view, kind] = vote
        self._out.persist(OwnVote(vote))
        self._out.send(Broadcast(VoteMessage(vote)))
        self._heard.count(vote)

    def _voted(self, view: int, kind: VoteKind) -> bool:
        return (view, kind) in self._own

    # --- what follows

    def _settle(self) -> None:
        """Apply the rules until none has more to say: an own vote may complete a certificate and so move the view."""
        while not self.halted and not self._conclude():
            self._move()
            if self._proofs.final is not None:
                # Nothing is left to vote on, only the block or its check to wait for. A committee of one would
                # propose what is final again and again before it could be told that it is valid.
                return
            if not (self._finalize() or self._notarize() or self._propose()):
                self._arm()
                return

    def _conclude(self) -> bool:
        """Rule 12: with a finalization and the block, commit, whatever the view. Returns whether the height is over."""
        final = self._proofs.final
        certified = [Hash32(each.subject.block) for each in self._proofs.notarized.values()]
        if final is not None:
            certified.append(Hash32(final.subject.block))
        for block_id in dict.fromkeys([*certified, *([self._accepted.block_id] if self._accepted else [])]):
            unchecked = self._bodies.take_unchecked(block_id)
            if unchecked is not None:
                self._out.now(CheckBlock(unchecked))
        for block_id in certified:
            if self._bodies.is_invalid(block_id):
                self._out.halt(f"height {self.setup.height}: block {block_id.hex()} is certified, and invalid here")
                return True
        for block_id in self._wanted():
            if self._bodies.fetch_first(block_id):
                self._out.send(self._fetch(block_id))
        if final is None:
            return False
        block = self._bodies.get(Hash32(final.subject.block))
        if block is None or not self._bodies.is_valid(block.id):
            if not self._final_journaled:
                self._final_journaled = True
                self._out.persist(CertificateHeld(final))
            return False
        self.decided = FinalBlock(block, final)
        self._out.last(Decide(block, final))
        return True

    def _move(self) -> None:
        """Rule 4."""
        view = self._proofs.view()
        if view == self.view:
            return
        assert view > self.view, f"the view falls from {self.view} to {view}"
        self.view = view
        self._heard.box.drop_below(view, self._proofs.nullified.__contains__)
        certified = {each.subject.block for each in self._proofs.notarized.values()}
        if self._proofs.final is not None:
            certified.add(self._proofs.final.subject.block)
        self._bodies.keep_only(certified.__contains__)
        self._accepted = self._own_accepted()
        # Rule 7: entering is never delayed, only the sending of what may be about to be final anyway.
        self._grace = view - 1 in self._proofs.notarized and self._leads() and self.setup.timing.grace_ms > 0

    def _own_accepted(self) -> Accepted | None:
        own = self._own_proposals.get(self.view)
        return Accepted(Hash32(own.subject.block), own.block is not None) if own is not None else None

    def _leads(self) -> bool:
        return self._signs and self.leader(self.view) == self._seat and self.view not in self._own_proposals

    def _finalize(self) -> bool:
        """Rule 11: in any view, whatever was notarized; but never both nullify and finalize."""
        if not self._signs:
            return False
        for view, certificate in self._proofs.notarized.items():
            if not self._voted(view, VoteKind.NULLIFY) and not self._voted(view, VoteKind.FINALIZE):
                self._vote(VoteKind.FINALIZE, view, Hash32(certificate.subject.block))
                return True
        return False

    def _notarize(self) -> bool:
        """Rule 9: once a view. A fresh block must be held, valid and ready; a re-proposal rests on its notarization."""
        accepted = self._accepted
        if not self._signs or accepted is None or self._voted(self.view, VoteKind.NOTARIZE):
            return False
        block_id = accepted.block_id
        if accepted.fresh:
            if not (self._bodies.is_valid(block_id) and self._bodies.is_ready(block_id)):
                return False
            # Rule 3: the body is on disk before its notarize vote leaves.
            self._keep_body(block_id)
        self._vote(VoteKind.NOTARIZE, self.view, block_id)
        return True

    def _keep_body(self, block_id: Hash32) -> None:
        block = self._bodies.take_unjournaled(block_id)
        if block is not None:
            self._out.persist(BodyHeld(block))

    def _propose(self) -> bool:
        """Rule 7: once a view, across restarts too. Returns whether a re-proposal went out."""
        if not self._leads() or not self.active or self._grace:
            return False
        proof = self._proofs.proof(self.view)
        if proof and proof[0].subject.kind is VoteKind.NOTARIZE:
            self._send_proposal(Hash32(proof[0].subject.block), None, proof)
            return True
        if self._built != self.view:
            self._built, self._declined = self.view, False
            self._out.now(BuildBlock(self.view, proof))
        return False

    def _send_proposal(self, block_id: Hash32, block: Block | None, proof: tuple[Certificate, ...]) -> None:
        assert self.view not in self._own_proposals, f"a second proposal of view {self.view}"
        subject = self._subject(VoteKind.PROPOSE, self.view, block_id)
        proposal = Proposal(subject, self._signed(subject).signature, block, proof)
        self._own_proposals[self.view] = proposal
        if block is not None:
            self._keep_body(block_id)
        self._out.persist(own_proposal(proposal))
        self._out.send(Broadcast(proposal))
        self._accepted = Accepted(block_id, fresh=block is not None)

    def _arm(self) -> None:
        """Rules 5 and 6: one timer a view, and none while there is nothing to decide."""
        if not self._signs or not self.active or self._armed == self.view:
            return
        self._armed = self.view
        self._out.now(SetTimer(self.view, self.setup.timing.grace_ms if self._grace else self._view_ms()))

    def _view_ms(self) -> int:
        return self.setup.timing.base_ms + self.setup.timing.step_ms * self.view

    def _time_out(self, view: int) -> None:
        """Rule 10, and the end of a leader's grace: what is left of the view's time then runs on."""
        if view != self.view or self._armed != view or self._proofs.final is not None:
            return
        if self._grace:
            self._grace = False
            self._out.now(SetTimer(view, self._view_ms() - self.setup.timing.grace_ms))
        elif view < LAST_VIEW and not self._voted(view, VoteKind.FINALIZE) and not self._voted(view, VoteKind.NULLIFY):
            self._vote(VoteKind.NULLIFY, view, ZERO_HASH)

    # --- sending again, and telling the late

    def _resend(self) -> None:
        """Rule 13. After a loss only this brings anything back, so it must hold all that others can be waiting for."""
        if self._seat is not None:
            final = self._proofs.final
            for certificate in (*self._proofs.proof(self.view), *([final] if final else [])):
                self._out.send(Broadcast(CertificateMessage(certificate)))
            if self.view in self._own_proposals:
                self._out.send(Broadcast(self._own_proposals[self.view]))
            finalized = sorted(view for view, kind in self._own if kind is VoteKind.FINALIZE)
            votes = [(view, VoteKind.FINALIZE) for view in finalized[-FINALIZES_RESENT_MAX:]]
            for key in ((self.view, VoteKind.NOTARIZE), (self.view, VoteKind.NULLIFY), *votes):
                if key in self._own:
                    self._out.send(Broadcast(VoteMessage(self._own[key])))
        for block_id in self._wanted():
            if not self._bodies.fetch_first(block_id):
                self._out.send(self._fetch(block_id))

    def _wanted(self) -> list[Hash32]:
        """Blocks that are certified and not here: the final one, the one to vote on, the newest notarized."""
        wanted = []
        if self._proofs.final is not None:
            wanted.append(Hash32(self._proofs.final.subject.block))
        if self._accepted is not None:
            wanted.append(self._accepted.block_id)
        if self._proofs.notarized:
            wanted.append(Hash32(self._proofs.notarized[max(self._proofs.notarized)].subject.block))
        return [block_id for block_id in dict.fromkeys(wanted) if self._bodies.get(block_id) is None]

    def _fetch(self, block_id: Hash32) -> FetchBody:
        holders: list[NodeKey] = []
        for certificate in (*self._proofs.notarized.values(), self._proofs.final):
            if certificate is not None and certificate.subject.block == block_id:
                holders.extend(voter for voter in voters_of(certificate) if voter != self._seat)
        return FetchBody(block_id, self._bodies.next_holders(block_id, holders))

    def _answer(self, event: Event, final: FinalBlock) -> None:
        """Rule 13, decided: a member still at this height is told how it ended."""
        match event:
            case ProposalReceived(sender, proposal) if self._stragglers.deserves_answer(sender, proposal):
                self._out.send(Send(sender, Decided(final)))
            case VoteReceived(sender, vote) if self._stragglers.deserves_answer(sender, VoteMessage(vote)):
                self._out.send(Send(sender, Decided(final)))
            case CertificateReceived(sender, certificate) if self._stragglers.deserves_answer(
                sender, CertificateMessage(certificate)
            ):
                self._out.send(Send(sender, Decided(final)))
            case _:
                pass
