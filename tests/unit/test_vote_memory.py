"""What a node knows of its votes when it starts: whatever of its disk was lost, and however often."""

from pathlib import Path

import pytest

from consensus.journal import OwnVote
from ledger.certificates import VoteKind
from ledger.errors import CorruptStore
from node.journal_file import JournalFile
from node.vote_memory import JOURNAL, open_votes, recall_vote_from, remember_vote_from
from tests.support.abstract_votes import members, vote

VOTES = [OwnVote(vote(members(4), 0, view, VoteKind.NULLIFY)) for view in range(3)]


def opened(folder: Path, head: int | None) -> int | None:
    journal, first_vote = open_votes(folder, head)
    journal.close()
    return first_vote


def with_votes(folder: Path) -> bytes:
    journal = JournalFile(folder / JOURNAL)
    for each in VOTES:
        journal.append(8, [each])
    journal.close()
    return (folder / JOURNAL).read_bytes()


def damage_last_votes(folder: Path) -> bytes:
    """One bit of the last votes turns over on the disk; the whole journal of before."""
    (folder / JOURNAL).unlink(missing_ok=True)
    whole = with_votes(folder)
    (folder / JOURNAL).write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    return whole


def test_a_journal_that_is_there_lets_a_node_vote_at_once(tmp_path: Path) -> None:
    with_votes(tmp_path)
    assert opened(tmp_path, 7) == 8


def test_a_ledger_that_is_older_than_the_votes_waits_until_it_is_as_far(tmp_path: Path) -> None:
    with_votes(tmp_path)
    for head in (None, 0, 3):
        journal, first_vote = open_votes(tmp_path, head)
        journal.close()
        assert first_vote == 8
        assert journal.later(head or 0) == {8: VOTES}
    assert journal.later(8) == {}


def test_without_its_journal_a_node_asks_others_however_far_its_ledger_is(tmp_path: Path) -> None:
    """The ledger may be an older copy than the votes that were lost: its head proves nothing about them."""
    with_votes(tmp_path)
    assert opened(tmp_path, 7) == 8
    (tmp_path / JOURNAL).unlink()
    assert opened(tmp_path, 3) is None, "put back as of height 3, it would have voted in height 8 once more"
    assert opened(tmp_path, 3) is None, "the new journal is there now, and empty"


def test_with_the_ledger_gone_too_others_must_be_asked_and_no_restart_forgets_it(tmp_path: Path) -> None:
    assert opened(tmp_path, None) is None
    assert opened(tmp_path, 3) is None


def test_a_second_loss_does_not_lift_what_the_first_has_noted(tmp_path: Path) -> None:
    """Wiped, it learned of others that it may have voted up to height 99; then, half caught up, it lost its journal
    again: what counts is still the old life's votes, not the head it happens to have."""
    assert opened(tmp_path, None) is None
    (tmp_path / JOURNAL).unlink()
    assert opened(tmp_path, 40) is None, "it has not asked yet, so it does not know yet"
    remember_vote_from(tmp_path, 100)
    damage_last_votes(tmp_path)
    assert opened(tmp_path, 50) == 100
    damage_last_votes(tmp_path)
    assert opened(tmp_path, 120) == 122
    (tmp_path / JOURNAL).unlink()
    assert opened(tmp_path, 120) is None


def test_damaged_last_votes_count_as_lost_and_it_is_noted_before_they_are_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = damage_last_votes(tmp_path)
    path = tmp_path / JOURNAL
    with monkeypatch.context() as patch:
        patch.setattr("node.vote_memory.remember_vote_from", _power_fails)
        with pytest.raises(KeyboardInterrupt):
            open_votes(tmp_path, 7)
    assert path.stat().st_size == len(whole), "nothing was cut off before it was noted"
    assert opened(tmp_path, 7) == 9
    assert opened(tmp_path, 7) == 9


def _power_fails(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_last_vote_that_was_cut_short_was_never_said(tmp_path: Path) -> None:
    whole = with_votes(tmp_path)
    (tmp_path / JOURNAL).write_bytes(whole[:-5])
    assert opened(tmp_path, 7) == 8


def test_damage_before_whole_votes_stops_the_node(tmp_path: Path) -> None:
    whole = with_votes(tmp_path)
    (tmp_path / JOURNAL).write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(CorruptStore, match="damaged"):
        open_votes(tmp_path, 7)


def test_a_note_that_cannot_be_read_means_asking(tmp_path: Path) -> None:
    (tmp_path / "vote-from").write_bytes(b"\xff\xfe")
    assert recall_vote_from(tmp_path) is None
