"""What peers did that no correct program does, how long it is held against them, and what follows. Pure: told the time.

A fault adds points, points fade by half every minute. From half of the limit on a peer is paused: its requests are
refused, its consensus messages go on. At the limit it is banned: its connections are refused for a time that doubles
with every ban and ends by itself. All of it is forgotten when the node stops: a restart is rare, is the operator's, and
a peer that goes on is found out again within a second.

Only bytes that cannot come from a correct program count. Being slow, behind, silent, or at odds about who is a member
yet costs nothing here.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from node.network.transport import Fault, Limits

Peer = TypeVar("Peer", bound=Hashable)

# Peers with points or bans that are remembered; past that the one that was quiet longest is forgotten. Members are
# fewer than this, networks of strangers are as many as somebody has addresses.
REMEMBERED_MAX = 1024


class Verdict(Enum):
    """What a fault led to."""

    NOTED = "noted"
    PAUSED = "paused"
    BANNED = "banned"


@dataclass(slots=True)
class _Record:
    points: float = 0.0
    noted_at: float = 0.0
    bans: int = 0
    banned_until: float = float("-inf")
    faults: int = 0


class PeerScores(Generic[Peer]):
    """Scores of one kind of peer. `now` in seconds of any clock that only goes on."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._records: OrderedDict[Peer, _Record] = OrderedDict()

    def blame(self, peer: Peer, fault: Fault, now: float, may_ban: bool = True) -> Verdict:
        """Hold a fault against a peer. PAUSED and BANNED are said once, when they begin.

        `may_ban` False: whatever it does, it is paused only.
        """
        limits = self._limits
        record = self._records.setdefault(peer, _Record(noted_at=now))
        self._records.move_to_end(peer)
        if len(self._records) > REMEMBERED_MAX:
            self._records.popitem(last=False)
        record.faults += 1
        if now < record.banned_until:
            # What it had sent before it was refused; it has been paid for.
            return Verdict.NOTED
        before = self.score(peer, now)
        record.points, record.noted_at = before + fault.points, now
        if record.points >= limits.ban_score and may_ban:
            if now - record.banned_until > limits.bans_forgotten_s:
                record.bans = 0
            length_s = min(limits.ban_first_s * 2**record.bans, limits.ban_last_s)
            record.bans = min(record.bans + 1, 32)
            record.banned_until = now + length_s
            # It begins anew after its ban, else its first fault would be its next ban.
            record.points = 0.0
            return Verdict.BANNED
        return Verdict.PAUSED if before < limits.pause_score <= record.points else Verdict.NOTED

    def score(self, peer: Peer, now: float) -> float:
        record = self._records.get(peer)
        if record is None:
            return 0.0
        half_lives = max(0.0, now - record.noted_at) / self._limits.score_half_life_s
        return record.points * float(0.5**half_lives)

    def banned_s(self, peer: Peer, now: float) -> float:
        """How long its connections will still be refused; 0 when they are not."""
        record = self._records.get(peer)
        return 0.0 if record is None else max(0.0, record.banned_until - now)

    def paused(self, peer: Peer, now: float) -> bool:
        """Whether its requests are refused."""
        return self.score(peer, now) >= self._limits.pause_score or self.banned_s(peer, now) > 0

    def faults(self, peer: Peer) -> int:
        """How many were ever held against it since the node started."""
        record = self._records.get(peer)
        return 0 if record is None else record.faults

    def banned(self, now: float) -> set[Peer]:
        return {peer for peer, record in self._records.items() if record.banned_until > now}

    def forget(self, peer: Peer) -> None:
        self._records.pop(peer, None)
