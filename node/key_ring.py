"""The key files of a node: the key it signs with, and the one that is to follow it in a rotation.

A rotation is said on the ledger (`ledger/statements.py`). The new key is on disk before anything is said of it, and
takes the old one's place when the ledger says that it is the current one: by one rename, after the vote journal was
made anew. A crash between any two steps leaves files from which the next start goes on (`settle`).
"""

from pathlib import Path

from ledger.keys import KeyPair
from ledger.types import NodeKey
from node.disk import sync_folder
from node.identity import KeyFileError, WrongPassphrase, create_key, load_key
from node.journal_file import JournalFile


class KeyRing:
    """`current` signs. `following` was drawn for a rotation and waits for the ledger; None when none was.

    Raises WrongPassphrase and KeyFileError. The passphrase is kept, for a node that is rotated while it runs writes a
    key file of its own.
    """

    def __init__(self, file: Path, passphrase: str | None = None) -> None:
        self.file = file
        self._passphrase = passphrase
        self.current = load_key(file, passphrase)
        self.following = load_key(self.next_file, passphrase) if self.next_file.exists() else None
        # The last one, while nobody is known to have heard that it was rotated away.
        self.previous: KeyPair | None = None
        self._tries_other = False

    @property
    def other(self) -> KeyPair | None:
        """What this node may be known by, if not by the current key."""
        return self.following or self.previous

    @property
    def presented(self) -> KeyPair:
        """What the node shows itself by: the current key, or for a while the other one, see `try_the_other`."""
        return self.other if self.other is not None and self._tries_other else self.current

    def try_the_other(self) -> None:
        """Show the other key instead of the current one, or the current one again.

        A rotation may have become final while the node was down: nobody lets it in by the old key any more, and it
        cannot learn why. By the new key it can, if there was one. Or it became final here first, and those who need
        us to hear of it know the old key only. It must sign no vote meanwhile: the journal is the current key's.
        """
        self._tries_other = self.other is not None and not self._tries_other

    def confirm(self) -> None:
        """Somebody knows the current key: whoever does not hears of it from him."""
        self.previous = None

    @property
    def next_file(self) -> Path:
        """Beside the key, `key-next.pem` for `key.pem`."""
        return next_file(self.file)

    @property
    def passphrase(self) -> str | None:
        return self._passphrase

    def draw(self) -> KeyPair:
        """The key that is to follow, on disk when this returns; the same one however often it is asked for.

        Raises KeyFileError, also when the key file was given another passphrase since: the new one would lie under the
        old passphrase.
        """
        if self.following is None:
            try:
                load_key(self.file, self._passphrase)
            except WrongPassphrase:
                raise KeyFileError(
                    f"{self.file}: its passphrase was changed while the node runs: start it anew, then rotate"
                ) from None
            self.following = create_key(self.next_file, self._passphrase)
        return self.following

    def settle(self, registered: NodeKey | None, journal: Path) -> bool:
        """Put the following key in its place when it is what the ledger has; whether it did.

        `registered`: the organisation's key by the ledger. `journal`: the vote journal, which nobody has open.
        Raises OSError, and then the next start does it.
        """
        if self.following is None or registered != self.following.public:
            return False
        self.put_in_place(journal)
        return True

    def put_in_place(self, journal: Path) -> None:
        """Make the following key the current one. Raises OSError."""
        assert self.following is not None, "no key was drawn"
        # First the journal: a new key has never voted, and with the old one's votes it would take them for its own.
        # A crash here leaves the old key, which the ledger no longer knows, and the following one: settled again.
        renew_journal(journal)
        self.next_file.replace(self.file)
        sync_folder(self.file.parent)
        self.previous, self.current, self.following = self.current, self.following, None
        self._tries_other = False


def next_file(file: Path) -> Path:
    return file.with_name(f"{file.stem}-next{file.suffix}")


def renew_journal(journal: Path) -> None:
    """An empty journal in the place of `journal`, which is never missing meanwhile: a missing one means lost votes."""
    fresh = journal.with_name(f"{journal.name}.fresh")
    fresh.unlink(missing_ok=True)
    JournalFile(fresh).close()
    fresh.replace(journal)
    sync_folder(journal.parent)
