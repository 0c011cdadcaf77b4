"""What a stranger may bring to a member's door, and what it is told (node/admission.py)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.statements import LeaveLeague, RegisterMember, prove_key
from ledger.transactions import Body, Transaction, Transfer, sign_transaction
from ledger.types import Hash32, OrgId
from node.admission import NotAdmitted, ask_standing, hand_in, serve_admission
from node.network.addresses import peer_id
from node.network.memory_transport import MemoryNetwork, MemoryTransport, open_memory_transport
from tests.support.league import League, key_of
from tests.support.members import Factory, factory, let_in


@dataclass
class Doorstep:
    """A member that answers, and a stranger in front of it."""

    league: League
    stranger: MemoryTransport
    doors: tuple[str, ...]
    taken: list[Transaction]

    async def bring(self, signer: KeyPair, body: Body) -> str:
        """The word of a refusal, or "taken"."""
        transaction = sign_transaction(signer, self.league.chain.chain_id, 0, body)
        try:
            await hand_in(self.stranger, self.doors, transaction)
        except InvalidTransaction as refused:
            return refused.code
        assert self.taken[-1] == transaction
        return "taken"


def accept(taken: list[Transaction]) -> Callable[[Transaction], None]:
    return taken.append


@asynccontextmanager
async def doorstep(stranger: KeyPair) -> AsyncIterator[Doorstep]:
    league, network, taken = League(4), MemoryNetwork(), []
    member = league.keys[0].public
    async with (
        open_memory_transport(network, member) as door,
        open_memory_transport(network, stranger.public) as outside,
    ):
        serve_admission(door, league.chain, accept(taken))
        door.set_members({})
        outside.set_members({})
        yield Doorstep(league, outside, (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id(member)}",), taken)


ERIN: Factory = factory("erin")


@pytest.mark.trio
async def test_a_node_brings_the_registration_of_the_organisation_it_is_to_sign_for(autojump_clock: object) -> None:
    async with doorstep(ERIN.node) as step:
        assert await step.bring(ERIN.identity, ERIN.registration(step.league)) == "taken"
        # Its own key is nobody else's identity, and it speaks for no other node.
        assert await step.bring(ERIN.node, RegisterMember("erin", ())) == "taken"
        frank = factory("frank")
        assert await step.bring(frank.identity, frank.registration(step.league)) == "member"


@pytest.mark.trio
async def test_what_the_identity_of_a_member_says_is_carried_by_any_node(autojump_clock: object) -> None:
    """The key of its node may be stolen, and the node with it."""
    fresh = key_of("a new machine")
    async with doorstep(fresh) as step:
        erin = let_in(step.league, factory("erin"))
        assert await step.bring(erin.identity, erin.rotation(step.league, fresh)) == "taken"
        assert await step.bring(erin.identity, LeaveLeague(erin.org)) == "taken"
        # Not signed by an identity: a member's node says that itself, a stranger says nothing.
        assert await step.bring(erin.node, LeaveLeague(erin.org)) == "member"
        assert await step.bring(fresh, LeaveLeague(erin.org)) == "member"
        assert await step.bring(erin.identity, Transfer(step.league.keys[1].org, 1, "")) == "member"
        assert len(step.taken) == 2


@pytest.mark.trio
async def test_anybody_is_told_how_an_organisation_stands_and_which_key_it_has(autojump_clock: object) -> None:
    async with doorstep(ERIN.node) as step:
        chain = step.league.chain

        async def stands(org: OrgId) -> tuple[bool, bool, bytes, int]:
            found = await ask_standing(step.stranger, step.doors, chain.chain_id, org)
            return found.member, found.candidate, found.key, found.nonce

        assert await stands(ERIN.org) == (False, False, b"", 0)
        step.league.say((ERIN.identity, ERIN.registration(step.league)))
        assert await stands(ERIN.org) == (False, True, b"", 1)
        erin = let_in(step.league, factory("another"))
        assert await stands(erin.org) == (True, False, erin.node.public, 1)
        erin.rotate(step.league)
        assert await stands(erin.org) == (True, False, erin.node.public, 2)


@pytest.mark.trio
async def test_members_of_another_league_are_left_out_and_named(autojump_clock: object) -> None:
    async with doorstep(ERIN.node) as step:
        with pytest.raises(NotAdmitted, match="is in league"):
            await ask_standing(step.stranger, step.doors, Hash32(bytes(32)), ERIN.org)
        with pytest.raises(NotAdmitted, match="no bootstrap peer"):
            await ask_standing(step.stranger, (), step.league.chain.chain_id, ERIN.org)


@pytest.mark.trio
async def test_a_key_that_did_not_agree_is_refused_by_the_ledger_behind_the_door(autojump_clock: object) -> None:
    async with doorstep(ERIN.node) as step:
        stolen = prove_key(ERIN.identity, step.league.chain.chain_id, ERIN.org)
        body = RegisterMember("erin", (), ERIN.node.public, stolen, 3)
        assert await step.bring(ERIN.identity, body) == "taken"
        assert step.league.refusal(ERIN.identity, body) == "proof"
        await trio.lowlevel.checkpoint()
