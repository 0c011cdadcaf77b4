"""Messages that no member can have meant: every field of a vote or proposal wrong in its turn, yet signed by a liar."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from consensus.heard import LAST_VIEW
from consensus.messages import CertificateMessage, Decided, Message, Proposal, VoteMessage
from ledger.blocks import Block, FinalBlock
from ledger.certificates import Certificate, Committee, Signed, Subject, Vote, VoteKind
from ledger.types import ZERO_HASH, Hash32, NodeKey
from tests.support import abstract_votes as abstract

STRANGER = NodeKey(b"s" * 32)
ELSEWHERE = Hash32(b"elsewhere".ljust(32, b"."))


class Lies:
    """`blocks`: those that were ever made, shared with the adversary."""

    def __init__(
        self,
        rng: random.Random,
        committee: Committee,
        liars: Sequence[NodeKey],
        blocks: Mapping[Hash32, tuple[Block, bool]],
    ) -> None:
        self._rng, self._committee, self._liars, self._blocks = rng, committee, liars, blocks

    def _some_block(self) -> Hash32:
        return self._rng.choice([*self._blocks, ELSEWHERE])

    def message(self, view: int, liar: NodeKey) -> Message:
        """A vote or certificate that is no good."""
        good = abstract.subject(self._committee, view, VoteKind.NOTARIZE, self._some_block())
        height, committee, kind = good.height + self._rng.choice([-1, 1]), ELSEWHERE, VoteKind.PROPOSE
        subject: Subject = self._rng.choice(
            [
                replace(good, height=height),
                replace(good, committee=committee),
                replace(good, kind=kind),
                replace(good, kind=VoteKind.NULLIFY),
                replace(good, block=ZERO_HASH),
                replace(good, view=LAST_VIEW + 1),
                replace(good, view=view + 5),
                good,
            ]
        )
        vote = abstract.sign(self._rng.choice([liar, STRANGER]), subject)
        if subject is good:
            # Somebody else's name under it, and no signature of anybody's.
            vote = Vote(subject, self._rng.choice(self._committee.members), bytes(64))
        if self._rng.random() < 0.3:
            return CertificateMessage(self._worthless(subject))
        return VoteMessage(vote)

    def final_block(self, certificate: Certificate) -> Message:
        """A certificate, and the block it is for with another's body, or another block."""
        block, _ = self._rng.choice(list(self._blocks.values()))
        if self._rng.random() < 0.8:
            named = self._blocks.get(Hash32(certificate.subject.block), (block, True))[0]
            block = Block(named.header, (certificate,), ())
        return Decided(FinalBlock(block, certificate))

    def proposal(self, view: int, leader: NodeKey, nullified: Sequence[Certificate]) -> Proposal:
        """By the right leader, and wrong in one way."""
        body = abstract.block(
            self._committee, view, tuple(nullified), leader, self._rng.randrange(2_000_000, 3_000_000)
        )
        header, block = body.header, self._some_block()
        nullify = abstract.subject(self._committee, view, VoteKind.NULLIFY)
        bodies: list[Block | None] = [
            Block(replace(header, height=header.height + 1), body.nullified, ()),
            Block(replace(header, view=view + 1), body.nullified, ()),
            Block(replace(header, author=STRANGER), body.nullified, ()),
            Block(replace(header, parent=ELSEWHERE), body.nullified, ()),
            Block(header, (*body.nullified, self._worthless(nullify)), ()),
            body,
            None,
        ]
        lie = self._rng.randrange(14)
        made = bodies[lie] if lie < 5 else self._rng.choice(bodies[5:])
        subject = abstract.subject(self._committee, view, VoteKind.PROPOSE, block if made is None else made.id)
        proof = () if made is not None or lie == 5 else self._foreign(view, subject)
        signature = None
        match lie:
            case 6:
                subject = replace(subject, block=ELSEWHERE)
            case 7:
                subject = replace(subject, committee=ELSEWHERE)
            case 8:
                subject = replace(subject, kind=VoteKind.NOTARIZE)
            case 9:
                subject = replace(subject, height=subject.height + 1)
            case 10:
                signature = bytes(64)
            case 11:
                proof = tuple(nullified) or self._foreign(view, subject)
        return Proposal(subject, signature or abstract.sign(leader, subject).signature, made, proof)

    def _foreign(self, view: int, proposed: Subject) -> tuple[Certificate, ...]:
        """A notarization of the same block, of another height or of a view that is not earlier."""
        if self._rng.random() < 0.5 and view > 0:
            subject = Subject(proposed.height - 1, proposed.committee, view - 1, VoteKind.NOTARIZE, proposed.block)
        else:
            subject = replace(proposed, kind=VoteKind.NOTARIZE)
        return (self._worthless(subject),)

    def _worthless(self, subject: Subject) -> Certificate:
        """Of the right form, and signed by nobody."""
        members = self._committee.members[: self._committee.quorum]
        return Certificate(subject, tuple(Signed(member, bytes(64)) for member in members))
