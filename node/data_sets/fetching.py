"""A whole data set into a folder: room first, then every file, then what is made of them; what is there is left alone.

A fetch that was interrupted, at whatever point, goes on when it is called again.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from node.data_sets.download import download, is_whole, new_client, sha256_of
from node.data_sets.remote import DataSet, FetchError, NoRoom
from node.disk import publish_file

# Files that arrive and are not the data set themselves lie here until it is made.
ARRIVED = ".arriving"
# What was made, with its sums: so that it is known again.
MADE = ".fetched.json"
LOCK = ".fetching"

Told = Callable[[int], object]
"""So many bytes more have come; fewer, when some had to be thrown away."""


def is_there(data_set: DataSet, folder: Path) -> bool:
    """Whether the folder holds the data set, every byte of it."""
    if data_set.make is None:
        return all(is_whole(folder / file.name, file) for file in data_set.files)
    try:
        said = json.loads((folder / MADE).read_text())
        files: dict[str, str] = said["files"] if said["name"] == data_set.name else {}
        return bool(files) and all(sha256_of(folder / name) == sha256 for name, sha256 in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def fetch(
    data_set: DataSet,
    folder: Path,
    told: Told = lambda _: None,
    mirror: str | None = None,
    client: httpx.Client | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> bool:
    """Fetch what is missing; whether anything was. `mirror`: a place that is asked before all others, for its files by
    name. Raises FetchError of the kind that it is; OSError for a folder that cannot be made."""
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if is_there(data_set, folder):
            return False
        arriving = folder if data_set.make is None else folder / ARRIVED
        arriving.mkdir(exist_ok=True)
        _check_room(data_set, arriving)
        with client or new_client() as asked:
            for file in data_set.files:
                if mirror is not None:
                    file = replace(file, urls=(f"{mirror.rstrip('/')}/{file.name}", *file.urls))
                download(asked, file, arriving, _Gained(told), pause)
        if data_set.make is not None:
            _make(data_set, folder, arriving)
        return True


def _make(data_set: DataSet, folder: Path, arriving: Path) -> None:
    assert data_set.make is not None
    try:
        made = data_set.make(folder, arriving)
    except OSError as error:
        raise NoRoom(f"{folder} cannot be written: {error.strerror}") from None
    said = {"name": data_set.name, "files": {name: sha256_of(folder / name) for name in made}}
    publish_file(folder / MADE, json.dumps(said, indent=1).encode())
    shutil.rmtree(arriving)


def _check_room(data_set: DataSet, arriving: Path) -> None:
    """Before the first byte: a disk that fills up at the end costs everybody on it."""
    ours = [arriving / name for file in data_set.files for name in (file.name, f".{file.name}.part")]
    here = sum(each.stat().st_size for each in ours if each.is_file())
    needed = max(0, data_set.bytes - here) + data_set.made_bytes
    free = shutil.disk_usage(arriving).free
    if needed > free:
        raise NoRoom(f"{arriving} has room for {free} bytes, want {needed} for {data_set.name}")


class _Gained:
    """Bytes of one file as they are gained and lost, of a count that only says how many there are."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._seen = 0

    def __call__(self, size: int) -> None:
        self._told(size - self._seen)
        self._seen = size


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One fetch into a folder at a time: two would write one file together."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchError(f"{folder}: another fetch is at work there") from None
        yield
        (folder / LOCK).unlink(missing_ok=True)
    finally:
        os.close(descriptor)
