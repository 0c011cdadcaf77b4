"""Federated clustering with hierarchical aggregation ([ENN]: Guo et al., 2022): a model for each kind of machine.

The global vector is [g | w_1 .. w_K]. In the first rounds all train from g and the committee sorts the updates by where
they lead (fl/clustering.py). From then on a factory takes the w_k that lies nearest to what it uploaded last, trains
from it, and serves it. g, the weighted mean of all, is what is judged and bought; every w_k leans on it a little, and
the more the fewer records its group has. Where a factory belongs is told from uploads alone: nothing else of its
records decides it, so it costs no privacy beyond what uploads cost.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Self

import numpy as np

from fl.clustering import ClusteredSettings
from fl.delta_blob import Block, exact_block
from fl.dlmu import distance
from fl.fixed_point import Floats, Ints
from fl.settings import Choice, Number, Whole, parse_settings
from fl.strategies.base import Aggregation, Layout, Start, Strategy, StrategyError, Trained, View
from fl.strategies.own_model import recall, remember, served

SERVES = ("cluster", "mix", "global", "own")


@dataclass(frozen=True, slots=True)
class ClusteredStrategySettings(ClusteredSettings):
    warmup: Annotated[int, Whole(1, 1_000, "rounds that all train from the model of all, to be sorted by")] = 3
    serve: Annotated[str, Choice(SERVES, "the model a factory uses itself: its cluster's, or that and its own")] = "mix"
    tau: Annotated[float, Number(0.0, 1.0, "strength of the served mix, as in DLMU")] = 0.8


class Clustered(Strategy):
    name = "clustered"
    summary = "a model for every group of factories that learn alike, leaning on a model of all"
    sends_changes = True

    def __init__(self, settings: ClusteredStrategySettings) -> None:
        self.settings = settings
        self.vectors = settings.clusters + 1
        told = {name: str(getattr(settings, name)) for name in asdict(ClusteredSettings())}
        self.aggregation = Aggregation("clustered", told)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(ClusteredStrategySettings, "strategy clustered", settings, StrategyError))

    def initial(self, model_vector: Floats) -> Floats:
        return np.tile(model_vector, self.vectors)

    def begin(self, view: View) -> Start:
        own, warnings = recall(view.state, view.layout.count)
        slot = self._slot(view)
        vector = view.global_vector[slot * view.layout.count : (slot + 1) * view.layout.count].copy()
        return Start(vector, alpha=own.alpha if own is not None else None, warnings=warnings)

    def upload(self, view: View, start: Start, trained: Trained) -> Floats:
        slot, count = self._slot(view), view.layout.count
        whole = view.global_vector.copy()
        whole[slot * count : (slot + 1) * count] = trained.vector
        return whole

    def changes(self, view: View, base: Ints, update: Ints, scale_bits: int, limit_q: int) -> tuple[Block, ...] | None:
        """The one vector that was trained, tensor by tensor, without loss."""
        offset = self._slot(view) * view.layout.count
        places = [slice(offset + start, offset + stop) for _, start, stop in view.layout.spans]
        return tuple(
            exact_block(place.start, base[place], update[place])
            for place in places
            if not np.array_equal(base[place], update[place])
        )

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        own, _ = recall(view.state, view.layout.count)
        slot, count = self._slot(view), view.layout.count
        model = uploaded[slot * count : (slot + 1) * count]
        return remember(own, start.vector, model, self.settings.tau, view.round_number, 0.0).to_bytes()

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        own, _ = recall(state, layout.count)
        choice = self.settings.serve
        if own is None or choice == "global":
            return global_vector[: layout.count].copy(), 0.0
        slot = self._nearest(global_vector, own.vector)
        vector = global_vector[slot * layout.count : (slot + 1) * layout.count]
        if choice == "cluster":
            # None of it is the factory's own, but it is not the global model either.
            return vector.copy(), 1.0
        return served(vector, state, choice)[0], 1.0

    def _slot(self, view: View) -> int:
        """Which vector is trained in this round: 0 until the factory has been sorted."""
        own, _ = recall(view.state, view.layout.count)
        if own is None or view.round_number < self.settings.warmup:
            return 0
        return self._nearest(view.global_vector, own.vector)

    def _nearest(self, global_vector: Floats, own: Floats) -> int:
        """The cluster whose model lies nearest to the own last upload; the first of equally near ones."""
        count = len(own)
        vectors = (global_vector[slot * count : (slot + 1) * count] for slot in range(1, self.vectors))
        return 1 + int(np.argmin([distance(vector, own) for vector in vectors]))
