"""Clients over worker processes of this machine. Started, not forked: torch does not survive a fork whole.

Records lie in one file that all workers map, the global model goes to each worker once a round, a client's memory
travels with its order. So an order can be carried out anywhere, and when a worker dies another is started and carries
out the same orders, to the same bits.
"""

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fl.simulate.engines.base import Engine, Rows, ServeAnswer, ServeOrder, TrainAnswer, TrainOrder, Work
from fl.simulate.engines.orders import Failed, Order
from fl.simulate.engines.process_messages import Base, receive, send
from fl.simulate.engines.shared_tables import TablePlaces, write_tables
from fl.simulate.terms import SimulationError

WORKERS_MAX = 256
# The next order is there when one is done: a small client takes as long as its way through the socket.
IN_FLIGHT = 2
# A client that is too large for the machine kills every worker it is given to.
DEATHS_MAX = 3
EXIT_WAIT_S = 5.0
NO_ROWS: Rows = (np.empty((0, 1), np.float32), np.empty(0, np.int64))


class WorkerDied(SimulationError):
    """Workers die again and again over the same order."""


@dataclass(slots=True)
class _Worker:
    process: "subprocess.Popen[bytes]"
    link: Connection
    base: bytes | None = None
    orders: "deque[tuple[int, Order]]" = field(default_factory=deque)
    """What it has still to answer, with the number of the call that asked."""


class Processes(Engine):
    """`workers` processes with one thread each. Raises SimulationError for a count that is none."""

    name = "processes"

    def __init__(self, workers: int) -> None:
        if not 1 <= workers <= WORKERS_MAX:
            raise SimulationError(f"{workers} worker processes, want 1 to {WORKERS_MAX}")
        self._count = workers
        self._folder: TemporaryDirectory[str] | None = None
        self._work: tuple[Work, Path, TablePlaces, int] | None = None
        self._workers: list[_Worker] = []
        self._call = 0

    def open(self, work: Work) -> None:
        self._folder = TemporaryDirectory(prefix="hanse-records-")
        path = Path(self._folder.name) / "tables"
        try:
            places = write_tables(path, [*work.train, *work.own_tests, work.test])
        except OSError as error:
            self.close()
            raise SimulationError(f"the records cannot be laid out for worker processes: {error}") from error
        self._work = replace(work, train=(), own_tests=(), test=NO_ROWS), path, places, len(work.train)
        self._workers = [self._started() for _ in range(self._count)]

    def train(self, base: bytes, orders: Iterable[TrainOrder]) -> Iterator[TrainAnswer]:
        return self._carried_out(base, orders)

    def serve(self, base: bytes, orders: Iterable[ServeOrder]) -> Iterator[ServeAnswer]:
        return self._carried_out(base, orders)

    @property
    def process_ids(self) -> Sequence[int]:
        """Of the workers that are there now."""
        return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.link.close()
        for worker in workers:
            try:
                worker.process.wait(EXIT_WAIT_S)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _carried_out(self, base: bytes, orders: Iterable[Any]) -> Iterator[Any]:
        """Answers as they come. Given up half-way, what is still on its way is not taken for the next call's."""
        assert self._workers, "opened first"
        self._call += 1
        call = _Call(self._call, base, iter(orders))
        while True:
            self._hand_out(call)
            busy = {worker.link.fileno(): at for at, worker in enumerate(self._workers) if worker.orders}
            if not busy:
                return
            for link in wait([self._workers[at].link for at in busy.values()]):
                assert isinstance(link, Connection), "nothing else was waited for"
                at = busy[link.fileno()]
                worker = self._workers[at]
                try:
                    answer = receive(worker.link)
                except (EOFError, OSError):
                    self._replace(at, call)
                    continue
                number, _ = worker.orders.popleft()
                if number != call.number:
                    continue
                if isinstance(answer, Failed):
                    raise answer.error()
                yield answer

    def _hand_out(self, call: "_Call") -> None:
        """Orders to those that have least to do, until each has enough."""
        while True:
            at = min(range(len(self._workers)), key=lambda place: len(self._workers[place].orders))
            worker = self._workers[at]
            if len(worker.orders) >= IN_FLIGHT or (order := call.next()) is None:
                return
            worker.orders.append((call.number, order))
            try:
                if worker.base is not call.base:
                    send(worker.link, Base(call.base))
                    worker.base = call.base
                send(worker.link, order)
            except OSError:
                self._replace(at, call)

    def _replace(self, at: int, call: "_Call") -> None:
        """Another worker in place of one that died; what it had to do is done again."""
        dead = self._workers[at]
        dead.link.close()
        code = dead.process.wait()
        self._workers[at] = self._started()
        orders = [order for number, order in dead.orders if number == call.number]
        call.again.extend(orders)
        if orders:
            client = orders[0].client
            call.deaths[client] = call.deaths.get(client, 0) + 1
            if call.deaths[client] >= DEATHS_MAX:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
                raise WorkerDied(
                    f"a worker process {how} with client {client}, for the {DEATHS_MAX}rd time: fewer workers need "
                    "less memory, and what it wrote to stderr may say more"
                )

    def _started(self) -> _Worker:
        assert self._work is not None, "opened first"
        ours, its = socket.socketpair()
        with its:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fl.simulate.engines.client_process", str(its.fileno())],
                stdin=subprocess.DEVNULL,
                # What a library prints must not mix with what the simulation prints for programs.
                stdout=2,
                env={**environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                pass_fds=[its.fileno()],
                # A Ctrl-C in the terminal is for the simulation to answer.
                start_new_session=True,
            )
        worker = _Worker(process, Connection(ours.detach()))
        with suppress(OSError):
            # One that is dead already is found when it is given an order.
            send(worker.link, self._work)
        return worker


@dataclass(slots=True)
class _Call:
    """One round's orders. again: those whose worker died; deaths: by client that a worker was at, how many died."""

    number: int
    base: bytes
    left: Iterator[Order]
    again: "deque[Order]" = field(default_factory=deque)
    deaths: dict[int, int] = field(default_factory=dict)

    def next(self) -> Order | None:
        return self.again.popleft() if self.again else next(self.left, None)
