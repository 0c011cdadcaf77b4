"""What an experiment is: runs that measure, and a report that is made of what they measured. Does no I/O itself.

A new experiment is one file with a subclass of `Experiment`, and one line in `catalogue.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self, TypeAlias

from node.reproduce.plot import Plot
from node.reproduce.results import Keys, Measured, Results

SCALES = ("quick", "full")

Tell: TypeAlias = Callable[[str], object]
"""How far a run is, for people; called now and then."""


class CannotReproduce(Exception):
    """An experiment that cannot be run as asked: no such one, data missing or unfit. The text says what is wanted."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user chose. `data`: where the data sets lie, None when not said. `device`: what trains, as in Terms."""

    scale: str
    seeds: tuple[int, ...]
    data: Path | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement with one seed.

    `keys`: what the run is, in the words of the table ("split": "class(2)", "method": "fedavg"). `settings`: everything
    that decides what comes out, as JSON: a stored result of other settings is not taken for this run's. `measure` may
    take long; it raises what the code that it calls raises.
    """

    keys: Keys
    seed: int
    settings: Mapping[str, object]
    measure: Callable[[Tell], Measured]

    @property
    def name(self) -> str:
        """For people and files, unlike that of every other run of the experiment."""
        return ", ".join((*self.keys.values(), f"seed {self.seed}"))


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table as it is printed; cells are text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`verdict`: one paragraph; every sentence of it follows from the figures. `setting`: one, of what was run."""

    setting: str
    tables: tuple[ReportTable, ...]
    plots: tuple[Plot, ...]
    verdict: str


@dataclass(frozen=True, slots=True)
class Published:
    """A figure as it was printed. `source`: paper and place."""

    value: float
    source: str


class Experiment(ABC):
    """One table or figure of a paper. `sizes`: by scale, what is run; tests make smaller ones.

    `wants`: what `--data` must lead to, "" where nothing is read. `alone`: runs measure times, or found leagues, and
    must not share the machine with each other. `minutes_quick`: CPU minutes of the quick scale with its seeds, roughly.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    wants: ClassVar[str] = ""
    alone: ClassVar[bool] = False
    seeds_usual: ClassVar[int] = 3
    minutes_quick: ClassVar[float] = 1.0
    sizes: ClassVar[Mapping[str, object]]

    def __init__(self, size: object) -> None:
        self.size = size

    @classmethod
    def at(cls, scale: str) -> Self:
        """The experiment at "quick" or "full"."""
        return cls(cls.sizes[scale])

    def check(self, asked: Asked) -> None:
        """Raises CannotReproduce before anything is run when what is wanted is not there."""
        if self.wants and asked.data is None:
            raise CannotReproduce(f"{self.name} needs --data PATH: {self.wants}")

    @abstractmethod
    def runs(self, asked: Asked) -> Sequence[Run]:
        """Every run, seed by seed in the outer loop, so that an interrupted experiment has whole seeds first."""

    def published(self, keys: Keys, figure: str) -> Published | None:
        """What the paper printed for that figure, if anything."""
        return None

    @abstractmethod
    def report(self, results: Results) -> Report:
        """Of all runs. Pure: the same results give the same words."""
