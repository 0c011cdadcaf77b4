"""Address records from node to node: swapped whenever a link comes up and now and then, so that a node that can dial
one member soon knows where all are. Tells the transport whom to dial."""

import logging
import random
from collections.abc import Mapping

import trio

from ledger.errors import InvalidBytes
from ledger.keys import KeyPair
from ledger.types import MEMBERS_MAX, NodeKey
from node.network.address_book import AddressBook
from node.network.durable_file import replace_file
from node.network.transport import RequestRefused, Transport, TransportError

log = logging.getLogger(__name__)

KIND = "addresses.swap"
# A record of eight long addresses has some 2.7 KB.
RECORDS_BYTES_MAX = MEMBERS_MAX * 3 * 1024
_SWAP_S = 10.0
# Who changed its address while we were connected to others only is heard of after a minute or two.
_SWAP_EVERY_S = 60.0
# Peers that came up and wait for their swap; the whole league at most.
_QUEUED_MAX = MEMBERS_MAX


class AddressExchange:
    """Keeps `book` and the transport's members up to date; run `run` as a task."""

    def __init__(self, transport: Transport, book: AddressBook) -> None:
        self._transport = transport
        self._book = book
        self._registered: dict[NodeKey, tuple[str, ...]] = {}
        self._send, self._receive = trio.open_memory_channel[NodeKey](_QUEUED_MAX)
        self._saving = trio.Lock()
        transport.serve(KIND, self._answer, body_bytes_max=RECORDS_BYTES_MAX, concurrent_per_peer=1)
        transport.watch_peers(self._peer_changed)

    def set_members(self, members: Mapping[NodeKey, tuple[str, ...]]) -> None:
        """The members by the ledger, with the addresses it has of them: admit and dial them, drop all others."""
        self._registered = dict(members)
        self._book.set_members(members)
        self._redial()

    def announce(self, key: KeyPair, addresses: tuple[str, ...], now_ms: int) -> None:
        """Publish our own addresses. `now_ms`: the wall clock; a clock that was set back does no harm."""
        sequence = max(now_ms, self._book.sequence(key.public) + 1)
        self._book.announce(key, addresses, sequence)

    def _redial(self) -> None:
        self._transport.set_members({org: self._addresses(org) for org in sorted(self._book.members)})

    def _addresses(self, org: NodeKey) -> tuple[str, ...]:
        """What the member signed last, then what it gave when it registered: it may have moved since."""
        return tuple(dict.fromkeys((*self._book.addresses(org), *self._registered.get(org, ()))))

    def _peer_changed(self, org: NodeKey, connected: bool) -> None:
        if connected:
            try:
                self._send.send_nowait(org)
            except trio.WouldBlock:
                log.debug("no room for another swap")

    async def run(self) -> None:
        while True:
            org = await self._next()
            if org is None:
                continue
            try:
                reply = await self._transport.request(org, KIND, self._book.records(), _SWAP_S)
                await self._take(reply)
            except (TransportError, InvalidBytes) as error:
                log.debug("no addresses from %s: %s", org.hex()[:16], error)

    async def _next(self) -> NodeKey | None:
        """Who just came up, else now and then somebody who is up."""
        try:
            with trio.fail_after(_SWAP_EVERY_S * random.uniform(0.75, 1.25)):
                return await self._receive.receive()
        except trio.TooSlowError:
            up = [peer.org for peer in self._transport.peers() if peer.connected]
            return random.choice(up) if up else None

    async def _answer(self, org: NodeKey, body: bytes) -> bytes:
        ours = self._book.records()
        try:
            await self._take(body)
        except InvalidBytes as error:
            raise RequestRefused("invalid", str(error)) from None
        return ours

    async def _take(self, data: bytes) -> None:
        if self._book.take(data):
            self._redial()
            try:
                async with self._saving:
                    await trio.to_thread.run_sync(replace_file, self._book.path, self._book.records())
            except OSError as error:
                # A full disk: the addresses work until we stop, and are learnt again after.
                log.warning("the address book could not be written: %s", error)
