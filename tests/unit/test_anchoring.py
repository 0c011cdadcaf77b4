"""Anchoring: every closed period once and in order, whatever is restarted, and proofs under the anchors."""

import pytest

from ledger.entries import Anchor, anchor_key
from ledger.errors import InvalidTransaction
from ledger.merkle import verify_inclusion
from ledger.records import parse_record
from ledger.transactions import AnchorRecords
from node import anchoring
from node.anchoring import Anchorer, NotAnchored
from node.record_errors import RecordStoreFull
from tests.support.factory_records import filled_store, new_records, table
from tests.support.sealed_chain import SealedChain, key_of, wait_until

ALICE = key_of("alice").org


@pytest.fixture
def sealed():
    return SealedChain("alice", "bob", "carol", "dave")


@pytest.fixture
def told():
    return []


@pytest.fixture(autouse=True)
def resend_soon(monkeypatch):
    monkeypatch.setattr(anchoring, "RESEND_S", 0.02)


class Looks:
    """Counts how often an anchorer has looked: after some looks without a word there is nothing left to say."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1

    async def some_more(self):
        until = self.count + 4
        await wait_until(lambda: self.count >= until)


def anchorer_of(sealed, store, told, close_due=None):
    return Anchorer(sealed.ledger("alice"), store, lambda topic, data: told.append(data), close_due)


def waiting_periods(sealed):
    return [waiting.body.period for waiting in sealed.pending]


@pytest.mark.trio
async def test_closed_periods_are_anchored_once_and_in_order(sealed, told, tmp_path, nursery):
    store, closed = filled_store(tmp_path / "r.sqlite", periods=3)
    looks = Looks()
    anchorer = anchorer_of(sealed, store, told, looks)
    nursery.start_soon(anchorer.run)
    await wait_until(lambda: len(sealed.pending) == 3)
    await looks.some_more()
    assert waiting_periods(sealed) == [1, 2, 3]
    sealed.seal()
    anchorer.wake()
    await looks.some_more()
    assert sealed.pending == []
    store.add_period(4, new_records(table(5)), 1, 2)
    anchorer.wake()
    await wait_until(lambda: waiting_periods(sealed) == [4])
    sealed.seal()
    assert not sealed.refused
    for each in (*closed, store.closed_period(4)):
        assert sealed.chain.read(Anchor, anchor_key(ALICE, each.period)).root == each.root
    assert {"event": "anchored", "period": 3} in told


@pytest.mark.trio
async def test_a_restart_anchors_what_is_missing_and_no_more(sealed, told, tmp_path, nursery):
    store, closed = filled_store(tmp_path / "r.sqlite", periods=3)
    first, second = closed[:2]
    sealed.say("alice", AnchorRecords(1, first.record_count, first.root, first.begins, first.ends))
    sealed.seal()
    # Said before the crash, still waiting.
    sealed.say("alice", AnchorRecords(2, second.record_count, second.root, second.begins, second.ends))
    looks = Looks()
    nursery.start_soon(anchorer_of(sealed, store, told, looks).run)
    await wait_until(lambda: len(sealed.pending) == 2)
    await looks.some_more()
    assert waiting_periods(sealed) == [2, 3]


@pytest.mark.trio
async def test_what_was_lost_on_its_way_is_said_again(sealed, told, tmp_path, nursery):
    store, _ = filled_store(tmp_path / "r.sqlite", periods=1)
    nursery.start_soon(anchorer_of(sealed, store, told).run)
    await wait_until(lambda: sealed.pending)
    sealed.pending.clear()
    await wait_until(lambda: waiting_periods(sealed) == [1])


@pytest.mark.trio
async def test_a_store_that_contradicts_the_ledger_is_named(sealed, told, tmp_path, nursery):
    store, _ = filled_store(tmp_path / "r.sqlite", periods=3)
    sealed.say("alice", AnchorRecords(2, 13, bytes(32), 1, 2))
    sealed.seal()
    nursery.start_soon(anchorer_of(sealed, store, told).run)
    await wait_until(lambda: waiting_periods(sealed) == [3])
    assert {data["period"]: data["event"] for data in told if "reason" in data} == {1: "skipped", 2: "mismatch"}


@pytest.mark.trio
async def test_a_streams_period_is_closed_when_it_is_due(sealed, told, tmp_path, nursery):
    store, _ = filled_store(tmp_path / "r.sqlite", periods=1)
    store.append(2, new_records(table(5)))
    nursery.start_soon(anchorer_of(sealed, store, told, lambda: store.close_period(2, 5, 6)).run)
    await wait_until(lambda: waiting_periods(sealed) == [1, 2])


@pytest.mark.trio
async def test_a_full_disk_delays_anchoring_and_is_said_once(sealed, told, tmp_path, nursery):
    store, _ = filled_store(tmp_path / "r.sqlite", periods=1)
    store.append(2, new_records(table(5)))
    calls = []

    def close_due():
        calls.append(None)
        if len(calls) < 5:
            raise RecordStoreFull("no room to write")
        store.close_period(2, 5, 6)

    nursery.start_soon(anchorer_of(sealed, store, told, close_due).run)
    await wait_until(lambda: waiting_periods(sealed) == [1, 2])
    assert [data["event"] for data in told] == ["trouble"]


def test_every_record_is_proven_under_its_anchor(sealed, told, tmp_path):
    store, closed = filled_store(tmp_path / "r.sqlite", periods=2)
    anchorer = anchorer_of(sealed, store, told)
    with pytest.raises(NotAnchored):
        anchorer.prove(1, 0)
    for each in closed:
        sealed.say("alice", AnchorRecords(each.period, each.record_count, each.root, each.begins, each.ends))
    sealed.seal()
    for each in closed:
        for index in range(each.record_count):
            proof = anchorer.prove(each.period, index)
            leaf = parse_record(store.record_bytes(each.period, index)).leaf
            assert proof.leaf == leaf
            assert verify_inclusion(each.root, leaf, index, proof.record_count, proof.proof)
    with pytest.raises(IndexError):
        anchorer.prove(1, 13)
    assert anchorer.anchored_through() == 2


@pytest.mark.trio
async def test_a_period_that_was_refused_goes_before_those_after_it(sealed, told, tmp_path, nursery, monkeypatch):
    # An outsider anchors, is refused, and is let in long before it would have sent again.
    monkeypatch.setattr(anchoring, "RESEND_S", 3600)
    ledger, refusals = sealed.ledger("alice"), []

    class LetInLater:
        def __getattr__(self, name):
            return getattr(ledger, name)

        async def submit_own(self, body):
            if not refusals:
                refusals.append(body.period)
                raise InvalidTransaction("member", "the sender is no member")
            return await ledger.submit_own(body)

    store, _ = filled_store(tmp_path / "r.sqlite", periods=3)
    anchorer = Anchorer(LetInLater(), store, lambda topic, data: None)
    nursery.start_soon(anchorer.run)
    await wait_until(lambda: refusals == [1])
    anchorer.wake()
    await wait_until(lambda: len(sealed.pending) == 3)
    assert waiting_periods(sealed) == [1, 2, 3]
