"""What comes for the next height before the last block does: kept a moment, a bounded share for each sender."""

from consensus.messages import CertificateMessage, Proposal, VoteMessage
from ledger.types import NodeKey

# A view's proposal, its sender's votes and the certificates it passes on, twice over. What is left out is sent again.
EARLY_PER_SENDER_MAX = 16


class EarlyMessages:
    """Nothing here was checked, so nobody's messages take the place of another's, and a sender may leave one proposal:
    a body of 4 MB is the one thing among them that is large."""

    def __init__(self) -> None:
        self._kept: list[tuple[NodeKey, Proposal | VoteMessage | CertificateMessage]] = []
        self._counts: dict[NodeKey, int] = {}
        self._proposers: set[NodeKey] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, sender: NodeKey, message: Proposal | VoteMessage | CertificateMessage) -> None:
        """Keep it if the sender's share allows."""
        if self._counts.get(sender, 0) >= EARLY_PER_SENDER_MAX:
            return
        if isinstance(message, Proposal):
            if sender in self._proposers:
                return
            self._proposers.add(sender)
        self._counts[sender] = self._counts.get(sender, 0) + 1
        self._kept.append((sender, message))

    def take(self) -> list[tuple[NodeKey, Proposal | VoteMessage | CertificateMessage]]:
        """All of it in the order in which it came; nothing is kept."""
        kept, self._kept = self._kept, []
        self._counts.clear()
        self._proposers.clear()
        return kept
