"""A member that lies, one kind at a time: the daemon with its driver, its blobs or its sums replaced by worse ones.

Each kind does what one person with the source and a day could do to their own node. None forges a signature; all else
is allowed. What correct members must make of each is in README.md.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from consensus.effects import Effect, Transmit
from consensus.messages import Proposal, Status, VoteMessage, encode_message
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.blocks import Block
from ledger.certificates import VoteKind, cast
from ledger.errors import InvalidTransaction
from ledger.types import ZERO_HASH, Hash32, NodeKey
from node.replica import ReplicaDriver

# How far a liar says that it is ahead: more than anybody could hold in memory while waiting for it.
HEIGHTS_CLAIMED = 1_000_000
# Damaged copies of each message that leaves: enough to be a nuisance, not a flood (that is for the limits' own tests).
DAMAGED_COPIES = 2


class LyingDriver(ReplicaDriver):
    """Twists what the replica wants sent, effect by effect; everything else goes on as in a correct node."""

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        super()._carry_out([twisted for effect in effects for twisted in self._twist(effect)])

    def _twist(self, effect: Effect) -> Iterator[Effect]:
        yield effect

    def _others(self) -> list[NodeKey]:
        return sorted(peer.org for peer in self._transport.peers() if peer.connected)


class Equivocator(LyingDriver):
    """Says one thing to half of the members and another to the rest, as a leader."""

    def _twist(self, effect: Effect) -> Iterator[Effect]:
        match effect:
            case Transmit(None, Proposal(subject, _, Block() as block, proof) as first):
                twin = self._twin(block)
                key = self.replica._key
                assert key is not None
                vote = cast(key, self.replica.chain.chain_id, replace(subject, block=twin.id))
                second = Proposal(vote.subject, vote.signature, twin, proof)
                for at, other in enumerate(self._others()):
                    yield Transmit(other, first if at % 2 else second)
            case _:
                yield effect

    def _twin(self, block: Block) -> Block:
        """Another valid block for the same place: a millisecond later, and without the last transaction if it can."""
        header = block.header
        trial = self.replica.chain.trial(NodeKey(header.author), header.time + 1, block.nullified)
        for transaction in block.transactions[:-1] or block.transactions:
            try:
                trial.apply(transaction)
            except InvalidTransaction:
                break
        return trial.block(header.view)


class DoubleVoter(LyingDriver):
    """Tells everybody two things of which a correct member says one, whenever it votes to notarize."""

    def _twist(self, effect: Effect) -> Iterator[Effect]:
        yield effect
        match effect:
            case Transmit(to, VoteMessage(vote)) if vote.subject.kind is VoteKind.NOTARIZE:
                key = self.replica._key
                assert key is not None
                other = replace(vote.subject, block=Hash32(random.randbytes(32)))
                yield Transmit(to, VoteMessage(cast(key, self.replica.chain.chain_id, other)))
            case Transmit(to, VoteMessage(vote)) if vote.subject.kind is VoteKind.FINALIZE:
                key = self.replica._key
                assert key is not None
                nullify = replace(vote.subject, kind=VoteKind.NULLIFY, block=ZERO_HASH)
                yield Transmit(to, VoteMessage(cast(key, self.replica.chain.chain_id, nullify)))


class Silent(LyingDriver):
    """Is connected, answers questions, relays transactions, and neither leads nor votes."""

    def _twist(self, effect: Effect) -> Iterator[Effect]:
        match effect:
            case Transmit(_, Proposal() | VoteMessage()):
                return
            case _:
                yield effect


class Withholder(LyingDriver):
    """Leads for one other member only: the rest hear of its block by votes."""

    def _twist(self, effect: Effect) -> Iterator[Effect]:
        match effect:
            case Transmit(None, Proposal() as proposal) if self._others():
                yield Transmit(self._others()[0], proposal)
            case _:
                yield effect


class Braggart(LyingDriver):
    """Says that it is far ahead of everybody, so that they wait for blocks that do not exist."""

    def _twist(self, effect: Effect) -> Iterator[Effect]:
        match effect:
            case Transmit(to, Status(height, head, view, first)):
                yield Transmit(to, Status(height + HEIGHTS_CLAIMED, head, view, first))
            case _:
                yield effect


class Garbler(LyingDriver):
    """Sends damaged copies of everything it says: flipped bits, cut ends, noise."""

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        super()._carry_out(effects)
        for effect in effects:
            if isinstance(effect, Transmit):
                data = encode_message(effect.message)
                for _ in range(DAMAGED_COPIES):
                    self._transport.broadcast(_damaged(data))


def _damaged(data: bytes) -> bytes:
    way = random.randrange(3)
    if way == 0:
        at = random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if way == 1:
        return data[: random.randrange(len(data))]
    return random.randbytes(random.randrange(1, 200))


_DRIVERS: dict[str, type[LyingDriver]] = {
    "equivocate-proposals": Equivocator,
    "equivocate-votes": DoubleVoter,
    "silent": Silent,
    "withhold-proposals": Withholder,
    "false-heights": Braggart,
    "garbage": Garbler,
}


def corrupt(kind: str) -> None:
    """From now on a node that this process runs lies in the way `kind` names (one of `manifest.BYZANTINE`)."""
    if kind in _DRIVERS:
        import node.member

        node.member.ReplicaDriver = _DRIVERS[kind]  # type: ignore[attr-defined]
    else:
        {"withhold-blobs": _withhold_blobs, "false-aggregate": _sum_falsely}[kind]()


def _withhold_blobs() -> None:
    """Announces its updates, and has them for nobody."""
    from node.network.blob_exchange import BlobExchange
    from node.network.transport import RequestRefused

    async def refuse(self: Any, channel: Any) -> None:
        raise RequestRefused("missing", "no blob here")

    BlobExchange._serve = refuse  # type: ignore[method-assign]


def _sum_falsely() -> None:
    """Names another model than the sum whenever it computes one; who proposes it is believed by nobody."""
    from node.aggregation import Aggregation

    honest: Callable[..., Any] = Aggregation.compute_while_wanted

    async def compute_while_wanted(self: Aggregation, task: AggregationTask) -> AggregationResult | None:
        result = await honest(self, task)
        return None if result is None else replace(result, model=Hash32(random.randbytes(32)))

    Aggregation.compute_while_wanted = compute_while_wanted  # type: ignore[method-assign]
