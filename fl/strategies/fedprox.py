"""FedProx [Li et al. 2020, arXiv 1812.06127]: federated averaging, every step pulled back to the global model.

Each factory minimises its loss + mu / 2 * ||w - W||^2. It is FedAvg with `proximal` under its own name, and with the mu
that was best most often where factories differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from fl.settings import Number, parse_settings
from fl.strategies.base import Objective, StrategyError
from fl.strategies.fedavg import ServeSettings, TrainsFromGlobal


@dataclass(frozen=True, slots=True)
class FedProxSettings(ServeSettings):
    mu: Annotated[float, Number(0.0, 1000.0, "the pull back to the global model")] = 0.01


class FedProx(TrainsFromGlobal):
    name = "fedprox"
    summary = "federated averaging with every step pulled back to the global model"

    def __init__(self, settings: FedProxSettings) -> None:
        super().__init__(settings)
        self.objective = Objective(settings.mu)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(FedProxSettings, "strategy fedprox", settings, StrategyError))
