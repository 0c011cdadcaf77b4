"""What a simulated federation trains, on whose records: a data set divided among clients, and terms that suit it.

The terms are those that `hanse devnet` uses of the same data; everything in them can be chosen otherwise.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fl.data import registry
from fl.data.errors import DataError
from fl.data.tables import Split, Table, join
from fl.partition import divide, parse_partition
from fl.simulate.terms import Terms

# Some kilobytes a client beside its records; who wants more than this wants a cluster.
CLIENTS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """`source`: of fl.data.registry. `split`: how records are divided unless told otherwise; "site": as they come, one
    simulated factory a client."""

    source: str
    settings: dict[str, str]
    split: str
    terms: Terms


SCENARIOS = {
    "cwru": Scenario(
        "cwru",
        {"load": "all"},
        "iid",
        Terms("mlp", 20, 10, 32, 0.1, 0.8, {"layers": "8,150,150,4"}),
    ),
    "mnist": Scenario(
        "mnist",
        {"downscale": "2", "limit": "6000", "test_limit": "2000"},
        "iid",
        Terms("mlp", 15, 1, 32, 0.05, 0.8, {"layers": "196,64,10"}),
    ),
    "bearings": Scenario(
        "bearing-simulator",
        {},
        "site",
        Terms("mlp", 10, 5, 32, 0.05, 0.8, {"layers": "8,150,150,4"}),
    ),
    "fashion-mnist": Scenario(
        "fashion-mnist",
        {"downscale": "2", "limit": "6000", "test_limit": "2000"},
        "iid",
        Terms("mlp", 15, 1, 32, 0.05, 0.8, {"layers": "196,64,10"}),
    ),
    "cifar10": Scenario(
        "cifar10",
        {"limit": "5000", "test_limit": "1000"},
        "iid",
        Terms("cnn", 20, 5, 32, 0.01, 0.8, {"input": "3x32x32"}),
    ),
    "text": Scenario(
        "text",
        {"limit": "10000", "test_limit": "2000"},
        "site",
        Terms("char-lstm", 20, 1, 32, 0.5, 0.8),
    ),
}


def scenario(name: str) -> Scenario:
    """Raises DataError for an unknown one."""
    if name not in SCENARIOS:
        raise DataError(f"there is no scenario {name[:80]!r}, want one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def scenario_of(source: str) -> Scenario | None:
    """The scenario of that name, or of that data source; None where nobody has tried it."""
    return SCENARIOS.get(source) or next((each for each in SCENARIOS.values() if each.source == source), None)


def clients_of(
    chosen: Scenario, path: Path | None, clients: int, split: str | None, seed: int
) -> tuple[list[Split], Table]:
    """Each client's records, and the common test. `split`: "site" or what `fl.partition` knows. Raises DataError."""
    if not 1 <= clients <= CLIENTS_MAX:
        raise DataError(f"{clients} clients, want 1 to {CLIENTS_MAX}")
    how = split or chosen.split
    if how == "site" and chosen.source != "bearing-simulator":
        how = "group"
    if chosen.source == "bearing-simulator":
        each = [{**chosen.settings, "factory": str(at), "factories": str(clients)} for at in range(clients)]
        sites = [registry.load(chosen.source, settings, path) for settings in each]
        test = registry.pooled_test(chosen.source, each[0], path)
        if how == "site":
            return sites, test
        whole = Split(join([site.train for site in sites]), test)
    else:
        whole = registry.load(chosen.source, chosen.settings, path)
        test = whole.test
    rng = np.random.default_rng([seed, 2])
    parts = divide(parse_partition(how), whole.train.labels, whole.train.groups, clients, rng)
    return [Split(whole.train.take(rows), test) for rows in parts], test


def with_terms(chosen: Scenario, **changes: object) -> Terms:
    """The scenario's terms with what was chosen otherwise; None stands for the scenario's own."""
    return replace(chosen.terms, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
