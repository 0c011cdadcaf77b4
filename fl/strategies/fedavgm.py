"""FedAvgM [Hsu, Qi and Brown 2019, arXiv 1909.06335]: federated averaging whose global model moves with momentum.

W' = W + lr * (mean - W) + momentum * (W - W_previous). The factories do what they do under FedAvg; the committee moves
the model by rule `momentum` (`fl.server_steps`), which needs nothing but the last two global models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from fl.settings import Number, parse_settings
from fl.strategies.base import Aggregation, StrategyError
from fl.strategies.fedavg import ServeSettings, TrainsFromGlobal


@dataclass(frozen=True, slots=True)
class FedAvgMSettings(ServeSettings):
    lr: Annotated[float, Number(0.000001, 10.0, "share of the updates' mean step that is taken")] = 0.3
    momentum: Annotated[float, Number(0.0, 0.999999, "share of the last movement that is made again")] = 0.9


class FedAvgM(TrainsFromGlobal):
    name = "fedavgm"
    summary = "federated averaging whose global model moves with momentum"

    def __init__(self, settings: FedAvgMSettings) -> None:
        super().__init__(settings)
        told = {"lr": repr(settings.lr), "momentum": repr(settings.momentum)}
        self.aggregation = Aggregation("momentum", told)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(FedAvgMSettings, "strategy fedavgm", settings, StrategyError))
