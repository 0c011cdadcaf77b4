"""What a simulated federation tells of a round, of each client in it, and of the whole course. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fl.fixed_point import Ints

LAST = 3
"""Rounds that a course's accuracy is the mean of: one round of a federation is a noisy figure."""


@dataclass(frozen=True, slots=True)
class ClientRound:
    """One client's part in a round it was drawn for.

    records: what it trains on; weight: how much its update counted; steps: of SGD; loss: mean of its last local epoch
    (nats), None where nothing was trained. beta, beta_asked: share of its own last model in its start, after and before
    the guards; drift: ||update - start|| (L2, in parameters). bytes_up: the update's blob as a league would store it.
    quality: how far its step agreed with the round's, in millionths. rejected: why its update counted for nothing, None
    where it counted, or why it sent none. train_s: virtual seconds that it trained. warnings: sentences for the
    client's owner.
    """

    client: int
    records: int
    weight: int
    steps: int
    loss: float | None
    beta: float
    beta_asked: float
    drift: float
    bytes_up: int
    quality: int
    rejected: str | None = None
    warnings: tuple[str, ...] = ()
    train_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RoundResult:
    """After round `number`, counted from 1.

    accuracy, loss: of the new global model on the common test; None in a round that is not tested (`evaluate_every`).
    own: by client, all of them, accuracy on the client's own mix of classes of the model that it serves itself; None
    for one whose classes no test record has; empty in a round that is not tested. own_global: the same of the global
    model. clients: those that took part, by place, ascending. bytes_up, bytes_down: sums of the updates sent and of the
    global model fetched by each that took part. epsilon: the most that any client has spent so far, None in modes
    without a guarantee. digest: hex, the name under which a league would store the new global model. seconds: wall
    time, the only figure that differs between two runs of one seed; not compared.
    """

    number: int
    accuracy: float | None
    loss: float | None
    own: tuple[float | None, ...]
    own_global: tuple[float | None, ...]
    clients: tuple[ClientRound, ...]
    bytes_up: int
    bytes_down: int
    epsilon: float | None
    digest: str
    seconds: float = field(default=0.0, compare=False)

    @property
    def own_accuracy(self) -> float | None:
        """Mean over clients of the served models on their own mixes."""
        return _mean(self.own)

    @property
    def own_global_accuracy(self) -> float | None:
        """Mean over clients of the global model on their own mixes."""
        return _mean(self.own_global)

    @property
    def rejected(self) -> Mapping[int, str]:
        """By client, why its update counted for nothing."""
        return {each.client: each.rejected for each in self.clients if each.rejected is not None}

    @property
    def train_s(self) -> float:
        """Virtual seconds until the last of those that took part had trained: what a round waits for."""
        return max((each.train_s for each in self.clients), default=0.0)

    @property
    def qualities(self) -> tuple[int, ...]:
        """Of those that took part, in the order of `clients`."""
        return tuple(each.quality for each in self.clients)


@dataclass(frozen=True, slots=True)
class Course:
    """The rounds that were run here (after a restored checkpoint: those since), and the last global blob's vector,
    int32 [vectors * n]: its first n coordinates are the model."""

    rounds: tuple[RoundResult, ...]
    model: Ints

    @property
    def tested(self) -> tuple[RoundResult, ...]:
        """The rounds that were tested."""
        return tuple(each for each in self.rounds if each.accuracy is not None)

    def mean_accuracy(self, last: int = LAST) -> float:
        """Of the global model on the common test, over the last tested rounds; NaN where none was."""
        return _over([each.accuracy for each in self.tested[-last:]])

    def mean_own_accuracy(self, last: int = LAST) -> float:
        """Of the served models, each on its client's own mix, over clients and the last tested rounds."""
        return _over([each.own_accuracy for each in self.tested[-last:]])

    def mean_own_global_accuracy(self, last: int = LAST) -> float:
        """Of the global model on each client's own mix, over clients and the last tested rounds."""
        return _over([each.own_global_accuracy for each in self.tested[-last:]])

    @property
    def accuracy(self) -> float:
        """On the common test, mean of the last tested rounds."""
        return self.mean_accuracy()


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _over(values: list[float | None]) -> float:
    mean = _mean(tuple(values))
    return float("nan") if mean is None else mean
