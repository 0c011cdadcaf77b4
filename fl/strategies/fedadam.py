"""FedAdam [Reddi et al. 2021, arXiv 2003.00295]: the mean step of the factories is a gradient, and Adam takes it.

The global vector is [W | m | r]: the model, the mean step and the root of the mean squared step, the last two finer by
`fl.server_steps.FINER`. The committee moves all three by rule `adam`; a factory trains from W, and sends the other two
back as they came. Bounds of the fixed point: a step of a coordinate counts up to limit / FINER a round (2 for a limit
of 512), tau is at least one step of the finer scale (4e-9 at 20 binary places). As in the paper nothing is corrected
for the first rounds; r begins at tau.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np

from fl.fixed_point import Floats
from fl.server_steps import ADAM_VECTORS, FINER
from fl.settings import Choice, Number, parse_settings
from fl.strategies.base import Aggregation, StrategyError
from fl.strategies.fedavg import ServeSettings, TrainsFromGlobal
from fl.strategies.own_model import SERVES, UNSEEN, UNSEEN_DEFAULT


@dataclass(frozen=True, slots=True)
class FedAdamSettings:
    lr: Annotated[float, Number(0.000001, 10.0, "step length of the global model")] = 0.03
    beta1: Annotated[float, Number(0.0, 0.999999, "how much of the mean step is remembered")] = 0.9
    beta2: Annotated[float, Number(0.0, 0.999999, "how much of the mean squared step is remembered")] = 0.99
    tau: Annotated[float, Number(0.000001, 1.0, "how adaptive, small is more; here r begins")] = 0.001
    serve: Annotated[str, Choice(SERVES, "the model a factory uses itself")] = "mix"
    mix_tau: Annotated[float, Number(0.0, 1.0, "strength of the served mix, DLMU's tau")] = 0.8
    unseen: Annotated[float, UNSEEN] = UNSEEN_DEFAULT


class FedAdam(TrainsFromGlobal):
    name = "fedadam"
    summary = "federated averaging whose global model is moved by Adam"
    vectors = ADAM_VECTORS

    def __init__(self, settings: FedAdamSettings) -> None:
        super().__init__(ServeSettings(settings.serve, settings.mix_tau, settings.unseen))
        self.settings = settings
        named = ("lr", "beta1", "beta2", "tau")
        self.aggregation = Aggregation("adam", {name: repr(getattr(settings, name)) for name in named})

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(FedAdamSettings, "strategy fedadam", settings, StrategyError))

    def initial(self, model_vector: Floats) -> Floats:
        root = np.full_like(model_vector, self.settings.tau * FINER)
        return np.concatenate([model_vector, np.zeros_like(model_vector), root])
