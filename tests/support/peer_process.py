"""A node in a process of its own, to be killed, stopped and started again by tests.

    python -m tests.support.peer_process <name> <port> <member name>=<address> ...

It echoes every message, serves "echo", and prints the address it listens on.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from node.network.libp2p_transport import open_transport
from tests.support.leagues import config_of, key_of

ROOT = Path(__file__).parents[2]


async def run(name: str, port: str, members: list[str]) -> None:
    async def echo(_org: bytes, body: bytes) -> bytes:
        return body

    async with open_transport(config_of(name, listen=(f"/ip4/127.0.0.1/tcp/{port}",))) as node:
        node.serve("echo", echo, body_bytes_max=2**20, concurrent_per_peer=4)
        pairs = [member.partition("=") for member in members]
        node.set_members({key_of(member).org: (address,) if address else () for member, _, address in pairs})
        print(node.listening[0], flush=True)
        async for org, message in node.incoming:
            node.post(org, b"echo " + message)


class PeerProcess:
    """The running process and the address it listens on."""

    def __init__(self, name: str, port: int, members: dict[str, str]) -> None:
        arguments = [f"{member}={address}" for member, address in members.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.peer_process", name, str(port), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, "the peer did not start"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def peer_process(name: str, members: dict[str, str], port: int = 0) -> Iterator[PeerProcess]:
    peer = PeerProcess(name, port, members)
    try:
        yield peer
    finally:
        peer.kill()


if __name__ == "__main__":
    trio.run(run, sys.argv[1], sys.argv[2], sys.argv[3:])
