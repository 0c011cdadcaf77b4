"""Clients on a Ray cluster, or on a Ray of this machine's own: `pip install 'hanse[ray]'`. Knows nothing but Ray.

Records go to Ray's object store once, the global model once a round. An actor that dies is started again by Ray and
carries out its orders again, to the same bits. Every machine of the cluster needs Hanse installed.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from fl.simulate.client_work import ClientWork
from fl.simulate.engines.base import Engine, ServeAnswer, ServeOrder, TrainAnswer, TrainOrder, Work
from fl.simulate.engines.orders import Answer, Failed, Order, carried_out
from fl.simulate.terms import SimulationError
from fl.threads import use_one_thread

# The next order is there when one is done.
IN_FLIGHT = 2
RESTARTS_MAX = 3


class RemoteClients:
    """What runs on the cluster. Records and models come as references, and are fetched once."""

    def __init__(self, work: list[Any]) -> None:
        import ray

        use_one_thread()
        self._clients = ClientWork(ray.get(work[0]))
        self._base: tuple[int, bytes] = (-1, b"")

    def carry_out(self, call: int, base: list[Any], order: Order) -> Answer:
        if self._base[0] != call:
            import ray

            self._base = call, ray.get(base[0])
        return carried_out(self._clients, self._base[1], order)


class RayCluster(Engine):
    """`workers`: actors with one core each, None for as many as the cluster has cores. `address`: of a cluster, by
    default that of RAY_ADDRESS, else a Ray is started here and ended with the engine.

    Raises SimulationError where Ray is not installed.
    """

    name = "ray"

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise SimulationError(f"engine ray needs Ray: pip install 'hanse[ray]' ({error})") from None
        self._ray: Any = ray
        self._workers = workers
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._ours = False
        self._work: Any = None
        self._actors: list[Any] = []
        self._call = 0

    def open(self, work: Work) -> None:
        ray = self._ray
        if not ray.is_initialized():
            self._start()
        cores = int(ray.cluster_resources().get("CPU", 0))
        count = self._workers or cores
        if not 1 <= count <= cores:
            self.close()
            raise SimulationError(f"{count} workers on a Ray cluster of {cores} cores, want 1 to {cores}")
        # Kept here: an actor that is started again fetches it again.
        self._work = ray.put(work)
        remote = ray.remote(num_cpus=1, max_restarts=RESTARTS_MAX, max_task_retries=RESTARTS_MAX)(RemoteClients)
        self._actors = [remote.remote([self._work]) for _ in range(count)]

    def train(self, base: bytes, orders: Iterable[TrainOrder]) -> Iterator[TrainAnswer]:
        return self._carried_out(base, orders)

    def serve(self, base: bytes, orders: Iterable[ServeOrder]) -> Iterator[ServeAnswer]:
        return self._carried_out(base, orders)

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors, self._work = [], None
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def _start(self) -> None:
        # A simulation talks to nobody that it was not told to talk to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local = {} if self._address else {"num_cpus": self._workers, "include_dashboard": False}
        try:
            self._ray.init(address=self._address, log_to_driver=False, logging_level="ERROR", **local)
        except (ConnectionError, OSError, ValueError) as error:
            raise SimulationError(f"no Ray cluster at {self._address or 'this machine'}: {error}") from error
        self._ours = True

    def _carried_out(self, base: bytes, orders: Iterable[Any]) -> Iterator[Any]:
        assert self._actors, "opened first"
        ray = self._ray
        self._call += 1
        shared = [ray.put(base)]
        left = iter(orders)
        free = [actor for _ in range(IN_FLIGHT) for actor in self._actors]
        due: dict[Any, Any] = {}
        while True:
            while free and (order := next(left, None)) is not None:
                actor = free.pop(0)
                due[actor.carry_out.remote(self._call, shared, order)] = actor
            if not due:
                return
            done, _ = ray.wait(list(due), num_returns=1)
            free.append(due.pop(done[0]))
            try:
                answer = ray.get(done[0])
            except ray.exceptions.RayError as error:
                raise SimulationError(
                    f"a worker of the Ray cluster is lost, {RESTARTS_MAX} starts later: {error}"
                ) from error
            if isinstance(answer, Failed):
                raise answer.error()
            yield answer
