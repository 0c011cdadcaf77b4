"""Blobs by client, in memory up to a bound and in files beyond it: a thousand models need not fit in memory."""

import mmap
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from tempfile import TemporaryDirectory

# A hundred small models; what is beyond lies in files, and the system's page cache keeps what is in use.
MEMORY_BYTES_MAX = 32 * 1024 * 1024


class BlobShelf(MutableMapping[int, bytes]):
    """One blob a client. `folder`: where files go, one made for it when it is None; nothing is left there at the end.

    Blobs that were put last are in files when the bound is reached: each client's is used once a round, so that no
    order of use is better than another.
    """

    def __init__(self, memory_bytes_max: int = MEMORY_BYTES_MAX, folder: Path | None = None) -> None:
        self._memory_bytes_max = memory_bytes_max
        self._parent = folder
        self._folder: TemporaryDirectory[str] | None = None
        self._here: dict[int, bytes] = {}
        self._there: dict[int, Path] = {}
        self._bytes_here = 0

    def __setitem__(self, client: int, blob: bytes) -> None:
        self._bytes_here -= len(self._here.pop(client, b""))
        if self._bytes_here + len(blob) <= self._memory_bytes_max:
            self._here[client] = blob
            self._bytes_here += len(blob)
            if (path := self._there.pop(client, None)) is not None:
                path.unlink()
            return
        path = self._path(client)
        path.write_bytes(blob)
        self._there[client] = path

    def __getitem__(self, client: int) -> bytes:
        if (blob := self._here.get(client)) is not None:
            return blob
        return self._there[client].read_bytes()

    def view(self, client: int) -> bytes | mmap.mmap:
        """The blob as it lies: one in a file is mapped, not read."""
        if client not in self._there:
            return self._here[client]
        with self._there[client].open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def size(self, client: int) -> int:
        """The length of the blob, which is not read."""
        return len(self._here[client]) if client in self._here else self._there[client].stat().st_size

    def __delitem__(self, client: int) -> None:
        if client in self._there:
            self._there.pop(client).unlink()
        else:
            self._bytes_here -= len(self._here.pop(client))

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({*self._here, *self._there}))

    def __len__(self) -> int:
        return len(self._here) + len(self._there)

    def close(self) -> None:
        """Forget all, and take the files away."""
        self._here.clear()
        self._there.clear()
        self._bytes_here = 0
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _path(self, client: int) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="hanse-clients-", dir=self._parent)
        return Path(self._folder.name) / f"{client}"
