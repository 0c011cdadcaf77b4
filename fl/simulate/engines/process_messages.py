"""How a simulation and its worker processes talk: pickled, over a socket between the two, one machine, nobody else."""

import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


@dataclass(frozen=True, slots=True)
class Base:
    """The global model of the orders that follow."""

    blob: bytes


def send(to: Connection, message: object) -> None:
    to.send_bytes(pickle.dumps(message, protocol=5))


def receive(source: Connection) -> Any:
    """Raises EOFError or OSError when the other side is gone."""
    return pickle.loads(source.recv_bytes())
