"""What a holder of one header can be shown: members, balances, receipts, anchors, and that something is not there."""

from dataclasses import replace

import pytest

from ledger import merkle, state_tree
from ledger.codec import encode
from ledger.entries import Account, account_key, anchor_key, member_key, receipt_key
from ledger.keys import KeyPair
from ledger.state_tree import StateProof
from ledger.transactions import Transfer
from tests.support.league import League, key_of, terms


def told(league: League) -> bytes:
    """The state root in the newest header: all that a light client has."""
    head = league.chain.head
    assert head is not None
    return head.state_root


def busy_league() -> tuple[League, bytes, list[KeyPair]]:
    league = League(4)
    requester, *providers = league.keys
    league.anchor(providers)
    request = league.publish(requester, terms())
    league.join(request, providers)
    league.whole_round(request, providers)
    return league, request, providers


def shown(league: League, key: bytes, value: bytes | None) -> bool:
    return holds(told(league), key, value, league.chain.prove(key))


def holds(root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> bool:
    if value is None:
        return state_tree.verify_absent(root, key, proof)
    return state_tree.verify_present(root, key, value, proof)


def test_members_balances_anchors_and_receipts_are_proven_under_the_header():
    league, request, providers = busy_league()
    for key in (
        member_key(providers[0].org),
        account_key(providers[0].org),
        anchor_key(providers[1].org, 1),
        receipt_key(request, 1, 0),
    ):
        value = league.chain.value(key)
        assert value is not None
        assert shown(league, key, value)
        assert not shown(league, key, value + b"\x00")
        assert not shown(league, key, None)


def test_a_receipt_with_another_payment_is_not_the_one_on_the_ledger():
    league, request, _ = busy_league()
    receipt = league.receipt(request, 1)
    assert shown(league, receipt_key(request, 1, 0), encode(receipt))
    richer = replace(receipt, lines=(replace(receipt.lines[0], paid=10**6), *receipt.lines[1:]))
    assert not shown(league, receipt_key(request, 1, 0), encode(richer))


def test_that_something_is_not_on_the_ledger_is_proven_too():
    league, request, _ = busy_league()
    for absent in (member_key(key_of("eve").org), receipt_key(request, 2, 0), anchor_key(league.keys[0].org, 1)):
        assert league.chain.value(absent) is None
        assert shown(league, absent, None)
        assert not shown(league, absent, encode(Account(1, 1)))


def test_a_proof_is_good_for_its_height_only():
    league, _, providers = busy_league()
    key = account_key(providers[0].org)
    old_root, old_value, old_proof = told(league), league.chain.value(key), league.chain.prove(key)
    league.say((providers[0], Transfer(league.keys[0].org, 5, "")))
    assert holds(old_root, key, old_value, old_proof)
    assert not holds(told(league), key, old_value, old_proof)
    assert shown(league, key, league.chain.value(key))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_transaction_is_proven_to_be_in_its_block(at: int):
    league = League(4)
    final = league.say(*[(key, Transfer(league.keys[0].org, 5, "")) for key in league.keys[1:]])
    leaves = [merkle.leaf_hash(each.encoded) for each in final.block.transactions]
    proof = merkle.MerkleTree(leaves).inclusion_proof(at)
    root = final.block.header.transactions_root
    assert merkle.verify_inclusion(root, leaves[at], at, len(leaves), proof)
    assert not merkle.verify_inclusion(root, leaves[at - 1], at, len(leaves), proof)


def test_the_tree_and_the_flat_rows_say_the_same_after_many_blocks():
    league, _, _ = busy_league()
    flat = {key[1:]: value for key, value in league.store.scan(b"S")}
    assert state_tree.StateTree(state_tree.EMPTY_ROOT, lambda _: None).update(flat).root == told(league)
    # And nothing is left over of older trees: as many nodes as this tree alone needs.
    alone = state_tree.StateTree(state_tree.EMPTY_ROOT, lambda _: None).update(flat).new_nodes
    assert {key[1:] for key, _ in league.store.scan(b"N")} == set(alone)
