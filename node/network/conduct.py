"""How members and strangers behave, and who is paused or refused for it: the rule over `peer_scores.py`.

A member's ban is not only its own affair: the committee needs a quorum of n - f. So no more than f members are refused
at a time, whatever they do; who would be one too many is only paused. A league of fewer than four refuses no member.
Strangers are held to account by their network, for keys cost nothing.
"""

import logging
from collections.abc import Iterable

import trio

from ledger.types import NodeKey
from node.network.peer_scores import PeerScores, Verdict
from node.network.transport import Fault, Limits

log = logging.getLogger(__name__)


class Conduct:
    """Scores of all peers of one node; told the time by trio."""

    def __init__(self, limits: Limits) -> None:
        self._members: frozenset[NodeKey] = frozenset()
        self._scores = PeerScores[NodeKey](limits)
        self._networks = PeerScores[str](limits)
        self.bans = 0

    def set_members(self, others: Iterable[NodeKey]) -> None:
        """The members besides ourselves. Who left is forgotten."""
        members = frozenset(others)
        for gone in self._members - members:
            self._scores.forget(gone)
        self._members = members

    def blame(self, member: NodeKey, fault: Fault, what: str) -> bool:
        """Hold `what` against a member; whether it is refused from now on."""
        now = trio.current_time()
        refusable = len(self._members) // 3
        verdict = self._scores.blame(member, fault, now, len(self._scores.banned(now)) < refusable)
        if verdict is Verdict.PAUSED:
            log.warning("the requests of %s are refused for a while: it sent %s", member.hex()[:16], what[:200])
        if verdict is Verdict.BANNED:
            self.bans += 1
            length_s = self._scores.banned_s(member, now)
            log.warning("%s is refused for %.0f s: it sent %s", member.hex()[:16], length_s, what[:200])
        return verdict is Verdict.BANNED

    def blame_stranger(self, network: str, fault: Fault, what: str) -> bool:
        """The same of somebody who is no member."""
        verdict = self._networks.blame(network, fault, trio.current_time())
        if verdict is Verdict.BANNED:
            self.bans += 1
            log.warning("strangers from %s are refused for a while: one sent %s", network, what[:200])
        return verdict is Verdict.BANNED

    def refuses_network(self, network: str) -> bool:
        """Whether strangers from there may not connect. Members always may."""
        return self._networks.banned_s(network, trio.current_time()) > 0

    def score(self, member: NodeKey) -> float:
        return self._scores.score(member, trio.current_time())

    def faults(self, member: NodeKey) -> int:
        return self._scores.faults(member)

    def paused(self, member: NodeKey) -> bool:
        return self._scores.paused(member, trio.current_time())

    def banned_s(self, member: NodeKey) -> float:
        return self._scores.banned_s(member, trio.current_time())
