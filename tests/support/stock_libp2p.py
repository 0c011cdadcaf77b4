"""A libp2p host as the library ships it, with nothing repaired, in a process of its own: asks one node one question.

    python -m tests.support.stock_libp2p <address with /p2p/> <hex seed> <protocol> <hex of what to say>

Prints the hex of what comes back until the stream ends, or the name of the error.
"""

import sys
from typing import Any

import multiaddr
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.peerinfo import info_from_p2p_addr


async def ask(address: str, seed: str, protocol: str, words: str) -> None:
    host = new_host(key_pair=create_new_key_pair(bytes.fromhex(seed)))
    info = info_from_p2p_addr(multiaddr.Multiaddr(address))
    async with host.run(listen_addrs=[]):
        try:
            await host.connect(info)
            stream: Any = await host.new_stream(info.peer_id, [protocol])
            await stream.write(bytes.fromhex(words))
            heard = b""
            with trio.move_on_after(3):
                while data := await stream.read(1000):
                    heard += data
        except Exception as error:
            if not isinstance(error, EOFError) and type(error).__name__ != "StreamEOF":
                print(f"error {type(error).__name__}", flush=True)
                return
        print(heard.hex(), flush=True)
        await host.close()


if __name__ == "__main__":
    trio.run(ask, *sys.argv[1:5])
