"""What a strategy decides about a round, and what it does not. Every strategy is one small file beside this one.

It decides where a factory starts, what it minimises, what it uploads, how the uploads are aggregated, what the
factory keeps for the next round, and which model it uses itself. It trains nothing, encodes nothing and stores
nothing: `fl.round` does. numpy only, so that a node can ask for the aggregation rule without torch.

What travels, the global vector and every update, holds `vectors` vectors of n coordinates each, n the parameters of
the model. The first is always the model: that one is judged, exported and bought. The others are what a rule has to
carry in public, as SCAFFOLD's control variate.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, Self

import numpy as np

from fl.delta_blob import Block
from fl.fixed_point import Floats, Ints
from fl.models.shapes import Shapes


class StrategyError(ValueError):
    """A strategy, or a setting of one, that does not exist or contradicts another. The requester's fault."""


class LeftOut(Exception):
    """By the strategy's rule this factory's training does not count in this round: it sends nothing. Says why.

    steps: how many it had taken by then.
    """

    def __init__(self, reason: str, steps: int = 0) -> None:
        super().__init__(reason)
        self.steps = steps


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The rule of `fl.aggregate` and its settings: everything a committee needs in order to recompute.

    With another rule than the mean, or with settings, a strategy says that it makes sense with nothing else.
    """

    rule: str = "mean"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised beside the loss: `proximal` is FedProx's mu, the pull back to the start vector."""

    proximal: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Which tensor lies where in a model's flat vector: (name, shape) of each, in `parameters()` order."""

    shapes: Shapes

    @property
    def count(self) -> int:
        """n, the model's parameters."""
        return sum(prod(shape) for _, shape in self.shapes)

    @property
    def spans(self) -> tuple[tuple[str, int, int], ...]:
        """(name, start, stop) of every tensor."""
        spans, start = [], 0
        for name, shape in self.shapes:
            spans.append((name, start, start + prod(shape)))
            start += prod(shape)
        return tuple(spans)


@dataclass(frozen=True, slots=True)
class View:
    """What a strategy sees when a round begins; nothing in it may be changed.

    global_vector: float32 [vectors * n]. state: what `finish` made last, None before. Rounds are counted from 0.
    epochs, batch, lr, momentum: the request's terms; records: how many this factory trains on; deadline_s: how long the
    round takes updates, 0 where nobody says.
    """

    global_vector: Floats
    state: bytes | None
    round_number: int
    layout: Layout
    epochs: int
    batch: int
    lr: float
    momentum: float
    records: int
    deadline_s: float = 0.0

    @property
    def model(self) -> Floats:
        """The global model, float32 [n]: a view of the first vector."""
        return self.global_vector[: self.layout.count]


@dataclass(frozen=True, slots=True)
class Start:
    """Where a round starts, float32 [n].

    beta: the share of the factory's own last model in it; beta_asked: what the rule asked for before the guards;
    alpha: the scaler, when the strategy has one and it is set. Warnings are sentences for the factory's owner.
    correction: float32 [n], added to every gradient. Training ends after so many steps (steps_max), so many of the
    request's epochs (epochs_max), and when so many seconds are over; 0 for no such end. With a guarantee of privacy all
    of these may depend on records only through what noise has covered, and none ends by time.
    """

    vector: Floats
    beta: float = 0.0
    beta_asked: float = 0.0
    alpha: float | None = None
    warnings: tuple[str, ...] = ()
    correction: Floats | None = None
    steps_max: int = 0
    epochs_max: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """What training made. vector: float32 [n]; steps: taken, of steps_planned that the epochs say.

    losses: mean by epoch; empty in modes with a guarantee, where nothing that leaves may depend on them.
    """

    vector: Floats
    steps: int
    steps_planned: int
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Personal:
    """A second training, of a model that never leaves the factory: from `start`, pulled with mu towards `origin`.

    Both float32 [n]. It sees the records without any noise: its result may be served, and must not touch an update.
    """

    start: Floats
    origin: Floats
    mu: float
    epochs: int


def check_in_league(strategy: "Strategy") -> None:
    """Raises StrategyError, with the reason, for a strategy that a league has no use for."""
    if not strategy.in_league:
        raise StrategyError(
            f"strategy {strategy.name} is a baseline for simulations (`hanse simulate`): {strategy.summary}; "
            "no request can ask for it"
        )


class Strategy(ABC):
    """One rule with its settings. Rounds are counted from 0; a state is bytes of the strategy's own making.

    vectors: how many vectors of n coordinates travel. in_league: False for a rule that makes sense in a simulation
    only. chooses_by_records: what is uploaded depends on records in ways that noise does not cover, so modes with a
    guarantee refuse it. sends_changes: updates travel as what `changes` makes of them, so they cannot be masked.
    uploads: False when nobody learns from anybody (and no bytes travel). pooled: the simulator puts everybody's records
    in one place first.
    remembers: it makes no sense where a factory keeps nothing from one round to the next, as under masks in modes with
    a guarantee. reads_movement: it takes how the global model moved for what the updates were, and refuses rules that
    move it by more (`agreed_rule.py`). mirrors_sum: what it keeps is its part of a sum that the global vector carries:
    an update that was not counted leaves it as it was. by_time: a clock may end its training, which no mode of privacy
    accounts for.
    seconds: above 0, how long training lasts at most: rounds have to be longer.
    usual_rule: what averages it where a request names no rule; masked updates are averaged by the mean.
    unseen: above 0, what a factory serves to itself is fitted to its own classes (fl/class_fit.py); it is the share of
    what the factory will meet that is spread evenly over all classes, those included that it never had.
    takes: the dataclass of its settings, for `hanse help strategies`; None lists none.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    takes: ClassVar[type | None] = None
    in_league: ClassVar[bool] = True
    chooses_by_records: ClassVar[bool] = False
    sends_changes: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    reads_movement: ClassVar[bool] = False
    mirrors_sum: ClassVar[bool] = False
    by_time: ClassVar[bool] = False
    usual_rule: ClassVar[str] = "mean"
    uploads: ClassVar[bool] = True
    pooled: ClassVar[bool] = False
    vectors: int = 1
    unseen: float = 0.0
    seconds: float = 0.0
    aggregation: Aggregation = Aggregation()
    objective: Objective = Objective()

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """The strategy with these settings. Raises StrategyError for one it does not know or allow."""

    def initial(self, model_vector: Floats) -> Floats:
        """The first global vector, float32 [vectors * n], of the first model, float32 [n]: here zeros after it."""
        if self.vectors == 1:
            return model_vector
        return np.concatenate([model_vector, np.zeros((self.vectors - 1) * len(model_vector), np.float32)])

    @abstractmethod
    def begin(self, view: View) -> Start:
        """The start of the round. A damaged state costs a warning and a start from the global model, no more."""

    def personal(self, view: View) -> Personal | None:
        """A second training that never leaves the factory, or None: here there is none."""
        return None

    def upload(self, view: View, start: Start, trained: Trained) -> Floats:
        """What leaves the factory, float32 [vectors * n]: here the trained model, and the rest as it came.

        Raises LeftOut where by the rule nothing should.
        """
        if self.vectors == 1:
            return trained.vector
        return np.concatenate([trained.vector, view.global_vector[view.layout.count :]])

    def changes(self, view: View, base: Ints, update: Ints, scale_bits: int, limit_q: int) -> tuple[Block, ...] | None:
        """The update as it travels: as a whole vector (None), or as these changes to `base`, which may be rounded.

        Both int32 [vectors * n] in steps of 2^-scale_bits; where the changes lead, within limit_q, is the update from
        then on. Only asked of strategies that say `sends_changes`.
        """
        return None

    def weight(self, records: int, trained: Trained | None) -> int:
        """How much an update of that many records counts in the aggregate. None: a gradient was made, no training."""
        return records

    @abstractmethod
    def finish(
        self, view: View, start: Start, uploaded: Floats, trained: Trained | None, personal: Floats | None
    ) -> bytes:
        """The state after the round. `uploaded`, float32 [vectors * n]: the update as everybody else sees it, encoded
        and decoded. `personal`, float32 [n]: what the second training made, None without one or when it diverged."""

    @abstractmethod
    def serve(self, global_vector: Floats, state: bytes | None, layout: Layout) -> tuple[Floats, float]:
        """The model the factory itself uses, float32 [n], and the share of its own last model in it.

        `global_vector`: float32 [vectors * n], the newest.
        """
