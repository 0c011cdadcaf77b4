"""Small leagues on either transport, for tests: named nodes that know each other, and waiting for conditions."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import trio

from ledger.codec import digest
from ledger.keys import KeyPair
from ledger.types import Hash32, OrgId
from node.network.libp2p_transport import open_transport
from node.network.memory_transport import MemoryNetwork, open_memory_transport
from node.network.transport import Limits, Transport, TransportConfig

CHAIN = Hash32(bytes([7]) * 32)
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
# Short enough for a test that waits for a silence, long enough for two busy cores.
QUICK = Limits(
    handshake_s=3.0,
    dial_s=3.0,
    backoff_first_s=0.1,
    backoff_last_s=0.5,
    ping_every_s=0.5,
    silence_s=2.0,
    stall_s=5.0,
    stranger_lifetime_s=2.0,
)


def key_of(name: str) -> KeyPair:
    return KeyPair.from_seed(digest("test/key", name.encode()))


def config_of(name: str, limits: Limits = QUICK, **changes: Any) -> TransportConfig:
    return replace(TransportConfig(key=key_of(name), chain_id=CHAIN, listen=LOOPBACK, limits=limits), **changes)


async def wait_until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait for a condition that other tasks make true; fails the test when it does not come."""
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.005)


def connected(transport: Transport, org: OrgId) -> bool:
    return any(peer.org == org and peer.connected for peer in transport.peers())


def acquaint(nodes: Sequence[Transport]) -> None:
    """Make all of them members of all, with their addresses."""
    members = {node.me: node.listening for node in nodes}
    for node in nodes:
        node.set_members(members)


async def all_connected(nodes: Sequence[Transport]) -> None:
    await wait_until(lambda: all(connected(a, b.me) for a in nodes for b in nodes if a is not b))


@asynccontextmanager
async def league(kind: str, *names: str, limits: Limits = QUICK, meet: bool = True) -> AsyncIterator[list[Any]]:
    """Nodes of these names over "memory" or "libp2p", connected to each other unless `meet` is False."""
    async with AsyncExitStack() as stack:
        network = MemoryNetwork()
        nodes: list[Any] = []
        for name in names:
            if kind == "memory":
                opening: Any = open_memory_transport(network, key_of(name).org, limits)
            else:
                opening = open_transport(config_of(name, limits))
            nodes.append(await stack.enter_async_context(opening))
        if meet:
            acquaint(nodes)
            await all_connected(nodes)
        yield nodes
