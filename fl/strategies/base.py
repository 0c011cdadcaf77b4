"""What a strategy decides about a round, and what it does not. Every strategy is one small file beside this one.

It decides where a factory starts, what it minimises, what it uploads, how the uploads are aggregated, what the
factory keeps for the next round, and which model it uses itself. It trains nothing, encodes nothing and stores
nothing: `fl.round` does. numpy only, so that a node can ask for the aggregation rule without torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from fl.fixed_point import Floats


class StrategyError(ValueError):
    """A strategy, or a setting of one, that does not exist or contradicts another. The requester's fault."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The rule of `fl.aggregate` and its settings: everything a committee needs in order to recompute."""

    rule: str = "mean"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised beside the loss: `proximal` is FedProx's mu, the pull back to the start vector."""

    proximal: float = 0.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where a round starts, float32 [n].

    beta: the share of the factory's own last model in it; beta_asked: what the rule asked for before the guards;
    alpha: the scaler, when the strategy has one and it is set. Warnings are sentences for the factory's owner.
    """

    vector: Floats
    beta: float = 0.0
    beta_asked: float = 0.0
    alpha: float | None = None
    warnings: tuple[str, ...] = ()


class Strategy(ABC):
    """One rule with its settings. Rounds are counted from 0; a state is bytes of the strategy's own making."""

    name: ClassVar[str]
    summary: ClassVar[str]
    aggregation: Aggregation = Aggregation()
    objective: Objective = Objective()

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """The strategy with these settings. Raises StrategyError for one it does not know or allow."""

    @abstractmethod
    def begin(self, global_vector: Floats, state: bytes | None, round_number: int) -> Start:
        """The start of the round. A damaged state costs a warning and a start from the global model, no more."""

    def upload(self, start: Start, trained: Floats) -> Floats:
        """What leaves the factory, float32 [n]: here all that was trained."""
        return trained

    def weight(self, records: int) -> int:
        """How much an update of that many records counts in the aggregate."""
        return records

    @abstractmethod
    def finish(
        self, global_vector: Floats, start: Start, uploaded: Floats, state: bytes | None, round_number: int
    ) -> bytes:
        """The state after the round. `uploaded` is the update as everybody else sees it: encoded and decoded."""

    @abstractmethod
    def serve(self, global_vector: Floats, state: bytes | None) -> tuple[Floats, float]:
        """The model the factory itself uses, and the share of its own last model in it."""
