"""Attacks and rules on recorded data: the rules bear what ruins the mean, and no honest factory is rejected."""

from dataclasses import replace

import pytest

from fl.data.tables import Split
from fl.simulate.attacks import attack
from fl.simulate.comparing import compare_rules
from fl.simulate.federation import Federation
from fl.simulate.scenarios import SCENARIOS, clients_of, with_terms
from tests.support.shared_data import shared_data

pytestmark = pytest.mark.data


def test_three_of_ten_that_flip_signs_ruin_the_mean_of_digits_and_not_the_trimmed_mean():
    chosen = SCENARIOS["mnist"]
    splits, test = clients_of(chosen, shared_data("mnist"), 10, "iid", 1)
    terms = with_terms(chosen, rule="trimmed-mean", rounds=5)
    calm, hit, _, held = (
        run.course.accuracy for run in compare_rules(terms, splits, test, 1, attack("sign-flip"), (7, 8, 9))
    )
    assert hit < 0.3
    assert calm > 0.7
    assert held > calm - 0.08


@pytest.mark.parametrize("split", ["class(2)", "dirichlet(0.3)"])
@pytest.mark.parametrize("name", ["free-rider", "noise"])
def test_free_riders_are_rejected_and_factories_with_classes_of_their_own_are_not(split, name):
    chosen = SCENARIOS["mnist"]
    splits, test = clients_of(chosen, shared_data("mnist"), 10, split, 2)
    terms = with_terms(chosen, rounds=4, inspected=True)
    federation = Federation(terms, splits, test, 2, attack(name), (8, 9))
    assert [set(result.rejected) for result in federation.run().rounds] == [{8, 9}] * 4


@pytest.mark.parametrize(
    ("clients", "split", "privacy"), [(4, "site", "none"), (8, "class(2)", "none"), (4, "site", "sound")]
)
def test_no_honest_factory_is_rejected_at_the_motor_loads(clients, split, privacy):
    chosen = SCENARIOS["cwru"]
    splits, test = clients_of(chosen, shared_data("cwru"), clients, split, 3)
    sound = {"epsilon": "8"} if privacy == "sound" else {}
    terms = with_terms(chosen, rounds=3, epochs=4, inspected=True, privacy=privacy, privacy_settings=sound)
    assert [dict(result.rejected) for result in Federation(terms, splits, test, 3).run().rounds] == [{}] * 3


def test_a_factory_with_a_hundredth_of_the_records_is_not_taken_for_idle():
    chosen = replace(SCENARIOS["mnist"], settings={**SCENARIOS["mnist"].settings, "limit": "8000"})
    splits, test = clients_of(chosen, shared_data("mnist"), 4, "iid", 1)
    tiny = Split(splits[0].train.take(slice(0, 20)), test)
    terms = with_terms(chosen, rounds=2, inspected=True)
    federation = Federation(terms, [tiny, *splits[1:]], test, 1)
    assert [dict(result.rejected) for result in federation.run().rounds] == [{}] * 2
