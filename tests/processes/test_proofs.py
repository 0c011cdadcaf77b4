"""Proofs of a trained round from real daemons, verified with files alone; the stopped node's ledger executed again."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.cli.exit_codes import Exit
from tests.support.processes import factory, hanse, publish, receipts_of, running_league, wait_over

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@dataclass
class Left:
    """What is left of a league: files for an auditor, the folder of a stopped node, and the commands that were told to
    check the files."""

    files: Path
    node: Path
    paid: int
    height: int
    told: list[str]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    files, directory = tmp_path_factory.mktemp("audit"), tmp_path_factory.mktemp("proofs")
    with running_league(
        directory, [factory(name, at, 4) for at, name in enumerate(("alice", "bob", "carol", "dave"))]
    ) as league:
        alice, bob = league.nodes[0], league.nodes[1]
        (files / "genesis.json").write_bytes((alice.folder / "genesis.json").read_bytes())
        request = publish(alice)
        asked = [
            ("headers",),
            ("balance", "bob"),
            ("member", "carol"),
            ("anchor", "bob", "1"),
            ("absence", "anchor/bob/999"),
            ("reward", request, "1"),
            # While the request runs, its updates are kept.
            ("aggregate", request, "1", "--blobs", files / "blobs"),
        ]
        league.wait_until(lambda: len(receipts_of(bob, request)) >= 1, "the first round is closed", 60.0)
        told = []
        for arguments in reversed(asked):
            said = hanse("ledger", "prove", *arguments, "-o", files / f"{arguments[0]}.json", "-c", bob.folder)
            assert said.code == Exit.OK, (arguments, said)
            told += re.findall(r"`hanse ([^`]+)`", said.out)
        said = hanse("ledger", "prove", "record", "1", "3", "-o", files / "record.json", "-c", bob.folder)
        assert said.code == Exit.OK, said
        opened = hanse("dispute", "open", "1", "-o", files / "dispute.json", "-c", bob.folder)
        assert opened.code == Exit.OK, opened
        paid = sum(line["paid"] for line in receipts_of(bob, request)[0]["lines"])
        wait_over(league, bob, request)
        exported = hanse("ledger", "export", "-o", files / "chain.hanse", "-c", bob.folder, "--json")
        assert exported.code == Exit.OK, exported
        assert hanse("ledger", "verify", "-c", bob.folder).code == Exit.REFUSED, "a running node's ledger is in use"
        assert hanse("stop", "-c", bob.folder).code == Exit.OK
        yield Left(files, bob.folder, paid, exported.json["last"], told)


KINDS = ("headers", "balance", "member", "anchor", "absence", "record", "reward", "dispute")


def test_every_proof_holds_with_the_genesis_file_alone(left: Left, tmp_path: Path) -> None:
    genesis = ("--genesis", left.files / "genesis.json")
    for name in KINDS:
        said = hanse("verify", left.files / f"{name}.json", *genesis, "--json", cwd=tmp_path)
        assert said.code == Exit.OK, (name, said)
    model = left.files / "aggregate.json"
    said = hanse("verify", model, *genesis, "--blob", left.files / "blobs", "--json", cwd=tmp_path)
    assert said.code == Exit.OK, said
    assert "computed again" in said.json["steps"][-1]
    reward = hanse("verify", left.files / "reward.json", *genesis, "--json", cwd=tmp_path)
    assert reward.json["facts"]["paid"] == left.paid > 0


def test_every_command_that_is_told_to_check_a_proof_does(left: Left) -> None:
    assert len(left.told) == 7
    for command in left.told:
        said = hanse(*shlex.split(command), cwd=left.files)
        assert said.code == Exit.OK, (command, said)


def test_the_chain_of_the_league_executes_again_from_a_file_and_from_the_disk(left: Left, tmp_path: Path) -> None:
    chain, genesis = left.files / "chain.hanse", left.files / "genesis.json"
    said = hanse("ledger", "verify", chain, "--genesis", genesis, "--json", cwd=tmp_path)
    assert said.code == Exit.OK, said
    assert said.json["height"] == left.height
    own = hanse("ledger", "verify", "-c", left.node, "--json", cwd=tmp_path)
    assert own.code == Exit.OK, own
    assert own.json["blocks_executed"] == own.json["height"] >= left.height
