"""It is libp2p on the wire: an untouched libp2p host with a member's key is understood, one with another key is not."""

import subprocess
import sys

import pytest
import trio

from node.network.libp2p_transport import ASK_PROTOCOL, open_transport
from node.network.wire import FrameKind, frame
from tests.support.leagues import config_of, key_of
from tests.support.peer_process import ROOT


async def ask_as(name, node, protocol):
    words = frame(FrameKind.DATA, b"echo") + frame(FrameKind.DATA, b"hello")
    seed = key_of(name).seed.hex()
    finished = await trio.run_process(
        [sys.executable, "-m", "tests.support.stock_libp2p", node.listening[0], seed, protocol, words.hex()],
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    return finished.stdout.decode().strip()


@pytest.mark.trio
async def test_an_untouched_libp2p_host_can_talk_to_a_node():
    async with open_transport(config_of("alice")) as alice:

        async def echo(org, body):
            assert org == key_of("bob").org
            return body

        alice.serve("echo", echo, body_bytes_max=100, concurrent_per_peer=1)
        alice.set_members({key_of("bob").org: ()})
        assert await ask_as("bob", alice, ASK_PROTOCOL) == frame(FrameKind.DATA, b"hello").hex()
        assert (await ask_as("bob", alice, "/ipfs/id/1.0.0")).startswith("error")
        # Mallory is no member: she is let in as a stranger and told so.
        refused = bytes.fromhex(await ask_as("mallory", alice, ASK_PROTOCOL))
        assert refused[0] == FrameKind.REFUSAL
        assert refused[8:].startswith(b"stranger\n")
