"""One simulated federation as a measurement: both accuracies always, the global model's and those that clients serve.

Everything that trains or aggregates is `fl`'s; torch is imported when a run begins.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl.data.tables import Split, Table
from node.reproduce.experiment import CannotReproduce
from node.reproduce.results import Measured

if TYPE_CHECKING:
    from fl.simulate.federation import Federation, RoundResult
    from fl.simulate.terms import Terms

# Figures are means over this many rounds at the end: one round of a federation is a noisy figure.
LAST_ROUNDS = 5
# From here on a client's own model is all that is left of its start.
LOCKED_BETA = 0.99

GLOBAL, OWN_SERVED, OWN_GLOBAL = "global_percent", "own_served_percent", "own_global_percent"
SERVED_ON_ALL, BETA, LOCKED = "served_on_common_test_percent", "beta", "locked_clients_percent"

# Every setting is said: defaults of a strategy may change, an experiment's runs may not.
SERVED_MIX: Mapping[str, str] = {"serve": "mix", "tau": "0.8", "unseen": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTraining:
    """How a client trains in a round. The size of an experiment that trains in one way only is one of these."""

    epochs: int
    lr: float
    batch: int = 32
    momentum: float = 0.8

    def as_terms(self) -> dict[str, Any]:
        """Nothing but these four, by the names that `Terms` has for them."""
        return {each.name: getattr(self, each.name) for each in fields(LocalTraining)}


def strategy_terms(name: str, settings: Mapping[str, str], rule: str | None = None) -> dict[str, Any]:
    """A strategy by the names that `Terms` has for it, and that stored runs are found by."""
    told: dict[str, Any] = {"strategy": name, "strategy_settings": dict(settings)}
    return told if rule is None else {**told, "rule": rule}


FEDAVG: Mapping[str, object] = strategy_terms("fedavg", SERVED_MIX)


def terms_of(settings: Mapping[str, Any], device: str) -> "Terms":
    """The terms that JSON settings name, each by the field's own name."""
    from fl.simulate.terms import Terms

    return Terms(**settings, device=device)


def measure_federation(
    terms: "Terms", clients: Sequence[Split], test: Table, seed: int, tell: Callable[[str], object]
) -> Measured:
    """All rounds. Figures, in percent, means over the last rounds:

    global_percent: the global model on the common test. own_served_percent: what each client serves, on its own mix of
    classes, mean over clients; own_global_percent: the global model there. served_on_common_test_percent: the last
    served models on the whole common test, mean over clients. beta, locked_clients_percent: of the last round.
    A training that leaves the finite numbers, or those that an update can hold, makes all of them NaN: that is a result
    too.
    """
    from fl.fixed_point import NotEncodable
    from fl.simulate.federation import Federation
    from fl.train import Diverged

    rounds: list[RoundResult] = []

    def done(result: "RoundResult") -> None:
        rounds.append(result)
        if result.accuracy is not None:
            tell(f"round {result.number} of {terms.rounds}, {100 * result.accuracy:.1f} %")

    with Federation(terms, clients, test, seed) as federation:
        try:
            federation.run(done)
        except (Diverged, NotEncodable):
            return Measured(dict.fromkeys((GLOBAL, OWN_SERVED, OWN_GLOBAL, SERVED_ON_ALL, BETA, LOCKED), math.nan), {})
        served = _served_on(federation, terms, test)
    tested = [each for each in rounds if each.accuracy is not None]
    curves = {
        GLOBAL: tuple(_percent(each.accuracy) for each in tested),
        OWN_SERVED: tuple(_percent(each.own_accuracy) for each in tested),
        OWN_GLOBAL: tuple(_percent(each.own_global_accuracy) for each in tested),
        BETA: tuple(_mean([client.beta for client in each.clients]) for each in rounds),
        "drift": tuple(_mean([client.drift for client in each.clients]) for each in rounds),
    }
    figures = {name: _mean(curves[name][-LAST_ROUNDS:]) for name in (GLOBAL, OWN_SERVED, OWN_GLOBAL)}
    last = rounds[-1].clients
    figures[SERVED_ON_ALL] = served
    figures[BETA] = curves[BETA][-1]
    figures[LOCKED] = 100 * _mean([float(client.beta >= LOCKED_BETA) for client in last])
    if rounds[-1].epsilon is not None:
        figures["epsilon"] = rounds[-1].epsilon
    return Measured(figures, curves)


def _served_on(federation: "Federation", terms: "Terms", test: Table) -> float:
    """Percent of the common test, mean over the clients' served models."""
    from fl.batches import as_records
    from fl.evaluate import evaluate
    from fl.models.registry import build

    model, records = build(terms.model, terms.arguments, seed=0), as_records(test.features, test.labels)
    clients = sorted(federation.checkpoint().states)
    found = [evaluate(model, records, federation.served(client).vector).accuracy for client in clients]
    return 100 * _mean(found)


def data_set(given: Path | None, name: str, first_file: str) -> Path:
    """The folder of a data set: `given` itself, or the folder of that name in it. Raises CannotReproduce."""
    assert given is not None, "checked before anything is run"
    for folder in (given / name, given):
        if (folder / first_file).exists() or (folder / f"{first_file}.gz").exists():
            return folder
    raise CannotReproduce(f"{given} has no {first_file} and no folder {name} with it: want the data set {name}")


def load_split(source: str, settings: Mapping[str, str], path: Path | None) -> Split:
    """Read once in a process. Raises DataError."""
    return _loaded(source, tuple(sorted(settings.items())), path)


@lru_cache(maxsize=8)
def _loaded(source: str, settings: tuple[tuple[str, str], ...], path: Path | None) -> Split:
    from fl.data import registry

    return registry.load(source, dict(settings), path)


def divided(whole: Split, how: str, clients: int, seed: int) -> list[Split]:
    """`how`: as fl.partition knows it; the test records stay common to all. Raises DataError."""
    import numpy as np

    from fl.partition import divide, parse_partition

    rng = np.random.default_rng([seed, 2])
    parts = divide(parse_partition(how), whole.train.labels, whole.train.groups, clients, rng)
    return [Split(whole.train.take(rows), whole.test) for rows in parts]


def check_pictures() -> None:
    """Raises CannotReproduce where pillow is missing: better now than in an hour."""
    from importlib.util import find_spec

    if find_spec("PIL") is None:
        raise CannotReproduce("CIFAR-10's pictures need pillow: pip install 'hanse[data]'")


def _percent(share: float | None) -> float:
    return math.nan if share is None else 100 * share


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
