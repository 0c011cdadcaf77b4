"""The command line against a running local interface: what it asks, prints, waits for, and how it ends."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import InvalidTransaction
from ledger.genesis import genesis_to_json
from ledger.transactions import AnchorRecords, PublishRequest, Transaction, sign_transaction
from node.cli import request_ids
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.main import run
from node.cli.request_ids import whole_id
from node.network.addresses import peer_id
from node.request_file import parse_request
from tests.support.cli_node import ALICE, RunningNode, running_node
from tests.support.factory_records import filled_store
from tests.support.rpc_services import BOB, TOKENS, LoneServices

ROOT = Path(__file__).parents[2]
PERIOD, COUNT = 3, 9

REQUEST = """
title = "Bearing faults"
data_type = "bearing"
[model]
name = "mlp"
[payment]
price = 1
budget = 1000
[rounds]
target_accuracy = 0.9
"""


class OneModel:
    """A trainer whose every initial model is the same."""

    async def initial_model(self, draft: Any) -> tuple[bytes, int]:
        return bytes([9]) * 32, 24_604


def anchored_records(folder: Path) -> Callable[[LoneServices], None]:
    """Periods 1 to 3 of records, each anchored."""

    def prepare(services: LoneServices) -> None:
        store, closed = filled_store(folder / "records.sqlite", periods=PERIOD, each=COUNT)
        services.records, services.trainer = store, OneModel()
        for nonce, period in enumerate(closed):
            body = AnchorRecords(period.period, period.record_count, period.root, period.begins, period.ends)
            services.pending.append(sign_transaction(ALICE, services.chain.chain_id, nonce, body))
        services.make_block()

    return prepare


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    folder = tmp_path / "alice"
    folder.mkdir()
    with running_node(folder, anchored_records(folder)) as running:
        yield running
        running.services.records.close()


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


def publish(node: RunningNode, ask: Callable[..., Any], tmp_path: Path) -> str:
    (tmp_path / "request.toml").write_text(REQUEST)
    request: str = ask("request", "publish", str(tmp_path / "request.toml"))["request"]
    return request


def published_by_bob(services: LoneServices) -> str:
    body = PublishRequest(parse_request(REQUEST).terms(bytes([9]) * 32, 24_604))
    signed = sign_transaction(BOB, services.chain.chain_id, 0, body)
    services.pending.append(signed)
    services.make_block()
    return signed.id.hex()


def test_every_reading_verb_prints_a_table_and_the_same_as_json(
    node: RunningNode, ask: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    request = publish(node, ask, tmp_path)
    transaction = ask("ledger", "block")["block"]["transactions"][0]["id"]
    for arguments, named in (
        (["status"], "test league"),
        (["peers"], "bob"),
        (["members", "list"], peer_id(BOB.org)),
        (["members", "show", "bob"], "joined height"),
        (["ledger", "blocks"], "alice"),
        (["ledger", "block"], "publish_protected"),
        (["ledger", "block", "1"], "anchor_records"),
        (["ledger", "tx", transaction], "publish_protected"),
        (["ledger", "tx", transaction, "--prove"], "path"),
        (["ledger", "account"], f"{TOKENS - 1000}"),
        (["ledger", "account", "bob"], "bob"),
        (["ledger", "state", "account/me", "--prove"], "siblings"),
        (["ledger", "committee"], "quorum"),
        (["ledger", "ranking"], "alice"),
        (["ledger", "pending"], "0 pending"),
        (["request", "list"], request),
        (["request", "get", request], "bearing"),
        (["request", "receipts", request], "0 closed rounds"),
        (["model", "list"], "Models"),
        (["model", "info", request], "mlp"),
        (["anchor", "list"], f"{PERIOD * COUNT} records"),
        (["anchor", "get", "2"], "root"),
        (["anchor", "prove", "2", "3"], "Record 3 of period 2 is as it was anchored"),
        (["anchor", "verify", "2"], "9 records in 1 periods"),
        (["anchor", "verify", "--all"], "27 records in 3 periods"),
        (["dispute", "open", "2"], "owner wins the dispute"),
    ):
        capsys.readouterr()
        assert node.hanse(*arguments) == Exit.OK, (arguments, capsys.readouterr().err)
        printed = capsys.readouterr()
        assert named in printed.out.replace(" ", "") or named in printed.out, (arguments, printed.out)
        assert isinstance(ask(*arguments), dict), arguments


def test_a_transfer_is_final_when_the_command_comes_back(
    node: RunningNode, ask: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sent = ask("ledger", "transfer", "bob", "500", "--memo", "thanks")
    assert sent["status"] == "final"
    assert ask("ledger", "account", "bob")["balance"] == TOKENS + 500
    assert ask("ledger", "tx", sent["id"])["transaction"]["body"]["memo"] == "thanks"


def test_refusals_have_their_exit_code_and_one_line(
    node: RunningNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dear.toml").write_text(REQUEST.replace("budget = 1000", "budget = 100_000_000"))
    for arguments, code, said in (
        (["ledger", "transfer", "bob", str(TOKENS + 1)], Exit.REFUSED, "balance"),
        (["ledger", "transfer", "nobody", "1"], Exit.REFUSED, "nobody"),
        (["request", "publish", str(tmp_path / "dear.toml")], Exit.REFUSED, ""),
        (["members", "approve", peer_id(BOB.org)], Exit.REFUSED, ""),
        (["ledger", "block", "99"], Exit.NOT_FOUND, "99"),
        (["ledger", "block", "f" * 64], Exit.NOT_FOUND, "f" * 64),
        (["ledger", "tx", "0" * 64], Exit.NOT_FOUND, "0" * 64),
        (["request", "get", "0" * 64], Exit.NOT_FOUND, "0" * 64),
        (["request", "watch", "0" * 64], Exit.NOT_FOUND, "0" * 64),
        (["request", "get", "xyz"], Exit.REFUSED, "hex"),
        (["anchor", "get", "77"], Exit.NOT_FOUND, "77"),
        (["anchor", "prove", "2", "99"], Exit.NOT_FOUND, "99"),
        (["dispute", "open", "77"], Exit.NOT_FOUND, "77"),
    ):
        capsys.readouterr()
        assert node.hanse(*arguments) == code, arguments
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("hanse: ")
        assert said in printed.err
        assert printed.err.count("\n") == 1
        assert node.hanse(*arguments, "--json") == code
        assert json.loads(capsys.readouterr().err)["error"]["exit_code"] == code


def test_the_beginning_of_a_requests_id_is_enough_while_it_means_one(
    node: RunningNode, ask: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = publish(node, ask, tmp_path)
    for given in (request[:4], request[:12].upper()):
        assert ask("request", "get", given)["request"]["id"] == request
        assert ask("request", "receipts", given)["count"] == 0
        assert ask("model", "info", given)["request"] == request
    nobodys = "0000" if request[:4] != "0000" else "1111"
    capsys.readouterr()
    assert node.hanse("request", "cancel", nobodys) == Exit.NOT_FOUND
    assert f"no request begins with {nobodys}" in capsys.readouterr().err


def test_the_beginning_of_two_ids_names_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["ab" * 32, "ab" * 31 + "cd", *(f"{number:064x}" for number in range(130))]

    class Listing:
        def __enter__(self) -> "Listing":
            return self

        def __exit__(self, *raised: object) -> None:
            pass

        def call(self, method: str, *, limit: int, offset: int) -> dict[str, Any]:
            page = sorted(ids)[offset : offset + limit]
            return {"count": len(ids), "requests": [{"id": each} for each in page]}

    monkeypatch.setattr(request_ids, "node_client", lambda given: Listing())
    with pytest.raises(CliError, match="2 requests begin with abab") as refused:
        whole_id("", "abab")
    assert refused.value.code is Exit.USAGE
    assert whole_id("", "ab" * 31 + "c") == "ab" * 31 + "cd"


def test_a_changed_record_loses_the_dispute_offline_too(
    node: RunningNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after, genesis = tmp_path / "before.json", tmp_path / "after.json", tmp_path / "genesis.json"
    genesis.write_text(genesis_to_json(node.services.chain.genesis))
    assert node.hanse("anchor", "prove", str(PERIOD), "4", "-o", str(before)) == Exit.OK
    with sqlite3.connect(node.services.records.path) as file:
        file.execute("UPDATE records SET label = 1 - label WHERE period = ? AND place = 4", (PERIOD,))

    capsys.readouterr()
    assert node.hanse("dispute", "open", str(PERIOD), "-o", str(after)) == Exit.NOT_VERIFIED
    said = capsys.readouterr().out
    assert f"Record 4 of period {PERIOD} was changed after it was anchored" in said
    assert "leaf anchored" in said
    assert node.hanse("anchor", "verify", str(PERIOD)) == Exit.NOT_VERIFIED
    assert f"record 4 of period {PERIOD} was changed" in capsys.readouterr().out
    assert node.hanse("anchor", "prove", str(PERIOD), "4") == Exit.NOT_VERIFIED

    capsys.readouterr()
    for path, sentence in ((before, "is as it was anchored"), (after, "was changed after it was anchored")):
        assert run(["dispute", "verify", str(path), "--genesis", str(genesis)]) == Exit.OK
        assert sentence in capsys.readouterr().out
        assert run(["dispute", "verify", str(path), "--genesis", str(genesis), "--json"]) == Exit.OK
        assert json.loads(capsys.readouterr().out)["accepted"]
    assert run(["dispute", "open", str(PERIOD), "-o", str(after), "-c", str(node.folder)]) == Exit.CONFIGURATION
    assert "there is a file already" in capsys.readouterr().err


def test_a_bundle_that_was_touched_is_refused(
    node: RunningNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, genesis = tmp_path / "bundle.json", tmp_path / "genesis.json"
    genesis.write_text(genesis_to_json(node.services.chain.genesis))
    assert node.hanse("anchor", "prove", "1", "0", "-o", str(path)) == Exit.OK
    whole = path.read_text()
    verify = ["dispute", "verify", str(path), "--genesis", str(genesis)]
    for damaged in ("", "{}", whole[: len(whole) // 2], whole.replace('"period": 1', '"period": 2'), "\N{SNOWMAN}"):
        path.write_text(damaged)
        assert run(verify) == Exit.NOT_VERIFIED
        assert str(path) in capsys.readouterr().err
    path.write_text(whole)
    assert run(["dispute", "verify", str(path), "--genesis", str(tmp_path / "away.json")]) == Exit.CONFIGURATION
    assert run(["dispute", "verify", str(tmp_path / "away.json"), "--genesis", str(genesis)]) == Exit.CONFIGURATION


def test_watching_ends_when_the_request_does(
    node: RunningNode, ask: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = publish(node, ask, tmp_path)
    assert node.hanse("request", "watch", request, "--timeout", "0.1") == Exit.TIMED_OUT
    ended: list[int] = []
    watching = threading.Thread(target=lambda: ended.append(node.hanse("request", "watch", request, "--json")))
    capsys.readouterr()
    watching.start()
    assert ask_quietly(node, "request", "cancel", request) == Exit.OK
    watching.join(timeout=30)
    assert ended == [Exit.REFUSED]
    printed = capsys.readouterr()
    pictures = [json.loads(line) for line in printed.out.splitlines() if line.startswith('{"id": "' + request)]
    assert pictures[-1]["stage"] == "cancelled"
    assert pictures[-1]["over"]
    assert "cancelled" in printed.err


def ask_quietly(node: RunningNode, *arguments: str) -> int:
    """A second command line at the same time, as a process of its own."""
    command = [sys.executable, "-m", "node.cli.main", *arguments, "-c", str(node.folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode


def test_a_model_that_is_not_done_is_not_exported_and_one_that_is_is_copied(
    node: RunningNode, ask: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = publish(node, ask, tmp_path)
    target = tmp_path / "out.safetensors"
    assert node.hanse("model", "export", request, str(target)) == Exit.NOT_FOUND
    models = node.folder / "models"
    models.mkdir()
    (models / f"{request}.safetensors").write_bytes(b"weights")
    assert ask("model", "export", request, str(target))["file"] == str(target)
    assert target.read_bytes() == b"weights"
    assert node.hanse("model", "export", request, str(target)) == Exit.CONFIGURATION
    own = tmp_path / "own.safetensors"
    assert node.hanse("model", "export", request, str(own), "--served") == Exit.NOT_FOUND
    (models / f"{request}.served.safetensors").write_bytes(b"own weights")
    assert ask("model", "export", request, str(own), "--served")["served"]
    assert own.read_bytes() == b"own weights"
    # No exported model at all: said before anything is written.
    assert node.hanse("model", "export", request, str(tmp_path / "out.onnx")) == Exit.CONFIGURATION
    assert not (tmp_path / "out.onnx").exists()


def test_joining_a_league_sends_a_registration(node: RunningNode, capsys: pytest.CaptureFixture[str]) -> None:
    # Alice is a member already: the ledger refuses her, which shows what was sent.
    assert node.hanse("join", "league") == Exit.REFUSED
    assert "member" in capsys.readouterr().err
    # Whoever waits to be in does not mind being in already.
    assert node.hanse("join", "league", "--wait", "--timeout", "5") == Exit.OK
    config = node.folder / "config.toml"
    config.write_text(config.read_text().replace("\nbootstrap =", "\n# bootstrap ="))
    assert node.hanse("join", "league") == Exit.CONFIGURATION
    assert "[network] bootstrap is empty" in capsys.readouterr().err


def test_joining_a_league_waits_until_the_network_is_up(
    node: RunningNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter(["starting", "unreachable"])
    hand_in = node.services.submit

    async def submit(transaction: Transaction) -> None:
        rule = next(refusals, None)
        if rule is not None:
            raise InvalidTransaction(rule, "not yet")
        await hand_in(transaction)

    monkeypatch.setattr(node.services, "submit", submit)
    monkeypatch.setattr("node.cli.join.ASK_EVERY_S", 0.01)
    # What comes through in the end is Alice's registration, and she is a member.
    assert node.hanse("join", "league") == Exit.REFUSED
    assert "a member already" in capsys.readouterr().err
    assert next(refusals, None) is None


def test_joining_a_request_offers_what_is_anchored(node: RunningNode, ask: Callable[..., Any]) -> None:
    request = node.act(lambda: published_by_bob(node.services))
    joined = ask("join", "request", request, "--attribute", "site=north")
    assert joined["record_count"] == PERIOD * COUNT
    provider = ask("request", "get", request)["request"]["providers"][0]
    assert (provider["record_count"], provider["attributes"]) == (PERIOD * COUNT, {"site": "north"})
    assert node.hanse("join", "request", request, "--attribute", "site") == Exit.USAGE


def test_stop_waits_for_the_process_and_is_refused_when_none_runs(tmp_path: Path) -> None:
    folder = tmp_path / "alice"
    code = (
        "import sys, pathlib, signal; from tests.support.cli_node import running_node\n"
        "with running_node(pathlib.Path(sys.argv[1])) as node:\n"
        "    print('up', flush=True)\n"
        "    while not node.services.stopped.is_set():\n"
        "        signal.sigtimedwait([], 0.05)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        stopping = subprocess.run(
            [sys.executable, "-m", "node.cli.main", "stop", "-c", str(folder), "--json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert stopping.returncode == Exit.OK, stopping.stderr
        assert json.loads(stopping.stdout) == {"stopped": True, "pid": process.pid}
        # It came back after the process was gone: reaping it takes no waiting.
        assert os.waitpid(process.pid, os.WNOHANG)[0] == process.pid
        process.returncode = 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert run(["stop", "-c", str(folder)]) == Exit.UNREACHABLE
    assert run(["status", "-c", str(folder)]) == Exit.UNREACHABLE


def test_a_node_that_was_killed_is_unreachable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "alice"
    with running_node(folder):
        told = (folder / "rpc.json").read_bytes()
    (folder / "rpc.json").write_bytes(told)
    assert run(["status", "-c", str(folder)]) == Exit.UNREACHABLE
    assert "is the node running?" in capsys.readouterr().err
    (folder / "rpc.json").write_bytes(b"{")
    assert run(["status", "-c", str(folder)]) == Exit.UNREACHABLE
