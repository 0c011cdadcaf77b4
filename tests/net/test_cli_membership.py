"""The verbs of membership against the real local interface: `hanse vote`, `league`, `members`, `leave`, `keys`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.motions import Expel
from ledger.protocols import NEWEST
from ledger.statements import OpenBallot, Support
from ledger.transactions import Body, sign_transaction
from node.cli.exit_codes import Exit
from node.cli.main import run
from node.identity import create_key
from tests.support.cli_node import RunningNode, running_node
from tests.support.rpc_services import ALICE, BOB


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(tmp_path / "alice") as running:
        yield running


@pytest.fixture
def ask(node: RunningNode, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The JSON that a verb prints when it succeeds."""

    def answer(*arguments: str) -> Any:
        capsys.readouterr()
        code = node.hanse(*arguments, "--json")
        printed = capsys.readouterr()
        assert code == Exit.OK, printed.err
        return json.loads(printed.out)

    return answer


def bob_says(node: RunningNode, body: Body) -> str:
    services = node.services

    def say() -> str:
        nonce = services.chain.next_nonce(BOB.public)
        transaction = sign_transaction(BOB, services.chain.chain_id, nonce, body)
        services.pending.append(transaction)
        services.make_block()
        return transaction.id.hex()

    return node.act(say)


def test_a_change_is_put_to_the_vote_and_listed_until_it_passes(
    node: RunningNode, ask: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ballot = ask("league", "change", "reward_min=3", "seats_max=7", "--at", "50")["ballot"]
    listed = ask("vote", "list")["ballots"]
    assert [(each["id"], each["needed"]) for each in listed] == [(ballot, 2)]
    for arguments, said in (
        (["vote", "list"], "reward min 3, seats max 7"),
        (["vote", "show", ballot[:6]], "1 of 2 voices"),
        (["status"], "2 members"),
        (["league", "parameters"], "reward_min"),
    ):
        capsys.readouterr()
        assert node.hanse(*arguments) == Exit.OK
        assert said in capsys.readouterr().out, arguments
    bob_says(node, Support(bytes.fromhex(ballot)))
    assert ask("vote", "list", "--passed")["decisions"][0]["moot"] == ""
    for arguments, said in (
        (["vote", "show", ballot], "passed in block 2"),
        (["vote", "list", "--passed"], "done"),
        (["league", "parameters"], "reward_min 3, seats_max 7"),
    ):
        capsys.readouterr()
        assert node.hanse(*arguments) == Exit.OK
        assert said in capsys.readouterr().out, arguments


def test_a_voice_is_given_by_the_first_digits_of_a_ballot(
    node: RunningNode, ask: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ballot = bob_says(node, OpenBallot(Expel(ALICE.org, "seen to be careless")))
    assert node.hanse("vote", "support", ballot[:6]) == Exit.REFUSED
    assert "accused" in capsys.readouterr().err
    roles = ask("members", "roles", "alice", "provider")["ballot"]
    assert node.hanse("vote", "support", roles[:6]) == Exit.REFUSED, "who opens a ballot supports it by that"
    assert node.hanse("vote", "support", "abc") == Exit.USAGE
    assert node.hanse("vote", "support", "00000000") == Exit.NOT_FOUND
    bob_says(node, Support(bytes.fromhex(roles)))
    (alice,) = [each for each in ask("members", "list")["members"] if each["name"] == "alice"]
    assert alice["roles"] == ["provider"]


def test_slips_of_the_finger_are_told_before_anything_is_said(
    node: RunningNode, ask: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, code, said in (
        (["league", "change", "reward=3", "--at", "50"], Exit.USAGE, "did you mean reward_min?"),
        (["league", "change", "reward_min=much", "--at", "50"], Exit.USAGE, "whole number"),
        (["league", "change", "reward_min=3", "reward_min=4", "--at", "50"], Exit.USAGE, "twice"),
        (["league", "change", "reward_min=3", "--at", "2"], Exit.REFUSED, "earliest"),
        (["league", "change", "seats_max=99", "--at", "50"], Exit.REFUSED, "seats_max"),
        (["league", "upgrade", "--version", "9", "--at", "50"], Exit.REFUSED, f"the next one is {NEWEST + 1}"),
        (["members", "roles", "bob", "king"], Exit.USAGE, "requester, provider"),
        (["members", "expel", "alice", "--reason", "x"], Exit.REFUSED, "LeaveLeague"),
        (["members", "pardon", "bob"], Exit.REFUSED, "not jailed"),
        (["keys", "rotate", "--submit", "x.json", "--offline", "y.json"], Exit.USAGE, "--submit"),
        (["keys", "rotate", "--submit", "x.json"], Exit.CONFIGURATION, "x.json"),
    ):
        capsys.readouterr()
        assert node.hanse(*arguments) == code, (arguments, capsys.readouterr().err)
        printed = capsys.readouterr()
        assert said in printed.err, (arguments, printed.err)
    assert ask("vote", "list")["count"] == 0


def test_nobody_leaves_without_having_said_yes_to_it(
    node: RunningNode, ask: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert node.hanse("leave", "--to", "bob") == Exit.INTERRUPTED
    assert ask("status")["node"]["member"]
    left = ask("leave", "--to", "bob", "--yes")
    assert (left["status"], left["height"]) == ("final", 1)
    assert ask("status")["node"]["standing"] == "left"
    assert ask("ledger", "account", "me")["balance"] == 0


def test_a_rotation_is_signed_here_or_carried_to_the_identity_in_a_file(
    node: RunningNode, ask: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, signed = tmp_path / "rotate.json", tmp_path / "signed.json"
    assert ask("keys", "rotate", "--offline", str(asked))["nonce"] == 0
    create_key(tmp_path / "eve.pem")
    sign = ["keys", "sign", str(asked), "-o", str(signed), "--yes", "--identity"]
    assert run([*sign, str(tmp_path / "eve.pem")]) == Exit.CONFIGURATION
    assert "want the identity" in capsys.readouterr().err
    assert not signed.exists()
    # The only key of the organisation is its identity.
    assert run([*sign, str(node.folder / "key.pem")]) == Exit.OK
    shown = capsys.readouterr().out
    assert "rotate_key" in shown
    assert ALICE.org.hex() in shown
    # The node has said something since.
    ask("ledger", "transfer", "bob", "1")
    sent = ask("keys", "rotate", "--submit", str(signed))
    body = node.act(lambda: node.services.chain.key_of(ALICE.org))
    assert body is not None
    assert body.hex() == json.loads(asked.read_text())["body"]["new_key"]
    assert sent["nonce"] == 1


def test_init_draws_an_identity_apart_and_says_to_move_it_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more in (
        ("alice", []),
        ("bob", ["--single-key"]),
        ("carol", ["--identity", str(tmp_path / "carol.pem")]),
    ):
        assert run(["init", str(tmp_path / name), "--name", name, *more]) == Exit.OK
        said = capsys.readouterr().out
        assert ("off this machine" in said) == (name != "bob")
    assert (tmp_path / "alice" / "identity.pem").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "bob" / "identity.pub").exists()
    assert (tmp_path / "carol.pem").exists()
    assert not (tmp_path / "carol" / "identity.pem").exists()
    # A second machine of the same organisation: its identity is there already, the public part will do.
    public = tmp_path / "carol" / "identity.pub"
    assert run(["init", str(tmp_path / "new"), "--name", "carol", "--identity", str(public), "--json"]) == Exit.OK
    made = json.loads(capsys.readouterr().out)
    assert run(["keys", "show", "-c", str(tmp_path / "carol"), "--json"]) == Exit.OK
    shown = json.loads(capsys.readouterr().out)
    assert made["org"] == shown["org"]
    assert (made["peer_id"] != shown["peer_id"], shown["identity_apart"]) == (True, True)
    lines = []
    for name in ("alice", "bob", "carol"):
        assert run(["genesis", "member", "-c", str(tmp_path / name), "--balance", "5"]) == Exit.OK
        lines += ["--member", capsys.readouterr().out.strip()]
    genesis = tmp_path / "genesis.json"
    assert run(["genesis", "create", "--name", "north sea", *lines, "-o", str(genesis)]) == Exit.OK
    assert "this league of 3 members tolerates no fault" in capsys.readouterr().err
    founders = {each["name"]: each for each in json.loads(genesis.read_text())["members"]}
    assert founders["carol"]["org"] == shown["org"]
    assert founders["carol"]["key"] == shown["key"]
    assert run(["genesis", "check", str(genesis)]) == Exit.OK
    assert run(["init", str(tmp_path / "x"), "--name", "x", "--single-key", "--identity", "y"]) == Exit.USAGE
