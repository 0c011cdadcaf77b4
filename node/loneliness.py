"""When a node that may be known by another key than the one it shows should show that one. Pure: no clock, no network.

A rotation may have become final while the node was down, or here first: then those who could tell it, or have to hear
of it, know the other key only. Whom nobody talks to cannot learn that. Nor can two who both missed the block of their
rotations: they know each other by the old keys and are company to each other, but no quorum.
"""

from dataclasses import dataclass

# Longer than members take to find each other again after a league was switched off; and then showing the other key
# only costs them a moment.
ALONE_S = 60.0


@dataclass(frozen=True, slots=True)
class Company:
    """Who is met now: members with a link to us, of so many members in all, ourselves among these."""

    met: int
    members: int

    @property
    def can_agree(self) -> bool:
        """Whether these and we are a quorum: n - f of n, f = (n - 1) // 3."""
        return self.met + 1 >= self.members - (self.members - 1) // 3


class Loneliness:
    """Since when the company is too small. `alone_s`: how long that is borne."""

    def __init__(self, now: float, alone_s: float = ALONE_S) -> None:
        self._since = now
        self._alone_s = alone_s

    def too_long(self, now: float, company: Company, other: bool, by_previous: bool) -> bool:
        """Whether to show the other key now. `other`: there is one; `by_previous`: the one shown is the previous key,
        and that is shown for so long only, whoever is there: it is to be refused by all."""
        content = company.can_agree if other else company.met > 0
        if content and not by_previous:
            self._since = now
        return now - self._since > self._alone_s
