"""What Byzantine members do in the lockstep runs: everything they can sign, to whomever it hurts most.

They hear all that correct members say, and hold back or show any certificate that those votes and their own can make.
What they send that is no proposal, vote or certificate at all is in `lockstep_lies.py`.
"""

import random
from collections.abc import Callable, Sequence

from consensus.messages import CertificateMessage, Message, Proposal, VoteMessage
from ledger.blocks import Block
from ledger.certificates import Certificate, Committee, Signed, VoteKind, certify
from ledger.types import ZERO_HASH, Hash32, NodeKey
from tests.support import abstract_votes as abstract
from tests.support.lockstep_lies import Lies
from tests.support.lockstep_node import Letter, Node
from tests.support.lockstep_plan import Style
from tests.support.lockstep_said import Key, Said

# All of them, so that one liar's word can reach one member, some, or everybody.
SHARES = (0.3, 0.5, 0.7, 1.0)


class Adversary:
    """`nodes`: everybody who can be lied to. `blocks`: id -> block and whether it is valid, shared with the watch."""

    def __init__(
        self,
        rng: random.Random,
        committee: Committee,
        liars: Sequence[NodeKey],
        nodes: Sequence[Node],
        said: Said,
        blocks: dict[Hash32, tuple[Block, bool]],
        style: Style,
    ) -> None:
        self.rng, self.committee, self.liars, self.nodes = rng, committee, list(liars), nodes
        self.said, self.blocks, self._acts = said, blocks, style.acts
        self._salt = 1_000_000
        self._lies = Lies(rng, committee, self.liars, blocks)
        moves: dict[str, Callable[[int], None]] = {
            "vote": self._vote,
            "show": self._show_certificate,
            "single": self._show_to_one,
            "forge": self._forge,
            "both": self._nullify_and_finalize,
            "split": self._split,
            "flood": self._flood,
            "nonsense": self._nonsense,
            "unwanted": self._unwanted,
            "contradict": self._contradict,
        }
        self._moves = [moves[name] for name in style.moves]
        self._tricks = style.tricks

    def act(self, views: Sequence[int]) -> None:
        """Some moves, each aimed at a view where some correct member is, or next to one."""
        if not self.liars or not self._acts:
            return
        for _ in range(self.rng.randint(0, self._acts)):
            view = max(self.rng.choice(views) + self.rng.choice([-1, 0, 0, 0, 0, 1]), 0)
            leader = NodeKey(self.committee.members[view % len(self.committee.members)])
            if leader in self.liars and self.rng.random() < 0.6:
                self._propose(view, leader)
            else:
                self.rng.choice(self._moves)(view)

    def give_up(self, view: int) -> None:
        """All liars nullify a view, before everybody."""
        for liar in self.liars:
            self._show(self._say(liar, view, VoteKind.NULLIFY, ZERO_HASH), liar, 1.0)

    def lead(self, view: int) -> None:
        """Propose, if the view is a liar's."""
        leader = NodeKey(self.committee.members[view % len(self.committee.members)])
        if leader in self.liars:
            self._propose(view, leader)

    # --- what they can make and whom they show it

    def _certificate(self, key: Key) -> Certificate | None:
        """Of what was heard and what the liars sign on top, in a random selection of q or more."""
        view, kind, block = key
        votes = list(self.said.votes.get(key, {}).values())
        subject = abstract.subject(self.committee, view, kind, block)
        votes += [abstract.sign(liar, subject) for liar in self.liars]
        if len(votes) < self.committee.quorum:
            return None
        size = self.rng.randint(self.committee.quorum, len(votes))
        return certify(self.rng.sample(votes, size))

    def _show(self, message: Message, by: NodeKey, share: float) -> None:
        """To a random share of the members."""
        for node in self.nodes:
            if self.rng.random() < share:
                node.inbox.append(Letter(by, message, None))

    def _show_half(self, message: Message, by: NodeKey, half: int) -> None:
        for node in self.nodes:
            if node.half == half:
                node.inbox.append(Letter(by, message, None))

    def _say(self, liar: NodeKey, view: int, kind: VoteKind, block: Hash32) -> VoteMessage:
        return VoteMessage(abstract.sign(liar, abstract.subject(self.committee, view, kind, block)))

    def _known(self, view: int) -> list[Hash32]:
        """Blocks that somebody voted for or proposed in a view; any block when there is none."""
        return [key[2] for key in self.said.votes if key[0] == view and key[2] != ZERO_HASH] or list(self.blocks)

    # --- moves

    def _vote(self, view: int) -> None:
        """Any vote of any view nearby, whatever was said before; often for what others voted for."""
        liar = self.rng.choice(self.liars)
        kind = self.rng.choice([VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE])
        known = self._known(view)
        if kind is VoteKind.NULLIFY:
            self._show(self._say(liar, view, kind, ZERO_HASH), liar, self.rng.choice(SHARES))
        elif known:
            self._show(self._say(liar, view, kind, self.rng.choice(known)), liar, self.rng.choice(SHARES))

    def _show_certificate(self, view: int) -> None:
        """One that can be made, old or withheld, to a few."""
        self._certify(None, self.rng.choice([0.2, 0.5, 1.0]))

    def _show_to_one(self, view: int) -> None:
        """To one member only, which must then not be alone with it for ever."""
        self._certify(self.rng.choice(self.nodes), 0.0)

    def _certify(self, to: Node | None, share: float) -> None:
        possible = list(self.said.possible)
        if not possible:
            return
        # The newest hurt most: half the time one of the last few.
        recent = possible[-4:] if self.rng.random() < 0.5 else possible
        shown = self._certificate(self.rng.choice(recent))
        if shown is None:
            return
        message, by = CertificateMessage(shown), self.rng.choice(self.liars)
        if to is not None:
            to.inbox.append(Letter(by, message, None))
        else:
            self._show(message, by, share)

    def _nullify_and_finalize(self, view: int) -> None:
        """The faulty do what nobody correct does: one half hears that the view failed, the other that it is final."""
        known = self._known(view)
        if not known:
            return
        block, half = self.rng.choice(known), self.rng.randrange(2)
        for liar in self.liars:
            self._show_half(self._say(liar, view, VoteKind.NULLIFY, ZERO_HASH), liar, half)
            self._show_half(self._say(liar, view, VoteKind.FINALIZE, block), liar, 1 - half)
        ends: list[tuple[int, Key]] = [
            (half, (view, VoteKind.NULLIFY, ZERO_HASH)),
            (1 - half, (view, VoteKind.NOTARIZE, block)),
            (1 - half, (view, VoteKind.FINALIZE, block)),
        ]
        for side, key in ends:
            made = self._certificate(key)
            if made is not None:
                self._show_half(CertificateMessage(made), self.liars[0], side)

    def _contradict(self, view: int) -> None:
        """All that can be certified from one view on, to one member. With f liars it never contradicts itself."""
        node, ends_only = self.rng.choice(self.nodes), self.rng.random() < 0.3
        for key in [(view, VoteKind.NULLIFY, ZERO_HASH), *self.said.possible]:
            final = key[1] is VoteKind.FINALIZE
            made = self._certificate(key) if final or (key[0] >= view and not ends_only) else None
            if made is not None:
                node.inbox.append(Letter(self.liars[0], CertificateMessage(made), None))

    def _split(self, view: int) -> None:
        """Each half hears a notarize vote for another block."""
        known = self._known(view)
        for half in (0, 1):
            if known:
                block = known[half % len(known)]
                for liar in self.liars:
                    self._show_half(self._say(liar, view, VoteKind.NOTARIZE, block), liar, half)

    def _flood(self, view: int) -> None:
        """More different votes than are kept, of this view and of views that nobody is in yet."""
        liar = self.rng.choice(self.liars)
        for number in range(self.rng.choice([3, 8])):
            block = self.rng.choice([*self.blocks, Hash32(bytes([200 + number]) * 32)])
            kind = self.rng.choice([VoteKind.NOTARIZE, VoteKind.FINALIZE])
            self._show(self._say(liar, view + self.rng.choice([0, 1, 5]), kind, block), liar, 1.0)

    def _forge(self, view: int) -> None:
        """Certificates that are none: one signer often, too few, or signatures that nobody made."""
        kind = self.rng.choice([VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE])
        block = ZERO_HASH if kind is VoteKind.NULLIFY else self.rng.choice([*self.blocks, Hash32(b"x" * 32)])
        subject = abstract.subject(self.committee, view, kind, block)
        own = [abstract.sign(liar, subject) for liar in self.liars]
        heard = list(self.said.votes.get((view, kind, block), {}).values())
        real = [Signed(vote.voter, vote.signature) for vote in [*own, *heard]]
        needed = self.committee.quorum
        forged = self.rng.choice(
            [
                tuple(sorted((real * needed)[:needed], key=lambda each: each.voter)),
                tuple(sorted(real[: needed - 1], key=lambda each: each.voter)),
                tuple(Signed(org, real[0].signature) for org in self.committee.members[:needed]),
            ]
        )
        if forged:
            self._show(CertificateMessage(Certificate(subject, forged)), self.liars[0], 0.5)

    def _nonsense(self, view: int) -> None:
        liar = self.rng.choice(self.liars)
        self._show(self._lies.message(view, liar), liar, 0.5)

    def _unwanted(self, view: int) -> None:
        """A block nobody asked for, with a certificate of something else, in the clothes of a final one."""
        possible = [key for key in self.said.possible if key[1] is not VoteKind.NULLIFY]
        made = self._certificate(self.rng.choice(possible[-2:])) if possible else None
        if made is not None and self.blocks:
            self._show(self._lies.final_block(made), self.rng.choice(self.liars), 0.5)

    # --- as leader

    def _propose(self, view: int, leader: NodeKey) -> None:
        """Two blocks, an invalid one, one over what was notarized; a re-proposal with any proof, a gap or another's."""
        share = self.rng.choice([0.3, 0.5, 1.0])
        trick = self.rng.choice(self._tricks)
        if trick == "halves":
            self._fresh_halves(view, leader)
        elif trick == "nonsense":
            lie = self._lies.proposal(view, leader, self._nullifications(0, view))
            if lie.block is not None:
                self.blocks.setdefault(lie.block.id, (lie.block, False))
            self._show(lie, leader, share)
        elif trick in ("fresh", "invalid", "unproven", "over"):
            for _ in range(self.rng.choice([1, 2, 2])):
                nullified = self._nullifications(0, view)
                if trick == "unproven" and nullified and len(nullified) == view:
                    del nullified[self.rng.randrange(len(nullified))]
                elif len(nullified) < view and trick not in ("unproven", "over"):
                    return
                made = self._fresh(view, leader, nullified, trick != "invalid")
                self._show(self._proposal(view, leader, made.id, made, ()), leader, share)
        else:
            self._propose_again(view, leader, trick, share)

    def _propose_again(self, view: int, leader: NodeKey, trick: str, share: float) -> None:
        proof = self._some_proof(view)
        if not proof:
            return
        block = Hash32(proof[0].subject.block)
        if trick == "gap" and len(proof) > 1:
            missing = self.rng.randrange(1, len(proof))
            proof = proof[:missing] + proof[missing + 1 :]
        elif trick == "other":
            block = self.rng.choice([each for each in self.blocks if each != block] or [block])
        self._show(self._proposal(view, leader, block, None, tuple(proof)), leader, share)

    def _fresh_halves(self, view: int, leader: NodeKey) -> None:
        """The equivocating leader of the books: one block for each half, each with the liars' votes for it."""
        nullified = self._nullifications(0, view)
        if len(nullified) < view:
            return
        for half in (0, 1):
            made = self._fresh(view, leader, nullified, valid=True)
            self._show_half(self._proposal(view, leader, made.id, made, ()), leader, half)
            for liar in self.liars:
                self._show_half(self._say(liar, view, VoteKind.NOTARIZE, made.id), liar, half)

    def _fresh(self, view: int, leader: NodeKey, nullified: list[Certificate], valid: bool) -> Block:
        self._salt += 1
        made = abstract.block(self.committee, view, tuple(nullified), leader, self._salt)
        self.blocks[made.id] = (made, valid)
        return made

    def _proposal(
        self, view: int, leader: NodeKey, block: Hash32, body: Block | None, proof: tuple[Certificate, ...]
    ) -> Proposal:
        subject = abstract.subject(self.committee, view, VoteKind.PROPOSE, block)
        return Proposal(subject, abstract.sign(leader, subject).signature, body, proof)

    def _nullifications(self, first: int, end: int) -> list[Certificate]:
        """Those of views first .. end-1 that can be made, in order."""
        made = [self._certificate((view, VoteKind.NULLIFY, ZERO_HASH)) for view in range(first, end)]
        return [each for each in made if each is not None]

    def _some_proof(self, view: int) -> list[Certificate]:
        """A notarization of any earlier view that can be made, and every nullification since that can be."""
        notarized = self.said.notarized(view)
        if not notarized:
            return []
        key = self.rng.choice(notarized)
        first = self._certificate(key)
        return [first, *self._nullifications(key[0] + 1, view)] if first is not None else []
