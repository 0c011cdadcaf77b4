"""Bytes per second of a blob between two nodes, beside what a plain libp2p stream reaches: python -m bench.blobs

Both in the same run, sender and receiver in two processes each, the library untouched for the plain one. A round moves
one blob each way of doing it, so that both meet the same load of the machine; medians and their ratio are printed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import trio

ROOT = Path(__file__).parents[1]
PLAIN_PROTOCOL = "/bench/plain/1"


def seed_of(name: str) -> bytes:
    return name.encode().ljust(32, b".")


def model_bytes(size: int) -> bytes:
    """What parameters in fixed point look like: noise with idle high bits, which blobs are deflated for."""
    parameters = np.random.default_rng(1).normal(scale=0.1, size=-(-size // 4)) * 2**20
    return parameters.round().astype("<i4").tobytes()[:size]


async def plain_peer() -> None:
    """Send as many bytes as a stream asks for, the way the library's own examples do."""
    import multiaddr
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair

    host = new_host(key_pair=create_new_key_pair(seed_of("plain peer")))

    async def send(stream: Any) -> None:
        size = int.from_bytes(await stream.read(8), "big")
        await stream.write(bytes(size))
        await stream.close()

    host.set_stream_handler(PLAIN_PROTOCOL, send)
    async with host.run(listen_addrs=[multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        print(host.get_addrs()[0], flush=True)
        await trio.sleep_forever()


async def plain_fetcher(address: str, size: int) -> None:
    """Time one stream for every line on stdin."""
    import multiaddr
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.peerinfo import info_from_p2p_addr

    host = new_host(key_pair=create_new_key_pair(seed_of("plain fetcher")))
    info = info_from_p2p_addr(multiaddr.Multiaddr(address))
    async with host.run(listen_addrs=[]):
        await host.connect(info)
        print("ready", flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            began = time.perf_counter()
            stream = await host.new_stream(info.peer_id, [PLAIN_PROTOCOL])
            await stream.write(size.to_bytes(8, "big"))
            arrived = 0
            while arrived < size:
                arrived += len(await stream.read(256 * 1024))
            print(time.perf_counter() - began, flush=True)
            await stream.close()


async def hanse_node(name: str, other: str, address: str, size: int, blobs: int) -> None:
    """Two nodes: "peer" holds the blobs, "fetcher" fetches one, durably, for every line on stdin."""
    from ledger.keys import KeyPair
    from ledger.types import Hash32
    from node.network.blob_exchange import BlobExchange
    from node.network.blob_store import BlobStore
    from node.network.libp2p_transport import open_transport
    from node.network.transport import TransportConfig

    config = TransportConfig(
        key=KeyPair.from_seed(seed_of(name)), chain_id=Hash32(bytes(32)), listen=("/ip4/127.0.0.1/tcp/0",)
    )
    peer = KeyPair.from_seed(seed_of(other)).org
    with tempfile.TemporaryDirectory() as directory:
        store = BlobStore(Path(directory))
        async with open_transport(config) as transport:
            exchange = BlobExchange(transport, store)
            transport.set_members({peer: (address,) if address else ()})
            names = [store.put(number.to_bytes(8, "big") + model_bytes(size - 8)) for number in range(blobs)]
            while address and not any(each.connected for each in transport.peers()):
                await trio.sleep(0.01)
            if not address:
                print(transport.listening[0], flush=True)
                await trio.sleep_forever()
            for each in names:
                store.delete(each)
            print("ready", flush=True)
            for each in names:
                if not await trio.to_thread.run_sync(sys.stdin.readline):
                    return
                began = time.perf_counter()
                await exchange.fetch(each, [peer])
                print(time.perf_counter() - began, flush=True)


class Process:
    """One role of this file in a process of its own; `first` is the first line it says."""

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.blobs", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def compare(size: int, rounds: int) -> None:
    processes = [Process("plain-peer")]
    try:
        processes.append(plain := Process("plain-fetcher", processes[-1].first, size))
        processes.append(Process("hanse", "peer", "fetcher", "", size, rounds + 1))
        processes.append(hanse := Process("hanse", "fetcher", "peer", processes[-1].first, size, rounds + 1))
        plain.ask(), hanse.ask()  # the first of each warms up
        pairs = [(plain.ask(), hanse.ask()) for _ in range(rounds)]
    finally:
        for each in processes:
            each.stop()
    mega = size / 1e6
    plain_s, hanse_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(plain_time / hanse_time for plain_time, hanse_time in pairs)
    print(f"{mega:g} MB, {rounds} rounds, medians")
    print(f"  plain libp2p stream                    {plain_s * 1e3:7.1f} ms  {mega / plain_s:6.1f} MB/s")
    print(f"  blob fetched, verified, synced to disk {hanse_s * 1e3:7.1f} ms  {mega / hanse_s:6.1f} MB/s")
    print(f"  ours / plain, by rate                  {ratio:7.2f}  (wanted: at least 0.5)")


def main() -> None:
    if sys.argv[1:2] == ["plain-peer"]:
        trio.run(plain_peer)
    elif sys.argv[1:2] == ["plain-fetcher"]:
        trio.run(plain_fetcher, sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["hanse"]:
        trio.run(hanse_node, *sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--megabytes", type=int, default=10)
        parser.add_argument("--rounds", type=int, default=9)
        options = parser.parse_args()
        compare(options.megabytes * 10**6, options.rounds)


if __name__ == "__main__":
    main()
