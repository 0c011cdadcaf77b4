"""Whom to tell that a height is final: those who re-send what they said of it before (simplex rule 13)."""

from consensus.messages import CertificateMessage, Proposal, VoteMessage
from ledger.certificates import Subject, VoteKind
from ledger.types import NodeKey

# Different things remembered of one sender: what one re-send consists of. Past that the memory starts anew, which only
# makes a straggler wait for its next re-send.
HEARD_PER_SENDER_MAX = 16


class Stragglers:
    """Decides which messages about a final height deserve an answer that carries the whole block.

    In the good case everybody's last votes and certificates arrive when we have just decided: n blocks sent to members
    that need none. So the first copy of a message is not answered, but the second is, for its sender re-sends; and a
    nullification is at once, for its sender is in trouble.
    """

    def __init__(self) -> None:
        self._heard: dict[NodeKey, set[tuple[type, Subject]]] = {}

    def deserves_answer(self, sender: NodeKey, message: Proposal | VoteMessage | CertificateMessage) -> bool:
        match message:
            case Proposal(subject=subject):
                pass
            case VoteMessage(vote):
                subject = vote.subject
            case CertificateMessage(certificate):
                subject = certificate.subject
                if subject.kind is VoteKind.FINALIZE:
                    # It knows; it only lacks the body, which it asks for. Two final members would answer each other
                    # for ever.
                    return False
        if subject.kind is VoteKind.NULLIFY:
            return True
        heard = self._heard.setdefault(sender, set())
        if (type(message), subject) in heard:
            return True
        if len(heard) >= HEARD_PER_SENDER_MAX:
            heard.clear()
        heard.add((type(message), subject))
        return False
