"""What runs measured, and means and spreads of it over seeds. Pure; numbers only."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Keys: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Measured:
    """`figures`: by name with the unit last ("global_percent"); `curves`: the same by round, the first round first."""

    figures: Mapping[str, float]
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """Of one run."""

    keys: Keys
    seed: int
    measured: Measured


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample deviation over `seeds` runs with a finite figure; `lost` runs had none, for they diverged.

    The deviation is NaN for a single run, both are for none.
    """

    mean: float
    deviation: float
    seeds: int
    lost: int = 0

    def text(self, digits: int = 1) -> str:
        """ "57.1 ± 0.8"; without the second where one seed was run."""
        if not self.seeds:
            return "diverged"
        told = f"{self.mean:.{digits}f}"
        if not math.isnan(self.deviation):
            told += f" ± {self.deviation:.{digits}f}"
        return f"{told} ({self.lost} diverged)" if self.lost else told


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError for no values."""
    if not values:
        raise ValueError("no values, want at least one")
    finite = [value for value in values if math.isfinite(value)]
    mean = statistics.fmean(finite) if finite else math.nan
    deviation = statistics.stdev(finite) if len(finite) > 1 else math.nan
    return Spread(mean, deviation, len(finite), len(values) - len(finite))


class MissingResult(LookupError):
    """A report asks for what no run measured: our own mistake."""


@dataclass(frozen=True, slots=True)
class Results:
    """All of an experiment, in the order of its runs."""

    all: tuple[Result, ...]

    def where(self, **keys: str) -> "Results":
        """Those whose keys say so."""
        return Results(tuple(each for each in self.all if all(each.keys.get(k) == v for k, v in keys.items())))

    def named(self, key: str) -> tuple[str, ...]:
        """The values that a key takes, in the order of the runs."""
        return tuple(dict.fromkeys(each.keys[key] for each in self.all if key in each.keys))

    def values(self, figure: str) -> list[float]:
        """One a run, in order. Raises MissingResult when a run has none, or there is no run."""
        if not self.all or any(figure not in each.measured.figures for each in self.all):
            raise MissingResult(f"{figure} of {len(self.all)} runs")
        return [each.measured.figures[figure] for each in self.all]

    def spread(self, figure: str, **keys: str) -> Spread:
        """Over the seeds of one cell of a table. Raises MissingResult."""
        return spread(self.where(**keys).values(figure))

    def mean(self, figure: str, **keys: str) -> float:
        return self.spread(figure, **keys).mean

    def difference(self, figure: str, ours: Keys, theirs: Keys) -> Spread:
        """Of runs with the same seed, `ours` minus `theirs`: what two methods share (split, batches) falls out."""
        return self.paired(figure, ours, theirs, lambda left, right: left - right)

    def paired(self, figure: str, ours: Keys, theirs: Keys, joined: Callable[[float, float], float]) -> Spread:
        """Over pairs of runs with the same seed. Raises MissingResult when a seed lacks one of the two."""
        left, right = (
            {each.seed: each.measured.figures[figure] for each in self.where(**keys).all} for keys in (ours, theirs)
        )
        if not left or left.keys() != right.keys():
            raise MissingResult(f"{figure}: seeds {sorted(left)} of {dict(ours)}, {sorted(right)} of {dict(theirs)}")
        return spread([joined(left[seed], right[seed]) for seed in sorted(left)])

    def diverged(self, figure: str) -> bool:
        """Whether some cell has no finite figure: nothing can be said of it then."""
        cells = {tuple(each.keys.items()) for each in self.all}
        return any(not self.spread(figure, **dict(cell)).seeds for cell in cells)

    def curve(self, name: str, **keys: str) -> tuple[Spread, ...]:
        """Mean and deviation over seeds, round by round; as long as the shortest. Raises MissingResult."""
        found = [each.measured.curves[name] for each in self.where(**keys).all if name in each.measured.curves]
        if not found:
            raise MissingResult(f"curve {name} of {keys}")
        return tuple(spread(values) for values in zip(*found, strict=False))
