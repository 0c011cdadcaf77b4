"""What Byzantine members do in the lockstep runs: everything they can sign, to whomever it hurts most.

They hear all that correct members say, and hold back or show any certificate that those votes and their own can make.
"""

import random
from collections.abc import Callable, Sequence

from consensus.messages import CertificateMessage, Message, Proposal, VoteMessage
from ledger.blocks import Block
from ledger.certificates import Certificate, Committee, Signed, Vote, VoteKind, certify
from ledger.types import ZERO_HASH, Hash32, OrgId
from tests.support import abstract_votes as abstract

Show = Callable[[Message, OrgId, float], None]
Key = tuple[int, VoteKind, Hash32]


class Adversary:
    """`show(message, by, share)` puts a message of a liar before a random share of the members."""

    def __init__(self, rng: random.Random, committee: Committee, liars: Sequence[OrgId], show: Show) -> None:
        self.rng, self.committee, self.liars, self.show = rng, committee, list(liars), show
        self.valid: set[Hash32] = set()
        self.blocks: dict[Hash32, Block] = {}
        self.heard: dict[Key, dict[OrgId, Vote]] = {}
        self.salt = 1_000_000
        self.moves = [self.vote, self.vote, self.show_certificate, self.show_certificate, self.forge]

    # --- what they know

    def learn_block(self, block: Block, valid: bool) -> None:
        self.blocks[block.id] = block
        if valid:
            self.valid.add(block.id)

    def overhear(self, message: Message) -> None:
        if isinstance(message, VoteMessage):
            vote = message.vote
            key = (vote.subject.view, vote.subject.kind, Hash32(vote.subject.block))
            self.heard.setdefault(key, {})[OrgId(vote.voter)] = vote

    def certificate(self, key: Key) -> Certificate | None:
        """Of what was heard and what the liars sign on top, in a random selection of q or more."""
        view, kind, block = key
        votes = list(self.heard.get(key, {}).values())
        said = abstract.subject(self.committee, view, kind, block)
        heard = {vote.voter for vote in votes}
        votes += [abstract.sign(liar, said) for liar in self.liars if liar not in heard]
        if len(votes) < self.committee.quorum:
            return None
        size = self.rng.randint(self.committee.quorum, len(votes))
        return certify(self.rng.sample(votes, size))

    def possible(self) -> list[Key]:
        """All that could be certified now or was."""
        return [
            key for key, votes in self.heard.items() if len(votes.keys() | set(self.liars)) >= self.committee.quorum
        ]

    # --- what they do

    def act(self, times: int, views: Sequence[int]) -> None:
        if not self.liars:
            return
        for _ in range(times):
            view = max(self.rng.choice(views) + self.rng.choice([-1, 0, 0, 0, 0, 1]), 0)
            leader = OrgId(self.committee.members[view % len(self.committee.members)])
            if leader in self.liars and self.rng.random() < 0.6:
                self.propose(view, leader)
            else:
                self.rng.choice(self.moves)(view)

    def vote(self, view: int) -> None:
        """Any vote of any view nearby, whatever was said before; often for what others voted for."""
        liar = self.rng.choice(self.liars)
        kind = self.rng.choice([VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE])
        block = ZERO_HASH
        if kind is not VoteKind.NULLIFY:
            known = [key[2] for key in self.heard if key[0] == view and key[2] != ZERO_HASH] or list(self.blocks)
            if not known:
                return
            block = self.rng.choice(known)
        said = abstract.sign(liar, abstract.subject(self.committee, view, kind, block))
        self.show(VoteMessage(said), liar, self.rng.choice([0.3, 0.7, 1.0]))

    def show_certificate(self, view: int) -> None:
        """One that can be made, old or withheld, to a few."""
        possible = self.possible()
        if possible:
            shown = self.certificate(self.rng.choice(possible))
            if shown is not None:
                self.show(CertificateMessage(shown), self.rng.choice(self.liars), self.rng.choice([0.2, 0.5, 1.0]))

    def forge(self, view: int) -> None:
        """Certificates that are none: one signer often, too few, or signatures that nobody made."""
        kind = self.rng.choice([VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE])
        block = ZERO_HASH if kind is VoteKind.NULLIFY else self.rng.choice([*self.blocks, Hash32(b"x" * 32)])
        said = abstract.subject(self.committee, view, kind, block)
        own = [abstract.sign(liar, said) for liar in self.liars]
        real = [Signed(vote.voter, vote.signature) for vote in own]
        needed = self.committee.quorum
        forged = self.rng.choice(
            [
                tuple((real * needed)[:needed]),
                tuple(real),
                tuple(Signed(org, real[0].signature) for org in self.committee.members[:needed]),
            ]
        )
        self.show(CertificateMessage(Certificate(said, forged)), self.liars[0], 0.5)

    def propose(self, view: int, leader: OrgId) -> None:
        """As leader: two blocks, an invalid one, a re-proposal with any proof, with a gap in it, or with another's."""
        share = self.rng.choice([0.3, 0.5, 1.0])
        trick = self.rng.choice(["fresh", "fresh", "again", "again", "gap", "other", "unproven", "invalid"])
        if trick in ("fresh", "invalid", "unproven"):
            for _ in range(self.rng.choice([1, 2, 2])):
                nullified = self._nullifications(0, view)
                if trick == "unproven" and nullified:
                    nullified = nullified[: self.rng.randrange(len(nullified))]
                elif len(nullified) < view and trick != "unproven":
                    return
                self._fresh(view, leader, nullified, trick != "invalid", share)
            return
        proof = self._some_proof(view)
        if not proof:
            return
        block = Hash32(proof[0].subject.block)
        if trick == "gap" and len(proof) > 1:
            missing = self.rng.randrange(1, len(proof))
            proof = proof[:missing] + proof[missing + 1 :]
        elif trick == "other":
            block = self.rng.choice([each for each in self.blocks if each != block] or [block])
        self._send(view, leader, block, None, tuple(proof), share)

    def _fresh(self, view: int, leader: OrgId, nullified: list[Certificate], valid: bool, share: float) -> None:
        self.salt += 1
        made = abstract.block(self.committee, view, tuple(nullified), leader, self.salt)
        self.learn_block(made, valid)
        self._send(view, leader, made.id, made, (), share)

    def _send(
        self, view: int, leader: OrgId, block: Hash32, body: Block | None, proof: tuple[Certificate, ...], share: float
    ) -> None:
        said = abstract.subject(self.committee, view, VoteKind.PROPOSE, block)
        proposal = Proposal(said, abstract.sign(leader, said).signature, body, proof)
        self.show(proposal, leader, share)

    def _nullifications(self, first: int, end: int) -> list[Certificate]:
        """Those of views first .. end-1 that can be made, in order."""
        made = [self.certificate((view, VoteKind.NULLIFY, ZERO_HASH)) for view in range(first, end)]
        return [each for each in made if each is not None]

    def _some_proof(self, view: int) -> list[Certificate]:
        """A notarization of any earlier view that can be made, and every nullification since that can be."""
        notarized = [key for key in self.possible() if key[1] is VoteKind.NOTARIZE and key[0] < view]
        if not notarized:
            return []
        key = self.rng.choice(notarized)
        first = self.certificate(key)
        return [first, *self._nullifications(key[0] + 1, view)] if first is not None else []
