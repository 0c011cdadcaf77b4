"""Ditto [Li et al. 2021, arXiv 2012.04221, Algorithm 1]: federated averaging, and a personal model that never leaves.

Beside its part in the global model every factory trains a second model of its own, from where it left it, on its loss
+ mu / 2 * ||v - W||^2 with W the global model that the round began with. That model is what the factory serves. It
sees the records without noise in every mode of privacy, and nothing of it is in an update or in where a round starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from fl.fixed_point import Floats
from fl.settings import Number, Whole, parse_settings
from fl.strategies.base import Layout, Personal, Start, Strategy, StrategyError, Trained, View
from fl.strategies.kept_vector import keep, kept


@dataclass(frozen=True, slots=True)
class DittoSettings:
    mu: Annotated[float, Number(0.0, 1000.0, "the personal model's pull towards the global one")] = 0.1
    epochs: Annotated[int, Whole(0, 10_000, "passes for the personal model; 0: as many as for the other")] = 0


class Ditto(Strategy):
    name = "ditto"
    summary = "federated averaging, and a personal model that is pulled towards the global one and never leaves"
    remembers = True

    def __init__(self, settings: DittoSettings) -> None:
        self.settings = settings

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(DittoSettings, "strategy ditto", settings, StrategyError))

    def begin(self, view: View) -> Start:
        # Whether the personal model is there or damaged changes nothing here but what the owner is told.
        _, _, warnings = _kept(view.state, view.layout)
        return Start(view.model.copy(), warnings=warnings)

    def personal(self, view: View) -> Personal:
        _, own, _ = _kept(view.state, view.layout)
        start = view.model if own is None else own
        return Personal(start.copy(), view.model.copy(), self.settings.mu, self.settings.epochs or view.epochs)

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        if personal is None:
            # It diverged: the last one stays, and where there is none the global model is what there is.
            _, own, _ = _kept(view.state, view.layout)
            personal = view.model if own is None else own
        return keep(b"", personal)

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        _, own, _ = _kept(state, layout)
        return (global_vector[: layout.count].copy(), 0.0) if own is None else (own.copy(), 1.0)


def _kept(state: bytes | None, layout: Layout) -> tuple[bytes | None, Floats | None, tuple[str, ...]]:
    return kept(state, layout.count, "personal model")
