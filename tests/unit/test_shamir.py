"""Shares of a secret: any t give it back, one less says nothing, and what is no share is refused."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.shamir import PRIME, SHARE_BYTES, WrongShare, check_share, combine, split, threshold
from tests.support.masked_round import seeded

secrets = st.one_of(st.just(bytes(32)), st.just(b"\xff" * 32), st.binary(min_size=32, max_size=32))


def test_the_field_is_the_least_prime_field_that_holds_every_32_byte_secret():
    assert all(any(number % factor == 0 for factor in range(2, 2000)) or not fermat(number) for number in above(297))
    assert fermat(PRIME)


def above(count: int) -> range:
    return range(2**256, 2**256 + count)


def fermat(number: int) -> bool:
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11))


@pytest.mark.parametrize(("members", "least"), [(3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7), (31, 21)])
def test_the_threshold_is_above_two_thirds_and_survives_a_third_vanishing(members, least):
    assert threshold(members) == least
    assert 3 * least > 2 * members
    assert members - (members - 1) // 3 >= least


@given(secrets, st.integers(1, 7), st.integers(0, 2))
@settings(deadline=None)
def test_any_t_shares_give_the_secret_back(secret, least, more):
    shares = split(secret, least, range(1, least + more + 1), seeded("split"))
    for chosen in combinations(shares, least):
        assert combine({place: shares[place] for place in chosen}) == secret


@given(secrets, secrets, st.integers(2, 7))
@settings(deadline=None)
def test_with_one_share_too_few_every_secret_is_as_possible_as_every_other(secret, other, least):
    """Whatever the secret seems to be, exactly one last share completes what is known to it: so nothing is known."""
    shares = split(secret, least, range(1, least + 1), seeded("one too few"))
    known = {place: share for place, share in shares.items() if place < least}

    def completed(last: int) -> int:
        values = {**known, least: last.to_bytes(SHARE_BYTES, "big")}
        return (
            sum(
                int.from_bytes(share, "big") * weight
                for share, weight in zip(values.values(), at_zero(values), strict=True)
            )
            % PRIME
        )

    zero, one = completed(0), completed(1)
    assert (one - zero) % PRIME != 0
    last = (int.from_bytes(other, "big") - zero) * pow(one - zero, -1, PRIME) % PRIME
    assert combine({**known, least: last.to_bytes(SHARE_BYTES, "big")}) == other


def at_zero(places: dict[int, bytes]) -> list[int]:
    """Lagrange's weights, written from the formula."""
    weights = []
    for place in places:
        weight = 1
        for other in places:
            if other != place:
                weight = weight * -other * pow(place - other, -1, PRIME) % PRIME
        weights.append(weight)
    return weights


def test_a_share_by_itself_looks_like_any_number():
    """The top bits of the first share of one and the same secret: 16 boxes, 4,000 dealings, chi squared below 1e-6."""
    random = seeded("uniform shares")
    boxes = [0] * 16
    for _ in range(4000):
        share = split(bytes(32), 3, (1, 2, 3), random)[1]
        boxes[int.from_bytes(share, "big") * 16 // PRIME] += 1
    assert sum((box - 250) ** 2 / 250 for box in boxes) < 53.0


def test_shares_of_two_dealings_do_not_combine_to_either_secret():
    alice = split(b"a" * 32, 3, range(1, 5), seeded("alice"))
    bob = split(b"b" * 32, 3, range(1, 5), seeded("bob"))
    try:
        mixed = combine({1: alice[1], 2: bob[2], 3: alice[3]})
    except WrongShare:
        return
    assert mixed not in (b"a" * 32, b"b" * 32)


def test_shares_that_combine_to_more_than_a_secret_can_be_are_refused():
    with pytest.raises(WrongShare, match="no 32-byte secret"):
        combine({1: (2**256).to_bytes(SHARE_BYTES, "big")})


@pytest.mark.parametrize(
    "share", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33, (PRIME + 1).to_bytes(33, "big")]
)
def test_bytes_that_are_no_share_are_refused(share):
    with pytest.raises(WrongShare, match=r"want|not below"):
        check_share(share)
    with pytest.raises(WrongShare):
        combine({1: bytes(33), 2: share})


def test_every_canonical_share_is_a_share():
    check_share(bytes(33))
    check_share((PRIME - 1).to_bytes(33, "big"))


@pytest.mark.parametrize("shares", [{}, {0: bytes(33)}, {-1: bytes(33)}])
def test_the_place_of_the_secret_itself_is_no_share(shares):
    with pytest.raises(WrongShare, match="from 1 on"):
        combine(shares)


@pytest.mark.parametrize(
    ("secret", "least", "places"),
    [
        (bytes(31), 2, (1, 2)),
        (bytes(32), 0, (1, 2)),
        (bytes(32), 3, (1, 2)),
        (bytes(32), 2, (0, 1)),
        (bytes(32), 1, (1, 1)),
    ],
)
def test_what_cannot_be_shared_is_refused(secret, least, places):
    with pytest.raises(ValueError, match="want"):
        split(secret, least, places, seeded("refused"))


def test_a_source_that_is_not_random_stops_the_dealing():
    with pytest.raises(RuntimeError, match="not random"):
        split(bytes(32), 2, (1, 2), lambda length: b"\xff" * length)
