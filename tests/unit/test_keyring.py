"""Whose key is whose: an identity for life, node keys that come and go, and nobody signs for anybody else."""

from dataclasses import replace

import pytest

from ledger.certificates import VoteKind
from ledger.errors import InvalidCertificate
from ledger.keyring import ROTATION_EVERY_MS, ROTATIONS_AT_ONCE_MAX
from ledger.league_entries import KeyOwner, key_owner_key
from ledger.statements import LeaveLeague, RegisterMember, RotateKey, prove_key
from ledger.transactions import SkipNonce, Transfer, sign_transaction
from tests.support.league import League, anchored, key_of
from tests.support.members import Factory, approve, election, factory, let_in, member, standing


def owner(league: League, key: bytes) -> KeyOwner | None:
    return league.chain.read(KeyOwner, key_owner_key(key))


def founder(league: League, at: int = 0) -> Factory:
    """A founder with one key: identity and node key are the same."""
    return Factory(f"factory {at}", league.keys[at], league.keys[at])


def test_an_organisation_is_its_identity_and_signs_with_the_key_of_its_node():
    league = League(4)
    eve = let_in(league, factory("eve"))
    assert eve.org != eve.node.public
    assert league.chain.org_of(eve.node.public) == league.chain.org_of(eve.org) == eve.org
    assert league.chain.key_of(eve.org) == eve.node.public
    league.say((league.keys[0], Transfer(eve.org, 9, "")), (eve.node, anchored(1)))
    assert league.say((eve.node, Transfer(league.keys[0].org, 9, ""))).block.transactions[0].sender == eve.node.public


def test_an_identity_kept_apart_rotates_and_leaves_and_says_nothing_else():
    league = League(4)
    eve = let_in(league, factory("eve"))
    for body in (anchored(1), SkipNonce(), Transfer(league.keys[0].org, 1, "")):
        assert league.refusal(eve.identity, body) == "key"
    assert league.refusal(eve.identity, eve.rotation(league, key_of("next"))) == "accepted"
    assert league.refusal(eve.identity, LeaveLeague(eve.org)) == "accepted"
    assert league.refusal(eve.node, LeaveLeague(eve.org)) == "accepted"


def test_a_thief_of_the_nodes_key_does_not_lock_the_owner_out():
    league = League(4)
    eve = let_in(league, factory("eve"))
    assert league.refusal(eve.node, eve.rotation(league, key_of("thief"))) == "key"


def test_both_keys_share_one_count_of_nonces():
    league = League(4)
    eve = let_in(league, factory("eve"))
    nonce = league.chain.next_nonce(eve.node.public)
    assert nonce == league.chain.next_nonce(eve.org) == 1, "the registration was the first"
    league.say((eve.node, anchored(1)))
    chain_id = league.chain.chain_id
    late = sign_transaction(eve.identity, chain_id, nonce, eve.rotation(league, key_of("next")))
    [(_, error)] = league.trial().apply_all([late])
    assert error.code == "nonce"
    assert league.chain.next_nonce(eve.org) == 2


def test_a_rotated_key_signs_and_votes_from_the_next_height_on_and_the_old_one_nothing():
    league = League(4)
    alice = founder(league)
    before = league.chain.committee()
    assert alice.node.public in before.members
    final = None
    new = key_of("new node of alice")
    league.keys.append(new)
    final = league.say((alice.identity, alice.rotation(league, new)))
    assert final.certificate.subject.committee == before.hash, "the block itself is signed by those who sat before it"
    after = league.chain.committee()
    assert set(after.members) - set(before.members) == {new.public}
    assert set(before.members) - set(after.members) == {alice.node.public}
    assert list(after.members) == sorted(after.members)
    assert final.block.header.next_committee == after.hash
    assert league.refusal(alice.node, anchored(1)) == "key"
    assert league.refusal(new, anchored(1)) == "accepted"
    with pytest.raises(InvalidCertificate, match="no seat"):
        league.chain.append(
            replace(
                league.certified(league.build([], league.now + 1)),
                certificate=league.vote_of([alice.node, *league.keys[1:4]], VoteKind.FINALIZE),
            )
        )
    # It still leads in its turn, under the new key.
    authors = [league.commit().block.header.author for _ in range(4)]
    assert new.public in authors
    assert alice.node.public not in authors


def test_a_rotation_in_the_authors_own_block_and_at_the_end_of_an_epoch_keeps_the_seat():
    league = League(4)
    while league.chain.height % 4 != 3:
        league.commit()
    author = league.key(league.chain.leaders()[0])
    new = key_of("last minute")
    league.keys.append(new)
    epoch = election(league).epoch
    league.say((author, RotateKey(new.public, prove_key(new, league.chain.chain_id, author.org))))
    assert election(league).epoch == epoch + 1
    assert new.public in league.chain.committee().members
    assert standing(league, author.org).last_led == league.chain.height


def test_a_single_key_stays_the_identity_when_the_node_gets_one_of_its_own():
    league = League(4)
    alice = founder(league)
    alice.rotate(league)
    assert league.refusal(alice.identity, anchored(1)) == "key"
    assert league.refusal(alice.node, anchored(1)) == "accepted"
    alice.rotate(league, 2)
    assert member(league, alice.org).key == alice.node.public


def test_a_key_that_was_ever_anybodys_is_nobodys_again():
    league = League(4)
    alice, eve = founder(league), let_in(league, factory("eve"))
    first = eve.rotate(league)
    for taken, whose in (
        (first, eve),  # its own, given up: its journal is gone
        (first, alice),
        (eve.node, alice),
        (eve.identity, alice),
        (league.keys[1], alice),
    ):
        assert league.refusal(whose.identity, whose.rotation(league, taken)) == "key"
    grace = factory("grace")
    for taken in (first, eve.node, eve.identity, league.keys[2]):
        assert league.refusal(grace.identity, Factory("g", grace.identity, taken).registration(league)) == "key"
    assert league.refusal(eve.node, RegisterMember("second self", ())) == "key", "a node key is no identity"


def test_candidates_do_not_share_keys_and_nobody_takes_theirs():
    league = League(4)
    eve, grace = factory("eve"), factory("grace")
    league.say((eve.identity, eve.registration(league)))
    for taken in (eve.node, eve.identity):
        assert league.refusal(grace.identity, Factory("g", grace.identity, taken).registration(league)) == "key"
    alice = founder(league)
    assert league.refusal(alice.identity, alice.rotation(league, eve.node)) == "key"
    assert league.refusal(eve.node, RegisterMember("second self", ())) == "key"


def test_nobody_claims_a_key_that_does_not_agree():
    league = League(4)
    eve, alice = factory("eve"), founder(league)
    stolen = key_of("somebody else's node")
    proof = prove_key(eve.node, league.chain.chain_id, eve.org)
    for key, shown in ((stolen.public, proof), (eve.node.public, b""), (eve.node.public, bytes(64))):
        assert league.refusal(eve.identity, RegisterMember("eve", (), key, shown)) == "proof"
        assert league.refusal(alice.identity, RotateKey(key, shown)) == "proof"
    # A proof for one organisation is none for another, nor on another chain.
    assert league.refusal(alice.identity, RotateKey(eve.node.public, proof)) == "proof"
    elsewhere = prove_key(eve.node, League(5).chain.chain_id, eve.org)
    assert league.refusal(eve.identity, RegisterMember("eve", (), eve.node.public, elsewhere)) == "proof"


def test_one_key_is_said_in_one_way():
    league = League(4)
    eve = league.stranger("eve")
    assert league.refusal(eve, RegisterMember("eve", (), eve.public, b"")) == "key"
    assert league.refusal(eve, RegisterMember("eve", (), b"\x01" * 31, b"")) == "key"
    assert league.refusal(eve, RegisterMember("eve", (), b"", bytes(64))) == "proof"
    league.say((eve, RegisterMember("eve", ())))
    approve(league, eve.org)
    assert member(league, eve.org).key == eve.org


def test_rotations_are_few_at_once_and_then_one_a_week():
    league = League(4)
    alice = founder(league)
    for number in range(ROTATIONS_AT_ONCE_MAX):
        alice.rotate(league, number)
    following = alice.rotation(league, key_of("one more"))
    assert league.refusal(alice.identity, following) == "rotation"
    assert league.refusal(alice.identity, following, after_ms=ROTATION_EVERY_MS // 2) == "rotation"
    assert league.refusal(alice.identity, following, after_ms=ROTATION_EVERY_MS) == "accepted"


def test_the_owner_of_every_key_can_be_looked_up_for_ever():
    league = League(4)
    alice = founder(league)
    old = alice.rotate(league)
    at = league.chain.height
    assert owner(league, old.public) == KeyOwner(alice.org, 0, at)
    assert owner(league, alice.node.public) == KeyOwner(alice.org, at + 1, 0)
    assert league.chain.org_of(old.public) == alice.org
    assert league.chain.org_of(key_of("a stranger").public) is None
    assert league.chain.key_of(key_of("a stranger").org) is None


@pytest.mark.parametrize("members", [1, 2, 3])
def test_in_small_leagues_keys_are_rotated_too(members: int):
    league = League(members)
    for at in range(members):
        founder(league, at).rotate(league)
    assert len(league.chain.committee().members) == members
    assert not {key.public for key in league.keys[:members]} & set(league.chain.committee().members)
    league.commit()


def test_the_chain_is_opened_again_right_at_a_rotation():
    league = League(4)
    founder(league).rotate(league)
    again = league.reopened()
    assert again.committee() == league.chain.committee()
    assert again.leaders() == league.chain.leaders()
    again.check(league.build([], league.now + 1))
