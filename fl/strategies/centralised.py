"""All records in one place: the baseline that a federation tries to reach. For simulations, not for a league.

The simulator gives one client everybody's records (`pooled`); it trains as a factory would, as many epochs a round.
"""

from collections.abc import Mapping
from typing import Self

from fl.settings import NoSettings, parse_settings
from fl.strategies.base import StrategyError
from fl.strategies.fedavg import ServeSettings, TrainsFromGlobal


class Centralised(TrainsFromGlobal):
    name = "centralised"
    summary = "one model on everybody's records in one place"
    in_league = False
    pooled = True

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        parse_settings(NoSettings, "strategy centralised", settings, StrategyError)
        return cls(ServeSettings(serve="global"))
