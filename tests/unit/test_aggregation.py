"""The node's side of an aggregate: the same result for whoever computes it, once, with every blob fetched first."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from fl.aggregate import AggregateError, aggregate_blobs
from fl.fixed_point import InvalidVector, limit_in_steps
from ledger.aggregation import AggregationTask, Contribution, aggregation_task
from ledger.entries import Receipt, Request, Stage, receipt_key, request_key
from ledger.transactions import Attestation, AttestBlobs, Verdict
from node import aggregation
from node.aggregation import Aggregation
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import blob_digest
from tests.support.linked_blobs import LinkedBlobs
from tests.support.open_requests import (
    LIMIT,
    PARAMETERS,
    SCALE_BITS,
    anchor,
    announcement,
    join,
    publish,
    round_of,
    vector_blob,
)
from tests.support.sealed_chain import SealedChain, key_of, wait_until

FOUNDERS = ("alice", "bob", "carol", "dave")
BASE, ALICES, BOBS = vector_blob(0.0), vector_blob(0.5), vector_blob(0.25)


class League:
    """A round that is closed: alice and bob delivered, a leader's aggregate is due."""

    def __init__(self, tmp_path):
        self.sealed = sealed = SealedChain(*FOUNDERS)
        self.stores = {}
        self.blobs = {name: LinkedBlobs(tmp_path / name, key_of(name).org, self.stores) for name in FOUNDERS}
        self.blobs["dave"].store.put(BASE)
        self.blobs["alice"].store.put(ALICES)
        self.blobs["bob"].store.put(BOBS)
        self.request = publish(sealed, "dave", BASE)
        for name in ("alice", "bob"):
            anchor(sealed, name)
            join(sealed, name, self.request)
        sealed.seal()
        for name, blob in (("alice", ALICES), ("bob", BOBS)):
            sealed.say(name, announcement(self.request, blob))
        sealed.seal()
        held = tuple(
            Attestation(key_of(name).org, blob_digest(blob), Verdict.HELD)
            for name, blob in (("alice", ALICES), ("bob", BOBS))
        )
        for name in FOUNDERS:
            sealed.say(name, AttestBlobs(self.request, 1, 0, held))
        sealed.seal()
        request = sealed.chain.read(Request, request_key(self.request))
        assert request.stage is Stage.AGGREGATING
        self.task = aggregation_task(self.request, request, round_of(sealed, self.request))

    def aggregation(self, name):
        return Aggregation(self.sealed.chain, self.blobs[name], key_of(name).org)


@pytest.fixture
def league(tmp_path):
    return League(tmp_path)


@pytest.mark.trio
async def test_every_member_computes_the_same_bytes(league):
    results = [await league.aggregation(name).compute(league.task) for name in FOUNDERS]
    assert len(set(results)) == 1
    (result,) = set(results)
    blobs = {key_of("alice").org: ALICES, key_of("bob").org: BOBS}
    updates = [(blobs[each.org], each.weight) for each in league.task.contributions]
    want = aggregate_blobs("mean", {}, BASE, updates, PARAMETERS, SCALE_BITS, limit_in_steps(LIMIT, SCALE_BITS))
    assert result.model == blob_digest(want.blob)
    assert dict(result.scores).keys() == blobs.keys()
    for name in FOUNDERS:
        assert league.blobs[name].store.read(result.model) == want.blob
    # The ledger takes exactly this.
    league.sealed.seal(aggregates={league.request: result})
    receipt = league.sealed.chain.read(Receipt, receipt_key(league.request, 1, 0))
    assert receipt.model == result.model


@pytest.mark.trio
async def test_many_askers_cost_one_computation(league, monkeypatch):
    calls = []

    def counted(*arguments, **how):
        calls.append(arguments)
        return aggregate_blobs(*arguments, **how)

    monkeypatch.setattr(aggregation, "aggregate_blobs", counted)
    ours = league.aggregation("carol")
    results = []

    async def ask():
        results.append(await ours.compute(league.task))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert len(calls) == 1
    assert len(set(results)) == 1
    assert ours.known(league.task) == results[0]


@pytest.mark.trio
async def test_who_waits_takes_over_when_the_first_is_cancelled(league, monkeypatch):
    ours = league.aggregation("carol")
    inner, begun, got = ours._compute, trio.Event(), []

    async def first_never_ends(task):
        if not begun.is_set():
            begun.set()
            await trio.sleep_forever()
        return await inner(task)

    monkeypatch.setattr(ours, "_compute", first_never_ends)
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def asks_first():
            with first:
                await ours.compute(league.task)

        async def asks_next():
            got.append(await ours.compute(league.task))

        nursery.start_soon(asks_first)
        await begun.wait()
        nursery.start_soon(asks_next)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
    assert len(got) == 1


@pytest.mark.trio
async def test_a_missing_blob_is_waited_for_while_the_round_is_in_work(league, monkeypatch, nursery):
    monkeypatch.setattr(aggregation, "RETRY_S", 0.01)
    gone = league.stores.pop(key_of("bob").org)
    ours = league.aggregation("carol")
    with pytest.raises(BlobUnavailable):
        await ours.compute(league.task)
    results = []

    async def wait():
        results.append(await ours.compute_while_wanted(league.task))

    nursery.start_soon(wait)
    await wait_until(lambda: len(league.blobs["carol"].asked) > 5)
    assert results == []
    league.stores[key_of("bob").org] = gone
    await wait_until(lambda: results)
    assert results[0].model in league.blobs["carol"].store


@pytest.mark.trio
async def test_nobody_waits_for_a_round_that_is_over(league):
    ours = league.aggregation("carol")
    result = await league.aggregation("dave").compute(league.task)
    league.sealed.seal(aggregates={league.request: result})
    assert await ours.compute_while_wanted(league.task) is None


def changed(task, **changes):
    assert isinstance(task, AggregationTask)
    return replace(task, **changes)


@pytest.mark.trio
async def test_what_cannot_be_aggregated_is_a_clear_error_and_is_given_up(league):
    ours = league.aggregation("alice")
    for task in (
        changed(league.task, aggregation="median of means"),
        changed(league.task, limit=2**30, scale_bits=30),
        changed(league.task, contributions=()),
    ):
        with pytest.raises((AggregateError, InvalidVector)):
            await ours.compute(task)
        assert await ours.compute_while_wanted(task) is None
    contribution = league.task.contributions[0]
    assert isinstance(contribution, Contribution)
    with pytest.raises(InvalidVector):
        await ours.compute(changed(league.task, parameters=PARAMETERS + 1))


@pytest.mark.trio
async def test_what_nobody_can_aggregate_is_summed_once_and_not_at_every_new_head(league, monkeypatch):
    asked = []

    def counting(*arguments, **how):
        asked.append(arguments[0])
        return aggregate_blobs(*arguments, **how)

    monkeypatch.setattr(aggregation, "aggregate_blobs", counting)
    carol = league.aggregation("carol")
    task = replace(league.task, aggregation="magic")
    for _ in range(5):
        assert await carol.compute_while_wanted(task) is None
    assert asked == ["magic"]
    assert await carol.compute_while_wanted(league.task) is not None
