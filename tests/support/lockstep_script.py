"""How a height comes to have two notarized blocks: chance seldom gets there, and some rules matter nowhere else.

View 0 notarizes a block that one member alone sees, and fails for all the others. View 1, led by one of these,
notarizes another block, which the first member alone sees become final. View 2 is a liar's: now a proof that skips a
view, or names the wrong block, forks.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from consensus.messages import CertificateMessage, Message, VoteMessage
from ledger.certificates import VoteKind
from ledger.types import NodeKey
from tests.support.lockstep_node import Node

if TYPE_CHECKING:
    from tests.support.lockstep import Lockstep

# Steps in which a proposal, its votes and what they cause are through: one each, and one to be sure.
STEPS = 4


def _one_sees_all(chosen: Node) -> Callable[[Node, Node, Message], bool]:
    def hears(sender: Node, receiver: Node, message: Message) -> bool:
        match message:
            case VoteMessage(vote):
                subject = vote.subject
            case CertificateMessage(certificate):
                subject = certificate.subject
            case _:
                return True
        late = subject.view > 0
        return receiver is chosen or (
            subject.kind is not VoteKind.FINALIZE if late else subject.kind is VoteKind.NULLIFY
        )

    return hears


def two_notarized(run: "Lockstep") -> None:
    """Played before the bad steps. Whether it gets there is up to who lies: a liar that leads 0 or 1 may not."""
    leaders = [NodeKey(key) for key in run.committee.members]
    others = [node for node in run.correct if node.seat and node.key != leaders[1 % len(leaders)]]
    chosen = run.rng.choice(others)
    hears = _one_sees_all(chosen)
    for _ in range(STEPS):
        run.calm_step(hears)
    for node in run.nodes:
        if node is not chosen and node.machine.view == 0:
            run.expire(node)
    run.adversary.give_up(0)
    for _ in range(STEPS):
        run.calm_step(hears)
    for _ in range(run.rng.choice([1, 2, 2])):
        run.adversary.lead(2)
        run.calm_step(hears)
