"""One height under a Byzantine adversary, over thousands of seeds; and proof that the adversary is a good one."""

from dataclasses import replace

import pytest

from tests.support.lockstep import Broken, Lockstep, Plan, failures
from tests.support.mutants import MUTANTS
from tests.support.vote_counts import Rules, forks, simplex

# A fault whose seed comes later than this would be too rare for a run on every push; the rarest takes some 600.
MUTANT_SEEDS_MAX = 1_500


@pytest.mark.parametrize(("members", "seeds"), [(1, 20), (2, 40), (3, 60), (4, 800), (5, 400), (6, 200), (7, 250)])
def test_no_seed_breaks_agreement_validity_or_progress(members: int, seeds: int) -> None:
    broken = failures([Plan(members, seed) for seed in range(seeds)])
    assert not broken, f"python -m tests.support.lockstep --members {members} --first SEED --seeds 1; {broken}"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_noticed(name: str) -> None:
    plan, planted, members = MUTANTS[name]
    with planted():
        for seed in range(MUTANT_SEEDS_MAX):
            try:
                Lockstep(plan(members, seed)).run()
            except Broken:
                return
    pytest.fail(f"{MUTANT_SEEDS_MAX} runs did not notice: {name}")


def test_a_run_depends_on_its_seed_only() -> None:
    runs = [Lockstep(Plan(5, 11)) for _ in range(2)]
    for run in runs:
        run.run()
    first, second = (list(run.said) for run in runs)
    assert first == second


@pytest.mark.parametrize("members", range(1, 14))
def test_vote_counts_of_any_number_of_views_cannot_fork(members: int) -> None:
    assert not forks(simplex(members))


@pytest.mark.parametrize("members", [4, 5, 6, 7, 8, 9, 10])
@pytest.mark.parametrize("fault", ["nullify_and_finalize", "notarize_twice", "fresh_always", "wrong_block"])
def test_vote_counts_fork_with_a_fault_in_the_rules(members: int, fault: str) -> None:
    assert forks(replace(simplex(members), **{fault: True}))


@pytest.mark.parametrize("members", [5, 6, 8, 9])
def test_vote_counts_fork_with_a_quorum_of_2f_plus_1(members: int) -> None:
    assert forks(Rules(members, quorum=2 * ((members - 1) // 3) + 1))
