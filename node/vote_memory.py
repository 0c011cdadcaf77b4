"""What a node remembers of its votes when it starts: the journal, and from which height on it may sign.

The journal's bytes are `journal_file.py`'s, the reasoning is `consensus/journal.py`'s.
"""

from pathlib import Path

from consensus.journal import Kept, first_height_to_vote
from ledger.types import AMOUNT_MAX
from node.files import Files, OsFiles
from node.journal_file import JournalFile

JOURNAL, VOTE_FROM = "journal", "vote-from"
# A first height to vote in that no chain reaches: for a life in which a node only follows.
NEVER_VOTES = AMOUNT_MAX


def open_votes(data_dir: Path, head: int | None, files: Files | None = None) -> tuple[JournalFile, int | None]:
    """The journal and the first height this node may sign in; None when the other members must be asked.

    `head`: height of the own ledger's head, None when the ledger is gone too. A journal that is missing, or whose last
    votes are damaged, is noted down before anything of it is made or cut off, so that no later start forgets it.
    Raises CorruptStore when the journal is damaged before its end.
    """
    files = files or OsFiles()

    def note_loss(head: int | None) -> None:
        remember_vote_from(data_dir, _after_loss(recall_vote_from(data_dir, files), head), files)

    if not files.exists(data_dir / JOURNAL):
        # Files do not vanish alone: who put the ledger back from a copy and left the journal out has an older head than
        # this node's last vote, and nothing on this disk tells. The other members know how far the league was.
        note_loss(None)
    journal = JournalFile(data_dir / JOURNAL, files, in_doubt=lambda: note_loss(head))
    first_vote = recall_vote_from(data_dir, files)
    # A ledger that was put back, or fetched anew, begins below the votes: what was said of heights before the last one
    # may be forgotten here, but they were final then.
    return journal, None if first_vote is None else max(first_vote, journal.newest)


def _after_loss(noted: int | None, head: int | None) -> int | None:
    """What an earlier loss has noted still holds: a ledger put back or caught up in part ends below the old votes."""
    if noted is None or head is None:
        return None
    after = first_height_to_vote(Kept.CHAIN, head)
    assert after is not None
    return max(noted, after)


def remember_vote_from(data_dir: Path, height: int | None, files: Files | None = None) -> None:
    """From which height on a node that lost its journal may sign; None while it does not know."""
    (files or OsFiles()).publish(data_dir / VOTE_FROM, f"{'unknown' if height is None else height}\n".encode())


def recall_vote_from(data_dir: Path, files: Files | None = None) -> int | None:
    """0 when nothing was ever lost."""
    files = files or OsFiles()
    if not files.exists(data_dir / VOTE_FROM):
        return 0
    text = files.read(data_dir / VOTE_FROM).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None
