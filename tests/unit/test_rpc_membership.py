"""Ballots, parameters, members with their roles, and what an identity is to sign, as a node's methods answer."""

import pytest

from ledger.entries import LEAGUE, League
from ledger.keys import KeyPair
from ledger.motions import ActivateProtocol, ChangeParameters, ChangeRoles
from ledger.parameters import LeagueParameters
from ledger.protocols import NEWEST
from ledger.statements import LeaveLeague, OpenBallot, Support, key_is_proven
from ledger.transactions import Body, sign_transaction
from node.rpc.errors import RpcError
from node.rpc.methods.table import METHODS
from node.rpc.node import Node
from node.rpc.openrpc import describe
from tests.support.rpc_calls import call
from tests.support.rpc_services import ALICE, BOB, LoneServices, settings_in

pytestmark = pytest.mark.trio


@pytest.fixture
def services() -> LoneServices:
    return LoneServices()


@pytest.fixture
def node(services: LoneServices, tmp_path) -> Node:  # type: ignore[no-untyped-def]
    return Node(services, settings_in(tmp_path), "1.2", 0.0, describe(METHODS, "1.2"))


def says(services: LoneServices, key: KeyPair, body: Body) -> str:
    """Final when this returns; the transaction's id."""
    nonce = services.chain.next_nonce(key.public)
    transaction = sign_transaction(key, services.chain.chain_id, nonce, body)
    services.pending.append(transaction)
    services.make_block()
    return transaction.id.hex()


async def test_a_ballot_is_seen_to_wait_for_our_voice_until_it_has_it(node: Node, services: LoneServices) -> None:
    motion = ChangeParameters(LeagueParameters(reward_min=7), 40)
    ballot = says(services, BOB, OpenBallot(motion))
    (shown,) = (await call(node, "ballots"))["ballots"]
    assert (shown["id"], shown["voices"], shown["needed"]) == (ballot, 1, 2)
    assert (shown["opener_name"], shown["ours_to_support"]) == ("bob", True)
    assert shown["text"] == "change parameters: reward min 7, from height 40"
    assert [each["id"] for each in (await call(node, "status"))["ballots"]] == [ballot]

    await call(node, "send", body={"kind": "support", "ballot": ballot})
    assert (await call(node, "status"))["ballots"] == (await call(node, "ballots"))["ballots"] == []
    passed = await call(node, "ballot", ballot=ballot)
    assert (passed["status"], passed["decision"]["moot"]) == ("passed", "")
    assert sorted(passed["decision"]["supporters"]) == sorted([ALICE.org.hex(), BOB.org.hex()])
    assert (await call(node, "decisions"))["count"] == 1
    told = await call(node, "parameters")
    assert told["parameters"]["reward_min"] == 1
    (change,) = told["scheduled"]
    assert (change["from_height"], change["parameters"]["reward_min"]) == (40, 7)


async def test_our_own_ballot_does_not_wait_for_us_and_an_unknown_one_is_not_found(node: Node) -> None:
    body = {"kind": "open_ballot", "motion": {"kind": "change_roles", "org": "bob", "roles": 2}}
    sent = await call(node, "send", body=body)
    shown = await call(node, "ballot", ballot=sent["id"])
    assert (shown["status"], shown["ballot"]["supported_by_us"], shown["ballot"]["ours_to_support"]) == (
        "open",
        True,
        False,
    )
    with pytest.raises(RpcError, match="neither open nor passed"):
        await call(node, "ballot", ballot="0" * 64)


async def test_an_observer_is_asked_for_no_voice(node: Node, services: LoneServices) -> None:
    ballot = says(services, BOB, OpenBallot(ChangeRoles(ALICE.org, 0)))
    says(services, ALICE, Support(bytes.fromhex(ballot)))
    status = await call(node, "status")
    assert (status["node"]["roles"], status["node"]["seated"]) == (["observer"], False)
    assert status["league"]["voters"] == 1
    says(services, BOB, OpenBallot(ChangeRoles(ALICE.org, 1)))
    # Bob alone votes, so that has passed at once.
    assert (await call(node, "status"))["node"]["roles"] == ["requester"]
    assert (await call(node, "status"))["ballots"] == []


async def test_who_left_is_listed_as_former_and_found_by_its_name(node: Node, services: LoneServices) -> None:
    balance = (await call(node, "account", org="bob"))["balance"]
    says(services, BOB, LeaveLeague(BOB.org))
    listed = await call(node, "members")
    assert [each["name"] for each in listed["members"]] == ["alice"]
    (former,) = listed["former"]
    assert (former["name"], former["cause"], former["left_height"]) == ("bob", "left", 1)
    shown = await call(node, "member", org="bob")
    assert (shown["status"], shown["member"]["balance"], shown["member"]["jailed"]) == ("former", balance, False)


async def test_status_says_plainly_that_two_tolerate_no_fault_and_that_an_upgrade_needs_a_new_program(
    node: Node, services: LoneServices
) -> None:
    (warning,) = (await call(node, "status"))["league"]["warnings"]
    assert "this league of 2 members tolerates no fault" in warning
    ballot = says(services, BOB, OpenBallot(ActivateProtocol(NEWEST + 1, 30)))
    assert len((await call(node, "status"))["league"]["warnings"]) == 1, "it has not passed"
    says(services, ALICE, Support(bytes.fromhex(ballot)))
    league = (await call(node, "status"))["league"]
    assert league["upgrade"] == {"from_height": 30, "version": NEWEST + 1}
    assert f"from height 30 on the league runs protocol {NEWEST + 1}" in league["warnings"][1]
    assert (await call(node, "parameters"))["known"] == NEWEST


async def test_a_node_outside_says_why_and_is_not_ready(node: Node, services: LoneServices) -> None:
    says(services, ALICE, LeaveLeague(ALICE.org))
    services.inside = False
    status = await call(node, "status")
    assert (status["node"]["member"], status["node"]["standing"], status["node"]["in_league"]) == (False, "left", False)
    assert "left the league at height 1" in status["node"]["why"]
    health = await call(node, "health")
    assert not health["ready"]
    assert any("left the league" in reason for reason in health["reasons"])


async def test_what_an_identity_is_to_sign_comes_with_the_nodes_agreement(node: Node, services: LoneServices) -> None:
    prepared = await call(node, "identity.prepare", draw=True)
    org, key, proof = (bytes.fromhex(prepared[name]) for name in ("org", "key", "proof"))
    assert org == ALICE.org
    assert key != ALICE.public
    assert key_is_proven(services.chain.chain_id, org, key, proof)
    assert not key_is_proven(services.chain.chain_id, BOB.org, key, proof)
    kept = await call(node, "identity.prepare")
    assert (kept["key"], kept["proof"]) == (ALICE.public.hex(), "")


async def test_a_league_counts_its_voters(node: Node, services: LoneServices) -> None:
    league = services.chain.read(League, LEAGUE)
    assert league is not None
    shown = (await call(node, "status"))["league"]
    assert (shown["members"], shown["voters"], shown["protocol"]) == (league.members, league.voters, NEWEST)
