"""Who can dial one member soon reaches all, and remembers it."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from node.network.address_book import AddressBook, addresses_to_announce
from node.network.address_exchange import AddressExchange
from node.network.libp2p_transport import open_transport
from tests.support.leagues import CHAIN, all_connected, config_of, connected, key_of, wait_until

NAMES = ["alice", "bob", "carol", "dave"]
MEMBERS = [key_of(name).org for name in NAMES]


@asynccontextmanager
async def member(name, tmp_path, bootstrap=()):
    async with open_transport(config_of(name, bootstrap=bootstrap)) as node, trio.open_nursery() as nursery:
        book = AddressBook(tmp_path / name, CHAIN, MEMBERS)
        exchange = AddressExchange(node, book)
        exchange.announce(key_of(name), addresses_to_announce((), node.listening), now_ms=1000)
        exchange.set_members(dict.fromkeys(MEMBERS, ()))
        nursery.start_soon(exchange.run)
        yield node, book
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_node_that_knows_one_bootstrap_peer_finds_all_members(tmp_path):
    async with AsyncExitStack() as stack:
        alice, _ = await stack.enter_async_context(member("alice", tmp_path))
        others = [await stack.enter_async_context(member(name, tmp_path, alice.listening)) for name in NAMES[1:]]
        await all_connected([alice, *(node for node, _ in others)])
        for _, book in others:
            await wait_until(lambda book=book: all(book.addresses(org) for org in MEMBERS))
        # What was learnt is on disk, for a start without any bootstrap peer.
        await wait_until(lambda: all(AddressBook(tmp_path / "dave", CHAIN, MEMBERS).addresses(org) for org in MEMBERS))


@pytest.mark.trio
async def test_a_member_that_moved_is_found_at_its_new_address(tmp_path):
    async with member("alice", tmp_path) as (alice, book):
        async with member("bob", tmp_path, alice.listening) as (bob, _):
            await all_connected([alice, bob])
            await wait_until(lambda: book.addresses(bob.me) == addresses_to_announce((), bob.listening))
        await wait_until(lambda: not connected(alice, bob.me))
        # Started again on another port, with a clock that stood still.
        async with member("bob", tmp_path, alice.listening) as (bob, _):
            await all_connected([alice, bob])
            await wait_until(lambda: book.addresses(bob.me) == addresses_to_announce((), bob.listening))
