"""What one member can make a replica keep, compute and send: each of these was a way to fill it or to hold it up."""

from dataclasses import replace

import pytest

from consensus import replica as replica_module
from consensus.catchup import CatchUp
from consensus.early import EARLY_PER_SENDER_MAX, EarlyMessages
from consensus.effects import STATUS_TIMER, VIEW_TIMER
from consensus.intake import SENDER_PER_BLOCK_MAX
from consensus.messages import (
    Blocks,
    BlocksRequest,
    BodyRequest,
    Decided,
    Proposal,
    Status,
    Transactions,
    VoteMessage,
)
from consensus.serving import BURST_BYTES, BYTES_PER_S, ServingBudget
from ledger.certificates import Subject, VoteKind, cast
from ledger.codec import encode
from ledger.transactions import JoinRequest, Setting, Transfer, sign_transaction
from ledger.types import BLOCK_BYTES_MAX, ZERO_HASH, NodeKey, OrgId
from tests.support.league import League, key_of
from tests.support.table import Table, final_blocks, pay

ALICE, MALLORY = OrgId(b"a" * 32), OrgId(b"m" * 32)


def proposal_of(table: Table) -> Proposal:
    leader = table.leader
    pay(table, leader)
    (proposal,) = table.seat(leader).sent(Proposal)
    return proposal


def test_early_messages_are_shared_by_sender_and_each_leaves_one_proposal():
    proposal = proposal_of(Table())
    early = EarlyMessages()
    for view in range(1_000):
        early.add(MALLORY, replace(proposal, subject=replace(proposal.subject, view=view)))
    assert len(early) == 1, "a thousand bodies of four megabytes"
    vote = VoteMessage(cast(Table().keys[0], bytes(32), replace(proposal.subject, kind=VoteKind.NOTARIZE)))  # type: ignore[arg-type]
    for _ in range(1_000):
        early.add(MALLORY, vote)
    assert len(early) == EARLY_PER_SENDER_MAX
    early.add(ALICE, proposal)
    taken = early.take()
    assert taken[-1] == (ALICE, proposal)
    assert len(early) == 0
    early.add(MALLORY, proposal)
    assert len(early) == 1, "the next height is another matter"


def test_a_bucket_refills_evenly_and_never_beyond_its_size():
    budget = ServingBudget()
    assert budget.allows(MALLORY, 0)
    budget.spend(MALLORY, [BURST_BYTES], 0)
    assert not budget.allows(MALLORY, 0)
    assert budget.allows(ALICE, 0)
    assert not budget.allows(MALLORY, -60_000), "a clock set back"
    assert budget.allows(MALLORY, 1_000)
    budget.spend(MALLORY, [], 86_400_000)
    budget.spend(MALLORY, [BURST_BYTES], 86_400_000)
    assert not budget.allows(MALLORY, 86_400_000), "a day of silence saves up no more than one bucket"
    assert BYTES_PER_S * 10 > BURST_BYTES


@pytest.mark.parametrize("kind", ["blocks", "body"])
def test_who_only_asks_for_blocks_is_served_a_while_and_others_go_on(kind: str):
    table = Table()
    alice, mallory, *_ = table.keys
    for _ in range(3):
        pay(table, alice)
    ask = BlocksRequest(1, 64) if kind == "blocks" else BodyRequest(1, final_blocks(table)[0].block.id)
    answers = sum(bool(table.hand(mallory, alice, ask)) for _ in range(10_000))
    assert 0 < answers < 3_000
    assert table.hand(table.keys[2], alice, ask), "another peer has its own share"
    table.now += 1_000
    assert table.hand(mallory, alice, ask)


def test_blocks_beyond_the_head_are_not_looked_for():
    table = Table()
    alice, bob, *_ = table.keys
    pay(table, alice)
    (sent,) = table.hand(bob, alice, BlocksRequest(1, 64))
    assert [final.block.height for final in sent.message.blocks] == [1]  # type: ignore[union-attr]


def test_who_came_by_catch_up_tells_the_stragglers_too():
    table = Table()
    alice, late, straggler, _ = table.keys
    table.seat(late).deaf = table.seat(straggler).deaf = True
    table.seat(late).deaf = False
    pay(table, alice)
    table.ring(VIEW_TIMER, after_ms=2_000)
    (final, *_) = final_blocks(table)
    table.seat(late).deaf = True
    fresh = table.sit(late)  # its disk is empty: height 1 comes to it as a block
    assert fresh.replica.chain.height == 0
    chain = fresh.replica.chain
    fresh.replica.receive(alice.org, Status(1, final.block.id, 0, 1), table.now)
    table.hand(alice, late, Blocks((final,)))
    assert chain.height == 1
    subject = Subject(1, chain.committee_at(1).hash, 0, VoteKind.NULLIFY, ZERO_HASH)  # type: ignore[union-attr]
    (answer,) = table.hand(straggler, late, VoteMessage(cast(straggler, table.genesis.chain_id, subject)))
    assert answer.message == Decided(final)  # type: ignore[union-attr]


def test_a_sender_that_leaves_gaps_does_not_take_the_place_of_what_can_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replica_module, "STRAGGLERS_PER_STATUS_MAX", 4)
    table = Table()
    first, *_, last = table.keys  # the pool lists senders by key
    for seat in table.seats.values():
        seat.mute = True  # nothing becomes final
    gaps = [
        sign_transaction(first, table.genesis.chain_id, nonce, Transfer(last.org, 1, "")) for nonce in range(100, 120)
    ]
    table.hand(first, last, Transactions(tuple(gaps)))
    pay(table, last)
    seat = table.seat(last)
    seat.did.clear()
    table.ring(STATUS_TIMER, [last], after_ms=3_000)
    sent = [each.sender for message in seat.sent(Transactions) for each in message.transactions]
    assert sent == [last.org]


def test_when_a_transaction_came_is_forgotten_with_it():
    table = Table()
    alice, bob, *_ = table.keys
    table.seat(bob).mute = True
    early = sign_transaction(alice, table.genesis.chain_id, 5, Transfer(bob.org, 1, ""))
    table.hand(alice, bob, Transactions((early,)))
    replica = table.seat(bob).replica
    assert early.id in replica._arrived
    replica.intake.pool.drop(early.id)  # as eviction does
    table.ring(STATUS_TIMER, [bob])
    assert early.id not in replica._arrived


def test_a_block_born_late_leaves_room_for_what_shows_that_views_failed():
    """With hundreds of failed views the proof takes more than the usual margin; a longer block everybody refuses."""
    table = Table()
    alice = table.keys[0]
    replica = table.seat(alice).replica
    league = League(4)
    shown = tuple(league.nullification(view) for view in range(2_000))
    assert sum(len(encode(each)) for each in shown) > replica_module.AGGREGATE_BYTES_MAX * 25
    long = JoinRequest(bytes(32), "x", 1, tuple(Setting(f"{at}", "x" * 250) for at in range(32)))
    # Of so many senders, for a block takes only some of each.
    senders = [key_of(f"sender {number}") for number in range(8)]
    for sender in senders:
        for nonce in range(SENDER_PER_BLOCK_MAX):
            replica.intake.pool.add(sign_transaction(sender, table.genesis.chain_id, nonce, long), 0)
    chosen = replica.intake.choose(sum(len(encode(each)) for each in shown))
    taken = sum(len(each.encoded) for each in chosen) + sum(len(encode(each)) for each in shown)
    assert BLOCK_BYTES_MAX - 128 * 1024 < taken <= BLOCK_BYTES_MAX


def test_one_liar_about_its_height_does_not_make_a_node_look_out_of_date():
    table = Table()
    alice, mallory, bob, carol = table.keys
    replica = table.seat(alice).replica
    table.deliver()
    table.hand(mallory, alice, Status(10**12, bytes(32), 0, 1))
    assert replica.behind == 0
    for honest in (bob, carol):
        table.hand(honest, alice, Status(7, bytes(32), 0, 1))
    assert replica.behind == 7


def test_with_one_peer_its_word_is_all_there_is():
    catchup = CatchUp(3)
    assert catchup.surely_behind(1) == 0
    catchup.peer_at(ALICE, 10)
    assert catchup.surely_behind(1) == 7


def test_a_third_of_all_members_do_not_make_one_look_out_of_date_though_few_of_them_sit() -> None:
    catchup = CatchUp(head=100)
    peers = [NodeKey(bytes([at]) * 32) for at in range(60)]
    for at, peer in enumerate(peers):
        catchup.peer_at(peer, 10**9 if at < 20 else 100)
    assert catchup.surely_behind(liars=10) == 0, "a committee of 31 has ten liars at most, and twenty members lie"
    catchup.peer_at(peers[20], 107)
    assert catchup.surely_behind(liars=10) == 7
