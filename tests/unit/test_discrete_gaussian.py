"""Discrete Gaussian numbers: the distribution exactly, and a long way to each coin that the short one agrees with."""

import math
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import pytest

from fl.privacy import discrete_gaussian as sampler
from fl.privacy.discrete_gaussian import THRESHOLDS, VARIANCE_MAX, discrete_gaussian
from fl.privacy.secure_random import SecureRandom


@pytest.mark.parametrize("variance", [1, 2, 3, 10, 50])
def test_numbers_come_as_often_as_they_should(variance):
    """Against the definition, written down term by term; fixed seeds, chi squared below 1e-6."""
    drawn, count = discrete_gaussian(variance, 200_000, SecureRandom(7)), 200_000
    numbers = range(-60, 61)
    weights = [math.exp(-(number**2) / (2 * variance)) for number in numbers]
    chi, boxes = 0.0, 0
    for number, weight in zip(numbers, weights, strict=True):
        expected = count * weight / sum(weights)
        if expected > 10:
            chi += (int((drawn == number).sum()) - expected) ** 2 / expected
            boxes += 1
    assert boxes > 6
    assert chi < boxes + 5 * math.sqrt(2 * boxes) + 12


@pytest.mark.parametrize("variance", [1000, 2**31 + 1, 2**44, 3 * 2**50])
def test_wide_noise_is_as_wide_as_it_says(variance):
    count = 200_000
    scaled = discrete_gaussian(variance, count, SecureRandom(8)) / math.sqrt(variance)
    assert abs(scaled.mean()) < 5 / math.sqrt(count)
    assert abs(scaled.var() - 1) < 5 * math.sqrt(2 / count)
    for reach, share in ((1, 0.682689), (2, 0.954500), (3, 0.997300)):
        inside = (np.abs(scaled) <= reach).mean()
        # One number more or less is inside, for whole ones.
        assert abs(inside - share) < 5 * math.sqrt(share * (1 - share) / count) + 1 / math.sqrt(variance)


@pytest.mark.parametrize("variance", [1, 10, 12345, 2**45, 3 * 2**50])
def test_the_long_way_to_a_coin_decides_as_the_short_one(variance, monkeypatch):
    """All coins by fractions and decimals of as many digits as it takes: the very same numbers come out."""
    short = discrete_gaussian(variance, 500, SecureRandom(9))
    monkeypatch.setattr(sampler, "ERROR", 2.0)
    assert discrete_gaussian(variance, 500, SecureRandom(9)).tolist() == short.tolist()


class Digits:
    """A source whose next words are given."""

    def __init__(self, *words: int) -> None:
        self._words = list(words)

    def words(self, count: int) -> np.ndarray:
        given, self._words = self._words[:count], self._words[count:]
        assert len(given) == count, "more digits were drawn than it takes"
        return np.array(given, np.uint64)


def half(digits: int) -> int:
    """The first binary digits of e^-1."""
    wide = Context(prec=2 * digits)
    return int(wide.multiply(Decimal(-1).exp(wide), 2**digits))


def test_a_number_that_begins_as_the_chance_does_is_told_from_it_by_more_digits():
    first, more = half(128) >> 64, half(128) & (2**64 - 1)
    for second, below in ((more - 1, True), (more + 1, False), (0, True), (2**64 - 1, False)):
        assert sampler._Digits(first, Digits(second)).below(Fraction(1)) is below
    # And once more, when these are equal too.
    third = half(192) & (2**64 - 1)
    assert sampler._Digits(first, Digits(more, third - 1)).below(Fraction(1)) is True
    assert sampler._Digits(first, Digits(more, third + 1)).below(Fraction(1)) is False
    # No digit more than needed.
    assert sampler._Digits(first - 1, Digits()).below(Fraction(1)) is True
    assert sampler._Digits(first + 1, Digits()).below(Fraction(1)) is False


def test_a_geometric_number_on_a_threshold_is_decided_by_the_next_digits():
    first = int(THRESHOLDS[0])
    assert first == half(64)
    words = np.array([first - 1, first + 1], np.uint64)
    assert sampler._geometric(words, Digits()).tolist() == [1, 0]
    assert sampler._geometric(np.array([first], np.uint64), Digits(0)).tolist() == [1]
    assert sampler._geometric(np.array([first], np.uint64), Digits(2**64 - 1)).tolist() == [0]


def test_the_least_word_of_all_goes_on_as_far_as_its_digits_do():
    assert sampler._geometric(np.array([0], np.uint64), Digits(2**63)).tolist() == [45]
    assert sampler._geometric(np.array([0], np.uint64), Digits(1)).tolist()[0] == 88


def test_numbers_are_whole_symmetric_and_not_repeated():
    drawn = discrete_gaussian(2**40, 4001, SecureRandom(10))
    assert drawn.dtype == np.int64
    assert len(drawn) == 4001
    assert len(set(drawn.tolist())) > 3990
    assert abs((drawn > 0).mean() - 0.5) < 0.04


@pytest.mark.parametrize("variance", [0, -1, VARIANCE_MAX + 1])
def test_a_variance_that_cannot_be_drawn_is_refused(variance):
    with pytest.raises(ValueError, match="want 1 to"):
        discrete_gaussian(variance, 1, SecureRandom(1))
