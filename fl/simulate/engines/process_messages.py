"""What a simulation and its worker processes say to each other over a socket between the two: pickled, one machine, one
installation, nobody else. Exceptions travel as what they are."""

import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fl.simulate.engines.base import ServeAnswer, ServeOrder, TrainAnswer, TrainOrder


@dataclass(frozen=True, slots=True)
class Base:
    """The global model of the orders that follow."""

    blob: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """An order could not be carried out: the exception's type, arguments and attributes."""

    client: int
    kind: type[Exception]
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, client: int, error: Exception) -> "Failed":
        return cls(client, type(error), error.args, dict(error.__dict__))

    def error(self) -> Exception:
        """The exception again. Its __init__ is not called: it may want what its arguments are not."""
        error = self.kind.__new__(self.kind, *self.arguments)
        error.__dict__.update(self.attributes)
        return error


Order = TrainOrder | ServeOrder
Answer = TrainAnswer | ServeAnswer | Failed


def send(to: Connection, message: object) -> None:
    to.send_bytes(pickle.dumps(message, protocol=5))


def receive(source: Connection) -> Any:
    """Raises EOFError or OSError when the other side is gone."""
    return pickle.loads(source.recv_bytes())
