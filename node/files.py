"""What the node asks of a file system for what it must never forget: the vote journal and the note beside it.

`OsFiles` is the real one. `node/simulation/disk.py` has one that loses what was not synced, tears and fills up; both
pass `tests/unit/test_files.py`. Large things (blobs, the ledger, records) have stores of their own.
"""

import os
from pathlib import Path
from typing import Protocol

from node.disk import publish_file, sync_folder


class AppendFile(Protocol):
    """A file that grows at its end. Every call raises OSError when the disk has no room or fails."""

    @property
    def size(self) -> int: ...

    def append(self, data: bytes) -> None:
        """Add all of `data`; after a crash it is there only if `sync` returned. On OSError a part may be there."""

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes; as durable as an append."""

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Files(Protocol):
    """Names and what stands under them."""

    def exists(self, path: Path) -> bool: ...

    def read(self, path: Path) -> bytes: ...

    def open(self, path: Path, *, fresh: bool = False) -> AppendFile:
        """Open to append, made when it is missing, mode 0600. `fresh`: emptied."""

    def rename(self, path: Path, to: Path) -> None:
        """Take the place of `to` at once; after a crash the old file may be back until the folder is synced."""

    def remove(self, path: Path) -> None:
        """No fault when there is none."""

    def sync_folder(self, folder: Path) -> None:
        """Names that were made or moved in `folder` are durable on return."""

    def publish(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """A small file, there as a whole or as it was before; durable on return."""


class OsFiles:
    """The operating system's."""

    def exists(self, path: Path) -> bool:
        return path.exists()

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def open(self, path: Path, *, fresh: bool = False) -> AppendFile:
        return _OsAppendFile(path, fresh)

    def rename(self, path: Path, to: Path) -> None:
        path.replace(to)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        sync_folder(folder)

    def publish(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        publish_file(path, content, mode=mode)


class _OsAppendFile:
    def __init__(self, path: Path, fresh: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags | (os.O_TRUNC if fresh else 0), 0o600)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
