"""A short selection of the end-to-end runs: real daemons, real faults, judged through their local interface only.

All of them are `make e2e`; how a run is described and what it checks is in tests/e2e/README.md.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.devnet.league import environment

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

SHORT = Path(__file__).parents[1] / "e2e" / "short"
PATIENCE_S = 280.0


@pytest.mark.parametrize("manifest", sorted(SHORT.glob("*.toml")), ids=lambda path: path.stem)
def test_a_league_outlives(manifest: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    command = [sys.executable, "-m", "tests.e2e.run", str(manifest), "--report", str(report)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    told = f"{done.stdout}\n{done.stderr}"
    assert report.exists(), told
    result = json.loads(report.read_text())
    if result["skipped"]:
        pytest.skip(result["skipped"])
    assert done.returncode == 0, told
    assert result["held"], told
    assert result["final"] > 0, told
    assert result["unsettled"] == 0, told
