"""A committee member attests what it holds: once, honestly, and before the window closes."""

from dataclasses import replace

import numpy as np
import pytest
import trio

from fl.delta_blob import Block, pack_delta
from fl.fixed_point import pack
from ledger.entries import Fate, Request, Stage, request_key
from ledger.transactions import Attestation, AttestBlobs, Verdict
from ledger.types import BLOB_BYTES_MAX
from node import attesting
from node.attesting import Attester, judge
from node.network.blob_store import blob_digest
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
GOOD, LATE = vector_blob(0.5), vector_blob(0.25)


class League:
    """Carol attests; alice and bob provide; dave asked. Carol and dave hold seats with them."""

    def __init__(self, tmp_path):
        self.sealed = SealedChain(*FOUNDERS)
        stores = {}
        self.blobs = {name: LinkedBlobs(tmp_path / name, key_of(name).org, stores) for name in FOUNDERS}
        base = vector_blob(0.0)
        self.blobs["dave"].store.put(base)
        self.request = publish(self.sealed, "dave", base)
        for name in ("alice", "bob"):
            anchor(self.sealed, name)
            join(self.sealed, name, self.request)
        self.sealed.seal()
        assert not self.sealed.refused
        assert self.stage is Stage.TRAINING
        self.ledger = self.sealed.ledger("carol")
        self.attester = Attester(self.ledger, self.blobs["carol"])

    @property
    def stage(self):
        return self.sealed.chain.read(Request, request_key(self.request)).stage

    def announce(self, name, blob, serve=True):
        if serve:
            self.blobs[name].store.put(blob)
        return self.sealed.say(name, announcement(self.request, blob))

    def seal(self):
        self.sealed.seal()
        self.attester.wake()

    def attestations(self):
        return [body for body in self.ledger.said if isinstance(body, AttestBlobs)]


@pytest.fixture
def league(tmp_path, monkeypatch):
    monkeypatch.setattr(attesting, "RESEND_S", 0.05)
    monkeypatch.setattr(attesting, "RETRY_S", 0.01)
    monkeypatch.setattr(attesting, "GATHER_S", 0.05)
    return League(tmp_path)


def verdicts(body):
    return {(each.provider, each.blob): each.verdict for each in body.attestations}


@pytest.mark.trio
async def test_a_closed_round_gets_one_attestation_of_all_that_is_held(league, nursery):
    nursery.start_soon(league.attester.run)
    league.announce("alice", GOOD)
    league.announce("bob", LATE)
    league.attester.wake()
    # Fetched while the announcements were still pending: nothing is on the ledger yet.
    await wait_until(lambda: blob_digest(GOOD) in league.blobs["carol"].store)
    await wait_until(lambda: blob_digest(LATE) in league.blobs["carol"].store)
    assert league.attestations() == []
    league.seal()
    assert league.stage is Stage.ATTESTING
    await wait_until(league.attestations)
    (body,) = league.attestations()
    assert verdicts(body) == {
        (key_of("alice").org, blob_digest(GOOD)): Verdict.HELD,
        (key_of("bob").org, blob_digest(LATE)): Verdict.HELD,
    }
    league.seal()
    assert not league.sealed.refused
    assert key_of("carol").org in round_of(league.sealed, league.request).attested_by


@pytest.mark.trio
async def test_a_blob_that_comes_late_gets_a_second_attestation(league, nursery):
    nursery.start_soon(league.attester.run)
    league.announce("alice", GOOD)
    league.announce("bob", LATE, serve=False)
    league.seal()
    await wait_until(league.attestations)
    assert [each.provider for each in league.attestations()[0].attestations] == [key_of("alice").org]
    league.seal()
    league.blobs["bob"].store.put(LATE)
    await wait_until(lambda: len(league.attestations()) == 2)
    assert [each.provider for each in league.attestations()[1].attestations] == [key_of("bob").org]
    league.seal()
    assert not league.sealed.refused


@pytest.mark.trio
async def test_another_member_serves_what_the_provider_no_longer_can(league, nursery):
    league.blobs["dave"].store.put(GOOD)
    league.announce("alice", GOOD, serve=False)
    league.announce("bob", LATE)
    league.seal()
    nursery.start_soon(league.attester.run)

    def attested():
        return {each.provider for body in league.attestations() for each in body.attestations}

    # In one transaction or, where fetching takes longer than the attester gathers, in two.
    await wait_until(lambda: attested() == {key_of("alice").org, key_of("bob").org})


async def looks_for_a_while(attester):
    """Run it until it has looked twenty times: after that there is nothing left to say."""
    looks = []
    inner = attester._look

    async def look(nursery):
        looks.append(attester)
        return min(0.01, await inner(nursery))

    attester._look = look
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attester.run)
        await wait_until(lambda: len(looks) > 20)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_restart_repeats_nothing_that_is_said(league):
    league.announce("alice", GOOD)
    league.announce("bob", LATE)
    league.seal()
    await looks_for_a_while(league.attester)
    said = len(league.attestations())
    assert said == 1
    # Once with the attestation still pending, once with it on the ledger.
    for _ in range(2):
        await looks_for_a_while(Attester(league.ledger, league.blobs["carol"]))
        assert len(league.attestations()) == said
        league.sealed.seal()
    assert not league.sealed.refused


@pytest.mark.trio
async def test_who_has_no_seat_fetches_nothing(tmp_path, nursery, league):
    outsider = Attester(league.sealed.ledger("carol"), league.blobs["carol"])
    outsider._me = key_of("mallory").org
    league.announce("alice", GOOD)
    league.announce("bob", LATE)
    league.sealed.seal()
    await outsider._look(nursery)
    assert league.blobs["carol"].asked == []


@pytest.mark.trio
async def test_a_provider_that_announces_a_thousand_updates_gets_one_fetched_before_a_block_says_which(league, nursery):
    nursery.start_soon(league.attester.run)
    blobs = [vector_blob(1 + number / 100) for number in range(30)]
    for blob in blobs:
        league.announce("alice", blob)
    league.announce("bob", LATE)
    league.attester.wake()
    store = league.blobs["carol"].store
    await wait_until(lambda: blob_digest(LATE) in store)
    await wait_until(lambda: any(blob_digest(blob) in store for blob in blobs))
    await looks_for_a_while(league.attester)
    assert sum(blob_digest(blob) in store for blob in blobs) == 1


def out_of_range():
    vector = np.zeros(PARAMETERS, np.int32)
    vector[3] = (512 << 20) + 1
    return pack(vector, SCALE_BITS)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (GOOD, Verdict.HELD),
        (out_of_range(), Verdict.OUT_OF_RANGE),
        (GOOD[:-1], Verdict.MALFORMED),
        (GOOD + b"\0", Verdict.MALFORMED),
        (b"", Verdict.MALFORMED),
        (b"PK" + GOOD[2:], Verdict.MALFORMED),
        (vector_blob(0.5, PARAMETERS + 1), Verdict.MALFORMED),
    ],
)
def test_every_update_is_judged_alike_by_all(data, verdict):
    assert judge(data, TERMS) is verdict


def changes(value, start=3):
    return pack_delta([Block(start, np.array([value, -7], np.int32), 1, 32)], PARAMETERS, SCALE_BITS)


BASE = vector_blob(0.5)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (changes(1), Verdict.HELD),
        (changes(0), Verdict.HELD),
        (changes(512 << 20), Verdict.OUT_OF_RANGE),
        (changes(-(513 << 20)), Verdict.OUT_OF_RANGE),
        (changes(1)[:-1], Verdict.MALFORMED),
        (changes(1) + b"\0", Verdict.MALFORMED),
    ],
)
def test_changes_to_a_model_are_judged_by_where_they_lead(data, verdict):
    assert judge(data, TERMS, base=BASE) is verdict
    assert judge(data, TERMS) is Verdict.MALFORMED


def test_changes_that_together_would_fill_a_memory_are_malformed_whoever_sends_them():
    """Colluding providers could send some ten bytes each in a request for whole vectors; those lie in mapped files."""
    large = replace(TERMS, parameters=8 << 20, providers_max=64)
    base = pack(np.zeros(large.parameters, np.int32), SCALE_BITS)
    data = pack_delta([Block(3, np.array([1, -7], np.int32), 1, 8)], large.parameters, SCALE_BITS)
    assert judge(data, large, base=base) is Verdict.HELD
    assert judge(data, replace(large, providers_max=65), base=base) is Verdict.MALFORMED
    assert judge(base, replace(large, providers_max=65)) is Verdict.HELD


@pytest.mark.trio
async def test_who_has_not_the_model_that_an_update_changes_fetches_it(league, nursery):
    """Carol held no blob of the request yet: dave, who asked, has its first model."""
    nursery.start_soon(league.attester.run)
    league.announce("alice", changes(5))
    league.announce("bob", changes(513 << 20))
    league.seal()
    await wait_until(league.attestations)
    await wait_until(lambda: len({part for body in league.attestations() for part in verdicts(body)}) == 2)
    said = {part[0]: verdict for body in league.attestations() for part, verdict in verdicts(body).items()}
    assert said == {key_of("alice").org: Verdict.HELD, key_of("bob").org: Verdict.OUT_OF_RANGE}
    assert blob_digest(vector_blob(0.0)) in league.blobs["carol"].store


def test_terms_that_no_vector_fits_refuse_every_update():
    assert judge(GOOD, replace(TERMS, limit=2**30, scale_bits=30)) is Verdict.MALFORMED


@pytest.mark.trio
async def test_a_malformed_update_is_refused_by_the_league(league, nursery):
    """An overflow from a provider: the committee says so, the round goes on without it."""
    nursery.start_soon(league.attester.run)
    league.announce("alice", GOOD)
    league.announce("bob", out_of_range())
    league.seal()
    await wait_until(league.attestations)
    (body,) = league.attestations()
    assert verdicts(body)[key_of("bob").org, blob_digest(out_of_range())] is Verdict.OUT_OF_RANGE
    for name in ("alice", "dave"):
        league.sealed.say(
            name,
            AttestBlobs(
                league.request,
                1,
                0,
                tuple(Attestation(each.provider, each.blob, each.verdict) for each in body.attestations),
            ),
        )
    league.seal()
    assert not league.sealed.refused
    assert {part.fate for part in round_of(league.sealed, league.request).participants} == {
        Fate.DELIVERED,
        Fate.REFUSED,
    }
    assert len(GOOD) < BLOB_BYTES_MAX
