"""The independent checker in examples/, written from docs/proofs.md: it believes what Hanse believes, nothing else."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ledger.entries import account_key, anchor_key, member_key, receipt_key
from ledger.errors import InvalidBytes
from ledger.genesis import Genesis, GenesisMember, genesis_to_json
from ledger.light import NO_SKIPPING, trust_genesis
from ledger.parameters import LeagueParameters
from ledger.proof_check import check_proof
from ledger.proofs import proof_from_json, proof_to_json
from node.proving import Reader, prove_entry, prove_headers
from tests.support.json_damage import changed_shapes, changed_values
from tests.support.league import League, key_of
from tests.support.proven_league import ProvenLeague, proven_league

SCRIPT = Path(__file__).parents[2] / "examples" / "verify_bundle.py"


@pytest.fixture(scope="module")
def lived() -> ProvenLeague:
    return proven_league(changes=3)


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_bundle_example", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(lived, tmp_path) -> tuple[Path, Path]:
    (tmp_path / "genesis.json").write_text(genesis_to_json(lived.league.genesis))
    return tmp_path / "proof.json", tmp_path / "genesis.json"


def run(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *files], capture_output=True, text=True, check=False)


def believes(checker: ModuleType, files: tuple[Path, Path], text: str) -> bool:
    """In this process, as the script itself treats what it is given."""
    files[0].write_text(text)
    try:
        checker.main(*files)
    except (SystemExit, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        return False
    return True


def keys_of(lived: ProvenLeague) -> dict[str, bytes]:
    owner = lived.owner.org
    return {
        "balance": account_key(owner),
        "member": member_key(owner),
        "anchor": anchor_key(owner, 1),
        "receipt": receipt_key(lived.request, 1, 0),
        "absence": anchor_key(owner, 9),
    }


def test_it_imports_nothing_of_ours_and_is_short():
    roots = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).partition(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert roots == {"hashlib", "json", "sys", "msgpack", "nacl"}
    assert len([line for line in SCRIPT.read_text().splitlines() if line.strip()]) <= 120


@pytest.mark.parametrize("skip", [NO_SKIPPING, 100_000])
def test_it_believes_true_proofs(lived, files, skip):
    for name, key in keys_of(lived).items():
        files[0].write_text(proof_to_json(prove_entry(lived.league.chain, Reader(0, skip), key)))
        ended = run(*files)
        assert ended.returncode == 0, (name, ended.stderr)
        assert f"height {lived.league.chain.height} of chain" in ended.stdout
        assert ("has nothing under" in ended.stdout) == (name == "absence")


def test_it_says_what_does_not_hold(lived, files, tmp_path):
    text = proof_to_json(prove_entry(lived.league.chain, Reader(), account_key(lived.owner.org)))
    plain = json.loads(text)
    plain["entry"]["value"] = plain["entry"]["value"][:-2] + "00"
    files[0].write_text(json.dumps(plain))
    ended = run(*files)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "the entry is not under the state root" in ended.stderr
    files[0].write_text(text)
    files[1].write_text(genesis_to_json(League(5).genesis))
    assert "another chain" in run(*files).stderr
    files[0].write_text(proof_to_json(prove_headers(lived.league.chain, Reader())))
    assert "not a proof of kind state" in run(*files).stderr
    for text in ("", "[]", "null", "{}", "[" * 5_000):
        files[0].write_text(text)
        ended = run(*files)
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["balance", "absence"])
def test_whatever_it_believes_hanse_believes(lived, checker, files, name):
    """Every value changed, every field or item missing, repeated, moved: it is not the more gullible of the two."""
    chain = lived.league.chain
    text = proof_to_json(prove_entry(chain, Reader(), keys_of(lived)[name]))
    assert believes(checker, files, text)
    for change in (changed_values, changed_shapes):
        for what, broken in change(text):
            if believes(checker, files, broken):
                assert _hanse_believes(lived, broken), what


def _hanse_believes(lived: ProvenLeague, text: str) -> bool:
    try:
        return check_proof(proof_from_json(text), trust_genesis(lived.league.genesis)).holds
    except InvalidBytes as error:
        # Fields that it does not look at, it need not know.
        return "unknown extra" in str(error)


def test_it_reads_every_genesis_as_hanse_does(checker):
    """Keys apart from identities, observers, other parameters, leagues of every size."""
    for size in range(1, 12):
        for apart in (0, 2, size):
            members = []
            for at in range(size):
                key = key_of(f"node {at}").public if at < apart else b""
                roles = 0 if at == 1 else 1 + at % 3
                members.append(
                    GenesisMember(key_of(f"member {at}").org, f"Fräser {at}", ("/dns4/a/tcp/1",), at, key, roles)
                )
            parameters = LeagueParameters(seats_max=7, slash_share=1)
            genesis = Genesis("Lüfter", 1_000, tuple(sorted(members, key=lambda each: each.org)), parameters, 1)
            found = checker.chain_and_committee(json.loads(genesis_to_json(genesis)))
            assert found == (genesis.chain_id, list(genesis.committee.members))
