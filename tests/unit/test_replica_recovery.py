"""A replica that was away, lied to or restarted: how it catches up, does its duties, and when it stops for good."""

from dataclasses import replace

from consensus.early import EARLY_PER_SENDER_MAX
from consensus.effects import STATUS_TIMER, VIEW_TIMER, Dropped, Halt, Persist, Refused
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
from ledger.blocks import FinalBlock
from ledger.certificates import Subject, VoteKind, cast, certify
from ledger.codec import digest
from ledger.entries import ELECTION, Account, Election, Standing, account_key, standing_key
from ledger.keys import KeyPair
from ledger.transactions import (
    Attestation,
    AttestBlobs,
    ReportEquivocation,
    ReportForDuty,
    SkipNonce,
    Transfer,
    Verdict,
    sign_transaction,
)
from tests.support.league import BALANCE
from tests.support.table import (
    Seat,
    Table,
    bodies,
    final_blocks,
    pay,
    standing,
    training,
    votes,
)

# --- behind, and back


def cut_off(table: Table, key: KeyPair, heights: int) -> Seat:
    """`key` hears nothing while the others go on."""
    seat = table.seat(key)
    seat.deaf = seat.mute = True
    speaker = next(each for each in table.keys if each is not key)
    while table.seat(speaker).replica.chain.height < heights:
        before = table.seat(speaker).replica.chain.height
        pay(table, speaker)
        if table.seat(speaker).replica.chain.height == before:
            table.ring(VIEW_TIMER, [each for each in table.keys if each is not key], after_ms=3_000)
    seat.deaf = seat.mute = False
    return seat


def test_a_member_that_was_away_catches_up_and_takes_part_again():
    table = Table()
    away = table.keys[3]
    seat = cut_off(table, away, heights=6)
    assert seat.replica.chain.height == 0
    table.ring(STATUS_TIMER, after_ms=2_000)
    assert table.heights() == [6] * 4
    assert not votes(seat), "no vote on what was decided without it"
    pay(table, away)
    assert len(set(table.heights())) == 1
    assert votes(seat)


def test_an_observer_follows_and_signs_nothing():
    table = Table()
    for _ in range(3):
        pay(table, table.keys[1])
    eye = table.make(None)
    source = table.keys[0]
    served = table.seat(source).replica
    eye.did += eye.replica.start(table.now)
    eye.did += eye.replica.receive(source.org, Status(3, served.chain.head_id, 0, 1), table.now)
    (ask,) = eye.sent(BlocksRequest)
    assert (ask.from_height, ask.count) == (1, 3)
    (answer,) = [
        effect.message  # type: ignore[union-attr]
        for effect in served.receive(source.org, ask, table.now)
    ]
    eye.did += eye.replica.receive(source.org, answer, table.now)
    assert eye.replica.chain.height == 3
    assert eye.replica.chain.state_root == served.chain.state_root
    assert eye.replica.me is None
    assert not eye.all(Persist)
    assert not eye.sent(VoteMessage)


def behind(table: Table) -> tuple[Seat, KeyPair]:
    """A fresh member that has asked a peer for blocks."""
    for _ in range(3):
        pay(table, table.keys[1])
    away, source = table.keys[3], table.keys[0]
    seat = table.sit(away)
    table._letters.clear()
    table.hand(source, away, Status(3, bytes(32), 0, 1))
    return seat, source


def test_a_block_with_a_forged_certificate_is_not_appended_and_its_server_is_named():
    table = Table()
    seat, source = behind(table)
    first, *rest = final_blocks(table)
    signatures = first.certificate.signatures
    forged = replace(first.certificate, signatures=(replace(signatures[0], signature=bytes(64)), *signatures[1:]))
    table.hand(source, table.keys[3], Blocks((FinalBlock(first.block, forged), *rest)))
    assert seat.replica.chain.height == 0
    assert [each.sender for each in seat.all(Refused)] == [source.org]
    assert seat.replica.halted is None


def test_a_good_header_with_another_body_is_the_servers_fault():
    table = Table()
    seat, source = behind(table)
    first, second, third = final_blocks(table)
    swapped = FinalBlock(replace(first.block, transactions=second.block.transactions), first.certificate)
    table.hand(source, table.keys[3], Blocks((swapped, second, third)))
    assert seat.replica.chain.height == 0
    assert [each.sender for each in seat.all(Refused)] == [source.org]
    assert seat.replica.halted is None


def test_blocks_nobody_asked_for_change_nothing():
    table = Table()
    for _ in range(2):
        pay(table, table.keys[1])
    away = table.keys[3]
    seat = table.sit(away)
    table._letters.clear()
    table.hand(table.keys[0], away, Blocks(final_blocks(table)))
    assert seat.replica.chain.height == 0


def test_a_certified_block_that_is_invalid_here_stops_the_replica_for_good():
    # Simplex rule 12: more than f members lie, or this program is wrong. Going on would hide it.
    table = Table()
    seat, source = behind(table)
    first, *_ = final_blocks(table)
    bad = replace(first.block, header=replace(first.block.header, state_root=bytes(32)))
    subject = replace(first.certificate.subject, block=bad.id)
    certificate = certify([cast(key, table.genesis.chain_id, subject) for key in table.keys[:3]])
    table.hand(source, table.keys[3], Blocks((FinalBlock(bad, certificate),)))
    (halt,) = seat.all(Halt)
    assert "height 1 is certified and invalid here: state root" in halt.reason
    assert seat.replica.halted == halt.reason
    # Nothing leaves a halted replica any more.
    said = len(seat.did)
    table.hand(source, table.keys[3], Decided(first))
    table.ring(STATUS_TIMER, [table.keys[3]])
    table.ring(VIEW_TIMER, [table.keys[3]])
    assert not [each for each in seat.did[said:] if hasattr(each, "message") or isinstance(each, Persist)]
    assert seat.replica.chain.height == 0


def test_words_about_the_next_height_are_kept_until_this_one_is_final():
    table = Table()
    slow = table.keys[3]
    seat = table.seat(slow)
    pay(table, table.keys[1])
    seat.deaf = True
    pay(table, table.keys[1])
    missed = final_blocks(table)[1]
    before = len(table.seat(table.keys[1]).did)
    pay(table, table.keys[1])
    seat.deaf = False
    # All that was said of height 3 comes before height 2 is known.
    for key in table.keys[:3]:
        for vote in table.seat(key).sent(VoteMessage):
            if vote.vote.subject.height == 3:
                table.hand(key, slow, vote)
    assert seat.replica.chain.height == 1
    table.hand(table.keys[0], slow, Decided(missed))
    assert seat.replica.chain.height == 2
    assert len(seat.replica._early) == 0
    assert before < len(table.seat(table.keys[1]).did)
    # The votes count: only the block is missing, and it is asked for.
    assert seat.sent(BodyRequest)


def test_early_words_are_bounded():
    table = Table()
    liar, victim = table.keys[:2]
    chain = table.seat(victim).replica.chain
    for number in range(EARLY_PER_SENDER_MAX + 50):
        block = digest("test", number.to_bytes(4, "big"))
        subject = Subject(2, chain.committee().hash, 0, VoteKind.NOTARIZE, block)
        table.hand(liar, victim, VoteMessage(cast(liar, table.genesis.chain_id, subject)))
    assert len(table.seat(victim).replica._early) == EARLY_PER_SENDER_MAX


def test_who_speaks_of_a_height_long_final_is_told_where_we_are():
    table = Table()
    for _ in range(3):
        pay(table, table.keys[1])
    old = final_blocks(table)[0].certificate.subject
    vote = VoteMessage(cast(table.keys[0], table.genesis.chain_id, old))
    effects = table.hand(table.keys[0], table.keys[1], vote)
    assert [effect.message.height for effect in effects if hasattr(effect, "message")] == [3]  # type: ignore[union-attr]


# --- duties


def dead_leader(table: Table) -> KeyPair:
    """The leader hears and says nothing for one height, and is skipped."""
    dead = table.leader
    seat = table.seat(dead)
    seat.deaf = seat.mute = True
    others = [key for key in table.keys if key is not dead]
    pay(table, others[0])
    table.ring(VIEW_TIMER, others, after_ms=2_000)
    assert table.seat(others[0]).replica.chain.height == 1
    seat.deaf = seat.mute = False
    return dead


def test_a_skipped_leader_catches_up_first_and_then_reports_for_duty():
    table = Table()
    dead = dead_leader(table)
    seat = table.seat(dead)
    election = table.seat(table.keys[0] if table.keys[0] is not dead else table.keys[1]).replica.chain.read(
        Election, ELECTION
    )
    assert election is not None
    assert election.skipped == (dead.org,)
    table.ring(STATUS_TIMER, after_ms=2_000)
    table.ring(STATUS_TIMER, after_ms=2_000)
    assert bodies(seat, ReportForDuty)
    after = seat.replica.chain.read(Election, ELECTION)
    assert after is not None
    assert after.skipped == ()
    assert len(set(table.heights())) == 1


def test_a_lost_nonce_is_let_go_at_the_second_look_so_that_later_ones_run():
    # The node was restarted and forgot what it had said first; its peers still hold what it said after that.
    table = Table()
    alice, bob, *_ = table.keys
    orphan = sign_transaction(alice, table.genesis.chain_id, 1, Transfer(bob.org, 7, ""))
    for key in table.keys:
        sender = bob if key is not bob else alice
        table.hand(sender, key, Transactions((orphan,)))
    table.ring(STATUS_TIMER, after_ms=2_000)
    assert not bodies(table.seat(alice), SkipNonce)
    assert table.heights() == [0] * 4
    table.ring(STATUS_TIMER, after_ms=2_000)
    (skip,) = bodies(table.seat(alice), SkipNonce)
    assert skip.nonce == 0
    assert table.seat(bob).replica.chain.find_transaction(orphan.id) is not None
    assert table.seat(alice).replica.chain.next_nonce(alice.org) == 2


def test_statements_that_only_repeat_a_mistake_are_let_go_together():
    # The first is lost; what follows it was taken unseen, and all but the last is refused once it can be tried.
    table = Table()
    alice, bob, *_ = table.keys
    account = table.seat(alice).replica.chain.read(Account, account_key(alice.org))
    assert account is not None
    everything, too_much = Transfer(bob.org, account.balance, ""), Transfer(bob.org, 1, "")
    said = [everything, *[too_much] * 6, SkipNonce()]
    orphans = [sign_transaction(alice, table.genesis.chain_id, nonce, body) for nonce, body in enumerate(said, start=1)]
    for key in table.keys:
        sender = bob if key is not bob else alice
        table.hand(sender, key, Transactions(tuple(orphans)))
    table.ring(STATUS_TIMER, after_ms=2_000)
    table.ring(STATUS_TIMER, after_ms=2_000)
    assert table.seat(bob).replica.chain.find_transaction(orphans[0].id) is not None
    assert table.seat(bob).replica.chain.find_transaction(orphans[-1].id) is not None
    assert table.seat(alice).replica.chain.next_nonce(alice.org) == len(said) + 1


def test_a_duty_that_came_too_late_holds_up_nothing_that_was_said_after_it():
    table = Table()
    request = training(table)
    # Not one that would lead meanwhile: it would be skipped, and its report for duty would do.
    slow = next(key for key in table.keys if key.org == table.seat(table.leader).replica.chain.leaders()[-1])
    seat = table.seat(slow)
    # It attests and then pays; the three others are a quorum without it, and the round is over before it is heard.
    seat.mute = seat.deaf = True
    held = tuple(Attestation(key.org, digest("test/update", key.org), Verdict.HELD) for key in table.keys[1:])
    table.say(slow, AttestBlobs(request, 1, 0, held))
    pay(table, slow, 7)
    (late,) = bodies(seat, Transfer)[-1:]
    others = [key for key in table.keys if key is not slow]
    for key in others:
        table.say(key, AttestBlobs(request, 1, 0, held))
    while standing(table, request).round == 1:
        table.ring(VIEW_TIMER, others, after_ms=4_000)
    seat.mute = seat.deaf = False
    for _ in range(3):
        table.ring(STATUS_TIMER, after_ms=2_000)
        table.ring(VIEW_TIMER, after_ms=2_000)
    assert table.seat(others[0]).replica.chain.find_transaction(late.id) is not None
    assert seat.replica.chain.find_transaction(late.id) is not None


def test_a_member_that_votes_twice_is_reported_once_by_who_saw_it():
    table = Table()
    guilty, witness, *_ = table.keys
    chain = table.seat(witness).replica.chain
    seen = [
        Subject(1, chain.committee().hash, 0, VoteKind.NOTARIZE, digest("test", block)) for block in (b"one", b"other")
    ]
    for _ in range(2):
        for subject in seen:
            table.hand(guilty, witness, VoteMessage(cast(guilty, table.genesis.chain_id, subject)))
    table.deliver()
    assert len(bodies(table.seat(witness), ReportEquivocation)) == 1
    if table.leader is guilty and set(table.heights()) == {0}:
        table.ring(VIEW_TIMER, after_ms=2_000)
    punished = table.seat(witness).replica.chain.read(Standing, standing_key(guilty.org))
    assert punished is not None
    assert punished.reputation == 0


def test_what_was_dropped_for_good_is_told():
    table = Table()
    alice, bob, *_ = table.keys
    # Two machines of alice's say different things with the same nonce; one of them wins.
    one = sign_transaction(alice, table.genesis.chain_id, 0, Transfer(bob.org, BALANCE + 1, ""))
    table.hand(bob, table.keys[2], Transactions((one,)))
    pay(table, alice)
    for _ in range(9):
        pay(table, bob)
    assert [each.transaction for each in table.seat(table.keys[2]).all(Dropped)] == [one]


# --- after a lost disk


def another_block(table: Table, leader: KeyPair, seat: Seat) -> Proposal:
    """A second block of view 0 of the height in work, which only a liar proposes."""
    chain = seat.replica.chain
    trial = chain.trial(leader.public, table.now, ())
    transfer = Transfer(table.keys[0].org, 99, "")
    trial.apply(sign_transaction(leader, chain.chain_id, chain.next_nonce(leader.public), transfer))
    block = trial.block(0)
    subject = Subject(block.height, chain.committee().hash, 0, VoteKind.PROPOSE, block.id)
    return Proposal(subject, cast(leader, chain.chain_id, subject).signature, block, ())


def test_a_ledger_that_was_put_back_does_not_make_a_member_contradict_its_votes():
    table = Table()
    while min(table.heights()) < 3:
        pay(table, table.keys[1])
        table.ring(VIEW_TIMER, after_ms=2_000)
    leader = table.leader
    dave = next(key for key in table.keys if key is not leader)
    others = [key for key in table.keys if key is not leader and key is not dave]
    height = table.seat(dave).replica.chain.height
    finals = final_blocks(table)
    for key in others:
        table.seat(key).deaf = table.seat(key).mute = True
    before = len(table.seat(dave).did)
    pay(table, leader)
    said = [each for each in table.seat(dave).did[before:] if isinstance(each, Persist)]
    records = [record for each in said for record in each.records]
    assert {each.height for each in said} == {height + 1}
    old_vote = votes(table.seat(dave))[-1]
    # Its ledger is gone, its votes are not; and the leader of the height in work says something else now.
    for later, contradicts in (({height + 1: records}, False), ({}, True)):
        seat = table.seats[dave.org] = table.make(dave, first_vote=height + 1, later=later)
        table.take(dave.org, seat.replica.start(table.now))
        for final in finals:
            table.hand(leader, dave, Decided(final))
        assert seat.replica.chain.height == height
        table.hand(leader, dave, another_block(table, leader, seat))
        other = [each for each in votes(seat) if each.height == height + 1 and each.block != old_vote.block]
        assert bool(other) is contradicts


def test_a_member_signs_nothing_below_the_height_it_may_vote_from():
    table = Table()
    lost = table.keys[3]
    seat = table.sit(lost, first_vote=3)
    table.deliver()
    speaker = table.keys[1]
    while len(set(table.heights())) > 1 or table.seat(speaker).replica.chain.height < 2:
        before = table.heights()
        pay(table, speaker)
        if table.heights() == before:
            table.ring(VIEW_TIMER, after_ms=3_000)
        table.ring(STATUS_TIMER, after_ms=2_000)
    assert not votes(seat)
    for _ in range(4):
        pay(table, speaker)
    assert min(subject.height for subject in votes(seat)) >= 3
