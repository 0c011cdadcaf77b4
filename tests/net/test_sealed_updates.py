"""Sealed updates over real nodes' pieces: nobody gets one in time to copy it, and a copy is worth nothing."""

from dataclasses import replace

import numpy as np
import pytest

from fl.fixed_point import InvalidVector, encode, pack
from ledger.aggregation import aggregates_due, aggregation_task
from ledger.entries import Fate, Receipt, Request, Stage, Standing, receipt_key, request_key, standing_key
from ledger.transactions import (
    AnnounceProtected,
    Attestation,
    AttestBlobs,
    DeclineRound,
    Protection,
    PublishProtected,
    Setting,
    Verdict,
)
from node import attesting
from node.aggregation import Aggregation, recomputed
from node.attesting import Attester, judge
from node.blobs import NodeBlobs
from node.network import blob_exchange
from node.network.blob_exchange import BlobExchange, BlobUnavailable
from node.network.blob_store import BlobStore, blob_digest
from node.sealed import Withheld, seal, unsealed
from tests.support.leagues import league
from tests.support.linked_blobs import LinkedBlobs
from tests.support.open_requests import (
    PARAMETERS,
    SCALE_BITS,
    TERMS,
    anchor,
    announcement,
    join,
    publish,
    round_of,
    vector_blob,
)
from tests.support.sealed_chain import SealedChain, key_of, wait_until

FOUNDERS = ("alice", "bob", "carol", "dave")
PROVIDERS = ("alice", "bob", "carol")
BASE = vector_blob(0.0)
UNMASKED = Protection((Setting("inspect", "true"),), masked=False, exchange_window=1)


def org_of(name):
    return key_of(name).org


def stepped(seed):
    """An update like those of honest factories: a direction that all share, and one of its own."""
    rng, common = np.random.default_rng(seed), np.random.default_rng(0).normal(size=PARAMETERS)
    return pack(encode(0.1 * (common + rng.normal(size=PARAMETERS)), SCALE_BITS), SCALE_BITS)


ALICES, BOBS, CAROLS = (seal(stepped(at), org_of(name)) for at, name in enumerate(PROVIDERS, start=1))
UPDATES = dict(zip(PROVIDERS, (ALICES, BOBS, CAROLS), strict=True))


class SealedLeague:
    """Alice, bob and carol provide to dave's request, in its first round; all four sit in the committee."""

    def __init__(self, protection=UNMASKED, **terms):
        self.sealed = SealedChain(*FOUNDERS)
        terms = {"providers_max": 3, "strategy": "fedavg", "aggregation": "trimmed-mean", **terms}
        if protection is None:
            self.request = publish(self.sealed, "dave", BASE, **terms)
        else:
            asked = replace(TERMS, initial_model=blob_digest(BASE), **terms)
            self.request = self.sealed.say("dave", PublishProtected(asked, protection)).id
            self.sealed.seal()
        for name in PROVIDERS:
            anchor(self.sealed, name)
            join(self.sealed, name, self.request)
        self.sealed.seal()
        assert not self.sealed.refused, self.sealed.refused
        assert self.stage is Stage.TRAINING

    @property
    def stage(self):
        return self.sealed.chain.read(Request, request_key(self.request)).stage

    def announce(self, name, blob, number=1, attempt=0):
        body = announcement(self.request, blob, number, attempt)
        self.sealed.say(name, AnnounceProtected(body, ()))

    def withheld(self, name, store):
        return Withheld(lambda: self.sealed.chain, lambda: org_of(name), store)

    def attest(self, blobs, number=1, attempt=0):
        """A quorum of the committee says that it holds all."""
        held = tuple(
            sorted(
                (Attestation(org_of(name), blob_digest(blob), Verdict.HELD) for name, blob in blobs.items()), key=str
            )
        )
        for name in PROVIDERS:
            self.sealed.say(name, AttestBlobs(self.request, number, attempt, held))
        self.sealed.seal()
        assert not self.sealed.refused, self.sealed.refused

    def parts(self):
        return {part.org: part for part in round_of(self.sealed, self.request).participants}


@pytest.fixture(params=["memory", "libp2p"])
def kind(request):
    return request.param


@pytest.mark.trio
async def test_nobody_gets_an_update_before_announcements_are_closed(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(blob_exchange, "_PAUSE_S", 0.01)
    story = SealedLeague()
    async with league(kind, "alice", "bob") as (alice, bob):
        hers = BlobStore(tmp_path / "alice")
        BlobExchange(alice, hers, story.withheld("alice", hers))
        his = BlobStore(tmp_path / "bob")
        thief = NodeBlobs(his, BlobExchange(bob, his))
        name = hers.put(ALICES)
        model = hers.put(BASE)

        async def refused():
            with pytest.raises(BlobUnavailable, match="withheld"):
                await thief.fetch(name, len(ALICES), [alice.me])

        # Said aloud, and in no block yet: as after a crash, nothing but the blob tells whose it is.
        story.announce("alice", ALICES)
        await refused()
        story.sealed.seal()
        await refused()
        # Everything else of hers is served as ever.
        await thief.fetch(model, len(BASE), [alice.me])
        story.announce("bob", BOBS)
        story.sealed.seal()
        await refused()
        story.announce("carol", CAROLS)
        story.sealed.seal()
        assert story.stage is Stage.ATTESTING
        await thief.fetch(name, len(ALICES), [alice.me])
        assert bytes(thief.view(name)) == ALICES


def test_only_what_is_at_stake_is_withheld(tmp_path):
    store = BlobStore(tmp_path / "alice")
    older, name, short = store.put(seal(stepped(9), org_of("alice"))), store.put(ALICES), store.put(b"short")
    story = SealedLeague()
    withheld = story.withheld("alice", store)
    # Before a block says which one it is, all that bear her name; afterwards the one.
    assert [withheld(each) for each in (older, name, short, blob_digest(b"not here"))] == [True, True, False, False]
    story.announce("alice", ALICES)
    story.sealed.seal()
    assert [withheld(each) for each in (older, name)] == [False, True]
    # Another's node does not hold it back: it has it from nobody.
    assert not story.withheld("bob", store)(name)
    # Plain requests are as they were.
    plain = SealedLeague(protection=None, aggregation="mean")
    assert not plain.withheld("alice", store)(name)


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in {"RESEND_S": 0.05, "RETRY_S": 0.01, "GATHER_S": 0.05}.items():
        monkeypatch.setattr(attesting, name, seconds)


@pytest.mark.trio
async def test_a_copier_is_malformed_and_its_victim_is_held(tmp_path, quick, nursery):
    story, stores = SealedLeague(), {}
    blobs = {name: LinkedBlobs(tmp_path / name, org_of(name), stores) for name in FOUNDERS}
    blobs["alice"].store.put(ALICES)
    blobs["carol"].store.put(CAROLS)
    ledger = story.sealed.ledger("dave")
    attester = Attester(ledger, blobs["dave"])
    nursery.start_soon(attester.run)
    story.announce("alice", ALICES)
    # Bob has read her announcement, and says that the same bytes are his.
    story.announce("bob", ALICES)
    attester.wake()
    await wait_until(lambda: attester._watches)
    story.sealed.seal()
    attester.wake()
    assert story.stage is Stage.TRAINING
    # Nothing is asked for while its providers hold it back.
    assert blobs["dave"].asked == []
    story.announce("carol", CAROLS)
    story.sealed.seal()
    attester.wake()

    def verdicts():
        said = [each for body in ledger.said if isinstance(body, AttestBlobs) for each in body.attestations]
        return {each.provider: each.verdict for each in said}

    await wait_until(lambda: len(verdicts()) == 3)
    assert verdicts() == {
        org_of("alice"): Verdict.HELD,
        org_of("bob"): Verdict.MALFORMED,
        org_of("carol"): Verdict.HELD,
    }


def test_a_name_is_part_of_the_update():
    update = stepped(1)
    assert bytes(unsealed(seal(update, org_of("alice")), org_of("alice"))) == update
    for damaged in (update, ALICES[:-1], ALICES + b"\0", b"", BOBS):
        with pytest.raises(InvalidVector):
            unsealed(damaged, org_of("alice"))
    assert judge(ALICES, TERMS, UNMASKED, org_of("alice")) is Verdict.HELD
    for wrong in (update, BOBS, org_of("alice")):
        assert judge(wrong, TERMS, UNMASKED, org_of("alice")) is Verdict.MALFORMED
    wide = seal(pack(np.full(PARAMETERS, (512 << 20) + 1, np.int32), SCALE_BITS), org_of("alice"))
    assert judge(wide, TERMS, UNMASKED, org_of("alice")) is Verdict.OUT_OF_RANGE


async def aggregated(story, tmp_path, updates, name):
    """What a member computes of the round in work, with every blob fetched; earlier models are kept in `tmp_path`."""
    request = story.sealed.chain.read(Request, request_key(story.request))
    task = aggregation_task(story.request, request, round_of(story.sealed, story.request), UNMASKED)
    stores = {}
    for provider, blob in updates.items():
        LinkedBlobs(tmp_path / provider, org_of(provider), stores).store.put(blob)
    LinkedBlobs(tmp_path / "dave", org_of("dave"), stores).store.put(BASE)
    mine = LinkedBlobs(tmp_path / name, org_of(name), stores)
    return await Aggregation(story.sealed.chain, mine, org_of(name)).compute(task), mine


def play(story, updates, number=1):
    for name, blob in updates.items():
        story.announce(name, blob, number)
    story.sealed.seal()
    story.attest(updates, number)
    assert story.stage is Stage.AGGREGATING


def receipt_of(story, number=1, attempt=0):
    receipt = story.sealed.chain.read(Receipt, receipt_key(story.request, number, attempt))
    return {line.org: line for line in receipt.lines}


@pytest.mark.trio
async def test_a_free_rider_is_named_by_all_alike_and_not_paid(tmp_path):
    story = SealedLeague()
    updates = {**UPDATES, "bob": seal(BASE, org_of("bob"))}
    before = story.sealed.chain.read(Standing, standing_key(org_of("bob"))).reputation
    play(story, updates)
    results = [(await aggregated(story, tmp_path / name, updates, name))[0] for name in ("dave", "alice")]
    assert results[0] == results[1]
    assert results[0].rejected == ((org_of("bob"), "idle: next to no step"),)
    assert [org for org, _ in results[0].scores] == sorted(org_of(name) for name in ("alice", "carol"))
    story.sealed.seal(aggregates={story.request: results[0]})
    lines = receipt_of(story)
    assert (lines[org_of("bob")].fate, lines[org_of("bob")].paid) == (Fate.REJECTED, 0)
    assert lines[org_of("alice")].paid > 0
    assert story.sealed.chain.read(Standing, standing_key(org_of("bob"))).reputation < before


@pytest.mark.trio
async def test_who_repeats_the_last_movement_is_named_in_the_second_round(tmp_path):
    story = SealedLeague(rounds_max=3)
    play(story, UPDATES)
    first, blobs = await aggregated(story, tmp_path, UPDATES, "dave")
    assert not first.rejected
    story.sealed.seal(aggregates={story.request: first})
    moved = np.frombuffer(blobs.view(first.model), "<i4", offset=16)
    second = {
        "alice": seal(pack((moved + np.frombuffer(stepped(11), "<i4", offset=16)).astype(np.int32)), org_of("alice")),
        "bob": seal(pack((2 * moved).astype(np.int32)), org_of("bob")),
        "carol": seal(pack((moved + np.frombuffer(stepped(12), "<i4", offset=16)).astype(np.int32)), org_of("carol")),
    }
    play(story, second, number=2)
    result, _ = await aggregated(story, tmp_path, second, "dave")
    assert result.rejected == ((org_of("bob"), "repeats the last movement"),)


@pytest.mark.trio
async def test_copies_are_both_rejected_and_too_few_others_make_no_model(tmp_path):
    story = SealedLeague(providers_min=2)
    # A copy under its own name: only who has it from its owner can make one.
    updates = {**UPDATES, "bob": seal(stepped(1), org_of("bob"))}
    play(story, updates)
    result, _ = await aggregated(story, tmp_path, updates, "dave")
    assert {org for org, _ in result.rejected} == {org_of("alice"), org_of("bob")}
    assert (result.model, result.scores) == (b"", ())
    story.sealed.seal(aggregates={story.request: result})
    lines = receipt_of(story)
    assert {org: line.paid for org, line in lines.items()} == dict.fromkeys(map(org_of, PROVIDERS), 0)
    assert lines[org_of("carol")].fate is not Fate.REJECTED
    assert round_of(story.sealed, story.request).attempt == 1


def test_a_copy_of_what_an_earlier_attempt_showed_leaves_its_victim_alone():
    """Alice says the same again, as she must not train twice for one charge; bob has read hers meanwhile."""
    story = SealedLeague(providers_min=2)
    story.announce("alice", ALICES)
    for name in ("bob", "carol"):
        story.sealed.say(name, DeclineRound(story.request, 1, 0, "not now"))
    story.sealed.seal()
    story.attest({"alice": ALICES})
    assert (story.stage, round_of(story.sealed, story.request).attempt) == (Stage.TRAINING, 1)
    copied = {"alice": ALICES, "bob": seal(stepped(1), org_of("bob")), "carol": CAROLS}
    for name, blob in copied.items():
        story.announce(name, blob, attempt=1)
    story.sealed.seal()
    story.attest(copied, attempt=1)
    chain = story.sealed.chain
    (task,) = aggregates_due(chain.trial(chain.leaders()[0], chain.head_time + 1).state)
    assert {each.org for each in task.contributions if each.known_for} == {org_of("alice")}
    blobs = {org_of(name): blob for name, blob in copied.items()}
    found = recomputed(task, BASE, [(blobs[each.org], each.weight) for each in task.contributions], None)
    assert [task.contributions[at].org for at, _ in found.rejected] == [org_of("bob")]


def test_a_copy_that_was_announced_late_does_not_make_its_victim_a_copy():
    """Bob reads alice's update while it is attested, and announces a copy late: as early, as attempts go, as hers."""
    story = SealedLeague(providers_min=2)
    copy = seal(stepped(1), org_of("bob"))
    story.announce("alice", ALICES)
    story.sealed.seal()
    story.sealed.seal(after_ms=100_000)
    assert story.stage is Stage.ATTESTING
    story.announce("bob", copy)
    story.sealed.seal()
    assert story.parts()[org_of("bob")].fate is Fate.LATE
    story.attest({"alice": ALICES})
    assert (story.stage, round_of(story.sealed, story.request).attempt) == (Stage.TRAINING, 1)
    copied = {"alice": ALICES, "bob": copy, "carol": CAROLS}
    for name, blob in copied.items():
        story.announce(name, blob, attempt=1)
    story.sealed.seal()
    story.attest(copied, attempt=1)
    chain = story.sealed.chain
    (task,) = aggregates_due(chain.trial(chain.leaders()[0], chain.head_time + 1).state)
    blobs = {org_of(name): blob for name, blob in copied.items()}
    found = recomputed(task, BASE, [(blobs[each.org], each.weight) for each in task.contributions], None)
    assert [task.contributions[at].org for at, _ in found.rejected] == [org_of("bob")]


def test_what_came_late_is_withheld_until_its_round_is_over(tmp_path):
    """It may be the answer to the next attempt: who reads it in this one could be there first with a copy."""
    store = BlobStore(tmp_path / "bob")
    name = store.put(BOBS)
    story = SealedLeague(providers_min=2)
    withheld = story.withheld("bob", store)
    for other, blob in (("alice", ALICES), ("carol", CAROLS)):
        story.announce(other, blob)
    story.sealed.seal()
    story.sealed.seal(after_ms=100_000)
    # Said aloud too late, and in no block yet.
    assert story.stage is Stage.ATTESTING
    assert withheld(name)
    story.announce("bob", BOBS)
    story.sealed.seal()
    assert story.parts()[org_of("bob")].fate is Fate.LATE
    assert withheld(name)
