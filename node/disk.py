"""Files that are there whole or not at all: written beside, synced, then given their name."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def publish_file(path: Path, content: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write `content` to `path` so that a crash leaves the old file or the new one; on disk when this returns.

    With `replace` False raises FileExistsError when there is a file. Raises OSError (a full disk, no permission); the
    file that stood there is then untouched.
    """
    # A name of its own, so that two writers never share a half-written file.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(beside, path)
        else:
            # Unlike a rename, a link never takes the place of a file that is there.
            os.link(beside, path)
            os.unlink(beside)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: without it a rename can be lost with the power (ext4, XFS)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
