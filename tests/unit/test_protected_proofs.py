"""Proofs of protected rounds, sealed and masked: anybody computes the model again; nothing in them can be changed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.chain import Chain
from ledger.codec import decode, encode
from ledger.entries import Fate, Receipt, Stage, receipt_key
from ledger.errors import InvalidBytes
from ledger.genesis import genesis_from_json
from ledger.light import trust_genesis
from ledger.proof_check import check_proof
from ledger.proofs import Proof, ProtectedAggregateProof, RewardProof, proof_from_json, proof_to_json
from ledger.protection_entries import MaskedInputs
from ledger.types import Hash32
from node.network.blob_store import blob_digest
from node.proof_blobs import BlobFiles
from node.proving import NothingToProve, Reader, prove_aggregate, prove_reward
from tests.support.json_damage import changed_shapes, changed_values
from tests.support.masked_league import BASE, Fall, MaskedLeague
from tests.support.protected_examples import VECTORS
from tests.support.sealed_chain import key_of
from tests.support.sealed_league import COPIER, SealedLeague

GENESIS = Reader()


class Proven:
    """A chain, a round of a request on it, and the blobs of all of its rounds as files."""

    def __init__(self, chain: Chain, request: Hash32, number: int, blobs: dict[Hash32, bytes], folder: Path) -> None:
        self.chain, self.request, self.number = chain, request, number
        self.folder = folder
        for name, content in blobs.items():
            (folder / name.hex()).write_bytes(content)
        self.files = BlobFiles([folder], chain.chain_id)
        proof, self.wanted = prove_aggregate(chain, GENESIS, request, number)
        assert isinstance(proof, ProtectedAggregateProof)
        self.proof = proof

    def refusal(self, proof: Proof, files: BlobFiles | None = None) -> str:
        """What does not hold; "" when all does."""
        recompute = (files or self.files).recompute
        return check_proof(proof, trust_genesis(self.chain.genesis), recompute).refusal


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> Proven:
    league = SealedLeague(providers_min=2)
    league.play_round()
    league.void_attempt()
    league.play_round()
    return Proven(league.sealed.chain, league.request, 2, league.blobs, tmp_path_factory.mktemp("sealed"))


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Proven:
    """One of four masks its update and is gone before it is announced."""
    league = MaskedLeague(4, falls={2: Fall(Stage.TRAINING, speaks=False)})
    league.run()
    blobs = {blob_digest(BASE): BASE} | league.models
    blobs |= {blob_digest(blob): blob for party in league.parties for blob in party.blobs.values()}
    return Proven(league.sealed.chain, league.request, 1, blobs, tmp_path_factory.mktemp("masked"))


@pytest.fixture(params=["sealed", "masked"])
def round_(request: pytest.FixtureRequest) -> Proven:
    found: Proven = request.getfixturevalue(request.param)
    return found


def test_a_protected_aggregate_is_computed_again_from_what_the_proof_shows(round_):
    proof = proof_from_json(proof_to_json(round_.proof))
    assert proof == round_.proof
    check = check_proof(proof, trust_genesis(round_.chain.genesis), round_.files.recompute)
    assert check.holds, check.refusal
    assert check.facts["blobs"] == round_.wanted
    without = check_proof(proof, trust_genesis(round_.chain.genesis))
    assert "blobs of the round are needed" in without.refusal


def test_a_protected_aggregate_damaged_in_any_place_is_refused(round_):
    text = proof_to_json(round_.proof)
    tried = 0
    for change in (changed_values, changed_shapes):
        for what, broken in change(text):
            # What leads to the header is `test_proofs.py`'s; here is what lies under it.
            if "path" in what:
                continue
            tried += 1
            try:
                proof = proof_from_json(broken)
            except InvalidBytes:
                continue
            assert round_.refusal(proof), what
    assert tried > 50


def test_a_protected_aggregate_needs_its_very_blobs(round_, tmp_path):
    for left_out in round_.wanted:
        shutil.rmtree(tmp_path)
        shutil.copytree(round_.folder, tmp_path)
        (tmp_path / left_out.hex()).unlink()
        assert "not among the files" in round_.refusal(round_.proof, BlobFiles([tmp_path], round_.chain.chain_id))


def test_parts_that_the_round_does_not_have_are_refused(sealed, masked):
    entry = sealed.proof.protection
    assert "not masked" in sealed.refusal(replace(sealed.proof, unmasking=(entry,)))
    assert "not masked" in sealed.refusal(replace(sealed.proof, previous=()))
    assert "want that of a receipt" in sealed.refusal(replace(sealed.proof, previous=(entry,)))
    assert "earlier attempts" in sealed.refusal(replace(sealed.proof, attempts=()))
    assert "receipt before" in sealed.refusal(replace(sealed.proof, previous=(sealed.proof.receipt,)))
    assert "masked round" in masked.refusal(replace(masked.proof, unmasking=()))
    assert "masked round" in masked.refusal(replace(masked.proof, previous=(masked.proof.receipt,)))


def test_masks_of_another_league_do_not_cancel(masked):
    other = BlobFiles([masked.folder], bytes(32))
    assert "cannot be unmasked" in masked.refusal(masked.proof, other)


def test_what_a_masked_sum_was_unmasked_with_tells_one_secret_of_each(masked):
    inputs = decode(MaskedInputs, masked.proof.unmasking[0].value or b"")
    assert [each.delivered for each in inputs.members].count(False) == 1
    assert all(len(each.shares) == inputs.threshold for each in inputs.members)
    assert len({encode(each) for each in inputs.members}) == 4


def test_a_copier_is_rejected_unpaid_and_the_receipt_that_says_so_is_proven(sealed):
    rejected = {}
    for number, attempt in ((1, 0), (2, 1)):
        receipt = sealed.chain.read(Receipt, receipt_key(sealed.request, number, attempt))
        assert receipt is not None
        assert all(line.paid == 0 for line in receipt.lines if line.fate is Fate.REJECTED)
        rejected[number] = {line.org for line in receipt.lines if line.fate is Fate.REJECTED}
    # Sealed as they were, either may be the copy; what an earlier attempt has shown is the other one's.
    assert rejected == {1: {key_of(COPIER).org, key_of("alder").org}, 2: {key_of(COPIER).org}}
    assert not sealed.refusal(prove_reward(sealed.chain, GENESIS, sealed.request, 2))


def test_rewards_of_protected_rounds_are_computed_again(round_):
    proof = prove_reward(round_.chain, GENESIS, round_.request, round_.number)
    assert isinstance(proof, RewardProof)
    check = check_proof(proof_from_json(proof_to_json(proof)), trust_genesis(round_.chain.genesis))
    assert check.holds, check.refusal
    assert check.facts["paid"] > 0


def test_a_round_without_an_aggregate_has_none_to_prove():
    league = MaskedLeague(4, falls={at: Fall(Stage.TRAINING, speaks=False) for at in (0, 1)})
    league.run()
    chain, request = league.sealed.chain, league.request
    with pytest.raises(NothingToProve, match="no aggregate"):
        prove_aggregate(chain, GENESIS, request, 1, 0)
    check = check_proof(prove_reward(chain, GENESIS, request, 1, 0), trust_genesis(chain.genesis))
    assert check.holds, check.refusal
    assert check.facts["paid"] == 0


@pytest.mark.parametrize("name", ["sealed", "masked"])
def test_protected_proofs_that_were_given_out_are_read_and_hold_for_ever(name: str, tmp_path: Path):
    """Golden: `python -m tests.support.protected_examples` writes them anew, and leaves older files behind."""
    golden = json.loads(VECTORS.read_text())[name]
    genesis = genesis_from_json(json.dumps(golden["genesis"]))
    for at, blob in enumerate(golden["blobs"]):
        (tmp_path / str(at)).write_bytes(bytes.fromhex(blob))
    recompute = BlobFiles([tmp_path], genesis.chain_id).recompute
    check = check_proof(proof_from_json(json.dumps(golden["proof"])), trust_genesis(genesis), recompute)
    assert check.holds, check.refusal
