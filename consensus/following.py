"""How one replica follows the others' chain: where they say they are, what is asked of them, what is served to them.

Knows a chain to read; appending is the replica's. Effects are returned, in the order in which they are to be carried
out; times come in as milliseconds.
"""

from collections.abc import Callable

from consensus.bodies import is_whole
from consensus.catchup import CatchUp
from consensus.effects import APPEND_TIMER, CATCHUP_TIMER, Effect, Refused, SetTimer, Transmit
from consensus.messages import BlocksRequest, Status
from consensus.serving import BlockServer
from ledger.blocks import FinalBlock
from ledger.chain import Chain
from ledger.errors import InvalidBlock, InvalidCertificate
from ledger.types import NodeKey

# Fetched blocks that are checked and appended before anything else has its turn: some tens of milliseconds.
APPENDED_PER_EVENT_MAX = 16
# How often it is looked whether whom we asked has answered.
LOOK_MS = 1_000


class CertifiedAndInvalid(Exception):
    """A quorum signed what is invalid here: the replica must not go on (simplex rule 12)."""


class Following:
    """One replica's view of the others. `server` answers what they ask of our blocks."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._catchup = CatchUp(chain.height)
        self.server = BlockServer(chain)

    @property
    def behind(self) -> int:
        """How many heights we are behind the others, whatever f of them claim."""
        return self._catchup.surely_behind(self._chain.committee().faults)

    def is_over(self, height: int) -> bool:
        """Whether more members than can lie say that a height is behind them: nobody needs our vote in it any more."""
        committee = self._chain.committee()
        return self._catchup.claims_of(committee.members, height) > committee.faults

    def needs_snapshot(self, gap: int, now_ms: int) -> bool:
        """Whether a snapshot is the way to the others: more than `gap` heights to go (0: however far, never for that
        reason), or nobody who is ahead holds the next block any more."""
        far = bool(gap) and self.behind > gap
        return far or self._catchup.is_out_of_reach(now_ms)

    def pause(self, paused: bool) -> None:
        """Ask for no blocks, or again."""
        self._catchup.paused = paused

    def peer_at(self, peer: NodeKey, height: int, first: int | None = None) -> None:
        """See `CatchUp.peer_at`."""
        self._catchup.peer_at(peer, height, first)

    def peer_gone(self, peer: NodeKey) -> None:
        self._catchup.peer_gone(peer)

    def received(self, peer: NodeKey, blocks: tuple[FinalBlock, ...], now_ms: int) -> None:
        self._catchup.received(peer, blocks, now_ms)

    def advanced(self) -> None:
        """The chain has a new head."""
        self._catchup.advanced(self._chain.height)

    def status(self, to: NodeKey | None, view: int) -> Effect:
        """Tell one member, or all, where we are."""
        first = self._chain.held.first_block
        return Transmit(to, Status(self._chain.height, self._chain.head_id, view, first))

    def asks(self, now_ms: int) -> list[Effect]:
        """What to ask of whom now."""
        effects: list[Effect] = [
            Transmit(ask.peer, BlocksRequest(ask.from_height, ask.count)) for ask in self._catchup.asks(now_ms)
        ]
        if self._catchup.behind:
            effects.append(SetTimer(CATCHUP_TIMER, LOOK_MS))
        return effects

    def append_fetched(self, append: Callable[[FinalBlock], None], now_ms: int) -> list[Effect]:
        """Append some of what was fetched, with one sync for all of it: what they lead to is carried out after it.

        `append` raises InvalidBlock and InvalidCertificate. Raises CertifiedAndInvalid, synced as well.
        """
        before = self._chain.height
        effects: list[Effect] = []
        try:
            for final in self._catchup.take(APPENDED_PER_EVENT_MAX):
                if final.block.height == self._chain.height + 1:
                    append(final)
        except (InvalidBlock, InvalidCertificate) as error:
            effects += self._refuse(final, error, now_ms)
        finally:
            if self._chain.height > before:
                self._chain.sync()
        if self._catchup.has_blocks:
            return [*effects, SetTimer(APPEND_TIMER, 0)]
        return [*effects, *self.asks(now_ms)]

    def _refuse(self, final: FinalBlock, error: Exception, now_ms: int) -> list[Effect]:
        """A fetched block is not as it should be: everything after it is asked for again, of others."""
        if isinstance(error, InvalidBlock) and is_whole(final.block):
            # The certificate was good, and so is the body: not whoever served it is at fault (simplex rule 12).
            raise CertifiedAndInvalid(f"height {final.block.height} is certified and invalid here: {error}")
        culprit = self._catchup.rejected(final.block.height, now_ms)
        return [] if culprit is None else [Refused(culprit, f"block {final.block.height}: {error}")]
