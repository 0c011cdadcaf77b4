"""Room among the blobs: rounds that are over make place for those in work, and final models go last."""

import os

import pytest

from ledger.entries import Request, request_key
from node import blob_upkeep
from node.blob_upkeep import FRESH_S, BlobUpkeep
from node.disk_use import Room
from node.network.blob_store import BlobStore, NoSpaceForBlob
from tests.support.open_requests import anchor, announcement, join, publish, vector_blob
from tests.support.sealed_chain import SealedChain

SIZE = len(vector_blob(0.0))


class Clock:
    """Each blob is a second younger than the one before."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def put(self, blob: bytes):
        self.now += 1
        name = self.store.put(blob)
        os.utime(self.store.path(name), (self.now, self.now))
        return name


class Node:
    """Carol's store, room for ten models; alice and bob train for dave."""

    def __init__(self, tmp_path):
        self.sealed = SealedChain("alice", "bob", "carol", "dave")
        self.store = BlobStore(tmp_path, 10 * SIZE)
        self.clock = Clock(self.store)
        self.upkeep = BlobUpkeep(self.sealed.ledger("carol"), self.store, self.clock)
        self.base = self.clock.put(vector_blob(0.0))
        self.request = publish(self.sealed, "dave", vector_blob(0.0))
        for name in ("alice", "bob"):
            anchor(self.sealed, name)
            join(self.sealed, name, self.request)
        self.sealed.seal()

    def old(self, count):
        """Updates of rounds that are over."""
        return [self.clock.put(vector_blob(100 + number)) for number in range(count)]

    def later(self, seconds=2 * FRESH_S):
        self.clock.now += seconds


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.mark.trio
async def test_nothing_goes_while_there_is_room(node):
    node.old(6)
    node.later()
    assert await node.upkeep.tidy() == 0


@pytest.mark.trio
async def test_the_oldest_that_nobody_waits_for_goes_first_and_no_more_than_must(node):
    old = node.old(9)
    with pytest.raises(NoSpaceForBlob):
        node.clock.put(vector_blob(1.0))
    node.later()
    assert await node.upkeep.tidy() == 5
    assert [name in node.store for name in old] == [False] * 5 + [True] * 4
    assert node.base in node.store, "the round in work began with it"
    assert node.store.bytes_stored == 5 * SIZE
    assert await node.upkeep.tidy() == 0


@pytest.mark.trio
async def test_what_is_announced_or_about_to_be_stays(node):
    update, pending = node.clock.put(vector_blob(1.0)), node.clock.put(vector_blob(2.0))
    node.sealed.say("alice", announcement(node.request, vector_blob(1.0)))
    node.sealed.seal()
    assert not node.sealed.refused
    node.sealed.say("bob", announcement(node.request, vector_blob(2.0)))
    node.old(7)
    node.later()
    assert await node.upkeep.tidy() == 5
    assert {node.base, update, pending} <= set(node.store)


@pytest.mark.trio
async def test_what_came_a_moment_ago_stays_though_the_ledger_does_not_know_it(node):
    node.old(9)
    assert await node.upkeep.tidy() == 0
    assert len(node.store) == 10


@pytest.mark.trio
async def test_a_final_model_goes_last(node, monkeypatch):
    final = node.clock.put(vector_blob(3.0))
    monkeypatch.setattr(BlobUpkeep, "_final_models", lambda self: iter([final]))
    old = node.old(8)
    node.later()
    await node.upkeep.tidy()
    assert final in node.store, "it is the oldest of them"
    monkeypatch.setattr(blob_upkeep, "BEGIN_PERCENT", 10)
    monkeypatch.setattr(blob_upkeep, "END_PERCENT", 10)
    await node.upkeep.tidy()
    assert set(node.store) == {node.base}
    assert not set(old) & set(node.store)


def test_a_request_in_work_has_no_final_model_yet(node):
    assert list(node.upkeep._final_models()) == []
    chain = node.sealed.chain
    assert chain.read(Request, request_key(node.request)) is not None


@pytest.mark.trio
async def test_when_the_whole_disk_gets_full_all_goes_that_nobody_waits_for(node):
    old = node.old(3)
    final = node.clock.put(vector_blob(7.0))
    node.upkeep._final_models = lambda: iter([final])  # type: ignore[method-assign]
    node.later()
    assert await node.upkeep.tidy() == 0, "their own share has room"
    node.upkeep.press(Room.SCARCE)
    assert await node.upkeep.tidy() == len(old)
    assert set(node.store) == {node.base, final}, "what is in work and what was paid for stays"
    node.upkeep.press(Room.NONE)
    assert await node.upkeep.tidy() == 1
    assert set(node.store) == {node.base}
    node.upkeep.press(Room.ENOUGH)
    assert await node.upkeep.tidy() == 0


def test_no_blob_is_taken_while_the_whole_disk_has_no_room(node):
    node.store.closed_because = "300 MB are free"
    with pytest.raises(NoSpaceForBlob, match="no blob is taken now: 300 MB are free"):
        node.store.put(vector_blob(5.0))
    node.store.closed_because = None
    node.store.put(vector_blob(5.0))
