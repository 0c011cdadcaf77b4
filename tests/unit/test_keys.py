"""Signatures hold for one chain and one kind only; damaged input is refused, never an accident."""

import pytest

from ledger.codec import digest
from ledger.errors import InvalidBytes
from ledger.keys import KeyPair, seal, sign_bytes, verify
from ledger.types import Hash32, OrgId
from tests.support.league import key_of

CHAIN, OTHER_CHAIN = digest("test", b"chain"), digest("test", b"other chain")
alice, mallory = key_of("alice"), key_of("mallory")


def test_rfc_8032_test_1_gives_the_public_key_of_its_seed():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert KeyPair.from_seed(seed).org.hex() == public


def test_a_signature_is_good_for_its_chain_kind_message_and_signer_only():
    signature = alice.sign(CHAIN, "vote", b"yes")
    assert verify(alice.org, signature, CHAIN, "vote", b"yes")
    assert not verify(alice.org, signature, OTHER_CHAIN, "vote", b"yes")
    assert not verify(alice.org, signature, CHAIN, "transaction", b"yes")
    assert not verify(alice.org, signature, CHAIN, "vote", b"no")
    assert not verify(mallory.org, signature, CHAIN, "vote", b"yes")


def test_kind_and_message_cannot_be_shifted_into_each_other():
    assert sign_bytes(CHAIN, "vote", b"s") != sign_bytes(CHAIN, "votes", b"")


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_a_changed_bit_breaks_a_signature(at: int):
    damaged = bytearray(alice.sign(CHAIN, "vote", b"yes"))
    damaged[at] ^= 1
    assert not verify(alice.org, bytes(damaged), CHAIN, "vote", b"yes")


def test_a_signature_has_one_form():
    # S + L verifies under a careless implementation: the same vote, a second id.
    order = 2**252 + 27742317777372353535851937790883648493
    signature = alice.sign(CHAIN, "vote", b"yes")
    second = int.from_bytes(signature[32:], "little") + order
    assert not verify(alice.org, signature[:32] + second.to_bytes(32, "little"), CHAIN, "vote", b"yes")


@pytest.mark.parametrize("org", [b"", bytes(31), bytes(32), b"\x01" + bytes(31), b"\xff" * 32, bytes(33)])
def test_no_signature_is_good_under_a_key_that_is_none(org: bytes):
    # Small-order points would make one signature fit every message.
    for signature in (alice.sign(CHAIN, "vote", b"yes"), bytes(64), b"\x01" + bytes(63), b"", bytes(65)):
        assert not verify(OrgId(org), signature, CHAIN, "vote", b"yes")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int):
    with pytest.raises(ValueError, match="32 bytes"):
        KeyPair.from_seed(bytes(length))


def test_a_key_never_prints_its_seed():
    assert alice.seed.hex() not in repr(alice)
    assert str(alice.seed) not in repr(alice)


def test_only_the_receiver_opens_a_sealed_box():
    box = seal(alice.org, b"outer race")
    assert alice.open_sealed(box) == b"outer race"
    with pytest.raises(InvalidBytes):
        mallory.open_sealed(box)


@pytest.mark.parametrize(
    "damage", [lambda box: box[:-1], lambda box: box[:10], lambda box: b"", lambda box: box + b"x"]
)
def test_a_damaged_box_is_refused(damage):
    with pytest.raises(InvalidBytes):
        alice.open_sealed(damage(seal(alice.org, b"outer race")))


@pytest.mark.parametrize("org", [b"\xff" * 32, bytes(32)])
def test_nothing_is_sealed_to_what_is_no_key(org: bytes):
    with pytest.raises(InvalidBytes, match="no Ed25519 key"):
        seal(OrgId(org), b"lost for ever")


def test_digests_of_different_kinds_never_meet():
    assert Hash32(digest("hanse/block", b"x")) != digest("hanse/transaction", b"x")
