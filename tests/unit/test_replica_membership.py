"""Replicas while keys are rotated, members leave, and the protocol changes under them."""

import pytest

from consensus.effects import STATUS_TIMER, VIEW_TIMER, VoteFrom
from consensus.messages import Decided, Status
from ledger.errors import InvalidTransaction, UnknownProtocol
from ledger.governance import NOTICE_HEIGHTS
from ledger.keys import KeyPair
from ledger.motions import ActivateProtocol
from ledger.protocols import NEWEST
from ledger.statements import LeaveLeague, OpenBallot, RotateKey, Support, prove_key
from ledger.transactions import Transfer
from tests.support.league import key_of
from tests.support.table import Table, bodies, final_blocks, votes


def all_agree(table: Table) -> bool:
    return len({(seat.replica.chain.height, seat.replica.chain.state_root) for seat in table.seats.values()}) == 1


def paid_by(table: Table, key: KeyPair, blocks: int) -> None:
    for _ in range(blocks):
        height = max(table.heights())
        table.say(key, Transfer(key.org, 1, ""))
        if max(table.heights()) == height:  # its leader has gone: the view fails
            table.ring(VIEW_TIMER, after_ms=5_000)
    table.ring(STATUS_TIMER, after_ms=2_000)


@pytest.mark.parametrize("members", [4, 5, 7])
def test_a_rotated_member_goes_on_under_its_new_key_and_its_old_node_signs_nothing(members: int):
    table = Table(members)
    table.deliver()
    alice, bob, *_ = table.keys
    new = key_of("new node of alice")
    table.say(alice, RotateKey(new.public, prove_key(new, table.genesis.chain_id, alice.org)))
    old = table.seat(alice)
    cast_before = len(votes(old))
    if new.public in old.replica.chain.committee().members:
        table.keys.append(new)
        table.sit(new)
        table.deliver()
        table.ring(STATUS_TIMER, after_ms=2_000)
        assert table.seat(new).replica.chain.height == 1, "a new key has never voted: it may as soon as it is there"
        paid_by(table, bob, 2 * members)
        assert votes(table.seat(new)), "it votes"
        authors = {table.seat(bob).replica.chain.header(height).author for height in range(2, 2 * members + 1)}  # type: ignore[union-attr]
        assert new.public in authors, "and leads"
    assert len(votes(old)) == cast_before, "what still runs with the old key only looks on"
    with pytest.raises(InvalidTransaction, match="its node signs the rest with"):
        old.replica.submit_own(Transfer(bob.org, 1, ""), table.now)
    assert all_agree(table)


def test_who_lost_its_disk_counts_no_member_twice_that_answers_under_two_keys():
    table = Table(4)
    table.deliver()
    alice, bob, carol, dave = sorted(table.keys, key=lambda key: key is table.leader)[:4]
    lost = table.make(bob, first_vote=None)
    table.take(bob.org, lost.replica.start(table.now))
    said = [Status(0, table.seat(alice).replica.chain.head_id, 0, 1)] * 2
    for key, status in zip((alice, carol), said, strict=True):
        lost.replica.receive(key.public, status, table.now)
    new = key_of("new node of alice")
    table.say(alice, RotateKey(new.public, prove_key(new, table.genesis.chain_id, alice.org)))
    (first,) = final_blocks(table)
    lost.replica.receive(carol.public, Decided(first), table.now)
    assert lost.replica.chain.height == 1
    after = Status(1, lost.replica.chain.head_id, 0, 1)
    for voter in (new, carol):
        assert not [each for each in lost.replica.receive(voter.public, after, table.now) if isinstance(each, VoteFrom)]
    assert [each for each in lost.replica.receive(dave.public, after, table.now) if isinstance(each, VoteFrom)]


def test_the_league_goes_on_while_a_rotated_member_is_away():
    table = Table(4)
    table.deliver()
    alice, bob, *_ = table.keys
    new = key_of("new node of alice")
    table.say(alice, RotateKey(new.public, prove_key(new, table.genesis.chain_id, alice.org)))
    paid_by(table, bob, 6)
    table.keys.append(new)
    late = table.sit(new)
    table.deliver()
    table.ring(STATUS_TIMER, after_ms=2_000)
    assert late.replica.chain.height >= 7
    # It was skipped while it was away, and is back by saying so, under its new key.
    table.ring(STATUS_TIMER, after_ms=2_000)
    paid_by(table, bob, 5)
    assert all_agree(table)
    assert new.public in table.seat(bob).replica.chain.leaders()


def test_who_left_looks_on_and_the_others_go_on_without_it():
    table = Table(5)
    table.deliver()
    seated = set(table.seat(table.keys[0]).replica.chain.committee().members)
    leaver = next(key for key in table.keys if key.public in seated)
    other = next(key for key in table.keys if key is not leaver)
    table.say(leaver, LeaveLeague(other.org))
    cast = len(votes(table.seat(leaver)))
    paid_by(table, other, 6)
    assert len(votes(table.seat(leaver))) == cast
    assert all_agree(table)
    with pytest.raises(InvalidTransaction, match="left the league at height 1"):
        table.seat(leaver).replica.submit_own(Transfer(other.org, 1, ""), table.now)


def test_replicas_stop_before_a_protocol_they_do_not_know_with_all_their_heights():
    table = Table(4)
    table.deliver()
    alice, *others = table.keys
    table.say(alice, OpenBallot(ActivateProtocol(NEWEST + 1, 1 + NOTICE_HEIGHTS)))
    [opened, *_] = bodies(table.seat(alice), OpenBallot)
    for key in others[:2]:
        table.say(key, Support(opened.id))
    scheduled = table.seat(alice).replica.chain.protocol().scheduled
    assert scheduled is not None
    with pytest.raises(UnknownProtocol, match="install a newer one"):
        paid_by(table, alice, 2 * NOTICE_HEIGHTS)
    stopped = [
        seat.replica.chain for seat in table.seats.values() if seat.replica.chain.height + 1 == scheduled.from_height
    ]
    assert stopped, "the first of them to be there raises"
    # After a restart it says the same at once, and its ledger can still be read.
    with pytest.raises(UnknownProtocol):
        stopped[0].trial(stopped[0].leaders()[0], table.now + 1)
    assert len(stopped[0].members()) == 4
