"""Noise that providers add together: whose counts, what one adds, what it costs, and which requests may ask for it."""

import math

import pytest

from fl.masked_aggregate import GRADIENT_BITS
from fl.privacy.accountant import epsilon_of, rdp_gaussian
from fl.privacy.shared_noise import (
    check_distributed,
    noise_shares,
    own_multiplier,
    own_variance,
    rdp_distributed,
    statement,
    sum_multiplier,
)
from fl.privacy.terms import DistributedSettings, PrivacyRefused
from fl.shamir import threshold


@pytest.mark.parametrize(
    ("participants", "providers_min", "colluding", "honest"),
    [
        (3, 0, 1, 2),
        (4, 0, 1, 2),
        (5, 0, 1, 3),
        (6, 0, 1, 4),
        (7, 0, 2, 3),
        (7, 6, 2, 4),
        (10, 0, 3, 4),
        (31, 0, 10, 11),
    ],
)
def test_the_honest_noises_are_those_that_must_deliver_less_those_who_may_collude(
    participants, providers_min, colluding, honest
):
    shares = noise_shares(participants, providers_min)
    assert (shares.colluding, shares.honest) == (colluding, honest)


@pytest.mark.parametrize("participants", range(3, 65))
def test_whoever_vanishes_and_colludes_enough_noise_is_left(participants):
    """Every round that may be unmasked has `honest` providers at least that do not collude: me and another one."""
    shares, third = noise_shares(participants), (participants - 1) // 3
    for delivered in range(max(3, third + 2, threshold(participants)), participants + 1):
        assert delivered - max(1, third) >= shares.honest >= 2


@pytest.mark.parametrize("invited", [3, 7, 10, 16, 31])
def test_who_keeps_others_from_offering_finds_no_less_noise(invited):
    """A third of the invited collude, and let only some of the others offer keys."""
    colluding = max(1, (invited - 1) // 3)
    for participants in range(3, invited + 1):
        shares = noise_shares(participants, invited=invited)
        # As the ledger counts: f + 2 of who were invited, more than two thirds of who offered.
        delivered = max(3, (invited - 1) // 3 + 2, threshold(participants))
        assert delivered - colluding >= shares.honest >= 2
        assert shares.colluding == colluding


def test_two_providers_cannot_share_noise():
    with pytest.raises(PrivacyRefused, match="2 providers offered keys"):
        noise_shares(2)


@pytest.mark.parametrize("honest", range(2, 12))
@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.942599, 100.0])
def test_the_honest_noises_together_are_never_less_than_what_is_charged(sigma, honest):
    own = own_multiplier(sigma, honest)
    assert own * own * honest >= sigma * sigma * (1 - 1e-12)
    assert (own - 1e-6) ** 2 * honest < sigma * sigma
    together = own_variance(own) * honest
    assert together >= sigma**2 * 4**GRADIENT_BITS * (1 - 1e-12)


def test_one_providers_noise_alone_is_weaker_than_the_sums():
    shares = noise_shares(7)
    sigma = sum_multiplier(DistributedSettings(epsilon=8.0), 60)
    own = own_multiplier(sigma, shares.honest)
    alone = epsilon_of(rdp_gaussian(own, 60), 1e-5)
    together = epsilon_of(rdp_distributed(own, shares.honest, 25_000, 60), 1e-5)
    assert together <= 8.0 < 1.5 * together
    assert alone > 1.8 * together


def test_the_sums_cost_is_the_gaussians_and_what_discreteness_adds_has_no_digits():
    own = own_multiplier(5.0, 3)
    exact = rdp_gaussian(own * math.sqrt(3), 7)
    assert rdp_distributed(own, 3, 11_000_000, 7) == pytest.approx(exact, rel=1e-15)


def test_costs_add_up_over_rounds_of_different_sizes():
    one, two = rdp_distributed(2.0, 3, 100), rdp_distributed(2.0, 4, 100)
    assert all(less > more for less, more in zip(one, two, strict=True))
    assert rdp_distributed(2.0, 3, 100, 2) == pytest.approx([2 * each for each in one])


def test_the_noise_is_a_function_of_the_request_alone():
    assert sum_multiplier(DistributedSettings(sigma=3.5, epsilon=1.0), 60) == 3.5
    quiet = sum_multiplier(DistributedSettings(epsilon=8.0), 60)
    asked = sum_multiplier(DistributedSettings(epsilon=8.0, accuracy="noisy", accuracy_sigma=10.0), 60)
    assert quiet < asked
    assert sum_multiplier(DistributedSettings(epsilon=8.0), 120) > quiet
    with pytest.raises(PrivacyRefused):
        sum_multiplier(DistributedSettings(epsilon=8.0, accuracy="noisy", accuracy_sigma=0.3), 60)


@pytest.mark.parametrize("own", [0.0, 1e-6, 0.00006])
def test_noise_that_is_next_to_none_is_refused(own):
    with pytest.raises(PrivacyRefused, match="own noise multiplier"):
        own_variance(own)


def test_a_request_for_shared_noise_names_what_belongs_to_it():
    check_distributed("distributed", "fedavg", "noisy-step", masked=True)
    check_distributed("sound", "dlmu", "mean", masked=True)
    check_distributed("none", "fedavg", "median", masked=False)
    for asked, reason in (
        (("distributed", "fedavg", "noisy-step", False), "want masked"),
        (("distributed", "fedavg", "mean", True), "want noisy-step"),
        (("distributed", "dlmu", "noisy-step", True), "want fedavg"),
        (("sound", "fedavg", "noisy-step", True), "want privacy mode distributed"),
    ):
        with pytest.raises(PrivacyRefused, match=reason):
            check_distributed(*asked)


def test_the_statement_says_against_whom():
    said = statement(noise_shares(7), 7.9999, 1e-5)
    assert "epsilon 8 at delta 1e-05" in said
    assert "up to 2 of 7 providers colluding" in said
    assert "3 honest noises" in said
