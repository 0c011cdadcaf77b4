"""Proof bundles: an auditor with the genesis file alone accepts the true ones and refuses every damaged one."""

import json
import sqlite3
from dataclasses import replace

import pytest

from ledger.bundles import (
    DisputeBundle,
    bundle_from_json,
    bundle_to_json,
    sign_statement,
    verify_bundle,
)
from ledger.certificates import Equivocation, Subject, VoteKind, cast
from ledger.disputes import Finding
from ledger.errors import InvalidBytes
from ledger.genesis import genesis_from_json, genesis_to_json
from ledger.league_entries import key_owner_key
from ledger.light import NO_SKIPPING
from ledger.light_path import path_between
from ledger.statements import RotateKey, prove_key
from ledger.transactions import AnchorRecords, ReportEquivocation, Transfer
from node.anchoring import NotAnchored
from node.dispute_bundle import open_dispute, write_bundle
from node.proving import proven_entry
from tests.support.factory_records import filled_store
from tests.support.json_damage import damaged, leaves_of, put
from tests.support.sealed_chain import SealedChain, genesis_of, key_of

FOUNDERS = ("alice", "bob", "carol", "dave", "erin")
ALICE = key_of("alice")


def anchored(tmp_path, sealed):
    """Alice's store, its three periods on the ledger."""
    store, closed = filled_store(tmp_path / "records.sqlite")
    for each in closed:
        sealed.say("alice", AnchorRecords(each.period, each.record_count, each.root, each.begins, each.ends))
    sealed.seal()
    assert not sealed.refused
    return store


def jail(sealed, name):
    """Two votes that contradict each other: the next epoch seats somebody else."""
    key, chain = key_of(name), sealed.chain
    subjects = [
        Subject(chain.height, chain.committee().hash, 0, VoteKind.NOTARIZE, bytes([fill]) * 32) for fill in (1, 2)
    ]
    first, second = (cast(key, chain.chain_id, subject) for subject in subjects)
    sealed.say("alice", ReportEquivocation(Equivocation(first, second)))
    sealed.seal()


def idle(sealed, heights):
    for _ in range(heights):
        sealed.say("bob", Transfer(ALICE.org, 1, ""))
        sealed.seal()


@pytest.fixture
def sealed():
    return SealedChain(*FOUNDERS)


def change(tmp_path, statement):
    with sqlite3.connect(tmp_path / "records.sqlite") as other:
        assert other.execute(statement).rowcount >= 1


CHANGES = {
    Finding.RECORD_CHANGED: "UPDATE records SET reading = zeroblob(32) WHERE period = 2 AND place = 4",
    Finding.RECORD_MISSING: "DELETE FROM records WHERE period = 2 AND place = 4",
    Finding.RECORD_ADDED: "INSERT INTO records SELECT 2, 13, time, reading, label FROM records LIMIT 1",
}


@pytest.mark.parametrize("finding", CHANGES)
def test_a_changed_record_loses_the_dispute_offline(tmp_path, sealed, finding):
    store = anchored(tmp_path, sealed)
    change(tmp_path, CHANGES[finding])
    write_bundle(tmp_path / "bundle.json", open_dispute(sealed.chain, store, ALICE, 2).bundle)
    # From here on: two files, nothing else.
    genesis = genesis_from_json(genesis_to_json(genesis_of(*FOUNDERS)))
    check = verify_bundle(bundle_from_json((tmp_path / "bundle.json").read_text()), genesis)
    assert check.accepted, check.reasons
    assert check.finding is finding


def test_an_untouched_record_wins(tmp_path, sealed):
    store = anchored(tmp_path, sealed)
    for period, index in [(1, 0), (2, 7), (3, 12)]:
        dispute = open_dispute(sealed.chain, store, ALICE, period, index)
        assert verify_bundle(dispute.bundle, sealed.genesis).finding is Finding.UNTOUCHED
    change(tmp_path, CHANGES[Finding.RECORD_CHANGED])
    # Its neighbour was changed, this one was not.
    bundle = open_dispute(sealed.chain, store, ALICE, 2, 5).bundle
    check = verify_bundle(bundle, sealed.genesis)
    assert check.finding is Finding.UNTOUCHED


def test_a_period_whose_leaves_were_changed_too_is_condemned_whole(tmp_path, sealed):
    store = anchored(tmp_path, sealed)
    change(tmp_path, CHANGES[Finding.RECORD_CHANGED])
    change(tmp_path, "UPDATE leaves SET hashes = zeroblob(416) WHERE period = 2")
    check = verify_bundle(open_dispute(sealed.chain, store, ALICE, 2).bundle, sealed.genesis)
    assert check.finding is Finding.PERIOD_CHANGED


def test_what_was_never_anchored_cannot_be_disputed(tmp_path, sealed):
    store = anchored(tmp_path, sealed)
    with pytest.raises(NotAnchored):
        open_dispute(sealed.chain, store, ALICE, 9)
    with pytest.raises(NotAnchored):
        open_dispute(sealed.chain, store, key_of("bob"), 2)
    with pytest.raises(IndexError):
        open_dispute(sealed.chain, store, ALICE, 2, 13)


@pytest.fixture
def lived(tmp_path, sealed):
    """A bundle from a league whose committee has changed twice since genesis."""
    store = anchored(tmp_path, sealed)
    jail(sealed, "bob")
    idle(sealed, 5)
    jail(sealed, "carol")
    idle(sealed, 5)
    change(tmp_path, CHANGES[Finding.RECORD_CHANGED])
    return open_dispute(sealed.chain, store, ALICE, 2).bundle


def test_a_bundle_follows_the_committees_since_genesis(sealed, lived):
    assert verify_bundle(lived, sealed.genesis).accepted
    assert lived.path[-1].committee != sealed.genesis.committee
    one_by_one = replace(lived, path=path_between(sealed.chain, 0, sealed.chain.height, NO_SKIPPING))
    assert len(one_by_one.path) > 1
    assert verify_bundle(one_by_one, sealed.genesis, NO_SKIPPING).accepted
    for at in range(len(one_by_one.path)):
        without = replace(one_by_one, path=one_by_one.path[:at] + one_by_one.path[at + 1 :])
        assert not verify_bundle(without, sealed.genesis, NO_SKIPPING).accepted
    backwards = replace(one_by_one, path=one_by_one.path[::-1])
    assert not verify_bundle(backwards, sealed.genesis).accepted


def refused(text, genesis):
    try:
        bundle = bundle_from_json(text)
    except InvalidBytes:
        return True
    return not verify_bundle(bundle, genesis).accepted


def test_every_damaged_field_is_refused(sealed, lived):
    text = bundle_to_json(lived)
    assert bundle_from_json(text) == lived
    places = [(path, value) for path, value in leaves_of(json.loads(text)) if path not in (("format",), ("kind",))]
    assert {path[0] for path, _ in places} == {
        "path",
        "statement",
        "signature",
        "owner",
        "anchor",
        "inclusion",
    }
    for path, value in places:
        for other in damaged(value):
            plain = json.loads(text)
            put(plain, path, other)
            assert refused(json.dumps(plain), sealed.genesis), f"{path}: {value!r} became {other!r}"


def test_missing_and_unknown_fields_are_refused(sealed, lived):
    text = bundle_to_json(lived)

    def objects(plain, path=()):
        if isinstance(plain, dict):
            yield path
            for name, each in plain.items():
                yield from objects(each, (*path, name))

    for path in objects(json.loads(text)):
        names = json.loads(text)
        for step in path:
            names = names[step]
        for name in names:
            plain = json.loads(text)
            target = plain
            for step in path:
                target = target[step]
            del target[name]
            assert refused(json.dumps(plain), sealed.genesis), (path, name)
        plain = json.loads(text)
        put(plain, (*path, "extra"), 1)
        assert refused(json.dumps(plain), sealed.genesis), path


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": "hanse-proof-2", "kind": "dispute"}', "[" * 5000])
def test_what_is_no_bundle_is_refused(text):
    with pytest.raises(InvalidBytes):
        bundle_from_json(text)


def test_nobody_can_be_accused_with_bytes_of_anothers_making(tmp_path, sealed):
    """Mallory has a true inclusion proof of Alice's and any bytes she likes; she lacks Alice's word."""
    store = anchored(tmp_path, sealed)
    honest = open_dispute(sealed.chain, store, ALICE, 2, 4).bundle
    forged = replace(honest.statement, finding=Finding.RECORD_CHANGED, record=b"forged", found_root=bytes(32))
    for key in (key_of("bob"), key_of("mallory")):
        lie = replace(honest, statement=forged, signature=sign_statement(key, forged))
        assert not verify_bundle(lie, sealed.genesis).accepted


def test_the_key_that_a_node_signs_with_now_speaks_for_its_organisation(tmp_path, sealed):
    """Alice's old key, which may be in anybody's hands, does so no more; nor does any other member's."""
    store, new = anchored(tmp_path, sealed), key_of("alice's second key")
    before = open_dispute(sealed.chain, store, ALICE, 2, 4).bundle
    sealed.say("alice", RotateKey(new.public, prove_key(new, sealed.chain.chain_id, ALICE.org)))
    sealed.keys[new.public] = new
    sealed.seal()
    idle(sealed, 2)
    assert not sealed.refused
    bundle = open_dispute(sealed.chain, store, new, 2, 4).bundle
    assert (bundle.statement.org, bundle.statement.signer) == (ALICE.org, new.public)
    assert verify_bundle(bundle, sealed.genesis).finding is Finding.UNTOUCHED
    for key in (ALICE, key_of("bob")):
        statement = replace(bundle.statement, signer=key.public)
        owner = proven_entry(sealed.chain, key_owner_key(key.public))
        lie = replace(bundle, statement=statement, signature=sign_statement(key, statement), owner=owner)
        assert "is not the key of" in verify_bundle(lie, sealed.genesis).reasons[-1]
    # What was said under the old key while it was the key, and shown under a header of that time, stays said.
    assert verify_bundle(before, sealed.genesis).accepted


@pytest.mark.parametrize(
    "lie",
    [
        {"finding": Finding.RECORD_CHANGED},
        {"finding": Finding.RECORD_CHANGED, "found_root": bytes(32)},
        {"finding": Finding.RECORD_MISSING, "found_root": bytes(32)},
        {"finding": Finding.RECORD_ADDED, "found_root": bytes(32)},
        {"finding": Finding.PERIOD_CHANGED, "found_root": bytes(32)},
        {"record": b"other bytes"},
        {"record": b""},
        {"index": 5},
        {"period": 1},
        {"anchored_leaf": bytes(32)},
    ],
)
def test_the_owners_word_alone_does_not_make_a_finding(tmp_path, sealed, lie):
    store = anchored(tmp_path, sealed)
    honest = open_dispute(sealed.chain, store, ALICE, 2, 4).bundle
    statement = replace(honest.statement, **lie)
    bundle = replace(honest, statement=statement, signature=sign_statement(ALICE, statement))
    assert not verify_bundle(bundle, sealed.genesis).accepted


def test_another_leagues_genesis_refuses_the_bundle(lived):
    assert isinstance(lived, DisputeBundle)
    assert not verify_bundle(lived, genesis_of(*FOUNDERS[:4])).accepted
