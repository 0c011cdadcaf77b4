"""What came of a run, from its rows: the figures at its end, and mean and spread of several seeds. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from fl.simulate.results import LAST
from node.federations.rows import Row

# What is told of a run at its end, and averaged over seeds: a name, and the column of `rounds` that it is made of.
ENDING = {
    "accuracy_global": "accuracy_global",
    "accuracy_own": "accuracy_own",
    "accuracy_own_of_global": "accuracy_own_of_global",
    "loss_global_nats": "loss_global_nats",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rounds`: the rows of the rounds, ascending. `rejections`: by client, how often for which reason. `parts`: how
    often attackers and honest clients took part."""

    rounds: Sequence[Row]
    rejections: Mapping[int, Counter[str]]
    parts: Mapping[bool, int]
    attackers: tuple[int, ...]

    def rejected(self, attackers: bool) -> tuple[int, int]:
        """How many updates of attackers (or of honest clients) were rejected, and of how many."""
        of = self.parts.get(attackers, 0)
        return sum(c.total() for at, c in self.rejections.items() if (at in self.attackers) is attackers), of

    def ending(self) -> dict[str, Any]:
        """The figures of the run's end; accuracies and loss are means of its last three tested rounds, None where no
        round was tested."""
        tested = [row for row in self.rounds if row["accuracy_global"] is not None][-LAST:]
        told: dict[str, Any] = {name: _mean(row[column] for row in tested) for name, column in ENDING.items()}
        last = self.rounds[-1]
        return {
            "rounds": last["round"],
            **told,
            "bytes_up": sum(row["bytes_up"] for row in self.rounds),
            "bytes_down": sum(row["bytes_down"] for row in self.rounds),
            "epsilon": last["epsilon"],
            "attackers_rejected": self.rejected(attackers=True)[0],
            "honest_rejected": self.rejected(attackers=False)[0],
            "model_digest": last["digest"],
        }


class OutcomeSoFar:
    """Rows as they come, kept as far as an outcome needs them."""

    def __init__(self, attackers: tuple[int, ...]) -> None:
        self._rounds: list[Row] = []
        self._rejections: dict[int, Counter[str]] = {}
        self._parts: Counter[bool] = Counter()
        self._attackers = attackers

    def add_round(self, row: Row) -> None:
        self._rounds.append(row)

    def add_client(self, row: Row) -> None:
        self._parts[row["client"] in self._attackers] += 1
        if row["rejected"] is not None:
            self._rejections.setdefault(row["client"], Counter())[row["rejected"]] += 1

    def outcome(self) -> Outcome:
        rejections = dict(sorted(self._rejections.items()))
        return Outcome(tuple(self._rounds), rejections, dict(self._parts), self._attackers)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of several seeds: mean and sample standard deviation, 0.0 of one seed."""

    mean: float
    deviation: float


def spread_of(outcomes: Sequence[Outcome]) -> dict[str, Spread | None]:
    """By name of ENDING: the spread over the runs; None where a run has no such figure."""
    found: dict[str, Spread | None] = {}
    endings = [outcome.ending() for outcome in outcomes]
    for name in ENDING:
        values = [ending[name] for ending in endings]
        if any(value is None for value in values):
            found[name] = None
        else:
            found[name] = Spread(fmean(values), stdev(values) if len(values) > 1 else 0.0)
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
