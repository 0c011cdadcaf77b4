"""A worker process of the simulator: `python -m fl.simulate.engines.client_process FD`, FD one end of a socket pair.

First comes the work, then global models and orders; each order is answered. It ends when the other side does, also in
the middle of a training: a simulation that was killed leaves nobody behind.
"""

import os
import queue
import sys
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fl.simulate.client_work import ClientWork
from fl.simulate.engines.base import Work
from fl.simulate.engines.orders import carried_out
from fl.simulate.engines.process_messages import Base, receive, send
from fl.simulate.engines.shared_tables import TablePlaces, map_tables
from fl.threads import use_one_thread


def open_work(work: Work, path: Path, places: TablePlaces, trainers: int) -> Work:
    """The work with its tables: training, then each client's own test records, then the common test."""
    tables = map_tables(path, places)
    return replace(work, train=tables[:trainers], own_tests=tables[trainers:-1], test=tables[-1])


def _listen(source: Connection, inbox: "queue.SimpleQueue[Any]") -> None:
    """Always ready to receive: two sides that both wait until the other has read would wait for ever."""
    try:
        while True:
            inbox.put(receive(source))
    except (EOFError, OSError):
        os._exit(0)


def main() -> None:
    use_one_thread()
    both = Connection(int(sys.argv[1]))
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(both, inbox), daemon=True).start()
    clients = ClientWork(open_work(*inbox.get()))
    base = b""
    try:
        while True:
            message = inbox.get()
            if isinstance(message, Base):
                base = message.blob
            else:
                send(both, carried_out(clients, base, message))
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main()
