"""One replica among others: what it says, what it votes for, what it recomputes before it does."""

from dataclasses import replace

import pytest

from consensus.effects import CLOCK_TIMER, STATUS_TIMER, VIEW_TIMER, Disagreement, Persist, Refused
from consensus.messages import (
    Proposal,
    Transactions,
    VoteMessage,
)
from ledger.aggregation import aggregation_task, awaiting_aggregate
from ledger.entries import Stage
from ledger.errors import InvalidTransaction
from ledger.transactions import (
    AggregateRound,
    Transaction,
    Transfer,
)
from tests.support.league import BALANCE
from tests.support.table import (
    Table,
    attested,
    bodies,
    computed,
    final_blocks,
    pay,
    standing,
    training,
    votes,
    wrong,
)

# --- the ordinary


@pytest.mark.parametrize("members", [1, 2, 3, 4, 7])
def test_a_transfer_said_anywhere_is_final_everywhere(members: int):
    table = Table(members)
    table.deliver()
    for at, key in enumerate(table.keys, start=1):
        pay(table, key)
        assert table.heights() == [at] * members
    assert len({seat.replica.chain.state_root for seat in table.seats.values()}) == 1


def test_an_idle_league_makes_no_blocks_and_casts_no_votes():
    table = Table()
    table.deliver()
    for _ in range(5):
        table.ring(STATUS_TIMER, after_ms=2_000)
    assert table.heights() == [0] * 4
    assert not any(seat.sent(VoteMessage) or seat.all(Persist) for seat in table.seats.values())


def test_a_refused_submission_leaves_nothing_behind():
    table = Table()
    alice = table.keys[0]
    replica = table.seat(alice).replica
    with pytest.raises(InvalidTransaction, match="balance"):
        replica.submit_own(Transfer(table.keys[1].org, BALANCE + 1, ""), table.now)
    assert len(replica.intake.pool) == 0
    assert not bodies(table.seat(alice), Transfer)


def test_own_statements_get_the_next_nonces_also_when_many_wait():
    table = Table()
    alice = table.keys[0]
    table.seat(alice).mute = table.seat(alice).deaf = True
    for _ in range(3):
        pay(table, alice)
    assert [each.nonce for each in bodies(table.seat(alice), Transfer)] == [0, 1, 2]


# --- what it does not vote for


def test_a_block_from_the_future_gets_a_vote_when_its_time_comes():
    table = Table()
    leader = table.leader
    others = [key for key in table.keys if key is not leader]
    table.seat(leader).skew_ms = 20_000
    pay(table, leader)
    for key in others:
        assert not votes(table.seat(key))
        # 15 s ahead is near enough; the clock rings when it is.
        assert table.seat(key).timers()[CLOCK_TIMER] == 5_000
    table.ring(CLOCK_TIMER, others, after_ms=5_000)
    assert table.heights() == [1] * 4


def test_a_block_from_the_past_gets_no_vote_and_the_next_leader_makes_a_fresh_one():
    table = Table()
    leader = table.leader
    others = [key for key in table.keys if key is not leader]
    table.now += 60_000
    table.seat(leader).skew_ms = -20_000
    pay(table, leader)
    assert not any(votes(table.seat(key)) for key in others)
    table.ring(VIEW_TIMER, after_ms=2_000)
    assert table.heights() == [1] * 4
    assert table.seat(others[0]).replica.chain.head.author != leader.org  # type: ignore[union-attr]


def test_a_proposal_that_its_leader_did_not_sign_is_refused_and_counted_against_the_sender():
    table = Table()
    leader = table.leader
    mallory, victim = [key for key in table.keys if key is not leader][:2]
    table.seat(leader).mute = True
    pay(table, leader)
    (proposal,) = table.seat(leader).sent(Proposal)
    forged = replace(proposal, signature=bytes(64))
    (refused,) = [each for each in table.hand(mallory, victim, forged) if isinstance(each, Refused)]
    assert refused.sender == mallory.org
    assert not votes(table.seat(victim))


def test_a_transaction_with_a_forged_signature_is_counted_against_who_sent_it():
    table = Table()
    alice, bob, *_ = table.keys
    forged = Transaction(alice.org, 0, Transfer(bob.org, 1, ""), bytes(64))
    effects = table.hand(bob, alice, Transactions((forged,)))
    assert [(each.sender, "signature" in each.reason) for each in effects if isinstance(each, Refused)] == [
        (bob.org, True)
    ]


# --- aggregates


def test_a_round_is_aggregated_by_the_leader_and_recomputed_by_everybody():
    table = Table()
    request = training(table)
    attested(table, request)
    assert standing(table, request).round == 2
    assert not any(seat.all(Disagreement) for seat in table.seats.values())


def test_who_computes_something_else_does_not_vote_and_says_so():
    table = Table()
    odd = table.keys[3]
    table.seat(odd).compute = wrong
    request = training(table)
    # The odd one out must not lead, or its own block would be the odd one.
    while table.leader is odd or table.seat(odd).replica.chain.leaders()[:4].index(odd.org) < 3:
        pay(table, table.keys[0])
    attested(table, request)
    assert standing(table, request).round == 2, "three of four agree"
    assert table.seat(odd).all(Disagreement)
    (aggregated,) = [
        final.block.id
        for final in final_blocks(table)
        if any(isinstance(each.body, AggregateRound) for each in final.block.transactions)
    ]
    # Once a quorum has notarized it, a re-proposal in a later view rests on that certificate, not on us.
    assert (0, aggregated) not in {(subject.view, subject.block) for subject in votes(table.seat(odd))}
    assert len(set(table.heights())) == 1, "it follows all the same"


def test_a_leader_that_lies_about_the_aggregate_gets_no_vote_and_is_replaced():
    table = Table()
    for seat in table.seats.values():
        seat.compute = None
    request = training(table)
    attested(table, request)
    assert standing(table, request).stage is Stage.AGGREGATING
    liar = table.leader
    state = table.seat(liar).replica.chain.state()
    ((found, its_request, current),) = awaiting_aggregate(state)
    task = aggregation_task(found, its_request, current)
    for key in table.keys:
        result = wrong(task) if key is liar else computed(task)
        table.take(key.org, table.seat(key).replica.aggregate_computed(task, result, table.clock(key.org)))
    table.deliver()
    assert standing(table, request).stage is Stage.AGGREGATING
    for key in table.keys:
        if key is not liar:
            assert [each.author for each in table.seat(key).all(Disagreement)] == [liar.org]
    table.ring(VIEW_TIMER, after_ms=2_000)
    assert standing(table, request).model == computed(task).model
    assert standing(table, request).round == 2


def test_an_aggregate_that_came_to_nothing_is_asked_for_again():
    table = Table()
    for seat in table.seats.values():
        seat.compute = None
    request = training(table)
    attested(table, request)
    seat = table.seat(table.leader)
    task = next(iter(seat.replica._readiness._aggregates))
    seat.replica.aggregate_failed(task)
    assert task not in seat.replica._readiness._aggregates
