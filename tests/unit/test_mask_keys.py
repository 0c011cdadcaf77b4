"""The keys behind masks: both sides derive the same, no other round does, and sealed shares open for one reader."""

from dataclasses import replace
from itertools import combinations, product

import pytest

from fl.mask_keys import (
    SALT_BYTES,
    SEALED_BYTES,
    DealtShare,
    MaskContext,
    open_share,
    pair_seed,
    public_key,
    seal_share,
    seed_commitment,
    self_seed,
)
from fl.shamir import WrongShare
from tests.support.masked_round import LEAGUE, REQUEST, context, org, seeded

ALICE, BOB, CAROL = org(0), org(1), org(2)
random = seeded("keys")
KEYS = {name: random(32) for name in (ALICE, BOB, CAROL)}
DEALT = DealtShare(b"\0" + random(32), random(SALT_BYTES), b"\0" + random(32), random(SALT_BYTES))

# The points whose multiples by a clamped scalar are all zero (RFC 7748 6.1; Bernstein's list).
SMALL_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


def test_both_sides_derive_the_same_seed():
    here = pair_seed(KEYS[ALICE], public_key(KEYS[BOB]), context(9), ALICE, BOB)
    assert here == pair_seed(KEYS[BOB], public_key(KEYS[ALICE]), context(9), BOB, ALICE)
    assert len(here) == 32


def test_no_two_rounds_attempts_requests_leagues_models_or_pairs_share_a_seed():
    base = context(9, round=1, attempt=0)
    places = [
        base,
        replace(base, round=2),
        replace(base, attempt=1),
        # Neither may run into the other.
        replace(base, round=0, attempt=1),
        replace(base, round=256),
        replace(base, count=10),
        replace(base, league=REQUEST, request=LEAGUE),
        replace(base, request=org(9)),
        replace(base, league=org(9)),
    ]
    seeds = []
    for place in places:
        for first, second in combinations(KEYS, 2):
            seeds.append(pair_seed(KEYS[first], public_key(KEYS[second]), place, first, second))
        # The same 32 bytes as own secret and as everybody's, and still nothing meets.
        seeds += [self_seed(KEYS[ALICE], place, name) for name in KEYS]
        seeds += [seed_commitment(KEYS[ALICE], place, name) for name in KEYS]
    assert len(set(seeds)) == len(seeds) == len(places) * 9


def test_the_same_secret_between_other_organisations_is_another_seed():
    key = public_key(KEYS[BOB])
    seeds = {pair_seed(KEYS[ALICE], key, context(9), *pair) for pair in combinations(KEYS, 2)}
    assert len(seeds) == 3


def test_a_public_key_of_small_order_stops_nobody():
    """RFC 7748 gives zeros; both sides of every such pair come to the same seed, and honest pairs are untouched."""
    for point in SMALL_ORDER:
        seeds = {pair_seed(KEYS[name], point, context(9), ALICE, BOB) for name in KEYS}
        assert len(seeds) == 1
        assert open_share(
            seal_share(DEALT, KEYS[ALICE], point, context(9), ALICE, BOB), KEYS[CAROL], point, context(9), ALICE, BOB
        )


def test_an_organisation_has_no_pair_with_itself():
    with pytest.raises(ValueError, match="itself"):
        pair_seed(KEYS[ALICE], public_key(KEYS[BOB]), context(9), ALICE, ALICE)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length_are_our_own_mistake(length):
    with pytest.raises(ValueError, match="want 32 each"):
        pair_seed(KEYS[ALICE], bytes(length), context(9), ALICE, BOB)
    with pytest.raises(ValueError, match="want 32"):
        seed_commitment(bytes(length), context(9), ALICE)


def sealed() -> bytes:
    return seal_share(DEALT, KEYS[ALICE], public_key(KEYS[BOB]), context(9), ALICE, BOB)


def test_a_sealed_share_opens_for_its_holder():
    assert len(sealed()) == SEALED_BYTES
    assert open_share(sealed(), KEYS[BOB], public_key(KEYS[ALICE]), context(9), ALICE, BOB) == DEALT


def test_a_dealer_seals_its_own_share_too():
    mine = seal_share(DEALT, KEYS[ALICE], public_key(KEYS[ALICE]), context(9), ALICE, ALICE)
    assert open_share(mine, KEYS[ALICE], public_key(KEYS[ALICE]), context(9), ALICE, ALICE) == DEALT


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": CAROL},
        {"holder": CAROL},
        {"dealer": CAROL},
        {"dealer": BOB, "holder": ALICE},
        {"place": context(9, attempt=1)},
        {"place": context(9, round=4)},
        {"place": context(10)},
    ],
)
def test_a_sealed_share_opens_for_nobody_else_and_nowhere_else(wrong):
    given = {"key": BOB, "dealer": ALICE, "holder": BOB, "place": context(9), **wrong}
    with pytest.raises(WrongShare, match="does not open"):
        open_share(
            sealed(), KEYS[given["key"]], public_key(KEYS[ALICE]), given["place"], given["dealer"], given["holder"]
        )


def test_no_damaged_sealed_share_opens():
    whole = sealed()
    damaged = [
        whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :] for at, bit in product(range(SEALED_BYTES), (1, 128))
    ]
    for data in [*damaged, b"", whole[:-1], whole + b"\0"]:
        with pytest.raises(WrongShare):
            open_share(data, KEYS[BOB], public_key(KEYS[ALICE]), context(9), ALICE, BOB)


def test_a_sealed_message_that_holds_no_share_is_refused():
    beyond = replace(DEALT, key_share=b"\xff" * 33)
    data = seal_share(beyond, KEYS[ALICE], public_key(KEYS[BOB]), context(9), ALICE, BOB)
    with pytest.raises(WrongShare, match="not below"):
        open_share(data, KEYS[BOB], public_key(KEYS[ALICE]), context(9), ALICE, BOB)


@pytest.mark.parametrize(
    "parts",
    [
        (bytes(31), REQUEST, 0, 0, 1),
        (LEAGUE, bytes(33), 0, 0, 1),
        (LEAGUE, REQUEST, -1, 0, 1),
        (LEAGUE, REQUEST, 0, 0, 0),
    ],
)
def test_a_place_that_no_round_has_is_refused(parts):
    with pytest.raises(ValueError, match="want"):
        MaskContext(*parts)
