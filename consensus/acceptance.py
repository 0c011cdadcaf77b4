"""When a proposal is justified (simplex rule 8): signed by its leader, with an unbroken proof for the same block.

Own votes and own certificates of earlier views never matter here: there are no locks. A member that would refuse
block c because it finalized b could stop a height for ever.
"""

from collections.abc import Sequence

from consensus.bodies import is_whole
from consensus.events import HeightSetup
from consensus.messages import Proposal
from consensus.proofs import Proofs
from consensus.votes import SignatureChecks
from ledger.blocks import Block
from ledger.certificates import Certificate, Vote, VoteKind
from ledger.errors import InvalidBlock, InvalidCertificate


def check_proposal(setup: HeightSetup, proposal: Proposal, checks: SignatureChecks, known: Proofs) -> None:
    """Whether the leader of the view may propose this. `known` certificates were verified before.

    Raises InvalidBlock or InvalidCertificate, with what came and what was wanted.
    """
    subject = proposal.subject
    if subject.kind is not VoteKind.PROPOSE or subject.committee != setup.committee.hash:
        raise InvalidBlock(f"{subject.kind.name} of committee {subject.committee.hex()[:16]}, want PROPOSE of this one")
    leader = setup.leaders[subject.view % len(setup.leaders)]
    if not checks.is_good(Vote(subject, leader, proposal.signature)):
        raise InvalidBlock(f"it is not signed by the view's leader {leader.hex()[:16]}")
    if proposal.block is not None:
        if proposal.proof:
            raise InvalidBlock(f"a fresh block with {len(proposal.proof)} certificates beside it, want them inside")
        _check_fresh(setup, proposal, proposal.block)
        shown = proposal.block.nullified
    else:
        _check_unbroken(proposal)
        shown = proposal.proof
    for certificate in shown:
        if certificate.subject.height != setup.height:
            raise InvalidCertificate(f"certificate of height {certificate.subject.height}, want {setup.height}")
        if known.known(certificate) != certificate:
            checks.check(setup.committee, certificate)


def _check_fresh(setup: HeightSetup, proposal: Proposal, block: Block) -> None:
    """The block belongs to this height, view and leader, and shows that every view before its own was nullified."""
    header, subject = block.header, proposal.subject
    if block.id != subject.block:
        raise InvalidBlock(f"body {block.id.hex()[:16]}, want {subject.block.hex()[:16]}")
    if (header.height, header.view) != (setup.height, subject.view):
        raise InvalidBlock(f"block of height {header.height}, view {header.view}, want {setup.height}, {subject.view}")
    if header.author != setup.leaders[subject.view % len(setup.leaders)]:
        raise InvalidBlock(f"author {header.author.hex()[:16]} does not lead view {subject.view}")
    if header.parent != setup.parent or header.committee != setup.committee.hash:
        raise InvalidBlock(
            f"block on parent {header.parent.hex()[:16]}, want {setup.parent.hex()[:16]}, same committee"
        )
    if not is_whole(block):
        raise InvalidBlock("the body is not the one its header speaks of")
    _check_nullifications(block.nullified, first=0, end=subject.view)


def _check_unbroken(proposal: Proposal) -> None:
    """A notarization of the same block in an earlier view, then a nullification for every view since, in order."""
    subject = proposal.subject
    if not proposal.proof:
        raise InvalidBlock("a re-proposal without its proof")
    notarization, *nullifications = proposal.proof
    named = notarization.subject
    if named.kind is not VoteKind.NOTARIZE or named.view >= subject.view:
        raise InvalidBlock(f"proof begins with {named.kind.name} of view {named.view}, want an earlier notarization")
    # The check that a well-known implementation forgot: a notarization of the right view, but of another block.
    if named.block != subject.block:
        raise InvalidBlock(f"proof notarizes {named.block.hex()[:16]}, want {subject.block.hex()[:16]}")
    _check_nullifications(nullifications, first=named.view + 1, end=subject.view)


def _check_nullifications(certificates: Sequence[Certificate], first: int, end: int) -> None:
    views = [certificate.subject.view for certificate in certificates]
    kinds = {certificate.subject.kind for certificate in certificates}
    if views != list(range(first, end)) or kinds - {VoteKind.NULLIFY}:
        raise InvalidBlock(f"{len(views)} certificates, want the nullification of every view from {first} to {end - 1}")
