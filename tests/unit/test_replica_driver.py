"""The driver and a disk that fails: whoever's call met it, the node ends before it says anything it has not kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from consensus.effects import Refused
from consensus.messages import BodyRequest, Transactions, VoteMessage, encode_message, parse_message
from consensus.replica import Replica, ReplicaSettings
from ledger.chain import Chain
from ledger.errors import InvalidTransaction, StoreFull
from ledger.memory_store import MemoryStore
from ledger.transactions import Transfer, sign_transaction
from ledger.types import Hash32, NodeKey
from node.journal_file import JournalFile
from node.metrics import Metrics
from node.network.transport import Fault
from node.replica import ReplicaDriver, now_ms
from tests.support.league import founders, genesis_of
from tests.support.table import TIMING


class Wire:
    """A transport that nobody is at the other end of; keeps what was broadcast."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.send, self.incoming = trio.open_memory_channel[tuple[bytes, bytes]](8)

        self.blamed: list[tuple[bytes, Fault]] = []
        self.charged: list[tuple[bytes, bool]] = []
        self.spent = False

    def blame(self, org: bytes, fault: Fault, what: str) -> None:
        self.blamed.append((org, fault))

    def charge(self, org: bytes, processor_s: float, gossip: bool = False) -> None:
        assert processor_s > 0
        self.charged.append((org, gossip))

    def takes_gossip(self, org: bytes) -> bool:
        return not self.spent

    def watch_peers(self, watcher: object) -> None: ...

    def peers(self) -> list[object]:
        return []

    def broadcast(self, message: bytes) -> None:
        self.said.append(message)

    def post(self, to: bytes, message: bytes) -> bool:
        self.said.append(message)
        return True

    def votes(self) -> list[VoteMessage]:
        return [each for each in map(parse_message, self.said) if isinstance(each, VoteMessage)]


class Node:
    """The first leader of a league of four, its journal on a real disk."""

    def __init__(self, folder: Path) -> None:
        keys = founders(4)
        self.genesis = genesis_of(keys)
        leader = Chain(MemoryStore(), self.genesis).leaders()[0]
        key = next(key for key in keys if key.org == leader)
        self.other = next(each for each in keys if each is not key)
        store = MemoryStore()
        replica = Replica(
            lambda signatures: Chain(store, self.genesis, signatures.check),
            self.genesis.chain_id,
            key,
            ReplicaSettings(TIMING),
            now_ms(),
        )
        self.wire = Wire()
        self.journal = JournalFile(folder / "journal")

        async def compute(task: object) -> None: ...

        self.driver = ReplicaDriver(
            replica,
            self.journal,
            self.wire,  # type: ignore[arg-type]
            Metrics(),
            folder,
            compute,
            lambda final, outcome: None,
            lambda: None,
        )

    def pay(self) -> None:
        self.driver.submit_own(Transfer(self.other.org, 1, ""))


def full(height: int, records: object) -> None:
    raise StoreFull("no room for votes")


@pytest.mark.trio
async def test_a_vote_that_could_not_be_synced_is_never_said_and_the_node_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's submission makes the leader propose; its answer took the error, and the vote went out at the next
    re-send, unkept: after a restart the member would have signed another."""
    node = Node(tmp_path)
    monkeypatch.setattr(node.journal, "append", full)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(node.driver.run)
            with pytest.raises(StoreFull):
                node.pay()
            monkeypatch.undo()  # there is room again: too late
            with pytest.raises(StoreFull):
                node.pay()
            with trio.fail_after(10):
                await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as ended:
        await run()
    assert ended.group_contains(StoreFull, depth=None)
    assert not node.wire.votes()


@pytest.mark.trio
async def test_a_refused_submission_breaks_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.driver.run)
        with pytest.raises(InvalidTransaction):
            node.driver.submit_own(Transfer(node.other.org, 2**40, ""))
        node.pay()
        assert node.wire.votes()
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_an_operator_hears_once_that_the_clock_is_off(tmp_path, caplog):
    node = Node(tmp_path)

    def block_at(time_ms: int) -> Any:
        return SimpleNamespace(block=SimpleNamespace(header=SimpleNamespace(time=time_ms)))

    node.driver._mind_the_clock(block_at(now_ms() + 1_000))
    assert not caplog.records
    for _ in range(3):
        node.driver._mind_the_clock(block_at(now_ms() + 60_000))
    (record,) = caplog.records
    assert "behind the league's blocks" in record.getMessage()


@pytest.mark.trio
async def test_who_waits_when_the_node_changes_its_key_is_told_to_ask_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    told: list[str] = []

    async def wait(transaction_id: Hash32) -> None:
        try:
            await node.driver.wait_final(transaction_id)
        except InvalidTransaction as refused:
            told.append(refused.code)

    async with trio.open_nursery() as waiting:
        async with trio.open_nursery() as nursery:
            await nursery.start(node.driver.run)
            own = node.driver.submit_own(Transfer(node.other.org, 1, ""))
            waiting.start_soon(wait, own.id)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        node.driver.close()
        waiting.start_soon(wait, own.id)
    assert told == ["starting", "starting"]


@pytest.mark.trio
async def test_garbage_and_forgeries_are_held_against_who_sent_them_and_nobody_else(tmp_path: Path) -> None:
    """A block names its author: were the author blamed, anybody could have another refused."""
    node = Node(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.driver.run)
        mallory, victim = NodeKey(b"m" * 32), node.other.public
        forged = sign_transaction(node.other, Hash32(bytes(32)), 0, Transfer(node.other.org, 1, ""))
        await node.wire.send.send((mallory, b"\xc1 garbage"))
        await node.wire.send.send((mallory, encode_message(Transactions((forged,)))))
        with trio.fail_after(10):
            while len(node.wire.blamed) < 2:
                await trio.testing.wait_all_tasks_blocked()
        assert node.wire.blamed == [(mallory, Fault.GARBAGE), (mallory, Fault.FORGED)]
        node.driver._carry_out([Refused(victim, "a block that names it as its author")])
        assert len(node.wire.blamed) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_gossip_past_a_peers_share_is_dropped_and_its_votes_are_not(tmp_path: Path) -> None:
    node = Node(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.driver.run)
        key, chain_id = node.other, node.driver.replica.chain.chain_id
        gossip = [
            encode_message(Transactions((sign_transaction(key, chain_id, nonce, Transfer(key.org, 1, "")),)))
            for nonce in (1, 2)
        ]
        await node.wire.send.send((key.public, gossip[0]))
        await trio.testing.wait_all_tasks_blocked()
        assert len(node.driver.replica.intake.pool) == 1
        assert [gossiped for _, gossiped in node.wire.charged] == [True]
        node.wire.spent = True
        await node.wire.send.send((key.public, gossip[1]))
        await node.wire.send.send((key.public, encode_message(BodyRequest(1, bytes(32)))))
        await trio.testing.wait_all_tasks_blocked()
        assert len(node.driver.replica.intake.pool) == 1
        assert [gossiped for _, gossiped in node.wire.charged] == [True, False, False]
        nursery.cancel_scope.cancel()
