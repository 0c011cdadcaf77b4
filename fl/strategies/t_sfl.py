"""T-SFL with discriminative model selection: rounds end by time, not by work ([ENN]: Shao et al., 2024).

A factory trains from the global model until its time is over, however many steps it has done by then: nobody waits for
the slowest. Who did less than a share of the steps that the epochs say sends nothing, for a model that has hardly moved
from the start only holds the others back. What is sent counts by what it rests on: the records times the share
of their passes that was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

from fl.fixed_point import Floats
from fl.settings import Number, parse_settings
from fl.strategies.base import LeftOut, Start, StrategyError, Trained, View
from fl.strategies.fedavg import ServeSettings, TrainsFromGlobal

# Of a round's deadline: the rest is for the way of the update and of the word that it is there.
SHARE_OF_DEADLINE = 0.8


@dataclass(frozen=True, slots=True)
class TSflSettings(ServeSettings):
    seconds: Annotated[
        float, Number(0.0, 86_400.0, "that a factory trains in a round at most; 0: four fifths of the round's deadline")
    ] = 0.0
    least: Annotated[float, Number(0.0, 1.0, "share of the epochs' steps, below which nothing is sent")] = 0.2


class TSfl(TrainsFromGlobal):
    name = "t-sfl"
    summary = "train from the global model until the time is over; who got too little done sends nothing"
    # How far a factory gets in its time depends on its records in ways that no noise covers.
    chooses_by_records = True
    by_time = True

    def __init__(self, settings: TSflSettings) -> None:
        super().__init__(settings)
        self.settings = settings
        self.seconds = settings.seconds

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(TSflSettings, "strategy t-sfl", settings, StrategyError))

    def begin(self, view: View) -> Start:
        seconds = self.settings.seconds or SHARE_OF_DEADLINE * view.deadline_s
        if not seconds:
            raise StrategyError("strategy t-sfl: seconds is 0 and the round has no deadline, want one of them")
        return replace(super().begin(view), seconds=seconds)

    def upload(self, view: View, start: Start, trained: Trained) -> Floats:
        least = self.settings.least * trained.steps_planned
        if trained.steps < least:
            done = f"{trained.steps} of {trained.steps_planned} steps in {start.seconds:g} s"
            raise LeftOut(f"{done}, want {least:g}", trained.steps)
        return super().upload(view, start, trained)

    def weight(self, records: int, trained: Trained | None) -> int:
        if trained is None:
            return records
        # Never more than the records, and never nothing: what is sent was worth sending.
        return max(1, records * min(trained.steps, trained.steps_planned) // trained.steps_planned)
