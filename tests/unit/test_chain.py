"""The chain over a store: every field of a header is checked, a height is on disk whole or not at all."""

from dataclasses import replace
from typing import Any

import pytest

from ledger import execution
from ledger.blocks import Block, FinalBlock, nullified_root, transactions_root
from ledger.certificates import VoteKind
from ledger.chain import HEAD, LAYOUT_KEY, Chain
from ledger.codec import digest, encode
from ledger.entries import Account, Member, account_key, member_key
from ledger.errors import (
    CorruptStore,
    InvalidBlock,
    InvalidBytes,
    InvalidCertificate,
    InvalidTransaction,
    StoreOfAnotherVersion,
)
from ledger.memory_store import MemoryStore
from ledger.state import State
from ledger.store import WriteBatch
from ledger.transactions import PublishRequest, Setting, Transfer, sign_transaction
from ledger.types import AMOUNT_MAX, TIME_MAX, TRANSACTION_BYTES_MAX
from tests.support.league import BALANCE, League, anchored, genesis_of, terms


def transfer(league: League, amount: int = 5) -> Block:
    """A good block on the head with one transfer in it."""
    alice, bob, *_ = league.keys
    return league.build(league.sign([(alice, Transfer(bob.org, amount, ""))]), league.now + 1_000)


def refused(league: League, block: Block) -> str:
    """Why a member that did not build the block refuses it."""
    before = rows(league.store)
    with pytest.raises(InvalidBlock) as caught:
        league.reopened().check(block)
    assert rows(league.store) == before
    return str(caught.value)


def rows(store: Any) -> dict[bytes, bytes]:
    return dict(store.scan())


# --- headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 1),
        ("version", 4),
        ("chain_id", bytes(32)),
        ("height", 3),
        ("height", 1),
        ("parent", bytes(32)),
        ("committee", bytes(32)),
        ("transactions_root", bytes(32)),
        ("nullified_root", bytes(32)),
        ("state_root", bytes(32)),
        ("next_committee", bytes(32)),
    ],
)
def test_a_wrong_field_of_the_header_is_refused_by_its_name(name: str, value: object):
    league = League(4)
    league.commit()
    block = transfer(league)
    wrong = replace(block, header=replace(block.header, **{name: value}))  # type: ignore[arg-type]
    assert name.replace("_", " ") in refused(league, wrong).replace("_", " ")


def test_only_the_leader_of_the_view_is_the_author():
    league = League(4)
    block = transfer(league)
    other = replace(block, header=replace(block.header, author=league.chain.leaders()[1]))
    assert refused(league, other).startswith("author")


def test_time_is_above_the_parents_and_nothing_else_is_asked_of_it():
    league = League(4)
    league.commit()
    for time in (league.chain.head_time, league.chain.head_time - 1):
        block = league.build([], time)
        assert "want above the parent's" in refused(league, block)
    league.reopened().check(league.build([], league.chain.head_time + 1))
    league.reopened().check(league.build([], TIME_MAX))


def test_a_block_from_the_end_of_time_is_refused_before_its_deadlines_overflow():
    # Whoever leads may write any time; a deadline past what can be counted stopped every member that looked at it.
    league = League(4)
    alice, *_ = league.keys
    trial = league.trial(AMOUNT_MAX)
    with pytest.raises(InvalidTransaction, match="deadline"):
        trial.apply(league.sign([(alice, PublishRequest(terms()))])[0])
    with pytest.raises(InvalidBytes):
        trial.block(0)
    block = transfer(league)
    with pytest.raises(InvalidBytes, match="time"):
        encode(replace(block, header=replace(block.header, time=TIME_MAX + 1)))


def test_failed_views_are_shown_one_by_one_by_certificates_of_this_height():
    league = League(4)
    good = league.build([], league.now + 1, failed_views=2)
    league.reopened().check(good)

    def with_views(*shown: Any) -> Block:
        header = replace(good.header, nullified_root=nullified_root(shown))
        return replace(good, header=header, nullified=tuple(shown))

    first, second = good.nullified
    assert "1 failed views shown, want 2" in refused(league, with_views(first))
    assert "failed view 0" in refused(league, with_views(second, first))
    assert "failed view 1" in refused(league, with_views(first, first))
    finalized = league.vote(VoteKind.FINALIZE, 1, digest("test", b"block"))
    assert "failed view 1" in refused(league, with_views(first, finalized))
    forged = replace(second, signatures=(replace(second.signatures[0], signature=bytes(64)), *second.signatures[1:]))
    assert "failed view 1" in refused(league, with_views(first, forged))


# --- transactions in blocks


def with_transactions(block: Block, *transactions: Any) -> Block:
    header = replace(block.header, transactions_root=transactions_root(transactions))
    return replace(block, header=header, transactions=transactions)


def test_a_forged_signature_makes_the_block_invalid():
    league = League(4)
    block = transfer(league)
    forged = replace(block.transactions[0], signature=bytes(64))
    assert "transaction 0: signature" in refused(league, with_transactions(block, forged))


def test_a_transaction_for_another_league_makes_the_block_invalid():
    league = League(4)
    alice, bob, *_ = league.keys
    foreign = sign_transaction(alice, digest("test", b"other league"), 0, Transfer(bob.org, 5, ""))
    assert "signature" in refused(league, with_transactions(transfer(league), foreign))


def test_a_refused_transaction_makes_the_block_invalid_and_is_named():
    league = League(4)
    alice, bob, *_ = league.keys
    good, bad = league.sign([(alice, Transfer(bob.org, 5, "")), (alice, Transfer(bob.org, BALANCE, ""))])
    assert "transaction 1: balance" in refused(league, with_transactions(transfer(league), good, bad))


def test_the_same_tokens_are_not_spent_twice_in_one_block():
    league = League(4)
    alice, bob, carol, _ = league.keys
    with pytest.raises(InvalidTransaction, match="balance"):
        league.say((alice, Transfer(bob.org, BALANCE, "")), (alice, Transfer(carol.org, 1, "")))


def test_two_transfers_with_one_nonce_are_a_double_spend_and_only_one_is_made():
    league = League(4)
    alice, bob, carol, _ = league.keys
    one = sign_transaction(alice, league.chain.chain_id, 0, Transfer(bob.org, BALANCE, ""))
    other = sign_transaction(alice, league.chain.chain_id, 0, Transfer(carol.org, BALANCE, ""))
    assert "nonce 0, want 1" in refused(league, with_transactions(transfer(league), one, other))
    league.commit([one])
    with pytest.raises(InvalidTransaction, match="nonce 0, want 1"):
        league.commit([other])
    assert (league.balance(alice), league.balance(bob), league.balance(carol)) == (0, 2 * BALANCE, BALANCE)


def test_a_replayed_transaction_runs_once():
    league = League(4)
    alice, bob, *_ = league.keys
    (paid,) = league.sign([(alice, Transfer(bob.org, 5, ""))])
    assert "nonce" in refused(league, with_transactions(transfer(league), paid, paid))
    league.commit([paid])
    with pytest.raises(InvalidTransaction, match="nonce"):
        league.commit([paid])


def test_a_transaction_that_is_too_long_is_invalid_in_a_block_too():
    league = League(4)
    full = tuple(Setting(f"{at:064}", "x" * 256) for at in range(32))
    settings = ("model_arguments", "strategy_settings", "training_settings", "privacy_settings")
    long = PublishRequest(terms(**dict.fromkeys(settings, full)))
    (published,) = league.sign([(league.keys[0], long)])
    assert len(published.encoded) > TRANSACTION_BYTES_MAX
    with pytest.raises(InvalidTransaction, match="bytes, at most"):
        league.commit([published])


def test_a_transaction_that_would_outgrow_an_entry_is_refused_alone(monkeypatch: pytest.MonkeyPatch):
    # No rule is known to allow it; one that did must not keep every leader from making a block.
    league = League(4)
    alice, bob, carol, _ = league.keys

    def deposit_too_much(state: State, org: bytes, amount: int) -> None:
        if amount == 13:
            state.put(account_key(org), Account(AMOUNT_MAX + 1, 0))

    monkeypatch.setattr(execution, "deposit", deposit_too_much)
    assert league.refusal(alice, Transfer(bob.org, 13, "")) == "state"
    trial = league.chain.trial(league.chain.key_of(league.keys[0].org) or carol.public, league.now + 1_000)
    good, poison = league.sign([(carol, Transfer(bob.org, 5, "")), (alice, Transfer(bob.org, 13, ""))])
    assert [transaction for transaction, _ in trial.apply_all([good, poison])] == [poison]
    trial.outcome()


def test_a_nonce_is_not_skipped():
    league = League(4)
    alice, bob, *_ = league.keys
    early = sign_transaction(alice, league.chain.chain_id, 1, Transfer(bob.org, 5, ""))
    with pytest.raises(InvalidTransaction, match="nonce 1, want 0"):
        league.commit([early])


def test_a_good_header_does_not_vouch_for_another_body():
    # The id covers the header only. What was checked once must not let another body pass, nor reach the disk.
    league = League(4)
    block = transfer(league)
    league.chain.check(block)
    other = league.sign([(league.keys[2], Transfer(league.keys[0].org, 9, ""))])
    swapped = replace(block, transactions=tuple(other))
    assert swapped.id == block.id
    with pytest.raises(InvalidBlock, match="transactions_root"):
        league.chain.check(swapped)
    with pytest.raises(InvalidBlock, match="transactions_root"):
        league.chain.append(league.certified(swapped))
    assert league.chain.height == 0
    league.chain.append(league.certified(block))
    stored = league.reopened().final_block(1)
    assert stored is not None
    assert stored.block == block


# --- append


class Counting(MemoryStore):
    """Counts batches; `fails` makes the next write fail as a full disk does, with nothing written."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[bool] = []
        self.fails = False

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        if self.fails:
            raise OSError("no space left on device")
        self.batches.append(sync)
        super().write(batch, sync)


def test_a_block_with_all_that_it_does_is_one_synced_batch():
    store = Counting()
    league = League(4, store=store)
    assert store.batches == [True], "the founding is one batch too"
    league.say((league.keys[0], Transfer(league.keys[1].org, 5, "")), (league.keys[2], anchored(1)))
    assert store.batches == [True, True]


def test_what_was_appended_is_there_after_a_restart_to_the_last_byte():
    league = League(4)
    for number in range(6):
        league.say((league.keys[number % 4], Transfer(league.keys[0].org, 1 + number, "")))
        again = league.reopened()
        assert (again.height, again.head_id, again.head_time) == (number + 1, league.chain.head_id, league.now)
        assert again.state_root == league.chain.state_root
        assert again.committee() == league.chain.committee()
        assert again.leaders() == league.chain.leaders()
        assert again.head == league.chain.head


def test_a_write_that_fails_leaves_the_height_before_and_can_be_made_again():
    store = Counting()
    league = League(4, store=store)
    league.commit()
    final = league.certified(transfer(league))
    before = rows(store)
    store.fails = True
    with pytest.raises(OSError, match="no space"):
        league.chain.append(final)
    assert rows(store) == before
    assert (league.chain.height, league.reopened().height) == (1, 1)
    store.fails = False
    league.chain.append(final)
    assert league.reopened().head_id == final.block.id


def test_two_chains_that_get_the_same_blocks_hold_the_same_rows():
    league = League(4)
    follower_store = MemoryStore()
    follower = Chain(follower_store, league.genesis)
    for _ in range(9):
        final = league.say((league.keys[0], Transfer(league.keys[1].org, 5, "")))
        follower.append(final)
    assert rows(follower_store) == rows(league.store)


def test_catch_up_believes_no_block_without_its_certificate():
    league = League(4)
    block = transfer(league)
    good = league.certified(block)
    follower = Chain(MemoryStore(), league.genesis)

    def wrong(final: FinalBlock) -> None:
        with pytest.raises(InvalidCertificate):
            follower.append(final)
        assert follower.height == 0

    wrong(league.certified(block, votes=2))
    wrong(FinalBlock(block, league.vote(VoteKind.NOTARIZE, 0, block.id)))
    wrong(FinalBlock(block, league.vote(VoteKind.FINALIZE, 0, digest("test", b"other"))))
    first = good.certificate.signatures[0]
    forged = replace(
        good.certificate, signatures=(replace(first, signature=bytes(64)), *good.certificate.signatures[1:])
    )
    wrong(FinalBlock(block, forged))
    follower.append(good)
    assert follower.height == 1


def test_a_certificate_of_another_view_makes_the_same_block_final():
    # A block born in view 0 may be finalized when it was proposed again in view 3.
    league = League(4)
    block = transfer(league)
    follower = Chain(MemoryStore(), league.genesis)
    follower.append(FinalBlock(block, league.vote(VoteKind.FINALIZE, 3, block.id)))
    assert follower.head_id == block.id


def test_heights_are_appended_one_by_one():
    league = League(4)
    first = league.commit()
    league.commit()
    with pytest.raises(InvalidBlock, match="height 1, want 3"):
        league.chain.append(first)


def test_a_quorum_that_signs_an_invalid_block_is_not_followed():
    league = League(4)
    block = transfer(league)
    invalid = replace(block, header=replace(block.header, state_root=bytes(32)))
    with pytest.raises(InvalidBlock, match="state root"):
        Chain(MemoryStore(), league.genesis).append(league.certified(invalid))


# --- opening


@pytest.mark.parametrize("layout", [None, (1).to_bytes(8, "big")])
def test_a_store_that_another_version_wrote_is_said_to_be_that_and_left_alone(layout: bytes | None):
    league = League(4)
    league.commit()
    league.store.write(WriteBatch({LAYOUT_KEY: layout}))
    before = rows(league.store)
    with pytest.raises(StoreOfAnotherVersion, match="start the version that wrote it"):
        league.reopened()
    assert rows(league.store) == before


def test_a_store_of_another_league_is_not_opened():
    league = League(4)
    with pytest.raises(CorruptStore, match="holds chain"):
        Chain(league.store, genesis_of(league.keys, balance=7))


@pytest.mark.parametrize("key", [HEAD, b"B" + (1).to_bytes(8, "big"), b"C" + (1).to_bytes(8, "big"), b"Selection"])
def test_a_damaged_row_stops_the_daemon_and_names_what_is_damaged(key: bytes):
    league = League(4)
    league.commit()
    league.store.write(WriteBatch({key: b"\xc1"}))

    def read_everything() -> None:
        chain = league.reopened()
        chain.final_block(1)
        chain.committee_at(1)

    with pytest.raises(CorruptStore, match="damaged"):
        read_everything()


# --- looking things up


def test_blocks_and_transactions_are_found_by_their_ids():
    league = League(4)
    alice, bob, *_ = league.keys
    league.commit()
    final = league.say((alice, anchored(1)), (bob, anchored(1)))
    assert league.chain.height_of(final.block.id) == 2
    assert league.chain.find_transaction(final.block.transactions[1].id) == (2, 1)
    assert league.chain.height_of(bytes(32)) is None
    assert league.chain.find_transaction(bytes(32)) is None
    for outside in (0, 3, -1):
        assert league.chain.final_block(outside) is None
        assert league.chain.header(outside) is None
        assert league.chain.final_header(outside) is None


def test_every_height_knows_who_was_entitled_to_vote_on_it():
    league = League(4)
    for _ in range(6):
        league.commit()
    for height in range(1, 7):
        found = league.chain.final_header(height)
        assert found is not None
        assert found.committee.hash == found.header.committee == found.certificate.subject.committee
        following = league.chain.committee_at(height + 1)
        assert following is not None
        assert following.hash == found.header.next_committee
    assert league.chain.committee_at(8) is None
    assert league.chain.committee_at(-1) is None


def test_members_are_listed_by_key():
    league = League(4)
    listed = [org for org, _ in league.chain.members()]
    assert listed == [key.org for key in league.keys]
    assert league.chain.read(Member, member_key(listed[0])) is not None
