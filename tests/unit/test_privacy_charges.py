"""Announced charges computed again: an honest one fits, and whoever states too little is seen."""

from dataclasses import replace

import pytest

from fl.privacy.plan import round_cost
from ledger.protection import Charge
from ledger.protection_entries import Spent
from ledger.transactions import RequestTerms, Setting
from node.privacy_charges import Announced, check_charges, cost_announced, recomputed
from tests.support.open_requests import TERMS

REQUEST = bytes([5]) * 32
SOUND: RequestTerms = replace(TERMS, privacy="sound", privacy_settings=(Setting("epsilon", "3"),), rounds_max=20)
COST = round_cost("sound", {"epsilon": "3"}, 900, 16, 3, 20)


def charge(rounds=1, **changes):
    """The honest charge of a provider of 900 records after so many rounds."""
    honest = Charge(
        mode="sound",
        unit="record",
        noise_micro=COST.noise.sigma_micro,
        batch=COST.sampling.batch,
        units=900,
        steps=COST.sampling.steps,
        query_noise_micro=0,
        epsilon_micro=round(COST.epsilon(rounds) * 1e6) + 1,
        delta_pico=COST.noise.delta_pico,
    )
    return replace(honest, **changes)


HONEST = [Announced(900, charge(rounds)) for rounds in range(1, 21)]


def fault_of(announced, terms=SOUND):
    return check_charges(terms, announced).fault


def test_an_honest_provider_is_found_right_in_every_round():
    for rounds in (1, 2, 7, 20):
        found = check_charges(SOUND, HONEST[:rounds])
        assert found.fault == ""
        assert found.epsilon_micro == pytest.approx(COST.epsilon(rounds) * 1e6, abs=2)
    assert check_charges(SOUND, []) == recomputed([])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"epsilon_micro": 400_000}, "announced epsilon 0.4000, these steps cost"),
        ({"noise_micro": COST.noise.sigma_micro // 2}, "these steps cost"),
        ({"batch": 64}, "these steps cost"),
        ({"steps": 4 * COST.sampling.steps}, "these steps cost"),
        ({"query_noise_micro": 1_000_000}, "these steps cost"),
        ({"noise_micro": 100_000}, "no number holds for this: noise multiplier 0.1"),
        ({"units": 90_000}, "90000 units of privacy in 900 records"),
        ({"epsilon_micro": 3_100_000}, "epsilon 3.1000 is spent, the request allows 3"),
        ({"delta_pico": 20_000_000}, "delta is 2e-05, the request allows 1e-05"),
        ({"delta_pico": 0}, "delta is 0"),
        ({"delta_pico": 10**12}, "delta is 1"),
        ({"unit": "group:machine"}, "mode or unit of privacy changed"),
    ],
)
def test_whoever_understates_is_seen(changes, fault):
    lies = [*HONEST[:4], Announced(900, charge(5, **changes))]
    assert fault in fault_of(lies)


def test_a_unit_other_than_the_requests_is_seen():
    assert "the request wants record" in fault_of([Announced(900, charge(unit="group:machine"))])


def test_what_is_spent_does_not_come_back():
    assert "went down" in fault_of([Announced(900, charge(9)), Announced(900, charge(2))])


def test_bytes_sent_again_cost_nothing():
    again = charge(1, steps=0)
    assert fault_of([HONEST[0], Announced(900, again)]) == ""


def test_shared_noise_is_checked_against_the_requests_own():
    terms = replace(TERMS, privacy="distributed", privacy_settings=(Setting("epsilon", "8"),), rounds_max=2)
    said = charge(mode="distributed", noise_micro=10, batch=900, steps=1, delta_pico=10_000_000)
    within = [Announced(900, replace(said, epsilon_micro=epsilon)) for epsilon in (5_700_000, 8_000_000)]
    assert fault_of(within, terms) == ""
    assert "these steps cost" in fault_of([within[0], replace(within[1], charge=within[0].charge)], terms)


@pytest.mark.parametrize("spent", [Spent(7, charge(7)), Spent(3, charge(12)), Spent(2, charge(2, steps=0))])
def test_what_the_ledger_remembers_is_adopted_in_full(spent):
    account = cost_announced(REQUEST, spent)
    assert account.charges == spent.rounds
    assert spent.charge.epsilon_micro <= account.spent_micro() <= 1.1 * spent.charge.epsilon_micro + 1_000
