"""Proof that the adversary is a good one: it finds every fault that is planted, and none where there is none."""

import re
from pathlib import Path

import pytest

from tests.support.lockstep_watch import CAUSES
from tests.support.mutants import HARMLESS, MUTANTS, noticed

HARMLESS_SEEDS = 150


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_noticed(name: str) -> None:
    mutant = MUTANTS[name]
    found = next(noticed(mutant, range(mutant.seeds)), None)
    assert found is not None, f"{mutant.seeds} runs did not notice: {name}"


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.seeds_blind])
def test_a_planted_fault_is_noticed_by_its_consequences_alone(name: str) -> None:
    """Blind to how a fault comes about: two blocks that could both be final, or a height that does not end."""
    mutant = MUTANTS[name]
    found = next(noticed(mutant, range(mutant.seeds_blind), CAUSES), None)
    assert found is not None, f"{mutant.seeds_blind} runs did not suffer from: {name}"


@pytest.mark.parametrize("name", HARMLESS)
def test_another_way_to_be_right_is_no_fault(name: str) -> None:
    found = next(noticed(HARMLESS[name], range(HARMLESS_SEEDS)), None)
    assert found is None, f"seed and reason: {found}"


def test_the_seed_of_the_page_shows_the_fault_it_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "adversary.md").read_text()
    ((seed, name),) = re.findall(r'--seed (\d+) --mutant "([^"]+)"', page)
    assert next(noticed(MUTANTS[name], range(int(seed), int(seed) + 1)), None) is not None
