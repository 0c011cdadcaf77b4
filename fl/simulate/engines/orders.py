"""An order to one client and its answer, also when it could not be carried out: for engines with clients elsewhere.

Exceptions travel as what they are.
"""

from dataclasses import dataclass
from typing import Any

from fl.simulate.client_work import ClientWork
from fl.simulate.engines.base import ServeAnswer, ServeOrder, TrainAnswer, TrainOrder


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


def carried_out(clients: ClientWork, base: bytes, order: Order) -> Answer:
    """The answer to an order about the global model `base`, whatever comes of it."""
    try:
        return clients.train(base, order) if isinstance(order, TrainOrder) else clients.serve(base, order)
    except Exception as error:  # whatever it is, who asked shall see it
        return Failed.of(order.client, error)
