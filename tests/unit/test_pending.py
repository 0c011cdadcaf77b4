"""The pool of transactions: who gets in, in which order they leave, and that nobody pushes out others."""

import random

from consensus.pending import Admission, PendingTransactions
from ledger.keys import KeyPair
from ledger.transactions import Transaction, Transfer
from ledger.types import OrgId

ALICE, BOB, CAROL = (KeyPair.from_seed(bytes([number]) * 32).org for number in (1, 2, 3))


def transfer(sender: OrgId, nonce: int, memo: str = "") -> Transaction:
    """Unsigned: who adds to the pool has checked that."""
    return Transaction(sender, nonce, Transfer(BOB, 1, memo), bytes(64))


def fill(pool: PendingTransactions, sender: OrgId, nonces: range) -> list[Admission]:
    return [pool.add(transfer(sender, nonce), 0) for nonce in nonces]


def test_a_transaction_is_admitted_once_and_the_first_of_a_nonce_stays() -> None:
    pool = PendingTransactions(gap_max=2)
    assert pool.add(transfer(ALICE, 0), 0) is Admission.ADDED
    assert pool.add(transfer(ALICE, 0), 0) is Admission.KNOWN
    assert pool.add(transfer(ALICE, 0, "other"), 0) is Admission.NONCE_TAKEN
    assert pool.add(transfer(BOB, 4), 5) is Admission.STALE
    assert pool.add(transfer(ALICE, 3), 0) is Admission.ADDED
    assert pool.add(transfer(ALICE, 4), 0) is Admission.GAP_TOO_WIDE
    assert pool.next_nonce(ALICE, 0) == 1
    assert len(pool) == 2


def test_only_what_can_run_leaves_in_nonce_order_and_senders_take_turns() -> None:
    pool = PendingTransactions()
    for sender, nonce in [(BOB, 1), (ALICE, 1), (ALICE, 0), (CAROL, 1), (BOB, 0), (ALICE, 2)]:
        pool.add(transfer(sender, nonce), 0)
    order = [(each.sender, each.nonce) for each in pool.ready(lambda sender: 0, 10**6, 100)]
    assert order == [(ALICE, 0), (BOB, 0), (ALICE, 1), (BOB, 1), (ALICE, 2)], "carol's nonce 0 is missing"
    assert [each.nonce for each in pool.ready(lambda sender: 1, 10**6, 3)] == [1, 1, 1]
    one = len(transfer(ALICE, 0).encoded)
    assert len(pool.ready(lambda sender: 0, 2 * one, 100)) == 2


def test_some_senders_may_have_the_first_turn() -> None:
    pool = PendingTransactions()
    for sender, nonce in [(ALICE, 0), (ALICE, 1), (BOB, 0), (CAROL, 0), (CAROL, 1)]:
        pool.add(transfer(sender, nonce), 0)
    order = [(each.sender, each.nonce) for each in pool.ready(lambda sender: 0, 10**6, 100, first={CAROL})]
    assert order == [(CAROL, 0), (ALICE, 0), (BOB, 0), (CAROL, 1), (ALICE, 1)]


def test_a_long_transaction_ends_its_senders_turn_only() -> None:
    pool = PendingTransactions()
    pool.add(transfer(ALICE, 0, "x" * 200), 0)
    pool.add(transfer(BOB, 0), 0)
    room = len(transfer(BOB, 0).encoded)
    assert [each.sender for each in pool.ready(lambda sender: 0, room, 10)] == [BOB]


def test_a_final_block_takes_its_transactions_and_all_that_its_nonces_make_stale() -> None:
    pool = PendingTransactions()
    fill(pool, ALICE, range(4))
    pool.remove_final([transfer(ALICE, 2, "a rival with the same nonce")])
    assert [each.nonce for each in pool] == [3]
    pool.drop(transfer(ALICE, 3).id)
    pool.drop(transfer(ALICE, 3).id)
    assert len(pool) == 0
    assert pool.bytes == 0


def test_a_full_pool_gives_room_to_the_small_and_never_a_lower_nonce_for_a_higher() -> None:
    pool = PendingTransactions(count_max=6)
    assert set(fill(pool, ALICE, range(6))) == {Admission.ADDED}
    assert pool.add(transfer(ALICE, 6), 0) is Admission.FULL
    assert pool.add(transfer(BOB, 0), 0) is Admission.ADDED
    assert pool.get(transfer(ALICE, 5).id) is None, "the largest sender's highest nonce made room"
    fill(pool, BOB, range(1, 6))
    shares = [sum(each.sender == sender for each in pool) for sender in (ALICE, BOB)]
    assert shares == [3, 3], "equal shares, and no more"


def test_one_sender_has_a_limit_and_may_still_close_its_gap() -> None:
    pool = PendingTransactions(sender_count_max=3)
    fill(pool, ALICE, range(1, 4))
    assert pool.add(transfer(ALICE, 4), 0) is Admission.SENDER_FULL
    assert pool.add(transfer(ALICE, 0), 0) is Admission.ADDED
    assert [each.nonce for each in pool] == [0, 1, 2]


def test_whatever_comes_the_bounds_hold_and_the_index_agrees() -> None:
    rng = random.Random(7)
    one = len(transfer(ALICE, 0).encoded)
    pool = PendingTransactions(count_max=20, bytes_max=15 * (one + 40), sender_count_max=9, gap_max=5)
    nonces = {ALICE: 0, BOB: 0, CAROL: 0}
    for _ in range(3000):
        sender = rng.choice(list(nonces))
        match rng.randrange(10):
            case 0:
                chosen = pool.ready(nonces.__getitem__, 10**6, rng.randrange(8))
                pool.remove_final(chosen)
                for each in chosen:
                    assert each.nonce == nonces[OrgId(each.sender)], "a gap or a repetition"
                    nonces[OrgId(each.sender)] += 1
            case 1 if len(pool):
                pool.drop(rng.choice(list(pool)).id)
            case _:
                pool.add(transfer(sender, nonces[sender] + rng.randrange(12), "m" * rng.randrange(80)), nonces[sender])
        held = list(pool)
        assert len(pool) == len(held) <= 20
        assert pool.bytes == sum(len(each.encoded) for each in held) <= 15 * (one + 40)
        assert all(pool.get(each.id) is each for each in held)
        assert max(sum(each.sender == org for each in held) for org in nonces) <= 9


def test_a_block_takes_so_many_of_one_sender_however_many_wait() -> None:
    pool = PendingTransactions()
    fill(pool, ALICE, range(42))
    fill(pool, BOB, range(1))
    fill(pool, CAROL, range(1))
    chosen = pool.ready(lambda sender: 0, 10**9, 10**6, 32, {CAROL})
    assert [each.nonce for each in chosen if each.sender == ALICE] == list(range(32))
    assert sum(each.sender == BOB for each in chosen) == 1
    assert not any(each.sender == CAROL for each in chosen), "she rests"


def test_the_next_nonce_is_what_a_walk_from_the_ledgers_nonce_finds() -> None:
    """It is remembered, for a walk at every newcomer would cost a burst its square: it must never be out of date."""
    chance = random.Random(11)
    for _ in range(50):
        pool, here = PendingTransactions(gap_max=20), set()
        for _ in range(120):
            nonce = chance.randrange(24)
            if chance.random() < 0.6:
                if pool.add(transfer(ALICE, nonce), 0) is Admission.ADDED:
                    here.add(nonce)
            elif nonce in here:
                pool.drop(transfer(ALICE, nonce).id)
                here.discard(nonce)
            first = chance.randrange(24)
            walked = first
            while walked in here:
                walked += 1
            assert pool.next_nonce(ALICE, first) == walked
