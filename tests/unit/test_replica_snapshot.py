"""A replica that is far behind: when a snapshot is the way, going on from one, and keeping silent meanwhile."""

from dataclasses import replace

from consensus.catchup import REST_MS
from consensus.effects import APPEND_TIMER, Committed, Rebased, SetTimer, Transmit
from consensus.events import Timing
from consensus.following import APPENDED_PER_EVENT_MAX
from consensus.messages import Blocks, BlocksRequest, Message, Status, VoteMessage
from consensus.replica import Replica, ReplicaSettings
from ledger.blocks import FinalBlock
from ledger.chain import Chain
from ledger.memory_store import MemoryStore
from ledger.store import Store, WriteBatch
from ledger.types import NodeKey
from tests.support.league import League, anchored
from tests.support.snapshots import join


class CountingStore(MemoryStore):
    """Counts what a disk would sync. `rows` may be taken over from another store."""

    synced = 0

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        self.synced += sync
        super().write(batch, sync)

    def take_over(self, other: Store) -> None:
        """As a folder that takes another's place."""
        super().write(WriteBatch(dict.fromkeys(key for key, _ in self.scan())))
        super().write(WriteBatch(dict(other.scan())))


class Behind:
    """Dave, who has nothing, among three who have a chain."""

    def __init__(self, heights: int) -> None:
        self.league = League(4)
        self.finals = [self.league.say((self.league.keys[at % 4], anchored(at // 4 + 1))) for at in range(heights)]
        self.store = CountingStore()
        *self.others, self.key = self.league.keys
        self.now = self.league.now
        self.replica = Replica(
            lambda signatures: Chain(self.store, self.league.genesis, signatures.check),
            self.league.genesis.chain_id,
            self.key,
            ReplicaSettings(Timing(2_000, 500, 700, 0)),
            self.now,
        )
        self.replica.start(self.now)

    @property
    def height(self) -> int:
        return self.replica.chain.height

    def hears(self, at: int, message: Message) -> list[object]:
        return list(self.replica.receive(NodeKey(self.others[at].org), message, self.now))

    def statuses(self, height: int, first: int = 1) -> list[object]:
        return [each for at in range(3) for each in self.hears(at, Status(height, bytes(32), 0, first))]

    def blocks(self, first: int, count: int) -> Blocks:
        return Blocks(tuple(self.finals[first - 1 : first - 1 + count]))


def asked(effects: list[object]) -> list[BlocksRequest]:
    sent = [each.message for each in effects if isinstance(each, Transmit)]
    return [each for each in sent if isinstance(each, BlocksRequest)]


def test_a_snapshot_is_the_way_when_far_behind_whatever_one_liar_says() -> None:
    dave = Behind(0)
    for at in range(3):
        dave.hears(at, Status(100, bytes(32), 0, 1))
    assert not dave.replica.needs_snapshot(100, dave.now)
    dave.hears(0, Status(10**9, bytes(32), 0, 1))
    assert not dave.replica.needs_snapshot(100, dave.now), "that is one of three"
    dave.hears(1, Status(101, bytes(32), 0, 1))
    assert dave.replica.needs_snapshot(100, dave.now)
    assert not dave.replica.needs_snapshot(0, dave.now), "blocks can be had"


def test_a_snapshot_is_the_way_when_nobody_holds_the_next_block() -> None:
    dave = Behind(0)
    dave.statuses(10, first=5)
    assert dave.replica.needs_snapshot(0, dave.now)
    (ask,) = asked(dave.hears(2, Status(10, bytes(32), 0, 1)))
    assert ask.from_height == 1
    assert not dave.replica.needs_snapshot(0, dave.now), "one of them says that it has it"
    dave.hears(2, Blocks(()))
    assert dave.replica.needs_snapshot(0, dave.now), "and has it not"
    assert not dave.replica.needs_snapshot(0, dave.now + REST_MS), "until it may be asked again"


def test_nothing_is_asked_for_while_a_snapshot_is_fetched() -> None:
    dave = Behind(3)
    dave.replica.pause_catch_up(True, dave.now)
    assert asked(dave.statuses(3)) == []
    assert [each.from_height for each in asked(list(dave.replica.pause_catch_up(False, dave.now)))] == [1]


def test_a_replica_goes_on_from_a_snapshot_with_the_blocks_it_has_already() -> None:
    dave = Behind(90)
    asks = asked(dave.statuses(90, first=40))
    assert [each.from_height for each in asks] == [65]
    dave.hears(0, dave.blocks(65, 26))
    assert dave.height == 0
    source = League(4)
    for final in dave.finals[:80]:
        source.chain.append(final)
    joined = MemoryStore()
    join(joined, dave.league.genesis, source.chain)
    dave.replica.pause_catch_up(True, dave.now)
    dave.store.take_over(joined)
    effects = list(dave.replica.rebase(dave.now))
    assert Rebased(80) in effects
    assert dave.height == 90, "blocks 81 to 90 were there"
    assert dave.replica.machine.setup.height == 91
    assert [each.final.block.height for each in effects if isinstance(each, Committed)] == list(range(81, 91))


def test_fetched_blocks_are_appended_some_at_a_time_with_one_sync_for_all_of_them() -> None:
    dave = Behind(64)
    dave.statuses(64)
    before = dave.store.synced
    effects = dave.hears(0, dave.blocks(1, 64))
    rounds = 0
    while dave.height < 64:
        assert dave.height == (rounds + 1) * APPENDED_PER_EVENT_MAX
        assert SetTimer(APPEND_TIMER, 0) in effects
        rounds += 1
        assert dave.store.synced == before + rounds
        effects = list(dave.replica.timer(APPEND_TIMER, dave.now))
    assert dave.store.synced == before + 64 // APPENDED_PER_EVENT_MAX


def test_a_wrong_block_among_fetched_ones_is_not_synced_away() -> None:
    dave = Behind(10)
    dave.statuses(10)
    before = dave.store.synced
    good = dave.blocks(1, 10).blocks
    bad = FinalBlock(good[5].block, replace(good[5].certificate, signatures=good[4].certificate.signatures))
    dave.hears(0, Blocks((*good[:5], bad, *good[6:])))
    assert dave.height == 5
    assert dave.store.synced == before + 1
    assert Chain(dave.store, dave.league.genesis).height == 5


def test_who_knows_a_height_to_be_over_votes_no_more_in_it() -> None:
    """CometBFT #5953: a member that catches up must not take part in heights that others have behind them."""
    dave = Behind(6)
    dave.statuses(6)
    effects = dave.hears(0, dave.blocks(1, 5))
    assert dave.height == 5
    assert not any(isinstance(each, Transmit) and isinstance(each.message, VoteMessage) for each in effects)
    assert not dave.replica.machine.setup.may_vote, "three of four have height 6 behind them"
    other = Behind(6)
    other.hears(0, Status(10**6, bytes(32), 0, 1))
    other.hears(1, Status(4, bytes(32), 0, 1))
    other.hears(0, other.blocks(1, 5))
    assert other.height == 5
    assert other.replica.machine.setup.may_vote, "one that may lie silences nobody"
