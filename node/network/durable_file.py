"""Writing a small file so that a crash at any moment leaves the old bytes or the new ones."""

import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write beside `path`, sync, move over, sync the directory. Raises OSError; `path` is then untouched."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the directory's own entries durable: without it a power cut forgets a file that was synced."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
