"""What noise a request means at one provider: it keeps its epsilon, whatever happens to the number of records."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.privacy.accountant import add_rdp, epsilon_micro, epsilon_of, rdp_gaussian, rdp_poisson_gaussian
from fl.privacy.outlook import Wish, outlook
from fl.privacy.plan import PICO, Noise, delta_for, round_cost, shared_cost, told
from fl.privacy.secure_random import SecureRandom
from fl.privacy.shared_noise import noise_shares
from fl.privacy.telling import noisy_accuracy
from fl.privacy.terms import PrivacyRefused
from node.privacy_budget import as_rdp, costs_of
from node.target_check import target_refusal


def cost(units=900, epochs=5, rounds=20, telling="exact", kept=None, **chosen):
    return round_cost("sound", {"epsilon": "3", **chosen}, units, 32, epochs, rounds, telling, kept)


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 50_000), st.integers(1, 10), st.integers(1, 50), st.floats(0.3, 20))
def test_all_rounds_together_keep_the_requests_epsilon(units, epochs, rounds, epsilon):
    found = round_cost("sound", {"epsilon": f"{epsilon:.6f}"}, units, 32, epochs, rounds)
    assert found.epsilon(rounds) <= epsilon + 1e-6
    assert found.sampling.steps == epochs * math.ceil(units / min(32, units))
    assert found.noise.delta_pico < PICO / (10 * units)
    alone = rdp_poisson_gaussian(float(found.sampling.rate), found.noise.sigma_micro / 1e6, found.sampling.steps)
    assert found.epsilon() == epsilon_of(alone, found.noise.delta_pico / PICO)


@settings(max_examples=8, deadline=None)
@given(st.integers(30, 5_000), st.integers(1, 10_000), st.floats(0.05, 20))
def test_the_last_round_of_a_plan_fits_as_it_is_written_down(units, rounds, epsilon):
    """Costs are kept in billionths, rounded up, and epsilon in millionths: ten thousand of them must not add up."""
    found = round_cost("sound", {"epsilon": f"{epsilon:.6f}"}, units, 32, 1, rounds)
    kept = [rounds * each for each in costs_of(found.rdp())]
    assert epsilon_micro(as_rdp(kept), found.noise.delta_pico / PICO) <= found.noise.epsilon_micro


def test_the_noise_chosen_first_is_kept_and_more_records_only_cost_less():
    first = cost()
    for units in (900, 1_000, 2_500):
        later = cost(units=units, kept=first.noise)
        assert later.noise == first.noise
        assert later.epsilon() <= first.epsilon() * 1.001
    # Fewer records are looked at more often: the round costs more, and the request's limit ends it earlier.
    assert cost(units=500, kept=first.noise).epsilon() > first.epsilon()


def test_delta_follows_the_number_of_units_down_and_never_up():
    first = cost(units=9_000)
    assert first.noise.delta_pico == 10_000_000
    grown = cost(units=20_000, kept=first.noise)
    assert grown.noise.delta_pico * 10 * 20_000 < PICO
    assert grown.noise.sigma_micro == first.noise.sigma_micro
    assert cost(units=9_000, kept=grown.noise).noise == grown.noise


def test_a_noise_that_the_request_names_is_taken_or_refused():
    assert cost(sigma="4").noise.sigma_micro == 4_000_000
    with pytest.raises(PrivacyRefused, match=r"sigma 1 spends epsilon .* in 20 rounds here, want at most 3"):
        cost(sigma="1")
    with pytest.raises(PrivacyRefused, match=r"want 0\.3"):
        cost(sigma="0.1")


def test_delta_is_the_requests_or_less_than_a_tenth_of_a_unit():
    assert delta_for(1e-5, 100) == 10_000_000
    assert delta_for(1e-5, 9_999) == 10_000_000
    for units in (10_000, 10_001, 123_456, 10**9):
        found = delta_for(1e-5, units)
        assert found * 10 * units < PICO <= (found + 1) * 10 * units
    assert delta_for(1e-12, 1) == 1


def test_a_query_a_round_is_part_of_the_plan():
    without, asked = cost(), cost(accuracy="noisy", accuracy_sigma="15")
    assert (without.noise.query_micro, asked.noise.query_micro) == (0, 15_000_000)
    assert asked.noise.sigma_micro > without.noise.sigma_micro
    assert asked.epsilon(20) <= 3.0 + 1e-6
    steps = rdp_poisson_gaussian(32 / 900, asked.noise.sigma_micro / 1e6, 20 * 145)
    assert asked.rdp(20) == pytest.approx(add_rdp(steps, rdp_gaussian(15.0, 20)), rel=1e-9)
    assert cost(telling="none", accuracy="noisy").noise == without.noise
    with pytest.raises(PrivacyRefused, match="noise multiplier above"):
        cost(accuracy="noisy", accuracy_sigma="0.5")


def test_groups_are_not_counted_as_records_are():
    """Of a group the noisy count would tell as much as it is large."""
    with pytest.raises(PrivacyRefused, match="want none or exact"):
        cost(unit="group:machine", accuracy="noisy")
    assert cost(units=12, unit="group:machine", epsilon="8").sampling.batch == 12


@pytest.mark.parametrize(
    ("asked", "allowed", "said"),
    [
        ("none", "exact", "none"),
        ("noisy", "none", "none"),
        ("noisy", "noisy", "noisy"),
        ("noisy", "exact", "noisy"),
        ("exact", "noisy", "none"),
        ("exact", "exact", "exact"),
    ],
)
def test_of_test_records_no_more_is_told_than_both_want(asked, allowed, said):
    assert told(asked, allowed) == said


def test_a_mode_that_promises_nothing_has_no_cost():
    for mode in ("none", "paper", "nonsense"):
        with pytest.raises(PrivacyRefused, match="costs nothing"):
            round_cost(mode, {}, 100, 32, 1, 1)
        with pytest.raises(PrivacyRefused, match="promises nothing"):
            outlook(Wish(mode, {}, 100, 32, 1, 1, 10, 5))


# --- the noise of many


@pytest.mark.parametrize(("participants", "providers_min"), [(3, 3), (5, 0), (7, 5), (31, 10)])
def test_shared_noise_is_the_requests_and_everybody_adds_a_part(participants, providers_min):
    found = shared_cost({"epsilon": "8"}, 900, 60, 500, participants, providers_min)
    honest = noise_shares(participants, providers_min).honest
    assert found.sharing.honest == honest
    assert (found.sampling.batch, found.sampling.units, found.sampling.steps) == (900, 900, 1)
    assert found.epsilon(60) <= 8.0 + 1e-6
    # What one adds would not keep the promise alone.
    alone = rdp_gaussian(found.noise.sigma_micro / 1e6, 60)
    assert honest == 1 or epsilon_of(alone, 1e-5) > found.epsilon(60)


def test_shared_noise_leans_on_everybody_so_no_delta_is_changed():
    with pytest.raises(PrivacyRefused, match=r"delta 1e-05 for 20000 units, want less than 1 in 200000"):
        shared_cost({}, 20_000, 10, 500, 5, 3)
    assert shared_cost({"delta": "1e-6"}, 20_000, 10, 500, 5, 3).noise.delta_pico == 1_000_000


# --- an accuracy through noise


def test_a_noisy_accuracy_is_about_right_and_never_out_of_range():
    random = SecureRandom(seed=1)
    drawn = [noisy_accuracy(700, 1_000, 20.0, random) for _ in range(2_000)]
    mean = sum(drawn) / len(drawn)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in drawn) / len(drawn))
    assert mean == pytest.approx(700_000, abs=4 * 20_000 / math.sqrt(2_000))
    assert deviation == pytest.approx(20_000, rel=0.1)
    edges = [noisy_accuracy(correct, 10, 50.0, random) for correct in (0, 10) for _ in range(200)]
    assert min(edges) == 0
    assert max(edges) == 1_000_000
    with pytest.raises(PrivacyRefused, match="more than 0"):
        noisy_accuracy(1, 2, 0.0, random)


# --- what is said beforehand


@pytest.fixture
def without_oracle(monkeypatch):
    """It takes seconds where little is hidden."""
    monkeypatch.setattr("fl.privacy.outlook.tight_epsilon", lambda parts, delta: None)


def test_the_outlook_of_a_hopeless_wish_says_so(without_oracle):
    good = outlook(Wish("sound", {"epsilon": "8"}, 20_000, 64, 1, 20, 6_634, 10))
    bad = outlook(Wish("sound", {"epsilon": "0.5"}, 500, 32, 10, 100, 24_604, 3))
    assert good.expected == "little is lost to the noise"
    assert bad.expected.startswith("nothing will be learnt")
    assert good.drowning < 0.02 < 1 < bad.drowning
    assert any("one epoch a round would need noise" in each for each in bad.warnings)
    assert good.epsilon_round < good.epsilon <= 8.0 + 1e-6


def test_the_outlook_shows_the_tight_figure_too():
    found = outlook(Wish("sound", {"epsilon": "4"}, 900, 32, 1, 3, 100, 3))
    assert found.epsilon_tight is not None
    assert 0.75 * found.epsilon < found.epsilon_tight <= found.epsilon


def test_the_measure_of_drowning_is_the_one_that_was_measured(without_oracle):
    """MNIST at 14 x 14, ten providers of 600, batch 32, 20 rounds of one epoch: 6 points at epsilon 10, 11 at 2."""
    wish = Wish("sound", {"epsilon": "12", "sigma": "0.84"}, 600, 32, 1, 20, 6_634, 10)
    assert outlook(wish).drowning == pytest.approx(0.035, abs=0.002)


def test_warnings_name_what_hides_little(without_oracle):
    found = outlook(Wish("sound", {"epsilon": "40"}, 100, 32, 1, 5, 100, 3)).warnings
    assert any("epsilon 40" in each for each in found)
    assert any("32%" in each for each in found)
    assert any("delta is" in each for each in outlook(Wish("sound", {}, 50_000, 32, 1, 5, 100, 3)).warnings)


# --- a target that nobody measures


@pytest.mark.parametrize(
    ("privacy", "settings", "target", "tests", "refused"),
    [
        ("sound", {}, 900_000, False, True),
        ("distributed", {}, 900_000, False, True),
        ("sound", {"accuracy": "noisy"}, 900_000, False, False),
        ("sound", {}, 900_000, True, False),
        ("sound", {}, 0, False, False),
        ("none", {}, 900_000, False, False),
    ],
)
def test_a_target_that_nobody_would_measure_is_refused(privacy, settings, target, tests, refused):
    found = target_refusal(privacy, settings, target, tests)
    assert (found is not None) is refused
    if found is not None:
        assert "target_accuracy is 0.9 and nobody would measure it" in found


def test_kept_noise_is_what_the_account_says():
    kept = Noise(2_000_000, 0, 3_000_000, 10_000_000)
    assert cost(kept=kept).noise == kept
