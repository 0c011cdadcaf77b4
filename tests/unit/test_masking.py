"""Masks: they hide every update, cancel whoever vanishes, and blame the dealer of shares that do not fit."""

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.fixed_point import InvalidVector
from fl.mask_keys import pair_seed, self_seed
from fl.masked_blob import check_masked, masked_bytes
from fl.masking import CHUNK, WrongShares, expand, mask_update, unmask, wrong_dealers
from fl.shamir import threshold
from tests.support.masked_round import MaskedRound, context, masked_round, org, updates

LIMIT_Q = 512 << 20


def summed(vectors, weights, here):
    return sum(np.int64(weights[at]) * vectors[at].astype(np.int64) for at in here)


def subsets(members: int):
    return chain.from_iterable(combinations(range(members), size) for size in range(1, members + 1))


@pytest.mark.parametrize("members", range(2, 8))
def test_masks_cancel_whoever_vanishes(members):
    """Every set of survivors of up to seven providers; which of the shares are revealed changes from set to set."""
    league = masked_round(members, 5)
    vectors, weights = updates(members, 5, LIMIT_Q)
    blobs = [league.masked(at, vectors[at], weights[at]) for at in range(members)]
    holders = list(combinations(range(members), threshold(members)))
    for turn, here in enumerate(subsets(members)):
        found = unmask(league.context, league.members({at: blobs[at] for at in here}, holders[turn % len(holders)]))
        assert (found.sums == summed(vectors, weights, here)).all()
        assert found.weight == sum(weights[at] for at in here)


def test_masks_cancel_among_31_when_a_third_vanishes():
    league = masked_round(31, 40)
    vectors, weights = updates(31, 40, LIMIT_Q)
    blobs = [league.masked(at, vectors[at], weights[at]) for at in range(31)]
    rng = np.random.default_rng(31)
    for gone in (0, 1, 10):
        here = sorted(rng.permutation(31)[: 31 - gone].tolist())
        found = unmask(league.context, league.members({at: blobs[at] for at in here}, range(3, 24)))
        assert (found.sums == summed(vectors, weights, here)).all()


def test_masks_run_on_across_chunks():
    count = CHUNK + 3
    league = masked_round(3, count)
    vectors, weights = updates(3, count, LIMIT_Q)
    blobs = {at: league.masked(at, vectors[at], weights[at]) for at in (0, 2)}
    assert (unmask(league.context, league.members(blobs)).sums == summed(vectors, weights, (0, 2))).all()


def test_a_masked_update_is_what_the_formula_says():
    """The slow twin: Python's integers, one word after the other."""
    league = masked_round(4, 6)
    vectors, weights = updates(4, 6, LIMIT_Q)
    mine = league.secrets[2]
    got = check_masked(league.masked(2, vectors[2], weights[2]), 6)
    for at, plain in enumerate([*vectors[2].tolist(), None]):
        word = weights[2] if plain is None else weights[2] * plain
        word += int(expand(self_seed(mine.seed, league.context, mine.org), 7)[at])
        for other, key in league.keys.items():
            if other != mine.org:
                mask = int(expand(pair_seed(mine.mask_private, key, league.context, mine.org, other), 7)[at])
                word += mask if mine.org < other else -mask
        assert int(got[at]) == word % 2**64


@given(st.integers(0, 2**31), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_the_order_of_members_changes_nothing(seed, turns):
    league, (vectors, weights) = masked_round(4, 3), updates(4, 3, LIMIT_Q, seed)
    members = league.members({at: league.masked(at, vectors[at], weights[at]) for at in (0, 1, 3)})
    turned = members[turns % 4 :] + members[: turns % 4]
    assert (unmask(league.context, turned).sums == unmask(league.context, members).sums).all()


def test_gradient_sums_wider_than_an_int32_are_masked_as_they_are():
    league = masked_round(3, 2)
    sums = [np.array([2**60, -(2**61)]), np.array([-(2**60) + 7, 5]), np.array([3, 2**61])]
    blobs = {at: league.masked(at, sums[at], 10 + at, factor=1) for at in range(3)}
    found = unmask(league.context, league.members(blobs))
    assert found.sums.tolist() == [10, 5]
    assert found.weight == 33


@pytest.mark.parametrize("update", ["zeros", "limits"])
@pytest.mark.parametrize("at", range(3))
def test_a_masked_update_looks_like_noise(update, at):
    """Bytes, and those of what neighbouring words differ by; the most telling updates, fixed seeds, chi squared."""
    count = 20_000
    league = masked_round(3, count, f"uniform {update}")
    vector = np.zeros(count, np.int32) if update == "zeros" else np.full(count, LIMIT_Q, np.int32)
    words = check_masked(league.masked(at, vector, 1), count)
    for sample in (words.view(np.uint8), np.diff(words).view(np.uint8)):
        boxes = np.bincount(sample, minlength=256)
        expected = len(sample) / 256
        assert ((boxes - expected) ** 2 / expected).sum() < 374.0
    bits = np.unpackbits(words.view(np.uint8)).mean()
    assert abs(bits - 0.5) < 5 * 0.5 / np.sqrt(64 * count)


def test_one_mask_less_still_hides():
    """All but one provider reveal what they share with it: its own mask is left, and without it noise stays."""
    count = 5_000
    league = masked_round(4, count)
    mine = league.secrets[0]
    words = check_masked(league.masked(0, np.zeros(count, np.int32), 1), count).copy()
    for other, key in league.keys.items():
        if other != mine.org:
            mask = expand(pair_seed(mine.mask_private, key, league.context, mine.org, other), count + 1)
            words = words - mask if mine.org < other else words + mask
    boxes = np.bincount(words.view(np.uint8), minlength=256)
    assert ((boxes - len(words) / 32) ** 2 / (len(words) / 32)).sum() < 374.0


def test_another_attempt_of_the_same_update_shares_no_word_with_the_first():
    first = masked_round(3, 200)
    vectors, weights = updates(3, 200, LIMIT_Q)
    # The same secrets, as a careless provider might keep them: the masks differ all the same.
    again = MaskedRound(context(200, attempt=1), first.secrets, first.shares, first.least)
    one, two = (check_masked(each.masked(0, vectors[0], weights[0]), 200) for each in (first, again))
    assert not (one == two).any()
    assert len(set((one - two).tolist())) == 201


def test_shares_of_another_kind_or_dealer_are_blamed_on_their_dealer():
    league = masked_round(5, 3)
    vectors, weights = updates(5, 3, LIMIT_Q)
    members = league.members({at: league.masked(at, vectors[at], weights[at]) for at in (0, 1, 2, 4)})
    absent = 3
    for blamed in range(5):
        mine, other = members[blamed], members[(blamed + 1) % 5]
        seeds, keys = league.shares[org(blamed)]
        swapped = keys if blamed != absent else seeds
        of_the_other_kind = tuple((place, swapped[place]) for place, _ in mine.shares)
        one_of_another_dealer = (other.shares[0], *mine.shares[1:])
        for shares in (of_the_other_kind, one_of_another_dealer, mine.shares[:-1]):
            damaged = [*members[:blamed], replace(mine, shares=shares), *members[blamed + 1 :]]
            with pytest.raises(WrongShares) as caught:
                unmask(league.context, damaged)
            assert caught.value.dealer == org(blamed)


def test_of_two_wrong_dealers_everybody_blames_the_same():
    league = masked_round(4, 3)
    vectors, weights = updates(4, 3, LIMIT_Q)
    members = league.members({at: league.masked(at, vectors[at], weights[at]) for at in range(4)})
    wrong = [replace(each, seed_commitment=bytes(32)) if each.org in (org(0), org(2)) else each for each in members]
    for order in (wrong, wrong[::-1]):
        with pytest.raises(WrongShares) as caught:
            unmask(league.context, order)
        assert caught.value.dealer == min(org(0), org(2))
        assert wrong_dealers(league.context, order) == tuple(sorted((org(0), org(2)))), "all of them at once"
    assert wrong_dealers(league.context, members) == ()


def test_shares_are_judged_before_blobs():
    """Or a dealer of wrong shares would hide behind its own broken blob."""
    league = masked_round(3, 3)
    members = league.members(dict.fromkeys(range(3), b"no blob at all"))
    with pytest.raises(WrongShares):
        unmask(league.context, [replace(members[0], seed_commitment=bytes(32)), *members[1:]])
    with pytest.raises(InvalidVector):
        unmask(league.context, members)


def blob() -> bytes:
    return masked_round(2, 4).masked(0, np.arange(4, dtype=np.int32), 3)


def test_a_masked_blob_is_read_as_it_was_written():
    assert len(blob()) == masked_bytes(4) == 16 + 8 * 5
    words = check_masked(blob(), 4)
    assert words.shape == (5,)
    assert not words.flags.writeable


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: b"", "length"),
        (lambda data: data[:15], "length"),
        (lambda data: data[:-1], "length"),
        (lambda data: data + b"\0", "length"),
        (lambda data: b"HQV" + data[3:], "magic"),
        (lambda data: data[:3] + b"\2" + data[4:], "version"),
        *((lambda data, at=at: data[:at] + b"\1" + data[at + 1 :], "version") for at in range(4, 8)),
        (lambda data: data[:8] + b"\5" + data[9:], "count"),
        (lambda data: data[:15] + b"\1" + data[16:], "count"),
    ],
)
def test_a_damaged_blob_is_refused_and_says_why(damage, code):
    with pytest.raises(InvalidVector) as caught:
        check_masked(damage(blob()), 4)
    assert caught.value.code == code


def test_what_is_not_of_this_round_is_not_masked():
    league = masked_round(3, 4)
    values = np.zeros(4, np.int32)
    with pytest.raises(ValueError, match="shape"):
        league.masked(0, np.zeros(5, np.int32), 1)
    with pytest.raises(ValueError, match="integers"):
        league.masked(0, np.zeros(4), 1)
    with pytest.raises(ValueError, match="weight"):
        league.masked(0, values, 0)
    with pytest.raises(ValueError, match="not the one we hold"):
        mask_update(league.context, league.secrets[0], {org(1): league.keys[org(1)]}, values, 1, 1)
    alone = {org(0): league.keys[org(0)]}
    with pytest.raises(ValueError, match="nobody to share"):
        mask_update(league.context, league.secrets[0], alone, values, 1, 1)


def test_a_round_without_updates_or_with_somebody_twice_has_no_sum():
    league = masked_round(3, 4)
    with pytest.raises(ValueError, match="nobody delivered"):
        unmask(league.context, league.members({}))
    members = league.members({0: blob()})
    with pytest.raises(ValueError, match="twice"):
        unmask(league.context, [*members, members[0]])


def test_the_streams_are_those_of_rfc_8439():
    """The key stream of its test vector 1 (section A.1): an all-zero key, nonce and counter."""
    assert expand(bytes(32), 8).tobytes().hex() == (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
