"""A member's daemon that floods the others while the file `flood` in its folder says how.

Started by `bench/flood.py`: `python -m bench.flooder FOLDER`.

All else it does as any other: it votes, leads and answers, so that what is measured is the flood and not a missing
member. Ways to flood are the functions below; each gives the next bytes to post, or asks by itself.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trio

from consensus.messages import BlocksRequest, Status, Transactions, encode_message
from ledger.keys import KeyPair
from ledger.transactions import Transaction, Transfer, sign_transaction
from ledger.types import Signature
from node.network.transport import TransportError
from node.replica import ReplicaDriver

LOOK_EVERY_S = 0.1
# What waits for a member is kept at so many messages, so that the flood is as fast as the slowest link takes it.
QUEUED = 32
# Transactions in one message, and how many nonces ahead of the ledger: what one sender may have waiting.
BATCH, AHEAD = 128, 4_000
ASKING = 16

Messages = Callable[[ReplicaDriver], Iterator[bytes]]


def garbage(driver: ReplicaDriver) -> Iterator[bytes]:
    """Bytes that are no message."""
    while True:
        yield os.urandom(1024)


def large_frames(driver: ReplicaDriver) -> Iterator[bytes]:
    """The longest frames there are, with nothing in them."""
    frame = bytes(4 * 2**20)
    while True:
        yield frame


def forgeries(driver: ReplicaDriver) -> Iterator[bytes]:
    """Well-formed transactions under signatures that are none."""
    key, chain = _key(driver), driver.replica.chain
    transactions = []
    for nonce in range(512):
        signed = sign_transaction(key, chain.chain_id, nonce, Transfer(key.org, 1, "forged"))
        transactions.append(Transaction(signed.sender, signed.nonce, signed.body, Signature(bytes(64))))
    message = encode_message(Transactions(tuple(transactions)))
    while True:
        yield message


def transactions(driver: ReplicaDriver) -> Iterator[bytes]:
    """Transactions that are in order, as many as can wait, again and again until they are final."""
    key, chain = _key(driver), driver.replica.chain
    to = next(org for org, _ in chain.members() if org != key.org)
    batches: dict[int, bytes] = {}
    while True:
        first = chain.next_nonce(key.org) // BATCH
        batches = {at: batch for at, batch in batches.items() if at >= first}
        for at in range(first, first + AHEAD // BATCH):
            if at not in batches:
                nonces = range(at * BATCH, (at + 1) * BATCH)
                signed = [sign_transaction(key, chain.chain_id, each, Transfer(to, 1, "flood")) for each in nonces]
                batches[at] = encode_message(Transactions(tuple(signed)))
            yield batches[at]


def questions(driver: ReplicaDriver) -> Iterator[bytes]:
    """Requests for blocks, and where we stand, without end."""
    chain = driver.replica.chain
    while True:
        yield encode_message(BlocksRequest(1, 64))
        yield encode_message(Status(chain.height, chain.head_id, 0, 1))


WAYS: dict[str, Messages] = {
    "garbage": garbage,
    "large frames": large_frames,
    "forgeries": forgeries,
    "transactions": transactions,
    "questions": questions,
}


async def ask(driver: ReplicaDriver) -> None:
    """Requests over streams of their own, as many at once as are allowed."""
    transport = _transport(driver)

    async def one(at: int) -> None:
        peers = [peer.org for peer in transport.peers() if peer.connected]
        while peers:
            try:
                await transport.request(peers[at % len(peers)], "addresses.swap", bytes(64 * 1024), 5.0)
            except TransportError:
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for at in range(ASKING):
            nursery.start_soon(one, at)


async def post(driver: ReplicaDriver, messages: Iterator[bytes]) -> None:
    """Keep every member's queue filled."""
    transport = _transport(driver)
    while True:
        message = next(messages)
        posted = False
        for peer in transport.peers():
            if peer.connected and peer.messages_queued < QUEUED:
                transport.post(peer.org, message)
                posted = True
        await trio.sleep(0 if posted else 0.002)


async def flood(driver: ReplicaDriver, order: Path) -> None:
    """Obey the file for ever."""
    while True:
        while not order.exists():
            await trio.sleep(LOOK_EVERY_S)
        way = order.read_text()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, driver) if way == "requests" else nursery.start_soon(
                    post, driver, WAYS[way](driver)
                )
                while order.exists():
                    await trio.sleep(LOOK_EVERY_S)
                scope.cancel()


def _key(driver: ReplicaDriver) -> KeyPair:
    key = driver.replica._key
    assert key is not None
    return key


def _transport(driver: ReplicaDriver) -> Any:
    return driver._transport


def main(folder: Path) -> None:
    from node.cli.main import main as hanse

    run: Callable[..., Awaitable[None]] = ReplicaDriver.run

    async def run_and_flood(driver: ReplicaDriver, **started: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, driver, folder / "flood")
            await run(driver, **started)

    ReplicaDriver.run = run_and_flood  # type: ignore[assignment,method-assign]
    hanse(["start", "-c", str(folder)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
