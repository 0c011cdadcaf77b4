"""The `Store` on a disk: LevelDB. The only file that imports plyvel; what the rows mean is `ledger`'s business.

Calls block for as long as the disk takes (a synced write: one fsync). LevelDB is safe between threads and plyvel
lets go of the interpreter lock, so an async caller may hand calls to a thread.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from itertools import islice
from pathlib import Path
from typing import Any

import plyvel

from ledger.errors import CorruptStore, StoreFull, StoreLocked, StoreUnavailable
from ledger.store import Reader, WriteBatch, scan_range

# A node that is not training has 150 MB for everything, so the store stays small: rows are read again from the
# page cache, which the operating system takes back when it wants to.
CACHE_BYTES = 8 * 1024 * 1024
WRITE_BUFFER_BYTES = 4 * 1024 * 1024
# LevelDB maps every open table into memory and 74 is its least (64 tables and 10 other files): 64 tables of 1 MiB.
OPEN_FILES_MAX = 74
TABLE_BYTES = 1024 * 1024
# 10 bits a key: 1 % of the look-ups of a missing key go to the disk.
BLOOM_BITS = 10

# Keys are names and hashes, so none begins with 64 bytes of 0xff.
_ABOVE_ALL_KEYS = b"\xff" * 64

_REMEDY = "Restore it from a backup, or move it away and let the node fetch the ledger anew"
_TABLE_CUT = re.compile(r"\.(ldb|sst): (Invalid argument|No such file or directory)")
_FULL = tuple(os.strerror(number) for number in (ENOSPC, EDQUOT, EFBIG))


class _LevelDbReader:
    """`get` and `scan` over a plyvel database or snapshot, which read alike."""

    def __init__(self, source: Any, directory: Path) -> None:
        self._source = source
        self._directory = directory

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._source.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise _fault(self._directory, error) from error
        return value

    def scan(
        self, prefix: bytes = b"", start: bytes | None = None, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        assert limit is None or limit >= 0, f"limit {limit}"
        first, end = scan_range(prefix, start, reverse)
        # Made here and not at the first `next`: it is the iterator's birth that fixes the moment it shows.
        # plyvel 1.5 shows nothing of a single row between two bounds backwards, so the lower bound is kept here.
        lower = None if reverse else first
        rows = self._source.iterator(start=lower, stop=end, reverse=reverse, verify_checksums=True)
        return self._rows(rows, first, limit)

    def _rows(self, rows: Any, first: bytes, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
        try:
            with rows:
                for key, value in islice(rows, limit):
                    if key < first:
                        return
                    yield key, value
        except plyvel.Error as error:
            raise _fault(self._directory, error) from error


class LevelDbStore(_LevelDbReader):
    """Rows in a LevelDB directory, made when it is missing.

    Raises StoreLocked when another process has it open, CorruptStore when its files contradict themselves (in the
    write-ahead log too: LevelDB's own default is to drop the damaged records silently), StoreUnavailable when the
    directory cannot be used. A torn last record, from a kill or a power cut in the midst of a write, is no
    corruption: that batch was never acknowledged and is gone as a whole.
    """

    def __init__(self, directory: Path) -> None:
        self._write_fault: Exception | None = None
        self._unsynced = False
        super().__init__(_open(directory), directory)

    @property
    def directory(self) -> Path:
        return self._directory

    def move_to(self, directory: Path) -> Callable[[], None]:
        """Go on with the rows of another directory. Returns what lets go of the old one.

        Reads that other threads have under way end in the old rows; call it when there can be none any more.
        """
        old, self._source = self._source, _open(directory)
        self._directory = directory
        self._write_fault = None
        self._unsynced = False
        return old.close  # type: ignore[no-any-return]

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        """All of the batch or nothing; see `Store.write`. Raises StoreFull when the disk has no room.

        After a write that failed no other is tried until the store is opened anew: LevelDB may have left half a
        record at the end of its log. Opening takes that for a torn end and drops it, but a record behind it would make
        it damage in the middle. Reading goes on.
        """
        if self._write_fault is not None:
            raise type(self._write_fault)(f"{self._write_fault}; an earlier write failed, open the store anew")
        # Never as a context manager: plyvel's would write the first half of a batch whose second half raised.
        rows = self._source.write_batch(sync=sync)
        for key, value in batch.changes.items():
            if value is None:
                rows.delete(key)
            else:
                rows.put(key, value)
        try:
            if sync and self._unsynced:
                self._sync_logs()
            rows.write()
        except (plyvel.Error, OSError) as error:
            self._write_fault = _fault(self._directory, error)
            raise self._write_fault from error
        self._unsynced = not sync

    def _sync_logs(self) -> None:
        """LevelDB syncs the log it writes to. One that it has turned away from since, unsynced, it would not: a power
        cut could take rows of it and leave later ones."""
        for path in sorted(self._directory.glob("*.log")):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its rows are in a table by now, and tables are synced
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        with self._source.snapshot() as snapshot:
            yield _LevelDbReader(snapshot, self._directory)

    def compact(self, start: bytes = b"", stop: bytes = _ABOVE_ALL_KEYS) -> None:
        """Rewrite the tables between two keys without deleted and outdated rows. All of them take seconds to minutes;
        call it from a thread."""
        try:
            # With both ends named: plyvel takes none for the empty key, and would compact nothing.
            self._source.compact_range(start=start, stop=stop)
        except plyvel.Error as error:
            raise _fault(self._directory, error) from error

    def bytes_used(self) -> int:
        """Bytes of all files of the store."""
        used = 0
        for entry in os.scandir(self._directory):
            try:
                used += entry.stat().st_size
            except FileNotFoundError:
                # LevelDB removes tables in the background while we look.
                continue
        return used

    def close(self) -> None:
        self._source.close()


def _open(directory: Path) -> Any:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreUnavailable(f"{directory}: {error.strerror}") from error
    _refuse_headless(directory)
    try:
        return plyvel.DB(
            str(directory),
            create_if_missing=True,
            paranoid_checks=True,
            lru_cache_size=CACHE_BYTES,
            write_buffer_size=WRITE_BUFFER_BYTES,
            max_open_files=OPEN_FILES_MAX,
            max_file_size=TABLE_BYTES,
            bloom_filter_bits=BLOOM_BITS,
        )
    except plyvel.Error as error:
        raise _fault(directory, error) from error


def _refuse_headless(directory: Path) -> None:
    """Raise CorruptStore for tables or logs without the file that names them.

    LevelDB would start an empty store in their place and delete them.
    """
    if not (directory / "CURRENT").exists():
        rows = [path.name for path in directory.iterdir() if path.suffix in (".ldb", ".sst", ".log")]
        if rows:
            raise CorruptStore(f"{directory} holds {min(rows)} but no CURRENT. {_REMEDY}")


def _fault(directory: Path, error: Exception) -> Exception:
    """The fault behind plyvel's error, by whose it is."""
    first = error.args[0] if error.args else ""
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
    if isinstance(error, OSError) and not isinstance(error, plyvel.Error):
        text = os.strerror(error.errno or 0)
    # A table that is gone or shorter than it was comes back as an I/O error, though it is the disk's contradiction.
    if isinstance(error, plyvel.CorruptionError) or _TABLE_CUT.search(text):
        return CorruptStore(f"{directory}: {text}. {_REMEDY}")
    if f"lock {directory}/LOCK:" in text:
        return StoreLocked(f"{directory} is in use: another daemon runs on it ({text})")
    if any(reason in text for reason in _FULL):
        return StoreFull(f"no room left to write in {directory}: {text}")
    return StoreUnavailable(f"{directory}: {text}")
