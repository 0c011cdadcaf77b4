"""What is known of a data set before it is fetched, and what can go wrong on the way."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Of a file whose length is not pinned.
BYTES_MAX = 64 * 2**20


class FetchError(Exception):
    """A data set that was not fetched. What had come of it stays, and the next fetch goes on from there."""


class NoNetwork(FetchError):
    """None of the places answers at all: no network, or a firewall in between."""


class Unavailable(FetchError):
    """The places answer, and none of them gives the file."""


class WrongBytes(FetchError):
    """What came is not the file that was pinned. It is thrown away."""


class NoRoom(FetchError):
    """The disk has no room for it."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file by name, at the first of `urls` or, failing that, at the next.

    `bytes` and `sha256` are pinned. Where they are not known (None, ""), `DataSet.make` checks what stands in the file.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """`origin`: the page of who made it; `terms`: whose it is, in a line. `source` reads it (by default the source of
    the same name), from the folder or from the file `reads` in it.

    `make(folder, arrived)`: what is made in `folder` of the files that arrived, and their names; without it these are
    the data set. It raises WrongBytes naming a file that is not the pinned one. `made_bytes`: how much that takes on
    the disk; `about_bytes`: how much comes over the network, where lengths are not pinned.
    """

    name: str
    summary: str
    origin: str
    terms: str
    files: tuple[RemoteFile, ...]
    source: str = ""
    reads: str = ""
    made_bytes: int = 0
    about_bytes: int = 0
    make: Callable[[Path, Path], tuple[str, ...]] | None = None

    @property
    def bytes(self) -> int:
        """What comes over the network."""
        return self.about_bytes + sum(file.bytes or 0 for file in self.files)
