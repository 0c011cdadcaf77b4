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
from node.network.bucket import Bucket
from node.network.durable_file import replace_file
from node.network.transport import Fault, RequestRefused, Transport, TransportError

log = logging.getLogger(__name__)

KIND = "addresses.swap"
# A record of eight long addresses has some 2.7 KB.
RECORDS_BYTES_MAX = MEMBERS_MAX * 3 * 1024
_SWAP_S = 10.0
# Who changed its address while we were connected to others only is heard of after a minute or two.
_SWAP_EVERY_S = 60.0
# New records of one member, which everybody hears of, dials by and writes down: a node that moves or restarts often.
_RENEWALS_PER_S = 0.1
_RENEWALS_BURST = 8
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
        self._renewals: dict[NodeKey, Bucket] = {}
        transport.serve(KIND, self._answer, body_bytes_max=RECORDS_BYTES_MAX, concurrent_per_peer=1)
        transport.watch_peers(self._peer_changed)

    def set_members(self, members: Mapping[NodeKey, tuple[str, ...]]) -> None:
        """The members by the ledger, with the addresses it has of them: admit and dial them, drop all others."""
        self._registered = dict(members)
        self._renewals = {org: bucket for org, bucket in self._renewals.items() if org in members}
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
                await self._take(org, reply)
            except InvalidBytes as error:
                self._transport.blame(org, Fault.GARBAGE, f"address records: {error}")
            except TransportError as error:
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
            await self._take(org, body)
        except InvalidBytes as error:
            self._transport.blame(org, Fault.GARBAGE, f"address records: {error}")
            raise RequestRefused("invalid", str(error)) from None
        return ours

    def _may_renew(self, org: NodeKey) -> bool:
        now = trio.current_time()
        bucket = self._renewals.setdefault(org, Bucket(_RENEWALS_PER_S, _RENEWALS_BURST, now))
        return bucket.take(1, now)

    async def _take(self, peer: NodeKey, data: bytes) -> None:
        taken = self._book.take(data, self._may_renew)
        if taken.forged is not None:
            self._transport.blame(peer, Fault.FORGED, f"an address record that {taken.forged.hex()[:16]} never signed")
        if taken.changed:
            self._redial()
            try:
                async with self._saving:
                    await trio.to_thread.run_sync(replace_file, self._book.path, self._book.records())
            except OSError as error:
                # A full disk: the addresses work until we stop, and are learnt again after.
                log.warning("the address book could not be written: %s", error)
