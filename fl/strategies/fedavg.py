"""Federated averaging ([ANCHOR] Algorithm 1): everybody starts from the global model, records weigh the mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from fl.fixed_point import Floats
from fl.settings import Choice, Number, parse_settings
from fl.strategies.base import Layout, Objective, Start, Strategy, StrategyError, Trained, View
from fl.strategies.own_model import SERVES, UNSEEN, UNSEEN_DEFAULT, recall, remember, served


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a factory makes the model that it uses itself: everything that trains from the global model has these."""

    serve: Annotated[str, Choice(SERVES, "the model a factory uses itself")] = "mix"
    tau: Annotated[float, Number(0.0, 1.0, "strength of the served mix, as in DLMU")] = 0.8
    unseen: Annotated[float, UNSEEN] = UNSEEN_DEFAULT


@dataclass(frozen=True, slots=True)
class FedAvgSettings(ServeSettings):
    proximal: Annotated[float, Number(0.0, 1000.0, "FedProx's mu: the pull back to the global model")] = 0.0


class TrainsFromGlobal(Strategy):
    """What all strategies have in common that train from the global model and serve a mix with the own last one."""

    def __init__(self, serving: ServeSettings) -> None:
        self.serving = serving
        # Who asks for the global model gets it as it is.
        self.unseen = 0.0 if serving.serve == "global" else serving.unseen

    def begin(self, view: View) -> Start:
        own, warnings = recall(view.state, view.layout.count)
        return Start(view.model.copy(), alpha=own.alpha if own is not None else None, warnings=warnings)

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        own, _ = recall(view.state, view.layout.count)
        model = uploaded[: view.layout.count]
        # Kept for the served mix only: no training here ever starts from it.
        return remember(own, start.vector, model, self.serving.tau, view.round_number, 0.0).to_bytes()

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        return served(global_vector[: layout.count], state, self.serving.serve)


class FedAvg(TrainsFromGlobal):
    name = "fedavg"
    summary = "train from the global model, average by records; the factory itself serves a mix with its own model"

    def __init__(self, settings: FedAvgSettings) -> None:
        super().__init__(settings)
        self.settings = settings
        self.objective = Objective(settings.proximal)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(FedAvgSettings, "strategy fedavg", settings, StrategyError))
