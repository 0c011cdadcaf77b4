"""Addresses and peer ids as text, and the book of what members say about theirs."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.errors import InvalidBytes
from ledger.keys import KeyPair
from ledger.types import Hash32, OrgId
from node.network.address_book import AddressBook, AddressRecords, addresses_to_announce
from node.network.addresses import Address, key_of_peer_id, parse_address, peer_id
from node.network.strangers import StrangerGate, network_of
from node.network.transport import InvalidAddress, Limits

CHAIN = Hash32(bytes([9]) * 32)
ALICE, BOB, EVE = (KeyPair.from_seed(bytes([number]) * 32) for number in range(3))
PLACE = "/ip4/10.0.0.5/tcp/4001"


@given(st.binary(min_size=32, max_size=32).map(OrgId))
def test_a_peer_id_names_its_organisation(org):
    assert peer_id(org).startswith("12D3KooW")
    assert key_of_peer_id(peer_id(org)) == org


def test_peer_ids_are_those_of_libp2p():
    from libp2p.crypto.ed25519 import Ed25519PublicKey
    from libp2p.peer.id import ID

    for key in (ALICE, BOB, EVE):
        assert peer_id(key.org) == ID.from_pubkey(Ed25519PublicKey.from_bytes(key.org)).to_base58()


@pytest.mark.parametrize(
    "text",
    [
        PLACE,
        "/ip6/2001:db8::1/tcp/1",
        "/dns4/a.example.org/tcp/65535",
        "/dns/factory-7/tcp/4001",
        f"/ip4/127.0.0.1/tcp/0/p2p/{peer_id(ALICE.org)}",
    ],
)
def test_addresses_are_parsed_and_spelt_the_same_again(text):
    address = parse_address(text)
    assert str(address) == text
    assert parse_address(str(address.place)).org is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.5:4001",
        "/ip4/10.0.0.5",
        "/ip4/10.0.0.5/udp/4001",
        "/ip4/10.0.0.5/tcp/4001/",
        "/ip4/10.0.0.5/tcp/4001/ws",
        "/ip4/10.0.0.5/tcp/4001/ws/x",
        "/ip4/300.0.0.5/tcp/4001",
        "/ip4/::1/tcp/4001",
        "/ip6/10.0.0.5/tcp/4001",
        "/dns4/-bad-/tcp/4001",
        "/dns4/a..b/tcp/4001",
        "/ip4/10.0.0.5/tcp/65536",
        "/ip4/10.0.0.5/tcp/-1",
        "/ip4/10.0.0.5/tcp/٤",
        "/onion/10.0.0.5/tcp/4001",
        f"{PLACE}/p2p/abc",
        f"{PLACE}/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        f"{PLACE}/p2p/{peer_id(ALICE.org)}1",
        PLACE + "x" * 400,
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidAddress):
        parse_address(text)


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_refused(text):
    with suppress(InvalidAddress):
        assert isinstance(parse_address(text), Address)


@pytest.fixture
def book(tmp_path):
    return AddressBook(tmp_path / "addresses", CHAIN, [ALICE.org, BOB.org])


def told_by(key, tmp_path, *claims, members=(ALICE.org, BOB.org, EVE.org)):
    book = AddressBook(tmp_path / f"of-{key.org.hex()[:4]}", CHAIN, members)
    for addresses, sequence in claims:
        book.announce(key, addresses, sequence)
    return book.records()


def test_records_are_taken_kept_and_newer_ones_replace_older(book, tmp_path):
    first = told_by(BOB, tmp_path, ((PLACE,), 5))
    second = told_by(BOB, tmp_path, (("/ip4/10.0.0.6/tcp/4001",), 6))
    assert book.take(first).changed == {BOB.org}
    assert book.take(first).changed == set()
    assert book.take(second).changed == {BOB.org}
    assert book.take(first).changed == set(), "the older one does not come back"
    assert book.addresses(BOB.org) == ("/ip4/10.0.0.6/tcp/4001",)
    book.save()
    again = AddressBook(tmp_path / "addresses", CHAIN, [ALICE.org, BOB.org])
    assert again.addresses(BOB.org) == ("/ip4/10.0.0.6/tcp/4001",)
    assert again.sequence(BOB.org) == 6
    again.set_members([ALICE.org])
    assert again.addresses(BOB.org) == ()
    assert AddressBook(tmp_path / "addresses", CHAIN, [BOB.org]).addresses(BOB.org) == ()


def test_nobody_speaks_for_another_and_strangers_are_left_out(book, tmp_path):
    assert book.take(told_by(EVE, tmp_path, ((PLACE,), 1))).changed == set()
    records = decode(AddressRecords, told_by(BOB, tmp_path, ((PLACE,), 1)))
    (record,) = records.records
    forged = [
        encode(AddressRecords((type(record)(record.claim, EVE.sign(CHAIN, "address", encode(record.claim))),))),
        encode(AddressRecords((type(record)(record.claim, BOB.sign(CHAIN, "vote", encode(record.claim))),))),
        encode(AddressRecords((type(record)(record.claim, BOB.sign(Hash32(bytes(32)), "address", b"")),))),
    ]
    for each in forged:
        assert book.take(each).changed == set()
    for junk in (b"", b"\x90", b"junk", forged[0] + b"x"):
        with pytest.raises(InvalidBytes):
            book.take(junk)


def test_our_own_record_needs_a_higher_sequence_and_good_addresses(book):
    book.announce(ALICE, (PLACE,), 10)
    with pytest.raises(ValueError, match="sequence 10, want more than 10"):
        book.announce(ALICE, (PLACE,), 10)
    with pytest.raises(InvalidAddress):
        book.announce(ALICE, ("nonsense",), 11)
    with pytest.raises(InvalidBytes):
        book.announce(ALICE, (PLACE,) * 9, 11)


def test_a_damaged_file_starts_empty(tmp_path, caplog):
    (tmp_path / "addresses").write_bytes(b"rubbish")
    book = AddressBook(tmp_path / "addresses", CHAIN, [ALICE.org])
    assert book.addresses(ALICE.org) == ()
    assert "damaged" in caplog.text


def test_what_is_announced():
    listening = (f"/ip4/0.0.0.0/tcp/7/p2p/{peer_id(ALICE.org)}", "/ip4/127.0.0.1/tcp/8")
    assert addresses_to_announce(("/dns4/a.example/tcp/1",), listening) == ("/dns4/a.example/tcp/1",)
    announced = addresses_to_announce((), listening)
    assert announced[-1] == "/ip4/127.0.0.1/tcp/8"
    assert not any("0.0.0.0" in text for text in announced)


def test_strangers_are_few_and_come_slowly():
    gate = StrangerGate(Limits(strangers_max=3, strangers_per_minute=30, strangers_per_network_per_minute=600), 0.0)
    orgs = [OrgId(bytes([number]) * 32) for number in range(60)]
    places = {org: f"192.0.2.{number}" for number, org in enumerate(orgs)}
    three = {org: places[org] for org in orgs[1:4]}
    assert gate.admit(orgs[0], places[orgs[0]], {}, 100.0)
    assert not gate.admit(orgs[9], places[orgs[9]], three, 100.0), "three are there"
    assert gate.admit(orgs[1], places[orgs[1]], three, 100.0), "one of the three opens another connection"
    let_in = sum(gate.admit(org, places[org], {}, 100.0) for org in orgs)
    assert let_in == 1, "the rush is over"
    let_in = sum(gate.admit(orgs[0], places[orgs[0]], {}, 100.0 + second) for second in range(1, 61))
    assert let_in == 30


def test_one_network_of_strangers_does_not_take_the_places_of_others():
    limits = Limits(strangers_max=8, strangers_per_network_max=2, strangers_per_network_per_minute=60)
    gate = StrangerGate(limits, 0.0)
    keys = [OrgId(bytes([number]) * 32) for number in range(60)]
    crowd = dict.fromkeys(keys[:2], "192.0.2.1")
    assert not gate.admit(keys[9], "192.0.2.1", crowd, 0.0), "its two places are taken"
    assert gate.admit(keys[9], "192.0.2.2", crowd, 0.0)
    assert gate.admit(keys[0], "192.0.2.1", crowd, 0.0), "who is there may connect anew"
    rush = sum(gate.admit(keys[9], "192.0.2.7", {}, 1.0) for _ in range(60))
    assert rush == 6, "a tenth of a minute's worth"
    assert gate.admit(keys[8], "192.0.2.8", {}, 1.0), "what it asked for in vain was not taken from all"


def test_a_site_counts_as_one_network_whatever_address_of_it_is_used():
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("a.example") == "a.example"
