"""Who sees which message while the network is bad: patterns that the adversary picks, one a step.

What a pattern keeps from a member is lost, or late. Liars are heard through every pattern.
"""

import random
from collections.abc import Callable, Sequence

from consensus.messages import CertificateMessage, Decided, Message, Proposal, VoteMessage
from ledger.certificates import VoteKind
from tests.support.lockstep_node import Node

Hears = Callable[[Node, Node, Message], bool]  # sender, receiver, message


def _says(message: Message, kind: VoteKind) -> bool:
    match message:
        case VoteMessage(vote):
            return vote.subject.kind is kind
        case CertificateMessage(certificate):
            return certificate.subject.kind is kind
        case _:
            return False


def draw(names: Sequence[str], rng: random.Random, nodes: Sequence[Node]) -> Hears:
    """One of the patterns named. `chosen` is the member that it favours or hurts; `some` is about half of them."""
    name, chosen = rng.choice(names), rng.choice(nodes)
    some = {id(node) for node in nodes if rng.random() < 0.5}
    patterns: dict[str, Hears] = {
        "all": lambda sender, receiver, message: True,
        "halves": lambda sender, receiver, message: sender.half == receiver.half,
        "one hears": lambda sender, receiver, message: receiver is chosen,
        "one is deaf": lambda sender, receiver, message: receiver is not chosen,
        "one is mute": lambda sender, receiver, message: sender is not chosen,
        "some proposals": lambda sender, receiver, message: not isinstance(message, Proposal) or id(receiver) in some,
        "no certificates": lambda sender, receiver, message: (
            receiver is chosen or not isinstance(message, CertificateMessage | Decided)
        ),
        "no finalize votes": lambda sender, receiver, message: (
            receiver is chosen or not (isinstance(message, Decided) or _says(message, VoteKind.FINALIZE))
        ),
        "one sees notarized": lambda sender, receiver, message: (
            receiver is chosen or not _says(message, VoteKind.NOTARIZE)
        ),
    }
    return patterns[name]
