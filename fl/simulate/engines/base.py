"""What an engine is asked to do and what it answers. An engine decides nothing: the same orders, the same bits.

Whatever a client remembers is in its order, and comes back with the answer: an engine may carry out any order
anywhere, and again where a worker died.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl.simulate.terms import Terms

Rows: TypeAlias = tuple[NDArray[Any], NDArray[np.int64]]
"""Features [n, ...] (float32, uint8 or int64) and labels int64 [n]."""


@dataclass(frozen=True, slots=True)
class Work:
    """What all rounds share, handed over once. train: by client, one table where all are pooled. own_tests: by client,
    where each has records of its own to test on; empty where all share `test`: then `class_counts`, int64 [classes],
    says each one's mix. coordinates: of a global vector. device: "cpu" or "cuda"."""

    terms: Terms
    train: Sequence[Rows]
    test: Rows
    own_tests: Sequence[Rows]
    class_counts: Sequence[NDArray[np.int64]]
    coordinates: int
    device: str

    def records_of(self, client: int) -> Rows:
        """What is trained on for this client: everybody's records, where they are pooled."""
        return self.train[client] if len(self.train) == len(self.class_counts) else self.train[0]


@dataclass(frozen=True, slots=True)
class TrainOrder:
    """A round of one client. batch_seed orders its mini-batches, noise_seed draws its noise, noise is the multiplier it
    would be charged for (0: none); pace_s: virtual seconds a step. Rounds count from 0."""

    client: int
    round_number: int
    batch_seed: int
    noise_seed: int
    noise: float
    state: bytes | None
    pace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainAnswer:
    """blob: the update as it would leave the factory; the rest as in fl.round and ClientRound. left_out: why there is
    neither update nor state, None where there are."""

    client: int
    blob: bytes
    weight: int
    state: bytes
    records: int
    steps: int
    loss: float | None
    beta: float
    beta_asked: float
    drift: float
    warnings: tuple[str, ...] = ()
    left_out: str | None = None

    def without_bytes(self) -> "TrainAnswer":
        """What is left when update and state have been put away."""
        return replace(self, blob=b"", state=b"")


@dataclass(frozen=True, slots=True)
class ServeOrder:
    """Test what a client serves itself, and where it has records of its own to test on, the global model on them."""

    client: int
    state: bytes | None


@dataclass(frozen=True, slots=True)
class ServeAnswer:
    """served: accuracy of the served model on the client's own mix, None where it is the global model's or where no
    test record is of its classes; share: of its own model in it; is_global: neither that, nor fitted to the client's
    classes. on_global: of the global model on the client's own test
    records, None where all share one test."""

    client: int
    served: float | None
    share: float
    is_global: bool
    on_global: float | None = None


class Engine(ABC):
    """Carries out orders. Used as a context manager, or closed by hand; opened once."""

    name: str

    @abstractmethod
    def open(self, work: Work) -> None:
        """Get ready: hand out records, start what has to be started. Raises SimulationError where that cannot be."""

    @abstractmethod
    def train(self, base: bytes, orders: Iterable[TrainOrder]) -> Iterator[TrainAnswer]:
        """One answer an order, in any order. `base`: the global model's blob. Raises what `run_round` does."""

    @abstractmethod
    def serve(self, base: bytes, orders: Iterable[ServeOrder]) -> Iterator[ServeAnswer]:
        """One answer an order, in any order."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all that was opened; safe to call twice."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
