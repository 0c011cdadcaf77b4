"""Gradient tracking told from the models alone: the correction of SCAFFOLD [Karimireddy et al. 2020, arXiv 1910.06378]
without its second vector.

A factory that started its last training from W_s and uploaded y knows its own gradient of then,
g_i = (W_s - y) / (S lr) - a, with a the correction that was added and S as in `gradients_in_step`. Everybody's it tells
from how the global model has moved since, c = (W_s - W) / (k S lr) with k the rounds between: one, unless it missed
some. It trains from W with a' = strength * (c - g_i) added to every gradient.

Where all take part, make as many steps and count alike, c is SCAFFOLD's, for the mean of uploads is what moves the
model, and with strength 1 the two are the same. Where they make different numbers of steps, all corrections together
still move an even mean of uploads by nothing, for each is told in the factory's own steps; and as steps grow with
records, an even mean of ways is a mean of gradients by records, which is what is meant to vanish. Weighted once more,
by records, it would count them twice [objective inconsistency: Wang et al. 2020, arXiv 2007.07481], so every factory
counts alike where a request names no rule. That c can be told from the global model's movement, and is better kept
small, is AdaBest's thought too [Varno et al. 2022, arXiv 2204.13170].

Unless `guarded` is false, the correction is weakened where trainings lead ever further (`fl.strategies.corrections`),
and by |g_i| / |c| where c is the longer: a factory of few steps would else repeat everybody's last movement.

What travels is one model: it can be inspected, averaged by rules that bear bad updates, and masked, and nothing moves
the global model that is not one of the updates. What a liar adds to the model comes back in everybody's c; with a
strength s below 1 it dies away, by s a round, and so does the part of a factory that has left.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np

from fl.dlmu import distance
from fl.fixed_point import Floats
from fl.settings import Choice, Number, parse_settings
from fl.strategies.base import Layout, Start, StrategyError, Trained, View
from fl.strategies.corrections import TRUTHS, Drifts, drifts_before, gradients_in_step
from fl.strategies.fedavg import ServeSettings, TrainsFromGlobal
from fl.strategies.kept_vector import keep, kept
from fl.strategies.own_model import recall, remember, served

# S of the last training, before the drifts' and the own model's bytes.
_WAY = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class GradientTrackingSettings(ServeSettings):
    strength: Annotated[
        float, Number(0.0, 1.0, "share of the difference to everybody's gradient that is corrected")
    ] = 0.9
    guarded: Annotated[str, Choice(TRUTHS, "correct less where trainings lead further, or steps are few")] = "true"


@dataclass(frozen=True, slots=True)
class _Memory:
    """Of the last training. own_state: the own model's bytes; start: W_s, gradient: g_i, float32 [n] each; way: S, 0
    where none is known. Warnings are for the factory's owner."""

    own_state: bytes | None
    start: Floats | None
    gradient: Floats | None
    way: float
    drifts: Drifts
    warnings: tuple[str, ...] = ()


class GradientTracking(TrainsFromGlobal):
    name = "gradient-tracking"
    summary = "federated averaging with every gradient corrected by how this factory's way differs from the model's"
    # Without its own gradient a factory cannot tell what to correct: it would be federated averaging.
    remembers = True
    # Another round's movement added to the mean's would come back as everybody's gradient and be added again.
    reads_movement = True
    usual_rule = "even-mean"

    def __init__(self, settings: GradientTrackingSettings) -> None:
        super().__init__(settings)
        self.settings = settings

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(GradientTrackingSettings, f"strategy {cls.name}", settings, StrategyError))

    def begin(self, view: View) -> Start:
        memory = _memory(view.state, view.layout)
        own, damaged = recall(memory.own_state, view.layout.count)
        warnings = (*memory.warnings, *damaged)
        correction = np.zeros_like(view.model) if own is None else self._correction(view, memory, own.last_round)
        if not bool(np.isfinite(correction).all()):
            warnings += ("what this factory remembers makes no finite correction; training without one",)
            correction = np.zeros_like(view.model)
        alpha = own.alpha if own is not None else None
        return Start(view.model.copy(), alpha=alpha, warnings=warnings, correction=correction)

    def _correction(self, view: View, memory: _Memory, last_round: int) -> Floats:
        """a', float32 [n]."""
        none: Floats = np.zeros_like(view.model)
        rounds = view.round_number - last_round
        if memory.start is None or memory.gradient is None or not memory.way or rounds < 1:
            return none
        if np.array_equal(memory.start, view.model):
            # Nothing was counted since: who took that for everybody's gradient would only undo the own one.
            return none
        strength = self.settings.strength
        with np.errstate(over="ignore", invalid="ignore"):
            common = (memory.start - view.model) / np.float32(rounds * memory.way * view.lr)
            if self.settings.guarded == "true":
                strength *= memory.drifts.strength() * _share(distance(memory.gradient, none), distance(common, none))
            correction: Floats = np.float32(strength) * (common - memory.gradient)
        return correction

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        assert start.correction is not None, "begin corrects every round"
        memory = _memory(view.state, view.layout)
        before, _ = recall(memory.own_state, view.layout.count)
        own = remember(before, start.vector, uploaded, self.serving.tau, view.round_number, 0.0)
        way = gradients_in_step(trained.steps, view.momentum) if trained is not None else 0.0
        gradient = np.zeros_like(uploaded)
        if way:
            gradient = (start.vector - uploaded) / np.float32(way * view.lr) - start.correction
        drifts = memory.drifts.after(distance(start.vector, uploaded))
        told = _WAY.pack(way) + drifts.to_bytes() + own.to_bytes()
        return keep(told, np.concatenate([start.vector, gradient]))

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        return served(global_vector, _memory(state, layout).own_state, self.serving.serve)


def _share(own: float, common: float) -> float:
    """|g_i| / |c|, at most 1."""
    return 1.0 if own >= common else own / common


def _memory(state: bytes | None, layout: Layout) -> _Memory:
    before, vectors, warnings = kept(state, 2 * layout.count, "gradient")
    if before is None or vectors is None or len(before) < _WAY.size:
        return _Memory(None, None, None, 0.0, Drifts(), warnings)
    (way,) = _WAY.unpack_from(before)
    drifts, own_state = drifts_before(before[_WAY.size :])
    return _Memory(own_state, vectors[: layout.count], vectors[layout.count :], way, drifts, warnings)
