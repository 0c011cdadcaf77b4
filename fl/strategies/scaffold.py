"""SCAFFOLD [Karimireddy et al. 2020, arXiv 1910.06378, Algorithm 1]: gradients corrected for how factories differ.

The global vector is [W | c]. A factory trains from W with c - c_i added to every gradient; its new control variate is
option II, c_i' = c_i - c + (W - y) / (S lr), with y the model as it was uploaded, so that c_i is made of released
values alone. It uploads [y | c + participation * (c_i' - c_i)], and the plain mean by records makes both new vectors:
of the objective that weighs factories by their records, where the paper weighs them alike.

S is how many gradients the way W - y is long, in steps of lr. The paper's local steps have no momentum and S is their
number K; with momentum it is what `gradients_in_step` says.

Unless `guarded` is false, the correction is weakened where trainings lead ever further (`fl.strategies.corrections`),
and c_i' counts what was really added.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np

from fl.dlmu import distance
from fl.fixed_point import Floats
from fl.settings import Choice, Number, parse_settings
from fl.strategies.base import Aggregation, Layout, Start, StrategyError, Trained, View
from fl.strategies.corrections import TRUTHS, Drifts, drifts_before, gradients_in_step
from fl.strategies.fedavg import ServeSettings, TrainsFromGlobal
from fl.strategies.kept_vector import keep, kept
from fl.strategies.own_model import recall, remember, served


@dataclass(frozen=True, slots=True)
class ScaffoldSettings(ServeSettings):
    participation: Annotated[
        float, Number(0.000001, 1.0, "share of all factories that takes part in a round: how far c moves")
    ] = 1.0
    guarded: Annotated[str, Choice(TRUTHS, "correct less where a training led further than the first one")] = "true"


class Scaffold(TrainsFromGlobal):
    name = "scaffold"
    summary = "federated averaging with every gradient corrected for how this factory's differ from everybody's"
    vectors = 2
    # Without c_i the correction is c alone: everybody's gradient once more.
    remembers = True
    # c moves by how far each c_i moved: one that moved and was not counted would leave every later correction askew.
    mirrors_sum = True
    aggregation = Aggregation("mean", {"vectors": "2"})

    def __init__(self, settings: ScaffoldSettings) -> None:
        super().__init__(settings)
        self.settings = settings

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(ScaffoldSettings, "strategy scaffold", settings, StrategyError))

    def begin(self, view: View) -> Start:
        own_state, control, drifts, warnings = _kept(view.state, view.layout)
        own, _ = recall(own_state, view.layout.count)
        correction = _common(view) if control is None else _common(view) - control
        strength = drifts.strength() if self.settings.guarded == "true" else 1.0
        if strength < 1.0:
            correction = correction * np.float32(strength)
        alpha = own.alpha if own is not None else None
        return Start(view.model.copy(), alpha=alpha, warnings=warnings, correction=correction)

    def upload(self, view: View, start: Start, trained: Trained) -> Floats:
        _, control, _, _ = _kept(view.state, view.layout)
        before = np.zeros_like(trained.vector) if control is None else control
        moved = _new_control(view, start, trained.vector, trained.steps) - before
        return np.concatenate([trained.vector, _common(view) + np.float32(self.settings.participation) * moved])

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        own_state, control, drifts, _ = _kept(view.state, view.layout)
        own, _ = recall(own_state, view.layout.count)
        model = uploaded[: view.layout.count]
        own = remember(own, start.vector, model, self.serving.tau, view.round_number, 0.0)
        # Of the control variate everybody learns how far it moved, rounded as it was sent: so it is moved by that.
        moved = (uploaded[view.layout.count :] - _common(view)) / np.float32(self.settings.participation)
        drifts = drifts.after(distance(start.vector, model))
        return keep(drifts.to_bytes() + own.to_bytes(), moved if control is None else control + moved)

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        own_state, _, _, _ = _kept(state, layout)
        return served(global_vector[: layout.count], own_state, self.serving.serve)


def _common(view: View) -> Floats:
    """c, float32 [n]."""
    return view.global_vector[view.layout.count :]


def _new_control(view: View, start: Start, trained: Floats, steps: int) -> Floats:
    """c_i', float32 [n]: the mean gradient on the way, without the correction that was added to each."""
    assert start.correction is not None, "begin corrects every round"
    per_gradient = (view.model - trained) / np.float32(gradients_in_step(steps, view.momentum) * view.lr)
    new: Floats = per_gradient - start.correction
    return new


def _kept(state: bytes | None, layout: Layout) -> tuple[bytes | None, Floats | None, Drifts, tuple[str, ...]]:
    """The own model's state, the control variate, the drifts, and warnings for the factory's owner."""
    before, control, warnings = kept(state, layout.count, "control variate")
    drifts, own_state = drifts_before(before or b"")
    return own_state, control, drifts, warnings
