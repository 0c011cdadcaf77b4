"""FedPer [Arivazhagan et al. 2019, arXiv 1912.00818]: the last layers of the model stay at home.

Body and head are trained together from the global body and the factory's own head; what is averaged is the body. With
`head=home` the head never leaves: the global model then keeps the head it was drawn with, so it is worth something only
together with a factory's head, and what a requester buys is a body. With `head=averaged` the head is uploaded and
averaged too, so that the global model is whole, and a factory still starts from its own head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np

from fl.fixed_point import Floats
from fl.settings import Choice, Whole, parse_settings
from fl.strategies.base import Layout, Start, Strategy, StrategyError, Trained, View
from fl.strategies.kept_vector import keep, kept

HEADS = ("home", "averaged")


@dataclass(frozen=True, slots=True)
class FedPerSettings:
    layers: Annotated[int, Whole(1, 1000, "how many of the last layers are the head")] = 1
    head: Annotated[str, Choice(HEADS, "whether it stays at home, or goes into the global model as well")] = "home"


class FedPer(Strategy):
    name = "fedper"
    summary = "average the body of the model only; every factory keeps a head of its own"
    remembers = True

    def __init__(self, settings: FedPerSettings) -> None:
        self.settings = settings

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        return cls(parse_settings(FedPerSettings, "strategy fedper", settings, StrategyError))

    def begin(self, view: View) -> Start:
        vector, warnings = self._with_own_head(view.model, view.state, view.layout)
        return Start(vector, warnings=warnings)

    def upload(self, view: View, start: Start, trained: Trained) -> Floats:
        if self.settings.head == "averaged":
            return trained.vector
        body = head_start(view.layout, self.settings.layers)
        return np.concatenate([trained.vector[:body], view.model[body:]])

    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        body = head_start(view.layout, self.settings.layers)
        whole = uploaded if trained is None or self.settings.head == "averaged" else trained.vector
        return keep(b"", whole[body:])

    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        vector, _ = self._with_own_head(global_vector[: layout.count], state, layout)
        body = head_start(layout, self.settings.layers)
        _, head, _ = kept(state, layout.count - body, "head")
        return vector, 0.0 if head is None else len(head) / layout.count

    def _with_own_head(self, model: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, tuple[str, ...]]:
        body = head_start(layout, self.settings.layers)
        _, head, warnings = kept(state, layout.count - body, "head")
        return (model.copy() if head is None else np.concatenate([model[:body], head])), warnings


def head_start(layout: Layout, layers: int) -> int:
    """Where the last `layers` layers begin in the vector; a layer is what has one name before the last dot.

    Raises StrategyError for a model that has no layer left for the body.
    """
    starts: dict[str, int] = {}
    for name, start, _ in layout.spans:
        starts.setdefault(name.rpartition(".")[0], start)
    if layers >= len(starts):
        raise StrategyError(
            f"strategy fedper with {layers} layers at home, of {len(starts)} of the model: no body left"
        )
    return list(starts.values())[-layers]
