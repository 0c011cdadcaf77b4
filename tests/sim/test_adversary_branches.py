"""The adversary takes every branch of the consensus machine, or somebody has said why not."""

import subprocess
import sys

import pytest

from tests.support.branches import EXCEPTIONS, LEAVES, ROOT

SEEDS = 1_000


@pytest.mark.timeout(900)
def test_every_branch_of_the_machine_is_attacked() -> None:
    """In a process of its own: what was imported before it was watched would seem never to have run.

    Watched code is slow, so that a machine that is busy may take minutes over the half minute that it is.
    """
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.branches", "--seeds", str(SEEDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_excused_is_there() -> None:
    for (leaf, line, target), reason in EXCEPTIONS.items():
        lines = [each.strip() for each in (ROOT / "consensus" / f"{leaf}.py").read_text().splitlines()]
        assert leaf in LEAVES
        assert line in lines, f"{leaf}.py has no longer: {line}"
        assert target in (*lines, "exit"), f"{leaf}.py has no longer: {target}"
        assert reason
