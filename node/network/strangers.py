"""How many peers that are no members may be connected, and how often new ones are let in. Pure: told the time."""

from ledger.types import NodeKey
from node.network.transport import Limits


class StrangerGate:
    """A bucket of admissions that refills evenly. `now` in seconds of any clock that only goes on."""

    def __init__(self, limits: Limits) -> None:
        self._per_s = limits.strangers_per_minute / 60
        # A short rush is normal (a joiner opens and reopens), so a tenth of a minute's worth is kept.
        self._tokens_max = max(float(limits.strangers_max), limits.strangers_per_minute / 10)
        self._tokens = self._tokens_max
        self._refilled_at = 0.0
        self._strangers_max = limits.strangers_max

    def admit(self, org: NodeKey, connected: set[NodeKey], now: float) -> bool:
        """Whether stranger `org` may connect while strangers `connected` are. Takes a token when it may."""
        self._tokens = min(self._tokens_max, self._tokens + (now - self._refilled_at) * self._per_s)
        self._refilled_at = now
        if org not in connected and len(connected) >= self._strangers_max:
            return False
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
