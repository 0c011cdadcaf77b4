"""A league of five over a life: one joins under a cold identity, changes its key, leaves and comes back; one has to go.

Real daemons, asked over RPC and told by the verbs of `hanse`. The tests run in order, on one league.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node.cli.exit_codes import Exit
from node.devnet.league import DevLeague, DevNode, NodePlan
from node.rpc.errors import RpcError
from tests.support.processes import (
    FAST,
    RECORDS,
    factory,
    hanse,
    has_anchored,
    restart,
    running_league,
    wait,
    wait_agreed,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

ANCHOR = {"period": 1, "record_count": 1, "root": "00" * 32, "begins": 1, "ends": 2}
NAMES = ("alice", "bob", "carol", "dave", "mallory")


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevLeague]:
    plans = [NodePlan(name, settings=FAST) for name in NAMES]
    with running_league(tmp_path_factory.mktemp("membership"), plans) as running:
        yield running


def node_of(league: DevLeague, name: str) -> DevNode:
    return next(node for node in league.nodes if node.name == name)


def place(node: DevNode) -> dict[str, Any]:
    found: dict[str, Any] = node.call("status")["node"]
    return found


def say(node: DevNode, *words: str | Path) -> Any:
    """A verb of `hanse` at this node, which must succeed."""
    said = hanse(*words, "-c", node.folder, "--json")
    assert said.code == Exit.OK, (words, said)
    return said.json


def transfer(sender: DevNode, to: DevNode, amount: int = 1) -> None:
    body = {"kind": "transfer", "to": to.org.hex(), "amount": amount, "memo": ""}
    assert sender.call("send", body=body, mode="final")["status"] == "final"


def approve(league: DevLeague, candidate: DevNode, names: Sequence[str]) -> None:
    *others, last = names
    for name in names:
        wait(league, lambda at=name: hears_of(node_of(league, at), candidate), f"{name} sees the candidate")  # type: ignore[misc]
    for name in others:
        node_of(league, name).call("send", body={"kind": "approve_member", "candidate": candidate.org.hex()})
    say(node_of(league, last), "members", "approve", candidate.name)


def hears_of(node: DevNode, candidate: DevNode) -> bool:
    return any(each["org"] == candidate.org.hex() for each in node.call("members")["candidates"])


def support(league: DevLeague, ballot: str, *names: str) -> None:
    for name in names:
        node = node_of(league, name)
        # Ballots are opened at another node, and this one may be a block behind.
        wait(league, lambda at=node: ballot in {each["id"] for each in at.call("ballots")["ballots"]}, "it is open")  # type: ignore[misc]
        node.call("send", body={"kind": "support", "ballot": ballot}, mode="final")


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RpcError) as refused:
        call()
    return str(refused.value.details.get("rule"))


def test_a_sixth_joins_as_a_provider_under_a_cold_identity(league: DevLeague, tmp_path: Path) -> None:
    """Its identity is on another machine: what it signs travels in a file."""
    alice = node_of(league, "alice")
    erin = league.add_outsider(factory("erin", 0, 1))
    cold = tmp_path / "erin.pem"
    (erin.folder / "identity.pem").rename(cold)
    erin.start()
    wait(league, erin.answers, "erin answers")
    assert place(erin)["standing"] == "stranger"

    asked, signed = tmp_path / "join.json", tmp_path / "signed.json"
    wait(
        league,
        lambda: hanse("join", "league", "--role", "provider", "--offline", asked, "-c", erin.folder).code == Exit.OK,
        "erin is told under which nonce to register",
    )
    assert hanse("keys", "sign", asked, "--identity", cold, "-o", signed, "--yes").code == Exit.OK
    say(erin, "join", "league", "--submit", signed)
    wait(league, lambda: bool(alice.call("members")["candidates"]), "the registration is on the ledger")
    (candidate,) = alice.call("members")["candidates"]
    assert (candidate["org"], candidate["roles"]) == (erin.org.hex(), ["provider"])
    approve(league, erin, NAMES[:4])
    wait(league, lambda: place(erin)["member"], "erin is a member by its own ledger")
    wait(league, lambda: has_anchored(erin), "erin has anchored its records")
    transfer(alice, erin, 1_000)
    publish = {"kind": "open_ballot", "motion": {"kind": "pardon", "org": "alice"}}
    assert refusal(lambda: erin.call("send", body=publish)) == "jail", "it votes: a provider is no observer"


def test_its_key_is_replaced_while_the_league_runs(league: DevLeague, tmp_path: Path) -> None:
    erin, alice = node_of(league, "erin"), node_of(league, "alice")
    old_key, old_files = erin.key, (erin.folder / "key.pem").read_bytes()
    asked, signed = tmp_path / "rotate.json", tmp_path / "signed.json"
    say(erin, "keys", "rotate", "--offline", asked)
    # The node goes on speaking meanwhile, under the same count of nonces.
    transfer(erin, alice)
    cold = next(tmp_path.parent.glob("*/erin.pem"))
    assert hanse("keys", "sign", asked, "--identity", cold, "-o", signed, "--yes").code == Exit.OK
    rotated = say(erin, "keys", "rotate", "--submit", signed)
    assert rotated["key"] != old_key.hex()
    assert (erin.key.hex(), place(erin)["key"]) == (rotated["key"], rotated["key"])
    assert not (erin.folder / "key-next.pem").exists()
    assert place(erin)["member"]
    wait(league, league.is_connected, "all have dropped the old key and found the new one")
    transfer(erin, alice)
    wait_agreed(league)
    assert {peer["key"] for peer in [place(node) for node in league.nodes]} >= {rotated["key"]}
    assert all(old_key.hex() != each["org"] for each in alice.call("committee")["committee"])

    # Whoever has the old key has nothing.
    erin.stop()
    new_files = (erin.folder / "key.pem").read_bytes()
    (erin.folder / "key.pem").write_bytes(old_files)
    erin.start()
    wait(league, lambda: erin.answers() and not place(erin)["in_league"], "erin answers with its old key")
    assert "was rotated away" in place(erin)["why"]
    assert any("was rotated away" in reason for reason in erin.call("health")["reasons"])
    erin.stop()
    (erin.folder / "key.pem").write_bytes(new_files)
    restart(league, erin)
    transfer(erin, alice)


def test_a_parameter_changes_by_vote_at_its_height(league: DevLeague) -> None:
    alice, bob = node_of(league, "alice"), node_of(league, "bob")
    at = alice.call("status")["head"]["height"] + 12
    ballot = say(alice, "league", "change", "reward_min=2", "--at", str(at))["ballot"]
    wait(league, lambda: bool(bob.call("status")["ballots"]), "bob hears of it")
    waiting = bob.call("status")["ballots"]
    assert [each["id"] for each in waiting] == [ballot]
    assert "reward min 2" in waiting[0]["text"]
    say(bob, "vote", "support", ballot[:8])
    support(league, ballot, "carol", "dave")
    # Six vote; that takes five.
    wait_agreed(league)
    assert alice.call("ballot", ballot=ballot)["status"] == "open"
    support(league, ballot, "erin")
    wait_agreed(league)
    assert say(bob, "vote", "show", ballot[:8])["decision"]["moot"] == ""
    scheduled = bob.call("parameters")
    assert scheduled["parameters"]["reward_min"] == 1
    (change,) = scheduled["scheduled"]
    while (height := bob.call("status")["head"]["height"]) < change["from_height"] - 1:
        assert bob.call("parameters")["parameters"]["reward_min"] == 1, height
        transfer(bob, alice)
    transfer(bob, alice)
    assert bob.call("parameters")["parameters"]["reward_min"] == 2


def test_an_observer_follows_and_says_its_own_but_has_no_voice(league: DevLeague) -> None:
    dave, alice = node_of(league, "dave"), node_of(league, "alice")
    ballot = say(alice, "members", "roles", "dave", "observer")["ballot"]
    support(league, ballot, "bob", "carol", "mallory", "erin")
    wait(league, lambda: place(dave)["roles"] == ["observer"], "dave has seen it")
    assert not place(dave)["seated"]
    motion = {"kind": "expel", "org": alice.org.hex(), "reason": "no reason"}
    assert refusal(lambda: dave.call("send", body={"kind": "open_ballot", "motion": motion})) == "role"
    assert refusal(lambda: dave.call("send", body={"kind": "anchor_records", **ANCHOR})) == "role"
    assert dave.call("status")["ballots"] == []
    transfer(dave, alice)
    wait_agreed(league)
    assert dave.call("health")["ready"]


def test_one_is_expelled_by_vote_and_knows_it(league: DevLeague) -> None:
    mallory, alice = node_of(league, "mallory"), node_of(league, "alice")
    ballot = say(alice, "members", "expel", "mallory", "--reason", "sells our models")["ballot"]
    wait(league, lambda: bool(mallory.call("ballots")["ballots"]), "mallory hears of it")
    assert refusal(lambda: mallory.call("send", body={"kind": "support", "ballot": ballot})) == "accused"
    support(league, ballot, "bob", "carol")
    wait(league, lambda: alice.call("member", org=mallory.org.hex())["status"] == "former", "alice sees it gone")
    # It has voted on the block that put it out, and takes part no more; its local interface answers and says why.
    wait(league, lambda: place(mallory)["standing"] == "expelled", "mallory has seen it")
    assert not place(mallory)["in_league"]
    assert "expelled from the league at height" in place(mallory)["why"]
    stands_still = mallory.call("status")["head"]
    transfer(alice, node_of(league, "bob"))
    wait(
        league,
        lambda: all(not peer["connected"] for peer in mallory.call("peers")["peers"]),
        "nobody talks to mallory",
    )
    assert mallory.call("status")["head"] == stands_still
    body = {"kind": "transfer", "to": alice.org.hex(), "amount": 1, "memo": ""}
    assert refusal(lambda: mallory.call("send", body=body)) == "member"


def test_one_leaves_and_comes_back_with_its_old_record(league: DevLeague, tmp_path: Path) -> None:
    erin, alice = node_of(league, "erin"), node_of(league, "alice")
    before = alice.call("member", org=erin.org.hex())["member"]
    anchored = alice.call("anchor.list", org=erin.org.hex())["totals"]
    assert hanse("leave", "-c", erin.folder).code == Exit.INTERRUPTED, "nobody leaves by a slip of the finger"
    say(erin, "leave", "--yes")
    wait(league, lambda: place(erin)["standing"] == "left", "erin is out")
    wait(league, lambda: alice.call("member", org=erin.org.hex())["status"] == "former", "alice sees it gone")
    (former,) = [each for each in alice.call("members")["former"] if each["org"] == erin.org.hex()]
    assert (former["name"], former["cause"]) == ("erin", "left")
    transfer(alice, node_of(league, "bob"))

    cold = next(tmp_path.parent.glob("*/erin.pem"))
    joining = ("join", "league", "--role", "provider", "--identity", cold)
    wait(league, lambda: hanse(*joining, "-c", erin.folder).code == Exit.OK, "erin has asked again")
    wait(league, lambda: bool(alice.call("members")["candidates"]), "the registration is on the ledger")
    approve(league, erin, NAMES[:3])
    wait(league, lambda: place(erin)["member"] and place(erin)["in_league"], "erin is back")
    transfer(erin, alice)
    # Final at erin's node; alice's may be a block behind.
    seen = lambda: alice.call("member", org=erin.org.hex())["member"]  # noqa: E731
    wait(league, lambda: seen()["balance"] != before["balance"], "alice sees what erin paid")
    after = seen()
    assert after["reputation"] == before["reputation"]
    assert after["balance"] == before["balance"] - 1
    assert alice.call("anchor.list", org=erin.org.hex())["totals"] == anchored
    assert anchored["records"] == RECORDS
    assert supply_is_kept(league, alice)


def test_a_node_that_is_lost_is_replaced_from_its_identity_alone(league: DevLeague, tmp_path: Path) -> None:
    """Another machine, another key: the identity makes it the organisation's, and the lost one has nothing."""
    erin, alice = node_of(league, "erin"), node_of(league, "alice")
    record = alice.call("member", org=erin.org.hex())["member"]
    erin.kill()
    lost = erin.key
    fresh = league.add_outsider(NodePlan("erin-again", settings=FAST))
    (fresh.folder / "identity.pem").unlink()
    (fresh.folder / "identity.pub").write_bytes((erin.folder / "identity.pub").read_bytes())
    fresh.start()
    wait(league, fresh.answers, "the new node answers")
    assert place(fresh)["org"] == erin.org.hex()
    cold = next(tmp_path.parent.glob("*/erin.pem"))
    rotate = ("keys", "rotate", "--identity", cold, "-c", fresh.folder)
    wait(league, lambda: hanse(*rotate).code == Exit.OK, "the new node's key is the organisation's")
    wait(league, lambda: place(fresh)["member"], "it has caught up")
    after = alice.call("member", org=erin.org.hex())["member"]
    assert after["key"] == fresh.key.hex() != lost.hex()
    assert {name: after[name] for name in ("name", "balance", "reputation", "joined_height")} == {
        name: record[name] for name in ("name", "balance", "reputation", "joined_height")
    }
    transfer(fresh, alice)


def supply_is_kept(league: DevLeague, asked: DevNode) -> bool:
    """All tokens are in balances, those of who is gone included."""
    gone = sum(int(asked.call("account", org=each["org"])["balance"]) for each in asked.call("members")["former"])
    held = sum(int(member["balance"]) for member in asked.call("members")["members"])
    return gone + held == sum(founder.balance for founder in league.genesis.members)
