"""So many bytes a day for every organisation, a quarter more for its duties, and never a fork over a rounded byte."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.league_entries import Usage, usage_key
from ledger.parameters import DAY_MS
from ledger.quota import OVERHEAD_BYTES, RESERVED_FOR, STRANGERS, stored_bytes
from ledger.state import State
from ledger.statements import ApproveMember
from ledger.store import WriteBatch
from ledger.transactions import Transfer
from tests.support.league import League, anchored
from tests.support.members import Factory, factory
from tests.support.request_story import Story

MIB = 2**20


def used(league: League, org: bytes) -> Usage:
    found = league.chain.read(Usage, usage_key(org))
    assert found is not None
    return found


def fill(league: League, org: bytes, stored: int) -> None:
    """As if the organisation had said so much just now: a row that the next blocks read."""
    batch = WriteBatch()
    batch.put(b"S" + usage_key(org), encode(Usage(stored, league.now)))
    league.store.write(batch)


def test_every_transaction_is_charged_its_bytes_and_what_it_leaves_beside_them():
    league = League(4)
    alice, bob, *_ = league.keys
    final = league.say((alice, Transfer(bob.org, 1, "")), (alice, anchored(1)))
    size = sum(len(each.encoded) + OVERHEAD_BYTES for each in final.block.transactions)
    assert used(league, alice.org) == Usage(size, league.now)
    assert league.chain.read(Usage, usage_key(bob.org)) is None


def test_who_is_over_its_quota_waits_and_the_others_do_not():
    league = League(4, storage_quota=MIB)
    alice, bob, *_ = league.keys
    fill(league, alice.org, MIB - 600)
    body = Transfer(bob.org, 1, "")
    assert league.refusal(alice, body, after_ms=1) == "quota"
    assert league.refusal(bob, body, after_ms=1) == "accepted"
    assert league.refusal(alice, body, after_ms=DAY_MS // 1_000) == "accepted", "a thousandth of a day, a KiB"


def test_a_member_can_do_its_duty_when_it_has_said_too_much_else():
    league = League(4, storage_quota=MIB)
    alice, bob, *_ = league.keys
    evidence = league.equivocation(bob)
    assert type(evidence) in RESERVED_FOR
    fill(league, alice.org, MIB)
    assert league.refusal(alice, anchored(1), after_ms=1) == "quota"
    assert league.refusal(alice, evidence, after_ms=1) == "accepted"
    fill(league, alice.org, MIB + MIB // 4)
    assert league.refusal(alice, evidence, after_ms=1) == "quota"


def test_an_owner_whose_node_was_made_to_babble_still_rotates_its_key():
    league = League(4, storage_quota=MIB)
    alice = Factory("factory 0", league.keys[0], league.keys[0])
    fill(league, alice.org, MIB)
    assert league.refusal(alice.identity, anchored(1), after_ms=1) == "quota"
    alice.rotate(league)


def test_aggregates_are_not_charged():
    story = Story()
    league = story.league
    league.announce(story.id, story.providers)
    league.attest(story.id, story.providers)
    author = league.key(league.chain.leaders()[0])
    before = league.chain.read(Usage, usage_key(author.org))
    league.aggregate(story.id)
    assert league.chain.read(Usage, usage_key(author.org)) == before


def test_all_registrations_together_have_one_quota_and_members_keep_theirs():
    league = League(4, storage_quota=MIB)
    alice, bob, *_ = league.keys
    dora, eve = factory("dora"), factory("eve")
    final = league.say((dora.identity, dora.registration(league)))
    (said,) = final.block.transactions
    assert used(league, STRANGERS) == Usage(len(said.encoded) + OVERHEAD_BYTES, league.now)
    assert league.chain.read(Usage, usage_key(dora.org)) is None
    fill(league, STRANGERS, MIB)
    assert league.refusal(eve.identity, eve.registration(league), after_ms=1) == "quota"
    assert league.refusal(alice, Transfer(bob.org, 1, ""), after_ms=1) == "accepted"
    assert league.refusal(alice, ApproveMember(dora.org), after_ms=1) == "accepted"
    assert league.refusal(eve.identity, eve.registration(league), after_ms=DAY_MS // 500) == "accepted"


@settings(max_examples=200, deadline=None)
@given(
    st.integers(MIB, 2**40),
    st.lists(st.tuples(st.integers(0, 2 * DAY_MS), st.integers(0, 40_000)), min_size=1, max_size=20),
)
def test_whatever_comes_when_a_day_never_takes_more_than_twice_the_quota(quota: int, said: list[tuple[int, int]]):
    rows: dict[bytes, bytes] = {}
    state = State(rows.get, lambda prefix: iter(()))
    now, taken = 0, []
    for wait, size in said:
        now += wait
        stored = stored_bytes(state, b"o" * 32, now, quota) + size * (quota // MIB)
        if stored <= quota:
            state.put(usage_key(b"o" * 32), Usage(stored, now))
            taken.append((now, size * (quota // MIB)))
    for at, _ in taken:
        within = sum(size for time, size in taken if at <= time < at + DAY_MS)
        # What it may have at once, what drains meanwhile, and a byte for each time that is rounded.
        assert within <= 2 * quota + len(taken)
    assert stored_bytes(state, b"o" * 32, now + DAY_MS, quota) == 0


@pytest.mark.parametrize("quota", [MIB, 64 * MIB])
def test_the_quota_drains_in_a_day(quota: int):
    state = State(lambda key: None, lambda prefix: iter(()))
    state.put(usage_key(b"o"), Usage(quota, 0))
    assert stored_bytes(state, b"o", DAY_MS // 2, quota) == quota // 2
    assert stored_bytes(state, b"o", DAY_MS, quota) == 0
    assert stored_bytes(state, b"other", 5, quota) == 0
