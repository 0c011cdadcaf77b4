"""One client after the other, in the process that asks."""

from collections.abc import Iterable, Iterator

from fl.simulate.client_work import ClientWork
from fl.simulate.engines.base import Engine, ServeAnswer, ServeOrder, TrainAnswer, TrainOrder, Work
from fl.threads import one_thread


class Inline(Engine):
    name = "inline"

    def __init__(self) -> None:
        self._clients: ClientWork | None = None

    def open(self, work: Work) -> None:
        self._clients = ClientWork(work)

    def train(self, base: bytes, orders: Iterable[TrainOrder]) -> Iterator[TrainAnswer]:
        assert self._clients is not None, "opened first"
        with one_thread():
            for order in orders:
                yield self._clients.train(base, order)

    def serve(self, base: bytes, orders: Iterable[ServeOrder]) -> Iterator[ServeAnswer]:
        assert self._clients is not None, "opened first"
        with one_thread():
            for order in orders:
                yield self._clients.serve(base, order)

    def close(self) -> None:
        self._clients = None
