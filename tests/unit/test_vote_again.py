"""`hanse ledger vote-again`: only where nobody else can help, only when stopped, never without a word of warning."""

import json
from pathlib import Path

import pytest

from ledger.chain import Chain
from ledger.genesis import genesis_to_json
from node.cli.exit_codes import Exit
from node.cli.main import run
from node.journal_file import JournalFile
from node.leveldb import LevelDbStore
from node.vote_memory import JOURNAL, open_votes, recall_vote_from
from tests.support.cli_node import node_folder
from tests.support.league import League


def stopped_node(folder: Path, members: int, blocks: int = 3) -> Path:
    """A node whose league has some blocks, and whose journal is there."""
    league = League(members)
    node_folder(folder)
    (folder / "genesis.json").write_text(genesis_to_json(league.genesis))
    store = LevelDbStore(folder / "ledger")
    chain = Chain(store, league.genesis)
    for _ in range(blocks):
        chain.append(league.say())
    store.close()
    JournalFile(folder / JOURNAL).close()
    return folder


def lose_the_journal(folder: Path, head: int = 3) -> None:
    (folder / JOURNAL).unlink()
    journal, first = open_votes(folder, head)
    journal.close()
    assert first is None


@pytest.mark.parametrize("members", [1, 2, 3])
def test_a_league_that_stands_still_goes_on_when_its_operators_say_so(
    members: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_node(tmp_path / "alice", members)
    lose_the_journal(folder)
    assert run(["ledger", "vote-again", "--yes", "--json", "-c", str(folder)]) == Exit.OK
    said = capsys.readouterr()
    assert json.loads(said.out) == {"votes_from": 4, "seats": members}
    assert "equivocation" in said.err
    assert "above height 3" in said.err
    journal, first = open_votes(folder, 3)
    journal.close()
    assert first is not None
    assert first <= 4


def test_nothing_is_changed_without_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped_node(tmp_path / "alice", 3)
    lose_the_journal(folder)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert run(["ledger", "vote-again", "-c", str(folder)]) == Exit.INTERRUPTED
    assert recall_vote_from(folder) is None


def test_it_is_refused_where_it_is_not_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stopped_node(tmp_path / "alice", 3)
    assert run(["ledger", "vote-again", "--yes", "-c", str(folder)]) == Exit.REFUSED
    assert "nothing is noted as lost" in capsys.readouterr().err
    larger = stopped_node(tmp_path / "bob", 4)
    lose_the_journal(larger)
    assert run(["ledger", "vote-again", "--yes", "-c", str(larger)]) == Exit.REFUSED
    assert "has 4 seats" in capsys.readouterr().err
    assert recall_vote_from(larger) is None


def test_a_running_node_and_a_missing_ledger_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stopped_node(tmp_path / "alice", 3)
    lose_the_journal(folder)
    held = LevelDbStore(folder / "ledger")
    assert run(["ledger", "vote-again", "--yes", "-c", str(folder)]) == Exit.REFUSED
    assert "stop the node first" in capsys.readouterr().err
    held.close()
    (folder / "ledger").rename(folder / "gone")
    assert run(["ledger", "vote-again", "--yes", "-c", str(folder)]) == Exit.NOT_FOUND
    assert recall_vote_from(folder) is None
