"""DLMU ([DLMU] 4.1): a factory starts between the global model and its own last one; guarded unless `strict`.

The published rule can lock a factory into beta = 1: it then ignores the federation, and every later round confirms
it. So by default a factory mixes only if it trained in the round before (a model from long ago is far from the
global one for no reason of its own), and keeps at most `cap` of itself. `strict=true` is the rule as published.

`form=drift` is the rule of the method that DLMU was made of, FedEMA [Zhuang, Wen and Zhang 2022, ICLR], as its authors'
EasyFL has it: beta follows how far the factory's own last training went, ||w_prev - start||, and not how far its model
lies from the global one. The first beta is then tau itself, and falls as training converges, so the lock does not
close behind anybody and no cap is needed: it is 1 unless one is set. The norm is L2 over all parameters here too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np

from fl.dlmu import distance, mix_weight, mixed_start, start_point
from fl.fixed_point import Floats
from fl.settings import Choice, Number, parse_settings
from fl.strategies.base import Layout, Start, Strategy, StrategyError, Trained, View
from fl.strategies.own_model import BETAS_KEPT, SERVES, UNSEEN, OwnModel, recall, remember, served

# From here on a factory's own model is all that is left of its start point.
BETA_ALONE = 0.99
TRUTHS = ("true", "false")
FORMS = ("literal", "drift")


@dataclass(frozen=True, slots=True)
class DlmuSettings:
    tau: Annotated[float, Number(0.0, 1.0, "beta right after a first drift of one drift's length")] = 0.8
    cap: Annotated[float, Number(0.0, 1.0, "largest share of itself that a factory keeps; 1 in form drift")] = 0.5
    selective: Annotated[str, Choice(TRUTHS, "mix only if the factory trained in the round before")] = "true"
    form: Annotated[str, Choice(FORMS, "what beta grows with: distance from the global model, or the last drift")] = (
        "literal"
    )
    strict: Annotated[str, Choice(TRUTHS, "the rule as published, without any guard")] = "false"
    serve: Annotated[str, Choice(SERVES, "the model a factory uses itself")] = "mix"
    # The published rule serves the mix as it is.
    unseen: Annotated[float, UNSEEN] = 0.0


class Dlmu(Strategy):
    name = "dlmu"
    summary = "start from a mix of the global and the factory's own last model; averages by records"

    def __init__(self, settings: DlmuSettings) -> None:
        strict = settings.strict == "true"
        self.settings = settings
        self.drifting = settings.form == "drift"
        self.unseen = settings.unseen
        self.cap = 1.0 if strict else settings.cap
        self.selective = not strict and settings.selective == "true"

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        parsed = parse_settings(DlmuSettings, "strategy dlmu", settings, StrategyError)
        guards = sorted({"cap", "selective"} & settings.keys())
        if parsed.strict == "true" and guards:
            raise StrategyError(f"strategy dlmu: strict=true has no guards, but {', '.join(guards)} is set too")
        if parsed.form == "drift":
            if parsed.strict == "true":
                raise StrategyError("strategy dlmu: strict=true is the rule as published, and form=drift is another")
            if "cap" not in settings:
                parsed = replace(parsed, cap=1.0)
        return cls(parsed)

    def begin(self, view: View) -> Start:
        own, warnings = recall(view.state, view.layout.count)
        if own is None:
            return Start(view.model.copy(), warnings=warnings)
        if own.alpha is None:
            return Start(view.model.copy())
        if self.selective and own.last_round != view.round_number - 1:
            return Start(view.model.copy(), alpha=own.alpha)
        if self.drifting:
            vector, beta, asked = mixed_start(view.model, own.vector, self._drift_weight(own), self.cap)
        else:
            vector, beta, asked = start_point(view.model, own.vector, own.alpha, self.cap)
        if math.isnan(asked):
            told = "this factory's last model or its scaler is not finite; starting from the global model"
            return Start(vector, warnings=(told,))
        return Start(vector, beta, asked, own.alpha, self._warnings(own, asked, beta))

    def _drift_weight(self, own: OwnModel) -> float:
        """beta before the cap: tau times the last drift over the first; NaN where one is not finite."""
        return math.nan if own.drift is None or own.alpha is None else mix_weight(own.drift, own.alpha)

    def _warnings(self, own: OwnModel, asked: float, beta: float) -> tuple[str, ...]:
        lately = (*own.betas_asked, asked)[-BETAS_KEPT:]
        if len(lately) < BETAS_KEPT or min(lately) < BETA_ALONE:
            return ()
        if beta >= BETA_ALONE:
            return (f"this factory is no longer federating: beta {beta:.2f} for {BETAS_KEPT} rounds",)
        return (
            f"DLMU asks for beta {asked:.2f} for {BETAS_KEPT} rounds; without the cap of {self.cap:g} "
            "this factory would no longer be federating",
        )

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        own, _ = recall(view.state, view.layout.count)
        if own is not None and not bool(np.isfinite(own.vector).all()):
            own = None
        kept = remember(own, start.vector, uploaded, self.settings.tau, view.round_number, start.beta_asked)
        return (replace(kept, drift=distance(start.vector, uploaded)) if self.drifting else kept).to_bytes()

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        return served(global_vector, state, self.settings.serve)
