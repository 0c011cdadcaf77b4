"""A strategy that a package brings: the one of docs/strategies.md, held to its paper, listed with its settings."""

import re
import sys
from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest

from fl.strategies.base import StrategyError
from fl.strategies.registry import BUILT_IN, names, notes, strategy, summary
from tests.support.plain_federations import COUNT, JOB, TABLES, federation, first_weights, mean, sgd

PAGE = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
CLIENTS = range(len(TABLES))


def files():
    return dict(re.findall(r"^\*\*([\w./-]+)\*\*\n+```\w*\n(.*?)```", PAGE, re.S | re.M))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The page's package as pip would leave it."""
    (tmp_path / "gear_strategies.py").write_text(files()["gear_strategies.py"])
    metadata = tmp_path / "gear_strategies-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gear-strategies\nVersion: 1.0\n")
    ((_, place),) = re.findall(r"^(\w+) = \"(gear_strategies:\w+)\"$", files()["pyproject.toml"], re.M)
    (metadata / "entry_points.txt").write_text(f"[hanse.strategies]\nfeddyn = {place}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    yield
    sys.modules.pop("gear_strategies", None)


def test_the_page_shows_forty_lines():
    lines = [line for line in files()["gear_strategies.py"].splitlines() if line.strip()]
    assert len(lines) <= 40


def test_it_is_listed_with_its_settings(installed):
    assert names()[-1] == "feddyn"
    assert "one optimum" in summary("feddyn")
    assert [(note.name, note.default) for note in notes("feddyn")] == [("alpha", "0.1")]
    with pytest.raises(StrategyError, match="strategy feddyn: alpha is '0', want a number"):
        strategy("feddyn", {"alpha": "0"})


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_it_is_the_papers_method(installed, momentum):
    """Acar et al., Algorithm 1, with the server's state: h <- h - a mean(theta_k - theta), theta <- mean - h / a."""
    job, alpha = replace(JOB, momentum=momentum), 0.2
    weights, state, expected = first_weights(), np.zeros(COUNT), []
    gradients = [np.zeros(COUNT) for _ in CLIENTS]
    for number in range(3):
        ends = []
        for client in CLIENTS:
            bent = lambda now, gradient, own=gradients[client], origin=weights: (  # noqa: E731
                gradient - own + alpha * (now - origin)
            )
            ends.append(sgd(weights, client, number, job, bent)[0])
            gradients[client] = gradients[client] - alpha * (ends[-1] - weights)
        met = mean(ends)
        state = state - alpha * (met - weights)
        weights = met - state / alpha
        expected.append(weights)
    got = federation(replace(job, strategy="feddyn", strategy_settings={"alpha": "0.2"}), 3)
    assert np.abs(np.array(got.models) - np.array(expected)).max() < 1e-4


def test_the_page_names_every_strategy_there_is():
    first_table = PAGE.split("## How it is aggregated")[0]
    told = set(re.findall(r"^\| `([\w-]+)` \|", first_table, re.M))
    assert BUILT_IN.keys() <= told
    assert told - BUILT_IN.keys() == set()
