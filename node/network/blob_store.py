"""Blobs on disk: immutable files named by the digest of their bytes, published whole or not at all.

`<dir>/<first two hex digits>/<hex digest>` holds a blob, `<dir>/partial/<hex digest>` what has arrived of one so far.
Synchronous; `blob_exchange.py` calls it from threads. Which blobs are needed, and for how long, others know.
"""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ledger.types import BLOB_BYTES_MAX, Hash32
from node.network.durable_file import sync_directory

_TAG = b"blob"
_COPY_BYTES = 2**20
# What a fetch may leave half done: resumed within days or not at all.
PARTIAL_FILES_MAX = 64
_PARTIAL_IN_USE_S = 3600.0


class NoSpaceForBlob(Exception):
    """The disk or the configured capacity is full. Nothing that was stored is touched."""


class MissingBlob(KeyError):
    """A blob that is not here."""


class CorruptBlob(Exception):
    """A file of the store whose bytes are not those of its name: our own disk's fault."""


class InvalidBlob(ValueError):
    """Bytes that were said to be a blob and are not: the sender's fault."""


def blob_hasher() -> "hashlib._Hash":
    """A running digest of a blob: feed it the bytes, in pieces as they come."""
    # As ledger.codec.digest("blob", data), which wants all bytes at once.
    return hashlib.sha256(bytes([len(_TAG)]) + _TAG)


def blob_digest(data: bytes | memoryview) -> Hash32:
    """The name of a blob: SHA-256 under the domain tag "blob"."""
    hasher = blob_hasher()
    hasher.update(data)
    return Hash32(hasher.digest())


class BlobStore:
    """One directory of blobs, one process at a time, threads as you like.

    Holds `capacity_bytes` at most, give or take the blobs that are arriving at the same moment.
    """

    def __init__(self, directory: Path, capacity_bytes: int = 64 * 2**30) -> None:
        self._directory = directory
        self._partial = directory / "partial"
        self._partial.mkdir(parents=True, exist_ok=True)
        self.capacity_bytes = capacity_bytes
        self.closed_because: str | None = None  # set while the whole disk is too full for new blobs
        self._sizes: dict[Hash32, int] = {}
        # Puts and fetches end in threads.
        self._counting = threading.Lock()
        for path in directory.glob("[0-9a-f][0-9a-f]/*"):
            if len(path.name) == 64:
                self._sizes[Hash32(bytes.fromhex(path.name))] = path.stat().st_size
            else:
                path.unlink()  # a temporary file of a put that a crash cut short
        self.bytes_stored = sum(self._sizes.values())

    def __contains__(self, digest: object) -> bool:
        return digest in self._sizes

    def __iter__(self) -> Iterator[Hash32]:
        return iter(list(self._sizes))

    def __len__(self) -> int:
        return len(self._sizes)

    def size(self, digest: Hash32) -> int:
        """Bytes of a blob; raises MissingBlob."""
        if digest not in self._sizes:
            raise MissingBlob(digest.hex())
        return self._sizes[digest]

    def stored_at(self, digest: Hash32) -> float:
        """When the blob came, in seconds since 1970; 0 when somebody took its file away."""
        try:
            return self._path(digest).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def path(self, digest: Hash32) -> Path:
        """The file of a blob, to be read only; raises MissingBlob."""
        self.size(digest)
        path = self._path(digest)
        if not path.exists():
            raise self._gone(digest)
        return path

    def _path(self, digest: Hash32) -> Path:
        name = digest.hex()
        return self._directory / name[:2] / name

    def read(self, digest: Hash32) -> bytes:
        """All bytes, checked against the name. Raises MissingBlob, CorruptBlob."""
        size = self.size(digest)
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise self._gone(digest) from None
        if len(data) != size or blob_digest(data) != digest:
            raise CorruptBlob(f"{self._path(digest)} no longer holds the bytes of its name")
        return data

    def read_range(self, digest: Hash32, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer at the end; not checked, the receiver checks the whole."""
        self.size(digest)
        try:
            with self._path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError:
            raise self._gone(digest) from None

    def put(self, data: bytes | memoryview) -> Hash32:
        """Store a blob and return its name; safe on disk when this returns. Raises NoSpaceForBlob, InvalidBlob."""
        digest = blob_digest(data)
        if digest in self._sizes:
            return digest
        self.make_room(len(data))
        temporary = self._path(digest).with_suffix(".new")
        temporary.parent.mkdir(exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _explained(error, len(data)) from error
        self._publish(temporary, digest, len(data))
        return digest

    def make_room(self, size: int) -> None:
        """Raises NoSpaceForBlob or InvalidBlob when a blob of `size` bytes cannot be taken."""
        if size > BLOB_BYTES_MAX:
            raise InvalidBlob(f"a blob of {size} bytes, want at most {BLOB_BYTES_MAX}")
        if self.closed_because is not None:
            raise NoSpaceForBlob(f"no blob is taken now: {self.closed_because}")
        if self.bytes_stored + size > self.capacity_bytes:
            raise NoSpaceForBlob(
                f"a blob of {size} bytes, but {self.bytes_stored} of {self.capacity_bytes} bytes are taken: "
                "raise the capacity or delete blobs"
            )

    def delete(self, digest: Hash32) -> None:
        """Forget a blob and what has arrived of it; nothing happens when it is not here."""
        (self._partial / digest.hex()).unlink(missing_ok=True)
        with self._counting:
            if digest in self._sizes:
                self._path(digest).unlink(missing_ok=True)
                self.bytes_stored -= self._sizes.pop(digest)

    def _gone(self, digest: Hash32) -> MissingBlob:
        """Somebody took the file away under us: forget it, so that it can be fetched again from who has it."""
        self.delete(digest)
        return MissingBlob(digest.hex())

    def resume(self, digest: Hash32) -> "PartialBlob":
        """What has arrived of a blob so far, to be continued."""
        return PartialBlob(self, self._partial / digest.hex(), digest)

    def publish_partial(self, path: Path, digest: Hash32, size: int) -> None:
        """Called by PartialBlob with a whole, synced, verified file."""
        target = self._path(digest)
        target.parent.mkdir(exist_ok=True)
        self._publish(path, digest, size)

    def _publish(self, path: Path, digest: Hash32, size: int) -> None:
        target = self._path(digest)
        os.replace(path, target)
        for directory in (target.parent, self._directory):
            sync_directory(directory)
        with self._counting:
            if digest not in self._sizes:
                self._sizes[digest] = size
                self.bytes_stored += size

    def trim_partials(self) -> None:
        """Delete the oldest half-done fetches beyond PARTIAL_FILES_MAX, but none that was written to of late."""
        touched: list[tuple[float, Path]] = []
        for path in self._partial.iterdir():
            with suppress(FileNotFoundError):  # another fetch has just published it
                touched.append((path.stat().st_mtime, path))
        touched.sort()
        for at, path in touched[: max(0, len(touched) - PARTIAL_FILES_MAX)]:
            if at < time.time() - _PARTIAL_IN_USE_S:
                path.unlink(missing_ok=True)


class PartialBlob:
    """A blob on its way in. `arrived` bytes are in the file and in the running digest. Use as a context manager."""

    def __init__(self, store: BlobStore, path: Path, digest: Hash32) -> None:
        self._store = store
        self._path = path
        self._digest = digest
        self._hasher = blob_hasher()
        self.arrived = 0
        self._file = path.open("a+b")
        self._file.seek(0)
        while piece := self._file.read(_COPY_BYTES):
            self._hasher.update(piece)
            self.arrived += len(piece)

    def __enter__(self) -> "PartialBlob":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def append(self, data: bytes) -> None:
        """Add the next bytes. Raises NoSpaceForBlob; what had arrived stays."""
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            # Half of `data` may be in the file: cut it back to what the digest has seen.
            os.ftruncate(self._file.fileno(), self.arrived)
            raise _explained(error, len(data)) from error
        self._hasher.update(data)
        self.arrived += len(data)

    def publish(self) -> None:
        """Verify, sync and publish. Raises InvalidBlob, and starts from nothing again, when the bytes are wrong."""
        if self._hasher.digest() != self._digest:
            found = self._hasher.hexdigest()
            self.restart()
            raise InvalidBlob(f"the bytes have digest {found[:16]}, want {self._digest.hex()[:16]}")
        os.fsync(self._file.fileno())
        self._store.publish_partial(self._path, self._digest, self.arrived)

    def restart(self) -> None:
        """Drop what has arrived."""
        os.ftruncate(self._file.fileno(), 0)
        self._hasher = blob_hasher()
        self.arrived = 0


def _explained(error: OSError, size: int) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpaceForBlob(f"no room on the disk for {size} bytes ({error.strerror}); nothing was lost")
    return error
