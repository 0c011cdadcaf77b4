"""A node's own place in the league: inside, outside and in again, under keys that come and go (node/members.py)."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from ledger.keys import KeyPair
from ledger.motions import Expel
from ledger.statements import LeaveLeague
from ledger.types import NodeKey
from node.members import STANDING_EVERY_S, Members
from node.membership import member_nodes, membership_of, without_tolerance
from node.network.addresses import peer_id
from tests.support.league import League, key_of
from tests.support.members import Factory, carry, factory, let_in, put

PLACE = "/ip4/10.0.0.9/tcp/4001"


class Node:
    """One organisation's node over the league's chain; the network is a list of what it was told."""

    def __init__(self, league: League, one: Factory, bootstrap: tuple[str, ...] = ()) -> None:
        self.chain, self.org, self.key = league.chain, one.org, one.node
        self.ring = SimpleNamespace(following=None, previous=None, other=None, current=one.node, confirm=lambda: None)
        self.config = SimpleNamespace(network=SimpleNamespace(bootstrap=bootstrap))
        self.announced: tuple[str, ...] = (PLACE,)
        self.inside = False
        self.dialled: list[dict[NodeKey, tuple[str, ...]]] = []
        self.admitted: list[dict[NodeKey, tuple[str, ...]]] = []
        self.told: list[NodeKey] = []
        self.rotations = 0
        self.answers: Callable[[], bytes] = bytes
        self.asked = 0

    async def standing(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        return SimpleNamespace(key=self.answers())

    def members(self) -> Members:
        exchange = SimpleNamespace(
            set_members=lambda members: self.dialled.append(dict(members)),
            announce=lambda key, addresses, now: self.told.append(key.public),
        )
        transport = SimpleNamespace(
            set_members=lambda members: self.admitted.append(dict(members)),
            peers=lambda: [SimpleNamespace(connected=True)],
        )
        return Members(self, exchange, transport, self._rotated)  # type: ignore[arg-type]

    def _rotated(self) -> None:
        self.rotations += 1


@pytest.fixture
def league() -> League:
    return League(4)


@pytest.fixture
def erin(league: League) -> Factory:
    return let_in(league, factory("erin"))


@pytest.mark.trio
async def test_a_member_dials_the_others_and_says_where_it_is(league: League, erin: Factory) -> None:
    node = Node(league, erin)
    node.members()
    assert node.inside
    assert node.told == [erin.node.public]
    assert set(node.dialled[-1]) == {NodeKey(member.key) for _, member in league.chain.members()}


@pytest.mark.trio
async def test_who_left_drops_its_links_and_dials_nobody(league: League, erin: Factory) -> None:
    node = Node(league, erin)
    members = node.members()
    league.say((erin.node, LeaveLeague(erin.org)))
    members.look()
    assert not node.inside
    assert node.admitted[-2:] == [{}, dict.fromkeys((key.public for key in league.keys[:4]), ())]
    place = membership_of(league.chain, erin.org, erin.node.public)
    assert (place.status, place.member, place.roles) == ("left", False, ())
    assert f"left the league at height {league.chain.height}" in place.why


@pytest.mark.trio
async def test_who_is_expelled_is_told_so(league: League, erin: Factory) -> None:
    node = Node(league, erin)
    members = node.members()
    carry(league, Expel(erin.org, "seen to be careless"))
    members.look()
    assert not node.inside
    assert membership_of(league.chain, erin.org, erin.node.public).status == "expelled"


@pytest.mark.trio
async def test_a_node_begins_anew_when_the_ledger_names_the_key_that_was_to_follow(
    league: League, erin: Factory
) -> None:
    node = Node(league, erin)
    members = node.members()
    following = key_of("node 1 of erin")
    node.ring.following = following
    members.look()
    assert node.rotations == 0
    erin.rotate(league)
    members.look()
    assert node.rotations == 1
    assert node.inside, "it is still in the league, under its new key"


@pytest.mark.trio
async def test_a_key_that_was_replaced_from_elsewhere_puts_its_node_out(league: League, erin: Factory) -> None:
    node = Node(league, erin)
    members = node.members()
    old = erin.rotate(league)
    members.look()
    assert (node.inside, node.rotations) == (False, 0)
    place = membership_of(league.chain, erin.org, old.public)
    assert (place.member, place.key_ok) == (True, False)
    assert f"was rotated away at height {league.chain.height}" in place.why
    assert membership_of(league.chain, erin.org, erin.node.public).key_ok


@pytest.mark.trio
async def test_who_comes_back_is_inside_before_its_ledger_shows_it_and_stays_so_while_it_catches_up(
    league: League, erin: Factory, autojump_clock: trio.testing.MockClock
) -> None:
    league.say((erin.node, LeaveLeague(erin.org)))
    gone_at = league.chain.height
    node = Node(league, erin)
    members = node.members()
    assert not node.inside
    async with trio.open_nursery() as nursery:
        nursery.start_soon(members.run)
        await trio.sleep(3.5 * STANDING_EVERY_S)
        assert (node.asked, node.inside) == (3, False)
        # The others have let it in; our ledger ends before that.
        node.answers = lambda: erin.node.public
        await trio.sleep(STANDING_EVERY_S)
        assert node.inside
        assert node.dialled, "it dials the members that its ledger knows"
        asked = node.asked
        await trio.sleep(5 * STANDING_EVERY_S)
        assert node.asked == asked, "who is inside asks no more"
        # A block that changes other members, from before its return.
        let_in(league, factory("frank"))
        members.look()
        assert (node.inside, league.chain.height > gone_at) == (True, True)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_node_whose_key_the_league_does_not_know_stays_outside(
    league: League, erin: Factory, autojump_clock: trio.testing.MockClock
) -> None:
    old = erin.rotate(league)
    node = Node(league, Factory(erin.name, erin.identity, old))
    node.answers = lambda: erin.node.public
    members = node.members()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(members.run)
        await trio.sleep(3.5 * STANDING_EVERY_S)
        assert (node.asked, node.inside) == (3, False)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_bootstrap_address_of_a_key_that_was_rotated_leads_to_the_one_that_follows_it(
    league: League, erin: Factory
) -> None:
    old = erin.rotate(league)
    found = dict(member_nodes(league.chain, [(old.public, PLACE), (key_of("stranger").public, "/ip4/1.2.3.4/tcp/1")]))
    assert found[erin.node.public] == (PLACE,)
    assert old.public not in found
    assert sum(map(len, found.values())) == 1, "an address of nobody we know is nobody's"
    node = Node(league, factory("nobody"), (f"{PLACE}/p2p/{peer_id(old.public)}",))
    node.members()
    assert node.admitted[-1] == dict.fromkeys(found, ()), "an outsider dials nobody"


def test_a_candidate_and_a_stranger_are_told_what_they_wait_for(league: League) -> None:
    frank = factory("frank")
    key = frank.node.public
    assert membership_of(league.chain, frank.org, key).status == "stranger"
    league.say((frank.identity, frank.registration(league)))
    place = membership_of(league.chain, frank.org, key)
    assert (place.status, place.name, "not approved" in place.why) == ("candidate", "frank", True)


@pytest.mark.parametrize(("members", "words"), [(1, "1 member tolerates"), (2, "2 members"), (3, "3 members")])
def test_a_small_league_is_told_that_it_tolerates_no_fault(members: int, words: str) -> None:
    warning = without_tolerance(members)
    assert warning is not None
    assert words in warning
    assert "tolerates no fault" in warning
    assert without_tolerance(4) is None


@pytest.mark.trio
async def test_a_ballot_alone_puts_nobody_out(league: League, erin: Factory) -> None:
    node = Node(league, erin)
    members = node.members()
    put(league, league.keys[0], Expel(erin.org, "seen to be careless"))
    members.look()
    assert node.inside


@pytest.mark.trio
async def test_the_keys_of_others_that_are_rotated_are_dialled_from_the_next_look_on(
    league: League, erin: Factory
) -> None:
    node = Node(league, Factory("founder", league.keys[0], league.keys[0]))
    members = node.members()
    old: KeyPair = erin.rotate(league)
    members.look()
    assert erin.node.public in node.dialled[-1]
    assert old.public not in node.dialled[-1]
