"""What the clients of a run know of their payments: signed, taken by whom, final where, or refused for good.

Plain data and arithmetic; the asking is `load.py`'s, the judging `checks.py`'s.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Attempt:
    """One signed transfer. Times in seconds of the monotonic clock.

    `taken_by`: nodes that said they had taken it. `place`: height and index once a node said it is final. `superseded`:
    its nonce is used by another transaction, so it can never run.
    """

    payment: str
    sender: str
    receiver: str
    amount: int
    nonce: int
    id: str
    encoded: str
    signed_at: float
    # A head that was seen before it was signed: it can be final above that only.
    after_height: int = 0
    said_at: float = 0.0
    taken_by: list[str] = field(default_factory=list)
    place: tuple[int, int] | None = None
    final_at: float = 0.0
    superseded: bool = False

    @property
    def settled(self) -> bool:
        return self.place is not None or self.superseded


@dataclass(slots=True)
class Books:
    """All attempts of all clients. A payment is an intention; its attempts bear its name as their memo.

    Written by one thread a sender, each to its own attempts; read by others between.
    """

    attempts: list[Attempt] = field(default_factory=list)

    def add(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def finals(self) -> Iterator[Attempt]:
        return (each for each in list(self.attempts) if each.place is not None)

    def unsettled(self) -> list[Attempt]:
        return [each for each in list(self.attempts) if not each.settled]

    def first_final_since(self, moment: float) -> float | None:
        """When the first transfer that was signed after `moment` was seen final."""
        return min((each.final_at for each in self.finals() if each.signed_at >= moment), default=None)

    def balances(self, before: Mapping[str, int]) -> dict[str, int]:
        """What everybody must hold if exactly the payments that are final were made, each once."""
        held = dict(before)
        for each in self.finals():
            held[each.sender] -= each.amount
            held[each.receiver] += each.amount
        return held

    def paid_twice(self) -> list[str]:
        """Payments with more than one final attempt."""
        return _repeated(each.payment for each in self.finals())

    def waits_s(self) -> list[float]:
        """From signature to finality as the client saw it, ascending."""
        return sorted(each.final_at - each.signed_at for each in self.finals())


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    again: dict[str, None] = {}
    for name in names:
        if name in seen:
            again[name] = None
        seen.add(name)
    return list(again)
