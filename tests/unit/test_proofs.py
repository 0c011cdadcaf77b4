"""Proofs of every kind, out of a league with a past: the true ones hold offline, no damaged one does."""

import json
from dataclasses import replace

import pytest

from ledger.certificates import Subject, VoteKind, cast, certify
from ledger.chain import Chain
from ledger.codec import digest, encode
from ledger.entries import (
    Account,
    Anchor,
    Fate,
    Receipt,
    account_key,
    anchor_key,
    member_key,
    receipt_key,
    request_key,
    standing_key,
)
from ledger.errors import InvalidBytes, InvalidProof
from ledger.genesis import genesis_from_json
from ledger.light import NO_SKIPPING, trust_genesis, trust_header
from ledger.proof_check import ProofCheck, check_proof
from ledger.proof_parts import FILE_BYTES_MAX, FORMAT
from ledger.proofs import KINDS, Proof, proof_from_json, proof_to_json
from ledger.state_tree import StateTree
from ledger.types import ZERO_HASH
from node.proof_blobs import BlobFiles
from node.proving import (
    NothingToProve,
    Reader,
    prove_aggregate,
    prove_entry,
    prove_headers,
    prove_record,
    prove_reward,
    prove_transaction,
    proven_entry,
)
from tests.support.json_damage import changed_shapes, changed_values
from tests.support.league import League
from tests.support.proven_league import RECORDS, VECTORS, ProvenLeague, proven_league, record_of

GENESIS = Reader()


@pytest.fixture(scope="module")
def lived() -> ProvenLeague:
    return proven_league()


@pytest.fixture
def blobs(lived, tmp_path):
    """The blobs of the league's rounds as files."""
    for name, content in lived.blobs.items():
        (tmp_path / name.hex()).write_bytes(content)
    return BlobFiles([tmp_path])


def made(lived: ProvenLeague, reader: Reader = GENESIS) -> dict[str, Proof]:
    """One proof of every kind but those that have files of tests of their own."""
    chain, owner = lived.league.chain, lived.owner
    paid = next(each.id for each in chain.final_block(chain.height).block.transactions)
    return {
        "headers": prove_headers(chain, reader),
        "balance": prove_entry(chain, reader, account_key(owner.org)),
        "absence": prove_entry(chain, reader, member_key(b"x" * 32)),
        "record": prove_record(chain, reader, owner.org, 1, 4, encode(record_of(1, 4)), lived.tree.inclusion_proof(4)),
        "transaction": prove_transaction(chain, reader, paid),
        "reward": prove_reward(chain, reader, lived.request, 1),
        "aggregate": prove_aggregate(chain, reader, lived.request, 1)[0],
    }


NAMES = ("headers", "balance", "absence", "record", "transaction", "reward", "aggregate")


def checked(lived: ProvenLeague, proof: Proof, blobs: BlobFiles | None = None) -> ProofCheck:
    return check_proof(proof, trust_genesis(lived.league.genesis), blobs and blobs.recompute)


def test_every_kind_has_a_proof_here():
    elsewhere = {"dispute", "protected-aggregate"}
    assert set(KINDS) == {"headers", "state", "record", "transaction", "reward", "aggregate", *elsewhere}


@pytest.mark.parametrize("name", NAMES)
def test_a_true_proof_holds_offline_across_changes_of_the_committee(lived, blobs, name):
    proof = made(lived)[name]
    again = proof_from_json(proof_to_json(proof))
    assert again == proof
    check = checked(lived, again, blobs)
    assert check.holds, check.refusal
    assert check.header.height == lived.league.chain.height
    assert check.header.committee != lived.league.genesis.committee.hash


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skip", [NO_SKIPPING, 100_000])
def test_a_trusted_header_is_as_good_as_the_genesis(lived, blobs, name, skip):
    chain = lived.league.chain
    for height in (1, chain.height // 2, chain.height):
        proof = made(lived, Reader(height, skip))[name]
        trusted = trust_header(chain.final_header(height))
        check = check_proof(proof_from_json(proof_to_json(proof)), trusted, blobs.recompute, skip)
        assert check.holds, check.refusal


def test_what_is_earlier_than_the_trusted_header_is_linked_back_from_it(lived):
    chain = lived.league.chain
    late = trust_header(chain.final_header(chain.height - 2))
    reader = Reader(chain.height - 2)
    first = chain.final_block(1).block.transactions[0]
    for proof, height in ((prove_transaction(chain, reader, first.id), 1), (prove_headers(chain, reader, 4), 4)):
        check = check_proof(proof_from_json(proof_to_json(proof)), late)
        assert check.holds, check.refusal
        assert check.header == chain.header(height)
        assert not check_proof(replace(proof, ancestors=proof.ancestors[:-1]), late).facts.get("id")
        missing = replace(proof, ancestors=(*proof.ancestors[:2], *proof.ancestors[3:]))
        assert not check_proof(missing, late).holds


@pytest.mark.parametrize("name", NAMES)
def test_a_proof_damaged_in_any_place_is_refused(lived, blobs, name):
    """Every value changed, every field or item missing, repeated or moved; whatever is read must not hold."""
    text = proof_to_json(made(lived)[name])
    trusted = trust_genesis(lived.league.genesis)
    tried = 0
    for change in (changed_values, changed_shapes):
        for what, broken in change(text):
            tried += 1
            try:
                proof = proof_from_json(broken)
            except InvalidBytes:
                continue
            check = check_proof(proof, trusted, blobs.recompute)
            if name == "headers" and what.startswith("('path',): without") and check.holds:
                continue  # one header less shows something true: that the one before it is final
            assert not check.holds, what
            assert check.refusal
    assert tried > 200


@pytest.mark.parametrize("name", NAMES)
def test_another_league_believes_nothing_of_it(lived, blobs, name):
    other = League(5)
    assert not check_proof(made(lived)[name], trust_genesis(other.genesis), blobs.recompute).holds


def test_parts_of_two_true_proofs_make_no_third(lived, blobs):
    """Values, proofs and headers are exchanged between proofs that hold: what comes of it does not."""
    chain, owner, other = lived.league.chain, lived.owner, lived.others[0]
    one = prove_entry(chain, GENESIS, account_key(owner.org))
    two = prove_entry(chain, GENESIS, account_key(other.org))
    for entry in (
        replace(one.entry, value=two.entry.value),
        replace(one.entry, proof=two.entry.proof),
        replace(one.entry, key=two.entry.key),
        replace(one.entry, value=None),
        replace(prove_entry(chain, GENESIS, member_key(b"x" * 32)).entry, key=one.entry.key),
        replace(prove_entry(chain, GENESIS, member_key(b"x" * 32)).entry, value=two.entry.value),
    ):
        assert not checked(lived, replace(one, entry=entry)).holds
    earlier = prove_headers(chain, GENESIS, chain.height - 1).path
    assert not checked(lived, replace(one, path=earlier)).holds
    mine, yours = (proven_entry(chain, anchor_key(key.org, 1)) for key in (owner, other))
    record = made(lived)["record"]
    assert not checked(lived, replace(record, anchor=yours)).holds
    reward = prove_reward(chain, GENESIS, lived.request, 1)
    swapped = replace(reward, anchors=(yours, mine, *reward.anchors[2:]))
    assert swapped != reward
    assert not checked(lived, swapped).holds
    assert not checked(lived, replace(reward, anchors=reward.anchors[:-1])).holds
    assert not checked(lived, replace(reward, anchors=(*reward.anchors, mine))).holds


def test_a_balance_an_anchor_a_standing_and_a_member_are_shown_as_they_are(lived):
    chain, owner = lived.league.chain, lived.owner
    for key in (account_key(owner.org), anchor_key(owner.org, 1), standing_key(owner.org), member_key(owner.org)):
        check = checked(lived, prove_entry(chain, GENESIS, key))
        assert check.facts["present"]
        assert encode(check.facts["entry"]) == chain.value(key)
    assert check_proof(prove_entry(chain, GENESIS, account_key(owner.org)), trust_genesis(lived.league.genesis)).facts[
        "entry"
    ] == chain.read(Account, account_key(owner.org))


def test_no_record_but_the_anchored_one_is_proven(lived):
    chain, owner = lived.league.chain, lived.owner
    proof = made(lived)["record"]
    for index in range(RECORDS):
        true = replace(
            proof, index=index, record=encode(record_of(1, index)), inclusion=lived.tree.inclusion_proof(index)
        )
        assert checked(lived, true).holds
        for forged in (
            encode(record_of(1, index + 1)),
            encode(record_of(2, index)),
            encode(replace(record_of(1, index), label=9)),
        ):
            assert not checked(lived, replace(true, record=forged)).holds
    # An inner node of the tree, handed in as if it were a record.
    inner = replace(proof, record=lived.leaves[4] + lived.leaves[5], index=2, inclusion=proof.inclusion[1:])
    assert not checked(lived, inner).holds
    assert chain.read(Anchor, anchor_key(owner.org, 1)).record_count == RECORDS


def test_a_transaction_is_proven_in_its_own_block_only():
    made = ProvenLeague()
    made.anchor()
    made.idle(1)
    chain = made.league.chain
    block = chain.final_block(1).block
    assert len(block.transactions) == 3
    for transaction in block.transactions:
        proof = prove_transaction(chain, GENESIS, transaction.id)
        check = checked(made, proof)
        assert (check.holds, check.facts["id"], check.facts["height"]) == (True, transaction.id, 1)
        other = prove_transaction(chain, GENESIS, chain.final_block(2).block.transactions[0].id)
        assert checked(made, other).facts["height"] == 2
        for lie in (
            replace(proof, path=other.path),
            replace(proof, transaction=other.transaction),
            replace(proof, branch=proof.branch[:-1]),
            replace(proof, branch=proof.branch[::-1]) if len(set(proof.branch)) > 1 else replace(proof, branch=()),
            replace(proof, branch=tuple(replace(step, left=not step.left) for step in proof.branch)),
        ):
            assert not checked(made, lie).holds
    with pytest.raises(NothingToProve):
        prove_transaction(chain, GENESIS, ZERO_HASH)


def test_one_providers_reward_needs_its_own_anchors_only(lived):
    chain = lived.league.chain
    whole = prove_reward(chain, GENESIS, lived.request, 1)
    for key in (lived.owner, *lived.others):
        proof = prove_reward(chain, GENESIS, lived.request, 1, provider=key.org)
        assert len(proof.anchors) == 1 < len(whole.anchors)
        assert checked(lived, proof).holds
        assert not checked(lived, replace(proof, provider=b"")).holds
    with pytest.raises(NothingToProve):
        prove_reward(chain, GENESIS, lived.request, 1, provider=lived.requester.org)
    with pytest.raises(NothingToProve):
        prove_reward(chain, GENESIS, lived.request, 2)
    with pytest.raises(NothingToProve):
        prove_reward(chain, GENESIS, ZERO_HASH, 1)


# --- a committee that lies: what is under the state root is recomputed all the same ---


def lying(lived: ProvenLeague, key: bytes, entry: object) -> tuple[Chain, dict[bytes, bytes]]:
    """The head's header over a state with one entry changed, signed by its whole committee."""
    chain = lived.league.chain
    rows = {row[1:]: value for row, value in lived.league.store.scan(b"S")}
    rows[key] = encode(entry)
    nodes: dict[bytes, bytes] = {}
    update = StateTree(ZERO_HASH, nodes.get).update(rows)
    nodes.update(update.new_nodes)
    honest = chain.final_header(chain.height)
    header = replace(honest.header, state_root=update.root)
    subject = Subject(header.height, header.committee, header.view, VoteKind.FINALIZE, header.id)
    votes = [cast(lived.league.key(org), chain.chain_id, subject) for org in honest.committee.members]
    final = replace(honest, header=header, certificate=certify(votes))
    return final, rows, StateTree(update.root, nodes.get)


class Liars:
    """A chain whose last header is the liars'."""

    def __init__(self, lived: ProvenLeague, key: bytes, entry: object) -> None:
        self._chain = lived.league.chain
        self._final, self._rows, self._tree = lying(lived, key, entry)

    def __getattr__(self, name: str) -> object:
        return getattr(self._chain, name)

    def final_header(self, height: int):
        return self._final if height == self._final.header.height else self._chain.final_header(height)

    def value(self, key: bytes):
        return self._rows.get(key)

    def prove(self, key: bytes):
        return self._tree.prove(key)


def test_a_receipt_that_pays_more_than_records_times_price_is_refuted(lived):
    chain = lived.league.chain
    key = receipt_key(lived.request, 1, 0)
    receipt = chain.read(Receipt, key)
    first = receipt.lines[0]
    lies = {
        "tokens too many": replace(first, paid=first.paid + 1),
        "records that are not anchored": replace(first, weight=1_000, paid=2_000),
        "records that were not offered": replace(first, weight=13, paid=26),
        "somebody who delivered nothing": replace(first, fate=Fate.LATE),
    }
    for name, line in lies.items():
        liars = Liars(lived, key, replace(receipt, lines=(line, *receipt.lines[1:])))
        proof = prove_reward(chain, GENESIS, lived.request, 1)
        proof = replace(
            proof,
            path=(*proof.path[:-1], liars.final_header(chain.height)),
            receipt=proven_entry(liars, key),
            request=proven_entry(liars, request_key(lived.request)),
            anchors=tuple(proven_entry(liars, each.key) for each in proof.anchors),
        )
        check = checked(lived, proof)
        assert not check.holds, name
        assert "height" in check.steps[0], "the header itself is well signed"
    honest = Liars(lived, key, receipt)
    assert honest.value(key) == chain.value(key)


def test_a_model_that_is_not_the_mean_is_refuted(lived, blobs):
    chain, key = lived.league.chain, receipt_key(lived.request, 1, 0)
    receipt = chain.read(Receipt, key)
    first, *rest = receipt.lines
    lies = {
        "another model": replace(receipt, model=digest("test", b"other")),
        "another weight": replace(receipt, lines=(replace(first, weight=first.weight - 1), *rest)),
        "another quality": replace(receipt, lines=(replace(first, quality=first.quality - 1), *rest)),
        "an update left out": replace(receipt, lines=(replace(first, fate=Fate.LATE), *rest)),
        "another base": replace(receipt, base_model=first.blob),
    }
    for name, lie in lies.items():
        liars = Liars(lived, key, lie)
        proof = prove_aggregate(chain, GENESIS, lived.request, 1)[0]
        proof = replace(
            proof,
            path=(*proof.path[:-1], liars.final_header(chain.height)),
            receipt=proven_entry(liars, key),
            request=proven_entry(liars, request_key(lived.request)),
        )
        assert not checked(lived, proof, blobs).holds, name


def test_an_aggregate_needs_its_very_blobs(lived, tmp_path):
    proof, wanted = prove_aggregate(lived.league.chain, GENESIS, lived.request, 1)
    assert len(wanted) == 4
    assert "blobs of the round are needed" in checked(lived, proof).refusal
    for each in wanted:
        (tmp_path / each.hex()).write_bytes(lived.blobs[each])
    assert checked(lived, proof, BlobFiles([tmp_path])).holds
    assert checked(lived, proof, BlobFiles(sorted(tmp_path.iterdir()))).holds
    for each in wanted:
        whole = lived.blobs[each]
        for content in (whole[:-4] + bytes(4), whole[:-1], whole + b"\0", b""):
            (tmp_path / each.hex()).write_bytes(content)
            assert "not among the files" in checked(lived, proof, BlobFiles([tmp_path])).refusal
        (tmp_path / each.hex()).write_bytes(whole)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "NaN",
        '{"format": "hanse-proof-2", "kind": "state"}',
        f'{{"format": "{FORMAT}"}}',
        f'{{"format": "{FORMAT}", "kind": "bribe"}}',
        f'{{"format": "{FORMAT}", "kind": ["state"]}}',
        "[" * 100_000,
        '{"format": ' * 5_000,
        "1" * 5_000,
    ],
)
def test_what_is_no_proof_is_refused(text):
    with pytest.raises(InvalidBytes):
        proof_from_json(text)


def test_a_name_that_stands_twice_is_refused(lived):
    """Of two values under one name one reader takes the first, another the last."""
    text = proof_to_json(made(lived)["balance"])
    key = json.loads(text)["entry"]["key"]
    twice = text.replace(f'"key": "{key}"', f'"key": "{key}", "key": "{key}"')
    assert twice != text
    with pytest.raises(InvalidBytes, match="stands twice"):
        proof_from_json(twice)


def test_a_file_that_is_too_long_is_not_read():
    with pytest.raises(InvalidBytes, match="at most"):
        proof_from_json(" " * (FILE_BYTES_MAX + 1))


def test_a_league_without_blocks_has_nothing_to_prove_by():
    chain = League(4).chain
    for prove in (
        lambda: prove_entry(chain, GENESIS, account_key(b"x" * 32)),
        lambda: prove_headers(chain, GENESIS),
        lambda: prove_headers(chain, Reader(5)),
    ):
        with pytest.raises(InvalidProof):
            prove()


def test_files_that_were_given_out_are_read_and_hold_for_ever():
    """Golden: `python -m tests.support.proven_league` writes them anew, and leaves holders of older files behind."""
    golden = json.loads(VECTORS.read_text())
    genesis = genesis_from_json(json.dumps(golden["genesis"]))
    assert {plain["kind"] for plain in golden["proofs"].values()} == set(KINDS) - {"dispute", "protected-aggregate"}
    for name, plain in golden["proofs"].items():
        proof = proof_from_json(json.dumps(plain))
        assert json.loads(proof_to_json(proof)) == plain
        check = check_proof(proof, trust_genesis(genesis))
        assert check.holds or (name == "aggregate" and "blobs of the round are needed" in check.refusal), name
