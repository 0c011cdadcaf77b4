"""The vote journal on disk: whatever byte a crash stops at, acknowledged votes are there, and damage is not silent."""

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from consensus.journal import BodyHeld, CertificateHeld, JournalRecord, OwnVote, own_proposal, replay
from consensus.messages import Proposal
from ledger.certificates import VoteKind
from ledger.errors import CorruptStore, StoreFull
from node import journal_file
from node.journal_file import JournalFile
from tests.support.abstract_votes import block, certificate, member, members, sign, subject, vote

FOUR = members(4)
BORN = block(FOUR)
SAID = subject(FOUR, 0, VoteKind.PROPOSE, BORN.id)
PROPOSAL = Proposal(SAID, sign(member(0), SAID).signature, BORN, ())
GROUPS: list[list[JournalRecord]] = [
    [BodyHeld(BORN), own_proposal(PROPOSAL)],
    [OwnVote(vote(FOUR, 0, 0, VoteKind.NOTARIZE, BORN.id))],
    [
        CertificateHeld(certificate(FOUR, 0, VoteKind.NOTARIZE, BORN.id)),
        OwnVote(vote(FOUR, 0, 0, VoteKind.FINALIZE, BORN.id)),
    ],
]


def written(path: Path) -> list[int]:
    """A journal of GROUPS at height 5; the file's length after each."""
    journal = JournalFile(path)
    lengths = [path.stat().st_size]
    for group in GROUPS:
        journal.append(5, group)
        lengths.append(path.stat().st_size)
    journal.close()
    return lengths


def reopened(path: Path, height: int = 5) -> list[JournalRecord]:
    journal = JournalFile(path)
    records = journal.load(height)
    journal.close()
    return list(records)


def test_what_was_appended_is_there_in_order_and_replays(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    records = reopened(tmp_path / "journal")
    assert records == [record for group in GROUPS for record in group]
    state = replay(records)
    assert state.proposals[0] == PROPOSAL, "with its body, which is written once"
    assert set(state.votes) == {(0, VoteKind.NOTARIZE), (0, VoteKind.FINALIZE)}
    assert reopened(tmp_path / "journal", 6) == []


def test_cut_at_every_byte_whole_groups_stay_and_the_rest_goes(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lengths = written(path)
    data = path.read_bytes()
    for cut in range(lengths[0], len(data)):
        path.write_bytes(data[:cut])
        whole = max(at for at, length in enumerate(lengths) if length <= cut)
        expected = [record for group in GROUPS[:whole] for record in group]
        assert reopened(path) == expected, f"cut at byte {cut}"
        journal = JournalFile(path)
        journal.append(5, GROUPS[1])
        journal.close()
        assert reopened(path) == expected + GROUPS[1], f"cut at byte {cut}, then written on"


def test_a_changed_byte_before_a_whole_group_stops_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lengths = written(path)
    data = path.read_bytes()
    for at in range(lengths[0], lengths[-2], 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        with pytest.raises(CorruptStore):
            JournalFile(path)


def test_a_changed_byte_in_the_last_group_is_not_taken_for_a_torn_tail(tmp_path: Path) -> None:
    """Its votes were said: cut off without a word, a restart could sign others in their place."""
    path = tmp_path / "journal"
    lengths = written(path)
    data = path.read_bytes()
    for at in range(lengths[-2], len(data), 3):
        damaged = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        path.write_bytes(damaged)
        with pytest.raises(CorruptStore):
            JournalFile(path)
        assert path.read_bytes() == damaged, "what may be evidence stays until somebody decides"
        seen: list[bytes] = []
        journal = JournalFile(path, in_doubt=lambda seen=seen: seen.append(path.read_bytes()))
        assert seen == [damaged], "asked once, before anything is cut off"
        assert journal.load(5) == [record for group in GROUPS[:-1] for record in group]
        journal.close()


def test_zeros_after_a_power_cut_are_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lengths = written(path)
    data = path.read_bytes()
    path.write_bytes(data[: lengths[2]] + bytes(lengths[3] - lengths[2]))
    assert reopened(path) == [record for group in GROUPS[:2] for record in group]


def test_a_torn_group_whose_bytes_imitate_an_empty_frame_is_still_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    whole = path.read_bytes()
    head = journal_file._HEAD.pack(journal_file.MAGIC, 0, 0)
    lure = head + zlib.crc32(head).to_bytes(4, "big")
    torn = journal_file._HEAD.pack(journal_file.MAGIC, 1_000, 0)
    path.write_bytes(whole + torn + zlib.crc32(torn).to_bytes(4, "big") + b"torn" + lure + b"torn")
    assert len(reopened(path)) == 5
    assert path.read_bytes() == whole


def test_what_a_killed_process_left_unsynced_is_synced_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the page cache it looks kept; the node votes on the strength of it, and a power cut takes it."""
    path = tmp_path / "journal"
    written(path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    JournalFile(path).close()
    assert synced


def test_old_heights_go_and_the_newest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "REWRITE_BYTES", 2_000)
    path = tmp_path / "journal"
    journal = JournalFile(path)
    for height in range(5, 60):
        journal.start_height(height)
        journal.append(height, GROUPS[0])
        journal.start_height(height)
        assert path.stat().st_size < 5_000
    journal.close()
    assert reopened(path, 59) == GROUPS[0]
    assert reopened(path, 40) == []


def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    journal = JournalFile(path)
    journal.append(5, GROUPS[0])

    def half(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(28, "No space left on device")
        return real(file, bytes(data)[: len(data) // 2])

    real = os.write
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StoreFull, match="journal"):
        journal.append(5, GROUPS[2])
    monkeypatch.undo()
    journal.append(5, GROUPS[1])
    journal.close()
    assert reopened(path) == GROUPS[0] + GROUPS[1]


def test_a_process_killed_while_it_writes_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    script = (
        "import sys; from pathlib import Path; from node.journal_file import JournalFile;"
        "from consensus.journal import OwnVote; from ledger.certificates import VoteKind;"
        "from tests.support.abstract_votes import members, vote\n"
        "journal = JournalFile(Path(sys.argv[1])); four = members(4); view = 0\n"
        "while True:\n"
        "    journal.append(5, [OwnVote(vote(four, 0, view, VoteKind.NULLIFY))])\n"
        "    view += 1\n"
        "    print(view, flush=True)\n"
    )
    root = Path(__file__).parents[2]
    for acknowledged_min in (1, 20, 60):
        path.unlink(missing_ok=True)
        command = [sys.executable, "-c", script, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) >= acknowledged_min:
                    break
            writer.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in writer.stdout.read().split()] or [acknowledged_min]
        views = [record.vote.subject.view for record in reopened(path) if isinstance(record, OwnVote)]
        assert views == list(range(len(views)))
        assert len(views) >= acknowledged[-1]
