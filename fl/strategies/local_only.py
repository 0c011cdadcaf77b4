"""Everybody alone: the baseline that a federation has to beat for a factory. For simulations, not for a league.

A factory goes on from its own last model, uploads the global model as it came, and serves what it trained itself.
"""

from collections.abc import Mapping
from typing import Self

from fl.fixed_point import Floats
from fl.settings import NoSettings, parse_settings
from fl.strategies.base import Layout, Start, Strategy, StrategyError, Trained, View
from fl.strategies.kept_vector import keep, kept


class LocalOnly(Strategy):
    name = "local-only"
    summary = "everybody trains alone on its own records, and nobody learns from anybody"
    in_league = False
    uploads = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        parse_settings(NoSettings, "strategy local-only", settings, StrategyError)
        return cls()

    def begin(self, view: View) -> Start:
        vector, share = self.serve(view.global_vector, view.state, view.layout)
        _, _, warnings = kept(view.state, view.layout.count, "own model")
        return Start(vector, share, share, warnings=warnings)

    def upload(self, view: View, start: Start, trained: Trained) -> Floats:
        return view.global_vector

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        return keep(b"", uploaded if trained is None else trained.vector)

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        _, own, _ = kept(state, layout.count, "own model")
        return (global_vector.copy(), 0.0) if own is None else (own.copy(), 1.0)
