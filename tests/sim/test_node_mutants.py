"""Whether the simulation of whole nodes would notice: every planted fault is found within a few seeds."""

import pytest

from node.simulation.referee import SimulationFailed
from node.simulation.run import run
from tests.support.node_mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.plant.__name__)
def test_a_fault_planted_in_the_driver_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    for seed in range(mutant.first, mutant.first + mutant.seeds):
        failure = failure_of(seed, mutant)
        if failure is not None:
            assert mutant.noticed_as in failure
            return
    pytest.fail(f"{mutant.seeds} seeds did not notice {mutant.plant.__name__}")


def failure_of(seed: int, mutant: Mutant) -> str | None:
    try:
        run(seed, 4, mutant.faults, transfers=25, requests=2)
    except SimulationFailed as failure:
        return str(failure)
    return None
