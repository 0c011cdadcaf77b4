"""A node and its place in the league: when its key was rotated while it was down, and no door opens to the old one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ledger.chain import Chain
from ledger.keys import KeyPair
from ledger.memory_store import MemoryStore
from node.admission import NotAdmitted
from node.loneliness import ALONE_S
from node.members import Members
from tests.support.league import founders, genesis_of, key_of


class Ring:
    """See key_ring.KeyRing."""

    def __init__(self, current: KeyPair, following: KeyPair | None) -> None:
        self.current, self.following = current, following
        self.previous: KeyPair | None = None
        self.presented = current

    @property
    def other(self) -> KeyPair | None:
        return self.following or self.previous

    def try_the_other(self) -> None:
        assert self.other is not None
        self.presented = self.other if self.presented is self.current else self.current

    def confirm(self) -> None:
        self.previous = None


class Wire:
    """A transport with links to so many of the three others."""

    def __init__(self) -> None:
        self.connected = 0

    def peers(self) -> list[Any]:
        return [SimpleNamespace(connected=at < self.connected) for at in range(3)]

    def set_members(self, members: object) -> None: ...

    def announce(self, *_: object) -> None: ...


class Node:
    """The first founder's; `key` is what the ledger knows it by when it asks how it stands, None for no answer."""

    def __init__(self, following: KeyPair | None, key: bytes | None = None) -> None:
        keys = founders(4)
        self.chain = Chain(MemoryStore(), genesis_of(keys))
        self.ring = Ring(keys[0], following)
        self.wire, self.known_as, self.inside = Wire(), key, False
        self.config = SimpleNamespace(network=SimpleNamespace(bootstrap=()))
        self.announced = ()
        self.lives = 0

    @property
    def key(self) -> KeyPair:
        return self.ring.presented

    @property
    def org(self) -> bytes:
        return self.ring.current.org

    async def standing(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self.known_as is None:
            raise NotAdmitted("nobody is there")
        return SimpleNamespace(key=self.known_as)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Members]:
        """One life of the member part; left when it is to begin anew."""
        self.lives += 1
        async with trio.open_nursery() as nursery:
            end = nursery.cancel_scope.cancel
            members = Members(self, self.wire, self.wire, end)  # type: ignore[arg-type]
            nursery.start_soon(members.run)
            yield members
            nursery.cancel_scope.cancel()


NEXT = key_of("next")


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@pytest.mark.trio
async def test_a_node_that_nobody_knows_shows_the_key_that_was_to_follow(autojump_clock: MockClock) -> None:
    """Killed before it saw its own rotation become final, it waited for ever under a key that opens no door."""
    node = Node(NEXT)
    with trio.fail_after(3 * ALONE_S):
        async with node.life():
            await trio.sleep_forever()
    assert node.key is NEXT


@pytest.mark.trio
async def test_it_goes_back_when_the_other_key_is_not_known_either(autojump_clock: MockClock) -> None:
    node = Node(NEXT)
    for shown in (NEXT, node.ring.current, NEXT):
        with trio.fail_after(3 * ALONE_S):
            async with node.life():
                await trio.sleep_forever()
        assert node.key is shown


@pytest.mark.trio
async def test_it_goes_back_at_once_when_a_member_says_that_the_rotation_is_not_final(
    autojump_clock: MockClock,
) -> None:
    node = Node(NEXT)
    node.ring.try_the_other()
    node.known_as = node.ring.current.public
    with trio.fail_after(ALONE_S / 2):
        async with node.life():
            await trio.sleep_forever()
    assert node.key is node.ring.current


@pytest.mark.trio
async def test_by_the_key_that_is_known_it_is_inside_though_its_ledger_is_behind(autojump_clock: MockClock) -> None:
    node = Node(NEXT, NEXT.public)
    node.ring.try_the_other()
    async with node.life():
        with trio.fail_after(ALONE_S):
            while not node.inside:
                await trio.sleep(1)


@pytest.mark.trio
@pytest.mark.parametrize("why", ["a quorum is there", "no other key"])
async def test_nobody_else_changes_its_key(why: str, autojump_clock: MockClock) -> None:
    node = Node(NEXT if why == "a quorum is there" else None)
    node.wire.connected = 2 if why == "a quorum is there" else 0
    with trio.move_on_after(5 * ALONE_S) as waited:
        async with node.life():
            await trio.sleep_forever()
    assert waited.cancelled_caught
    assert node.key is node.ring.current


@pytest.mark.trio
async def test_company_that_is_no_quorum_does_not_keep_a_node_from_showing_the_other_key(
    autojump_clock: MockClock,
) -> None:
    """Two of four missed the block in which three rotated: they met each other by the old keys, nobody else knew those,
    and neither ever felt alone."""
    node = Node(NEXT)
    node.wire.connected = 1
    with trio.fail_after(3 * ALONE_S):
        async with node.life():
            await trio.sleep_forever()
    assert node.key is NEXT


@pytest.mark.trio
async def test_who_rotated_first_shows_the_old_key_to_those_who_know_no_other(autojump_clock: MockClock) -> None:
    """In a league of three the block that rotates a key was final at its owner only: the others needed the owner to
    hear of it, and it was there under a key that they could not know yet."""
    node = Node(None)
    node.ring.previous = NEXT
    with trio.fail_after(3 * ALONE_S):
        async with node.life():
            await trio.sleep_forever()
    assert node.key is NEXT


@pytest.mark.trio
async def test_once_somebody_knows_the_new_key_the_old_one_is_forgotten(autojump_clock: MockClock) -> None:
    node = Node(None)
    node.ring.previous, node.wire.connected = NEXT, 1
    async with node.life():
        with trio.fail_after(ALONE_S):
            while node.ring.previous is not None:
                await trio.sleep(1)
