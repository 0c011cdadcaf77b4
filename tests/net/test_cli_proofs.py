"""Proofs and exports on the command line: made by a running node, checked where there is none, and how it ends."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.chain import Chain
from ledger.genesis import genesis_to_json
from ledger.light import NO_SKIPPING
from ledger.proofs import proof_to_json
from ledger.store import WriteBatch
from ledger.transactions import AnchorRecords, Transfer, sign_transaction
from node.chain_file import ChainFileHead, write_chain_file
from node.cli.exit_codes import Exit
from node.cli.main import run
from node.disk import publish_file
from node.leveldb import LevelDbStore
from node.proving import Reader, prove_aggregate, prove_headers, prove_reward
from tests.support.cli_node import ALICE, RunningNode, node_folder, running_node
from tests.support.factory_records import filled_store
from tests.support.league import League
from tests.support.proven_league import ProvenLeague, proven_league, rows_of
from tests.support.rpc_services import BOB, LoneServices

PERIOD, COUNT = 3, 9


def with_a_past(folder: Path) -> Callable[[LoneServices], None]:
    """Three anchored periods, and some transfers in blocks of their own."""

    def prepare(services: LoneServices) -> None:
        store, closed = filled_store(folder / "records.sqlite", periods=PERIOD, each=COUNT)
        services.records = store
        for nonce, period in enumerate(closed):
            body = AnchorRecords(period.period, period.record_count, period.root, period.begins, period.ends)
            services.pending.append(sign_transaction(ALICE, services.chain.chain_id, nonce, body))
        services.make_block()
        for nonce in range(4):
            transfer = Transfer(BOB.org, 1, "")
            services.pending.append(sign_transaction(ALICE, services.chain.chain_id, PERIOD + nonce, transfer))
            services.make_block()

    return prepare


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    folder = tmp_path / "alice"
    folder.mkdir()
    with running_node(folder, with_a_past(folder)) as running:
        publish_file(folder / "genesis.json", genesis_to_json(running.services.chain.genesis).encode())
        yield running
        running.services.records.close()


@pytest.fixture
def genesis(node: RunningNode) -> str:
    return str(node.folder / "genesis.json")


def verify(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON of `hanse verify`, on stdout or as the error on stderr."""
    capsys.readouterr()
    code = run(["verify", *arguments, "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out or printed.err)


CASES: dict[str, tuple[list[str], str]] = {
    "headers": (["headers"], "headers"),
    "an earlier header": (["headers", "--height", "2"], "headers"),
    "own balance": (["balance"], "state"),
    "another's balance": (["balance", "bob"], "state"),
    "member": (["member", "bob"], "state"),
    "anchor": (["anchor", "me", "3"], "state"),
    "any entry": (["state", "league"], "state"),
    "absence": (["absence", "anchor/me/9"], "state"),
    "record": (["record", "3", "4"], "record"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_node_proves_is_verified_without_it(
    node: RunningNode, genesis: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, kind = CASES[name]
    path = str(tmp_path / "proof.json")
    assert node.hanse("ledger", "prove", *arguments, "-o", path) == Exit.OK
    code, said = verify(capsys, path, "--genesis", genesis)
    assert (code, said["kind"], said["holds"]) == (Exit.OK, kind, True)
    assert run(["verify", path, "--genesis", genesis]) == Exit.OK
    assert "holds: " in capsys.readouterr().out
    # The file stays as it is.
    assert node.hanse("ledger", "prove", *arguments, "-o", path) == Exit.CONFIGURATION


def test_the_entry_that_was_proven_is_printed(
    node: RunningNode, genesis: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "balance.json")
    assert node.hanse("ledger", "prove", "balance", "bob", "-o", path) == Exit.OK
    _, said = verify(capsys, path, "--genesis", genesis)
    assert said["facts"]["entry"]["balance"] == 1_000_004
    assert (said["facts"]["present"], said["height"]) == (True, 5)
    run(["verify", path, "--genesis", genesis])
    assert "1 000 004" in capsys.readouterr().out


def test_a_transaction_is_proven_by_its_id(
    node: RunningNode, genesis: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block = node.services.chain.final_block(1)
    assert block is not None
    for transaction in block.block.transactions:
        path = str(tmp_path / f"{transaction.nonce}.json")
        assert node.hanse("ledger", "prove", "transaction", transaction.id.hex(), "-o", path) == Exit.OK
        code, said = verify(capsys, path, "--genesis", genesis)
        assert (code, said["facts"]["id"], said["facts"]["height"]) == (Exit.OK, transaction.id.hex(), 1)
    assert node.hanse("ledger", "prove", "transaction", "00" * 32) == Exit.NOT_FOUND


def test_two_members_word_is_as_good_as_the_genesis(
    node: RunningNode, genesis: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, bob, other, balance, early = (str(tmp_path / name) for name in ("a", "b", "c", "balance", "early"))
    for path, height in ((alice, "3"), (bob, "3"), (other, "4")):
        assert node.hanse("ledger", "prove", "headers", "--height", height, "-o", path) == Exit.OK
    assert node.hanse("ledger", "prove", "balance", "--trusted-height", "3", "-o", balance) == Exit.OK
    assert node.hanse("ledger", "prove", "headers", "--height", "1", "--trusted-height", "3", "-o", early) == Exit.OK
    for proof in (balance, early):
        code, said = verify(capsys, proof, "--trusted", alice, "--trusted", bob)
        assert (code, said["holds"]) == (Exit.OK, True)
        assert "the word of 2 files" in said["steps"][0]
    code, said = verify(capsys, balance, "--trusted", alice, "--genesis", genesis)
    assert "one file alone" in said["steps"][0]
    assert verify(capsys, balance, "--trusted", alice, "--trusted", other)[0] == Exit.USAGE
    assert verify(capsys, balance)[0] == Exit.USAGE
    assert verify(capsys, balance, "--trusted", balance)[0] == Exit.USAGE
    # Another block at the same height, signed by whoever it was: somebody lies.
    league = proven_league(changes=1).league
    Path(other).unlink()
    Path(other).write_text(proof_to_json(prove_headers(league.chain, Reader(), 3)))
    code, said = verify(capsys, balance, "--trusted", alice, "--trusted", other)
    assert (code, "lies" in said["error"]["message"]) == (Exit.NOT_VERIFIED, True)


def test_refuted_and_malformed_end_differently(
    node: RunningNode, genesis: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "proof.json"
    assert node.hanse("ledger", "prove", "balance", "-o", str(path)) == Exit.OK
    whole = path.read_text()
    plain = json.loads(whole)
    plain["entry"]["value"] = plain["entry"]["value"][:-2] + "00"
    path.write_text(json.dumps(plain))
    code, said = verify(capsys, str(path), "--genesis", genesis)
    assert code == Exit.NOT_VERIFIED
    assert "is not in the state of height 5" in said["error"]["message"]
    assert len(said["error"]["steps"]) == 2, "what held before it is told"
    for text in ("", "{}", whole[:-10], whole.replace("hanse-proof-1", "hanse-proof-2"), "\xff"):
        path.write_text(text, encoding="latin-1")
        assert verify(capsys, str(path), "--genesis", genesis)[0] == Exit.MALFORMED, text[:40]
    assert verify(capsys, str(tmp_path / "nothing"), "--genesis", genesis)[0] == Exit.CONFIGURATION
    path.write_text(whole)
    assert verify(capsys, str(path), "--genesis", str(tmp_path / "nothing"))[0] == Exit.CONFIGURATION


def test_the_opposite_of_what_was_asked_for_is_not_proven(node: RunningNode) -> None:
    assert node.hanse("ledger", "prove", "absence", "account/bob") == Exit.NOT_FOUND
    assert node.hanse("ledger", "prove", "anchor", "me", "9") == Exit.NOT_FOUND
    assert node.hanse("ledger", "prove", "record", "3", "99") == Exit.NOT_FOUND
    assert node.hanse("ledger", "prove", "record", "9", "0") == Exit.NOT_FOUND
    assert node.hanse("ledger", "prove", "reward", "ab" * 32, "1") == Exit.NOT_FOUND
    assert node.hanse("ledger", "prove", "headers", "--height", "99") == Exit.REFUSED


@pytest.fixture(scope="module")
def lived() -> ProvenLeague:
    return proven_league()


def test_rewards_and_aggregates_are_verified_from_files(
    lived: ProvenLeague, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = lived.league.chain
    genesis, blobs = tmp_path / "genesis.json", tmp_path / "blobs"
    genesis.write_text(genesis_to_json(lived.league.genesis))
    blobs.mkdir()
    for digest, content in lived.blobs.items():
        (blobs / digest.hex()).write_bytes(content)
    for skip, more in ((100_000, []), (NO_SKIPPING, ["--skip-at-most", "0"])):
        reader = Reader(0, skip)
        (tmp_path / "reward.json").write_text(proof_to_json(prove_reward(chain, reader, lived.request, 1)))
        (tmp_path / "model.json").write_text(proof_to_json(prove_aggregate(chain, reader, lived.request, 1)[0]))
        given = ["--genesis", str(genesis), *more]
        code, said = verify(capsys, str(tmp_path / "reward.json"), *given)
        assert (code, said["facts"]["paid"], said["facts"]["price"]) == (Exit.OK, 72, 2)
        code, said = verify(capsys, str(tmp_path / "model.json"), *given, "--blob", str(blobs))
        assert (code, "computed again" in said["steps"][-1]) == (Exit.OK, True)
        code, said = verify(capsys, str(tmp_path / "model.json"), *given)
        assert (code, "blobs of the round are needed" in said["error"]["message"]) == (Exit.NOT_VERIFIED, True)
    skipping = proof_to_json(prove_reward(chain, Reader(), lived.request, 1))
    (tmp_path / "reward.json").write_text(skipping)
    assert verify(capsys, str(tmp_path / "reward.json"), *given)[0] == Exit.NOT_VERIFIED


def test_verifying_loads_neither_torch_nor_a_network(lived: ProvenLeague, tmp_path: Path) -> None:
    (tmp_path / "genesis.json").write_text(genesis_to_json(lived.league.genesis))
    (tmp_path / "proof.json").write_text(proof_to_json(prove_reward(lived.league.chain, Reader(), lived.request, 1)))
    code = (
        "import sys; from node.cli.main import run;"
        "ended = run(['verify', 'proof.json', '--genesis', 'genesis.json']);"
        "print(int(ended), [name for name in ('torch', 'numpy', 'libp2p', 'trio', 'httpx') if name in sys.modules])"
    )
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env={"PYTHONPATH": root}
    )
    assert ended.stdout.splitlines()[-1] == "0 []"


# --- whole chains ---


def stored_node(folder: Path, lived: ProvenLeague) -> Path:
    """The folder of a stopped node whose ledger is that league's."""
    node_folder(folder)
    (folder / "genesis.json").write_text(genesis_to_json(lived.league.genesis))
    store = LevelDbStore(folder / "ledger")
    chain = Chain(store, lived.league.genesis)
    for height in range(1, lived.league.chain.height + 1):
        final = lived.league.chain.final_block(height)
        assert final is not None
        chain.append(final)
    store.close()
    return folder


def test_a_ledger_goes_from_node_to_node_in_a_file(
    lived: ProvenLeague, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, eve = stored_node(tmp_path / "alice", lived), node_folder(tmp_path / "eve")
    (eve / "genesis.json").write_text(genesis_to_json(lived.league.genesis))
    older, newer = str(tmp_path / "older.hanse"), str(tmp_path / "newer.hanse")
    height = lived.league.chain.height
    assert run(["ledger", "export", "--to", "9", "-o", older, "-c", str(alice)]) == Exit.OK
    assert run(["ledger", "export", "--from", "8", "-o", newer, "-c", str(alice)]) == Exit.OK
    assert run(["ledger", "export", "-o", newer, "-c", str(alice)]) == Exit.CONFIGURATION
    assert run(["ledger", "export", "--from", "99", "-o", f"{newer}2", "-c", str(alice)]) == Exit.NOT_FOUND
    # The newer part needs what comes before it.
    assert run(["ledger", "import", newer, "-c", str(eve)]) == Exit.REFUSED
    assert run(["ledger", "verify", newer]) == Exit.REFUSED
    assert run(["ledger", "import", older, "-c", str(eve)]) == Exit.OK
    assert run(["ledger", "import", newer, "-c", str(eve)]) == Exit.OK
    assert run(["ledger", "import", newer, "-c", str(eve)]) == Exit.OK, "nothing new in it"
    capsys.readouterr()
    assert run(["ledger", "verify", "-c", str(eve), "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert (said["height"], said["blocks_executed"]) == (height, height)
    assert said["head"] == lived.league.chain.head_id.hex()
    assert run(["ledger", "verify", older, "--genesis", str(eve / "genesis.json")]) == Exit.OK
    ours, theirs = LevelDbStore(eve / "ledger"), LevelDbStore(alice / "ledger")
    assert list(ours.scan()) == list(theirs.scan())
    ours.close()
    theirs.close()


def test_damaged_and_foreign_files_and_ledgers_are_refused(lived: ProvenLeague, tmp_path: Path) -> None:
    alice = stored_node(tmp_path / "alice", lived)
    path, foreign = tmp_path / "chain.hanse", tmp_path / "foreign.hanse"
    assert run(["ledger", "export", "-o", str(path), "-c", str(alice)]) == Exit.OK
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    for verb in ("import", "verify"):
        assert run(["ledger", verb, str(path), "-c", str(alice)]) == Exit.MALFORMED
    other = League(5)
    other.say()
    write_chain_file(foreign, ChainFileHead(other.genesis, 1, 1), rows_of(other, 1, 1))
    path.write_bytes(whole)
    for verb in ("import", "verify"):
        given = ["--genesis", str(alice / "genesis.json")] if verb == "verify" else []
        assert run(["ledger", verb, str(foreign), "-c", str(alice), *given]) == Exit.NOT_VERIFIED
    with_row = LevelDbStore(alice / "ledger")
    with_row.write(WriteBatch({b"Sintruder": b"\x90"}))
    assert run(["ledger", "verify", "-c", str(alice)]) == Exit.REFUSED, "it is in use"
    assert run(["ledger", "import", str(path), "-c", str(alice)]) == Exit.REFUSED
    with_row.close()
    assert run(["ledger", "verify", "-c", str(alice)]) == Exit.NOT_VERIFIED


def test_a_running_node_is_asked_for_its_blocks(
    node: RunningNode, genesis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.rpc.methods.proofs.RAW_BLOCKS_MAX", 2)
    path = str(tmp_path / "chain.hanse")
    held = LevelDbStore(node.folder / "ledger")
    try:
        assert node.hanse("ledger", "export", "-o", path) == Exit.OK
    finally:
        held.close()
    assert run(["ledger", "verify", path, "--genesis", genesis]) == Exit.OK
