"""The invariants of one height, asserted at every step of a lockstep run. `docs/adversary.md` lists them.

Each failure begins with the name of what does not hold. A plan may leave some out by name, to see whether the
consequences of a fault are noticed too, and not just the fault.
"""

from collections.abc import Collection, Mapping

from consensus.events import Event, HeightSetup, VoteReceived
from consensus.heard import VIEWS_AHEAD_MAX
from consensus.messages import CertificateMessage, Decided, Message, Proposal, VoteMessage
from consensus.votes import vote_shape_error
from ledger.blocks import Block
from ledger.certificates import Certificate, Equivocation, Vote, VoteKind, contradicts
from ledger.types import Hash32, NodeKey
from tests.support import abstract_votes as abstract
from tests.support.lockstep_node import Node
from tests.support.lockstep_said import Key, Said, key_of


class Broken(AssertionError):
    """A property does not hold; the text begins with its name."""


# What a fault does in the end, as against how it comes about: what is left when a plan is blind to everything else.
CONSEQUENCES = frozenset({"S1", "S2", "LEMMA", "L1", "L2"})
CHECKS = CONSEQUENCES | {"DISK", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S12", "S13", "S14", "L5", "FAIR"}
CAUSES = CHECKS - CONSEQUENCES
# What more than f liars can break. All else is in a member's own hands.
AT_THE_MERCY_OF_QUORUMS = frozenset({"S1", "LEMMA", "L1", "L2", "L5", "S6"})


class Watch:
    """`setup`: of any member. `said` and `blocks` (id -> block, and whether it is valid) are shared with the liars."""

    def __init__(
        self,
        setup: HeightSetup,
        liars: Collection[NodeKey],
        said: Said,
        blocks: Mapping[Hash32, tuple[Block, bool]],
        without: Collection[str],
    ) -> None:
        self._setup, self._liars, self._said, self._blocks = setup, frozenset(liars), said, blocks
        self._without = frozenset(without)
        self._decided: Hash32 | None = None
        self._verified: dict[int, Certificate] = {}

    def broken(self, name: str, text: str) -> None:
        assert name in CHECKS, name
        if name not in self._without:
            raise Broken(f"{name}: {text}")

    # --- what a correct member says

    def said(self, node: Node, message: Message) -> None:
        """Called when a message leaves, before anybody has it."""
        match message:
            case VoteMessage(vote):
                self._spoke(node, vote)
            case CertificateMessage(certificate):
                self._showed(node, certificate)
            case Proposal():
                self._proposed(node, message)
            case Decided(final):
                self._showed(node, final.certificate)

    def _spoke(self, node: Node, vote: Vote) -> None:
        view, kind, block = key_of(vote)
        if node.forgot:
            self.broken("S14", f"{node.name} lost its journal and signs {kind.name} in view {view}")
        if vote.voter != node.key:
            self.broken("S3", f"{node.name} sends a vote of another")
        if vote.subject not in node.disk.signed:
            self.broken("DISK", f"{node.name} sends {kind.name} of view {view}, which is not on its disk")
        if not self._said.hear(vote):
            return
        node.spoke_in = max(node.spoke_in, view)
        if kind is VoteKind.FINALIZE:
            self._finalizes(node, view, block)
        elif kind is VoteKind.NOTARIZE:
            self._notarizes(node, view, block)
        elif not node.view <= view <= node.machine.view:
            self.broken("S4", f"{node.name} nullifies view {view}, which it was not in")
        self._compare(node.name, vote)

    def _finalizes(self, node: Node, view: int, block: Hash32) -> None:
        held = node.machine._proofs.notarized.get(view)
        if held is None or held.subject.block != block:
            self.broken("S4", f"{node.name} finalizes in view {view} without the notarization of this block")
        if (view, VoteKind.NOTARIZE, block) not in node.disk.certified:
            self.broken("DISK", f"{node.name} finalizes view {view}, and its notarization is not on its disk")

    def _notarizes(self, node: Node, view: int, block: Hash32) -> None:
        """Rules 8 and 9, from what could be certified, not from what the member looked at."""
        said = self._said
        if block in self._blocks and self._blocks[block][0].header.view == view:
            gap = said.gap(0, view)
            if gap is not None:
                self.broken("S7", f"{node.name} notarizes a fresh block of view {view}; view {gap} was not nullified")
            if not {("valid", block), ("ready", block)} <= node.told:
                self.broken(
                    "S7", f"{node.name} notarizes a block of view {view} that it was not told is valid and ready"
                )
            if block not in node.disk.bodies:
                self.broken("DISK", f"{node.name} notarizes a block of view {view} that is not on its disk")
            return
        earlier = [key for key in said.notarized(view) if key[2] == block]
        if not any(said.gap(key[0] + 1, view) is None for key in earlier):
            self.broken("S7", f"{node.name} notarizes in view {view} what no unbroken proof names")

    def _showed(self, node: Node, certificate: Certificate) -> None:
        self.certified(node, certificate)
        for vote in self._said.unread(certificate):
            if self._said.hear(vote):
                self._compare(node.name, vote)

    def _proposed(self, node: Node, proposal: Proposal) -> None:
        subject, view = proposal.subject, proposal.subject.view
        leaders = self._setup.leaders
        if leaders[view % len(leaders)] != node.key:
            self.broken("S9", f"{node.name} proposes in view {view}")
        if node.forgot:
            self.broken("S14", f"{node.name} lost its journal and proposes in view {view}")
        if subject not in node.disk.signed or (proposal.block and proposal.block.id not in node.disk.bodies):
            self.broken("DISK", f"{node.name} proposes in view {view} what is not on its disk")
        shown = proposal.proof if proposal.block is None else proposal.block.nullified
        views = [each.subject.view for each in shown]
        first = 0 if proposal.block is not None else views[0] if views else -1
        if views != list(range(first, view)) or (proposal.block is None and shown[0].subject.block != subject.block):
            self.broken("S8", f"{node.name} proposes in view {view} with certificates of views {views}")
        for certificate in shown:
            self._showed(node, certificate)
        vote = Vote(subject, node.key, proposal.signature)
        if self._said.hear(vote):
            node.spoke_in = max(node.spoke_in, view)
            self._compare(node.name, vote)

    def _compare(self, name: str, vote: Vote) -> None:
        view = vote.subject.view
        for other in self._said.of_member[NodeKey(vote.voter), view]:
            if contradicts(other, vote):
                self.broken("S3", f"{name} says {other.subject.kind.name} and {vote.subject.kind.name} of view {view}")
        if self._said.completes(vote):
            self._lemma(key_of(vote))

    def _lemma(self, new: Key) -> None:
        """Simplex section 4, on all that the liars could make of what was ever said."""
        for other in self._said.possible:
            for (view, kind, block), (later, against, rival) in ((new, other), (other, new)):
                if kind is VoteKind.NOTARIZE and against is kind and view == later and block != rival:
                    self.broken("LEMMA", f"two blocks could be notarized in view {view}")
                if kind is not VoteKind.FINALIZE:
                    continue
                if against is VoteKind.NULLIFY and later == view:
                    self.broken("LEMMA", f"view {view} could be final and nullified")
                if against is VoteKind.NOTARIZE and later >= view and rival != block:
                    self.broken("LEMMA", f"final in view {view}, another could be notarized in view {later}")
                if against is VoteKind.FINALIZE and rival != block:
                    self.broken("LEMMA", f"two blocks could be final, in views {view} and {later}")

    # --- what a correct member does

    def certified(self, node: Node, certificate: Certificate) -> None:
        """S10, by counting anew: nothing of what the member has looked at is believed."""
        if id(certificate) in self._verified:
            return
        self._verified[id(certificate)] = certificate
        committee, subject = self._setup.committee, certificate.subject
        signers = {
            each.voter
            for each in certificate.signatures
            if abstract.is_signed(Vote(subject, each.voter, each.signature)) and each.voter in committee.members
        }
        members = len(committee.members)
        if len(signers) < members - (members - 1) // 3 or len(signers) != len(certificate.signatures):
            self.broken("S10", f"{node.name} takes a {subject.kind.name} of view {subject.view} by {len(signers)}")

    def before(self, node: Node, event: Event) -> Vote | None:
        """S12, the first half: a vote that must convict its voter, of those that this member has to remember."""
        if not isinstance(event, VoteReceived) or node.final is not None or node.halted:
            return None
        vote, subject, machine = event.vote, event.vote.subject, node.machine
        in_window = machine.view <= subject.view <= machine.view + VIEWS_AHEAD_MAX
        if not in_window or subject.height != self._setup.height or vote.voter == node.key:
            return None
        if vote_shape_error(self._setup.committee, vote) is not None or not abstract.is_signed(vote):
            return None
        if subject.kind is VoteKind.FINALIZE and subject.view in machine._proofs.nullified:
            return None
        against = [subject.kind]
        if subject.kind is not VoteKind.NOTARIZE:
            against = [VoteKind.NULLIFY, VoteKind.FINALIZE]
        convicted = any(
            other is not None and contradicts(other, vote)
            for other in (node.heard.get((vote.voter, subject.view, kind)) for kind in against)
        )
        node.heard.setdefault((vote.voter, subject.view, subject.kind), vote)
        return vote if convicted else None

    def after(self, node: Node, convicting: Vote | None) -> None:
        """After each event that a correct member was told, once all its effects are carried out."""
        machine = node.machine
        if machine.view < node.view:
            self.broken("S5", f"{node.name} falls from view {node.view} to {machine.view}")
        node.view = machine.view
        if convicting is not None and convicting.voter not in node.reported and not machine.halted:
            self.broken("S12", f"{node.name} heard a liar contradict itself in view {convicting.subject.view}")
        accepted = machine._accepted
        if accepted is None or not machine._signs or node.final is not None or machine._proofs.final is not None:
            return
        bodies, block = machine._bodies, accepted.block_id
        could = not accepted.fresh or (bodies.is_valid(block) and bodies.is_ready(block))
        if could and (machine.view, VoteKind.NOTARIZE) not in machine._own and not machine.halted:
            self.broken("S6", f"{node.name} refuses a justified proposal in view {machine.view}: there are no locks")

    def reported(self, node: Node, evidence: Equivocation) -> None:
        voter = NodeKey(evidence.first.voter)
        if voter not in self._liars or not contradicts(evidence.first, evidence.second):
            self.broken("S12", f"{node.name} accuses somebody correct of {evidence}")
        if not (abstract.is_signed(evidence.first) and abstract.is_signed(evidence.second)):
            self.broken("S12", f"{node.name} accuses with a vote that nobody signed")
        if voter in node.reported:
            self.broken("S12", f"{node.name} accuses twice")
        node.reported.add(voter)

    def refused(self, node: Node, sender: NodeKey, reason: str) -> None:
        if sender not in self._liars:
            self.broken("FAIR", f"{node.name} blames a correct member: {reason}")

    def decided(self, node: Node) -> None:
        assert node.final is not None
        block, certificate = node.final.block, node.final.certificate
        if block.id not in self._blocks or not self._blocks[block.id][1]:
            self.broken("S2", f"{node.name} decides a block of view {block.header.view} that is not valid")
        if certificate.subject.kind is not VoteKind.FINALIZE or certificate.subject.block != block.id:
            self.broken("S10", f"{node.name} decides on a certificate of something else")
        self.certified(node, certificate)
        if self._decided not in (None, block.id):
            self.broken("S1", f"{node.name} decides a second block")
        self._decided = block.id

    def restarted(self, node: Node) -> None:
        """S5 and S13 across a crash: what has left the member is known to it, and it is no view below its words."""
        if node.forgot:
            node.view = node.machine.view
            return
        own = {vote.subject for vote in node.machine._own.values()}
        own |= {proposal.subject for proposal in node.machine._own_proposals.values()}
        for (voter, view), votes in self._said.of_member.items():
            if voter == node.key and any(vote.subject not in own for vote in votes):
                self.broken("S13", f"{node.name} forgot in a crash what it said of view {view}")
        if node.machine.view < node.spoke_in:
            self.broken("S5", f"{node.name} spoke in view {node.spoke_in} and restarts in view {node.machine.view}")
        node.view = node.machine.view
