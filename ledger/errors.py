"""Faults, named by whose they are: a sender's, a peer's, or our own disk's."""


class InvalidBytes(ValueError):
    """Bytes that are not the canonical encoding of what was asked for. The sender's fault."""


class InvalidTransaction(ValueError):
    """A transaction the rules refuse in this state. The sender's fault; `code` is stable, the text explains.

    `code` is one short word a program can act on ("nonce", "balance", "stage", ...).
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class InvalidBlock(ValueError):
    """A peer sent a block the rules refuse: drop it, count it against them."""


class InvalidCertificate(ValueError):
    """Votes that do not make a certificate: wrong signer, wrong count, wrong subject."""


class InvalidProof(ValueError):
    """A proof that does not show what it says. Its maker's fault; the text names the first step that does not hold."""


class InvalidSnapshot(ValueError):
    """A part of a snapshot that is not what the certified state root demands. The fault of who served it."""


class InvalidGenesis(ValueError):
    """A genesis file that cannot start a league. The operator's fault."""


class CorruptStore(Exception):
    """Our own disk contradicts itself: stop the daemon."""


class StoreUnavailable(Exception):
    """The store cannot use its directory: permissions, a file in its place, a failing disk. The operator's to mend."""


class StoreLocked(StoreUnavailable):
    """Another process holds the store's directory."""


class StoreOfAnotherVersion(StoreUnavailable):
    """The store was written by a version of Hanse that lays it out otherwise. It is whole; that version can read it."""


class StoreFull(StoreUnavailable):
    """No room on the operator's disk. What was written before is safe; free space, then start the daemon again."""


class UnknownProtocol(Exception):
    """The league runs by a protocol that this program does not have. Nothing is lost; the operator's to mend."""

    def __init__(self, version: int, from_height: int, newest: int) -> None:
        super().__init__(
            f"the league runs protocol {version} from height {from_height} on, this program knows protocols up to "
            f"{newest}: install a newer one and start it with the same folder"
        )
        self.version = version
        self.from_height = from_height
        self.newest = newest
