"""Keeps the network's idea of who is in the league to the ledger's, and this node's own place in it.

A node is inside while the ledger names its key as its organisation's. Outside it waits: before it is let in, after it
has left or was expelled, or when its key was replaced from elsewhere; it asks now and then how it stands, and its local
interface goes on answering from a ledger that stands still. A rotation that was begun here ends this life of the
member part: the next one begins under the new key.
"""

import logging
from collections.abc import Callable, Iterator

import trio

from ledger.types import NodeKey
from node.admission import NotAdmitted
from node.loneliness import Company, Loneliness
from node.membership import league_warnings, member_nodes, membership_of
from node.network.address_exchange import AddressExchange
from node.network.addresses import parse_address, peer_id
from node.network.transport import Transport
from node.replica import now_ms
from node.services import NodeServices

log = logging.getLogger(__name__)

# How an outsider asks whether it was let in: seldom enough for the bootstrap peers' limit on strangers.
STANDING_EVERY_S = 6.0


class Members:
    """`begin_anew` ends this life of the member part: the ledger names the key that was drawn here to follow the
    present one, or nobody knows the one that is shown."""

    def __init__(
        self,
        services: NodeServices,
        addresses: AddressExchange,
        transport: Transport,
        begin_anew: Callable[[], None],
    ) -> None:
        self._services = services
        self._chain = services.chain
        self._key = services.key
        self._addresses = addresses
        self._transport = transport
        self._begin_anew = begin_anew
        self._loneliness = Loneliness(trio.current_time())
        self._bootstrap = list(_places(services.config.network.bootstrap))
        self._inside = False
        self._warned: set[str] = set()
        self._named = False  # whether the ledger named our key when we last looked
        self._went_out = trio.Event()
        self.look()

    def look(self) -> None:
        """After a block that changed the members or what the league runs by, and at the start."""
        for warning in league_warnings(self._chain):
            self._warn(warning)
        following = self._services.ring.following
        named = self._chain.key_of(self._services.org)
        if following is not None and named == following.public:
            self._begin_anew()
            return
        was_named, self._named = self._named, named == self._key.public
        if was_named and not self._named:
            self._leave()
        members = dict(member_nodes(self._chain, self._bootstrap))
        if self._inside or self._named:
            if not self._inside:
                self._enter()
            self._addresses.set_members(members)
        else:
            # Nobody is dialled, and whoever dials us is let in: a league that has let us in does.
            self._transport.set_members(dict.fromkeys(members, ()))

    async def run(self) -> None:
        """While outside, ask now and then whether we were let in."""
        while True:
            with trio.move_on_after(STANDING_EVERY_S):
                # Who is in has nothing to ask, and notices soon when it is put out.
                await (self._went_out.wait() if self._inside else trio.sleep_forever())
            self._mind_loneliness()
            if self._is_inside():
                continue
            try:
                standing = await self._services.standing()
            except NotAdmitted as error:
                log.info("no member answers how we stand: %s", error)
                continue
            if self._inside:
                continue
            if standing.key == self._key.public:
                # Our ledger does not show it yet: it is behind.
                self._enter()
                self.look()
            elif standing.key and self._key is not self._services.ring.current:
                # The rotation is not final yet: it goes by the old key after all.
                self._show_the_other()
            elif standing.key:
                self._warn(
                    f"the league knows this organisation by {peer_id(NodeKey(standing.key))}, which is not this node's"
                    " key; `hanse keys rotate` makes this node's key the one"
                )

    def _warn(self, warning: str) -> None:
        """Once a start."""
        if warning not in self._warned:
            self._warned.add(warning)
            log.warning("%s", warning)

    def _is_inside(self) -> bool:
        return self._inside

    def _mind_loneliness(self) -> None:
        """A rotation that became final while we were down is not known here, and the old key opens no door; one that
        became final here first is not known to the others, and the new key opens none."""
        ring = self._services.ring
        met = sum(peer.connected for peer in self._transport.peers())
        if met and self._key is ring.current:
            ring.confirm()
        company = Company(met, len(self._chain.members()))
        by_previous = self._key is ring.previous
        lonely = self._loneliness.too_long(trio.current_time(), company, ring.other is not None, by_previous)
        if lonely and ring.other is not None:
            self._show_the_other()

    def _show_the_other(self) -> None:
        ring = self._services.ring
        ring.try_the_other()
        log.warning("too few members know this node by its key: it shows itself as %s", peer_id(ring.presented.public))
        self._begin_anew()

    def _enter(self) -> None:
        self._inside = True
        self._services.inside = True
        if self._named:
            self._addresses.set_members(dict(member_nodes(self._chain, self._bootstrap)))
            self._addresses.announce(self._key, self._services.announced, now_ms())

    def _leave(self) -> None:
        self._inside = False
        self._services.inside = False
        # What waits for the members goes with the links to them: it could only be refused.
        self._transport.set_members({})
        log.warning(
            "no part in the league any more: %s. The ledger here stands still; `hanse stop` ends the node",
            membership_of(self._chain, self._services.org, self._key.public).why,
        )
        went_out, self._went_out = self._went_out, trio.Event()
        went_out.set()


def _places(bootstrap: tuple[str, ...]) -> Iterator[tuple[NodeKey, str]]:
    for text in bootstrap:
        address = parse_address(text)
        if address.org is not None:
            yield address.org, str(address.place)
