"""One height under a Byzantine adversary, over thousands of seeds. `make attack` runs millions (docs/adversary.md)."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.support.lockstep import Lockstep, attempt, failures
from tests.support.lockstep_plan import CrashAt, Plan
from tests.support.lockstep_watch import Broken
from tests.support.vote_counts import Rules, forks, simplex

SEEDS, PARTS = 5_000, 10


@pytest.mark.parametrize("part", range(PARTS))
def test_no_seed_breaks_agreement_validity_or_progress(part: int) -> None:
    count = SEEDS // PARTS
    broken = failures(Plan(seed) for seed in range(part * count, (part + 1) * count))
    assert not broken, f"make attack SEED={next(iter(broken))}; {broken}"


@pytest.mark.parametrize("members", [1, 2, 3])
def test_a_league_that_tolerates_no_fault_decides_as_long_as_there_is_none(members: int) -> None:
    broken = failures(Plan(seed, members) for seed in range(40))
    assert not broken, f"python -m tests.attack --members {members} --seed {next(iter(broken))}; {broken}"


@pytest.mark.parametrize("member", range(4))
def test_a_crash_at_every_point_of_the_journal_is_harmless(member: int) -> None:
    """Before a write, after any record of it, and after all of it but before anything leaves."""
    crashes = 0
    for seed, style in [(seed, style) for style in ("anything", "withheld") for seed in range(6)]:
        write, kept = 0, 0
        while True:
            crash = CrashAt(member, write, kept)
            run = Lockstep(Plan(seed, 4, style, crash=crash))
            try:
                run.run()
            except Broken as error:
                pytest.fail(f"seed {seed}, {style}, {crash}: {error}")
            if run.crashed_at is None:
                break  # it wrote less often than that; or it is the liar, and has no journal
            crashes += 1
            write, kept = (write, kept + 1) if kept < run.crashed_at else (write + 1, 0)
    assert crashes > 80, f"member {member} crashed in {crashes} runs"


def test_more_liars_than_f_halt_a_member_or_fork_it_but_never_make_it_stumble() -> None:
    """What a member's own hands hold, holds: it signs nothing twice, accuses nobody correct, and raises nothing."""
    for seed in range(200):
        broken = attempt(Plan(seed, members=4, style="halves", overrun=True))
        assert broken is None, f"seed {seed}: {broken}"


TRACES = """
from tests.support.lockstep import Lockstep
from tests.support.lockstep_plan import Plan
for seed in range(30):
    run = Lockstep(Plan(seed), trace=True)
    run.run()
    print(seed, len(run.trace.lines), run.trace.digest())
"""


def test_a_seed_replays_the_same_trace_in_every_process() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-c", TRACES],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert printed[0].count("\n") == 30
    assert printed[0] == printed[1]


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
