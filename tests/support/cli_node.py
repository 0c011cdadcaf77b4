"""A node for tests of the command line: the real local interface over a real chain, in a thread, with a folder.

`rpc_services.py` says what is left out: the network, consensus and training.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from ledger.keys import KeyPair
from node.cli.main import run
from node.config_template import config_template
from node.disk import publish_file
from node.pkcs8 import key_pem

if TYPE_CHECKING:
    from tests.support.rpc_services import LoneServices

T = TypeVar("T")

ALICE = KeyPair.from_seed(b"a" * 32)

PEER_ADDRESS = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWLuFsLfvqHBdVjDmSnN2Pgub8qu8Boxf2muVwHgRUvMiR"


def node_folder(folder: Path, key: KeyPair = ALICE) -> Path:
    """A folder as `hanse init` makes it, with a key that the test knows."""
    folder.mkdir(parents=True, exist_ok=True)
    given: dict[str, dict[str, object]] = {
        "node": {"name": "alice"},
        "network": {"listen": ["/ip4/127.0.0.1/tcp/4001"], "bootstrap": [PEER_ADDRESS]},
        "rpc": {"listen": "127.0.0.1:0"},
    }
    publish_file(folder / "config.toml", config_template(given).encode())
    publish_file(folder / "key.pem", key_pem(key.seed, None), mode=0o600)
    return folder


class RunningNode:
    """A node in another thread. `act` runs a function there, between two calls."""

    def __init__(self, folder: Path, services: "LoneServices", token: trio.lowlevel.TrioToken) -> None:
        self.folder = folder
        self.services = services
        self._token = token

    def act(self, work: Callable[[], T]) -> T:
        return trio.from_thread.run_sync(work, trio_token=self._token)

    def hanse(self, *arguments: str) -> int:
        """The exit code of a command line that means this node."""
        return run([*arguments, "-c", str(self.folder)])


@contextmanager
def running_node(folder: Path, prepare: Callable[["LoneServices"], None] | None = None) -> Iterator[RunningNode]:
    """Serve until the block ends, or until somebody calls `stop`."""
    from tests.support.rpc_services import LoneServices, served, settings_in

    node_folder(folder)
    ready = threading.Event()
    nodes: list[RunningNode] = []
    faults: list[BaseException] = []

    async def main() -> None:
        services = LoneServices()
        if prepare is not None:
            prepare(services)
        async with served(services, settings_in(folder)):
            nodes.append(RunningNode(folder, services, trio.lowlevel.current_trio_token()))
            ready.set()
            await services.stopped.wait()

    def in_thread() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            faults.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=in_thread)
    thread.start()
    ready.wait()
    try:
        assert nodes, faults
        yield nodes[0]
    finally:
        if nodes and thread.is_alive():
            nodes[0].act(nodes[0].services.stopped.set)
        thread.join()
    assert not faults, faults
