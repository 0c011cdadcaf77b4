"""Snapshots on disk, for members that join: written from a moment's rows, whole or not at all, the newest few kept.

`snapshots/<height>/offer` is what is offered, `<number>` beside it the chunk of that slice. What a chunk is, and that
everybody cuts the same ones, is `ledger/snapshots.py`'s business. Synchronous; called from threads.
"""

import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ledger.chain import HEAD, Head
from ledger.chain_rows import ChainRows
from ledger.codec import decode, encode
from ledger.errors import CorruptStore, InvalidBytes
from ledger.snapshots import BUCKETS, Cutter, PlacedEntry, Slice, Snapshot, bucket_of, place
from ledger.state_tree import StateTree
from ledger.store import Reader
from ledger.types import Hash32
from node.disk import sync_folder

OFFER = "offer"
# While one is fetched the next may be written: a joiner has as long as two of them are apart.
KEPT_MAX = 2
# Entries that wait in memory while they are dealt out; past that they go to files, so that a large state does not need
# the memory of a small machine.
BUFFER_BYTES_MAX = 16 * 2**20
_LENGTHS = struct.Struct(">II")


class SnapshotStore:
    """The folder of snapshots. Writing from one thread at a time; reading from any."""

    def __init__(self, folder: Path) -> None:
        """What an interrupted writer left is deleted. Raises OSError."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in folder.iterdir():
            if not path.name.isdigit():
                shutil.rmtree(path, ignore_errors=True)
        self._offers: dict[int, Snapshot] = {}
        for path in sorted(folder.iterdir(), key=lambda each: int(each.name)):
            try:
                self._offers[int(path.name)] = decode(Snapshot, (path / OFFER).read_bytes())
            except (OSError, InvalidBytes):
                # It can be had from others and is made anew soon: not worth stopping for.
                shutil.rmtree(path, ignore_errors=True)

    @property
    def offers(self) -> tuple[Snapshot, ...]:
        """Newest first."""
        return tuple(self._offers[height] for height in sorted(self._offers, reverse=True))

    def bytes_used(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("*/*") if path.is_file())

    def chunk(self, height: int, part: Slice) -> bytes | None:
        """An encoded chunk; None when it is not here (any more)."""
        offer = self._offers.get(height)
        if offer is None or part not in offer.slices:
            return None
        try:
            return (self._folder / str(height) / str(offer.slices.index(part))).read_bytes()
        except FileNotFoundError:
            return None  # it has just made way for a newer one

    def write(self, rows: Reader) -> Snapshot:
        """A snapshot of these rows, which must not change meanwhile; older ones make way.

        Raises OSError on a full disk, and then nothing has changed; CorruptStore.
        """
        head = _head(rows)
        final = ChainRows(rows).final_header(head.height)
        if final is None:
            raise CorruptStore(f"the store has no header of its head, height {head.height}")
        fresh = self._folder / f"{head.height}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        try:
            slices: list[Slice] = []
            with _Dealt(fresh) as dealt:
                dealt.deal(rows)
                tree = StateTree(Hash32(head.state_root), lambda node_id: rows.get(b"N" + node_id))
                for number, chunk in enumerate(Cutter(tree, dealt.sizes, dealt.load).chunks()):
                    _write(fresh / str(number), encode(chunk))
                    slices.append(chunk.slice)
            snapshot = Snapshot(final, tuple(slices))
            _write(fresh / OFFER, encode(snapshot))
            sync_folder(fresh)
            self._publish(fresh, head.height, snapshot)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return snapshot

    def keep(self, newest: int) -> None:
        """Delete all but so many."""
        for height in sorted(self._offers, reverse=True)[newest:]:
            del self._offers[height]
            shutil.rmtree(self._folder / str(height), ignore_errors=True)

    def _publish(self, fresh: Path, height: int, snapshot: Snapshot) -> None:
        path = self._folder / str(height)
        shutil.rmtree(path, ignore_errors=True)
        fresh.rename(path)
        sync_folder(self._folder)
        self._offers[height] = snapshot
        self.keep(KEPT_MAX)


@dataclass(slots=True)
class _Dealt:
    """The entries of a state by the first byte of their path; in files when there are many."""

    folder: Path
    sizes: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)] * BUCKETS)
    _waiting: list[bytearray] = field(default_factory=lambda: [bytearray() for _ in range(BUCKETS)])
    _bytes: int = 0

    def __enter__(self) -> "_Dealt":
        return self

    def __exit__(self, *_exception: object) -> None:
        for bucket in range(BUCKETS):
            self._file(bucket).unlink(missing_ok=True)

    def deal(self, rows: Reader) -> None:
        for row, value in rows.scan(b"S"):
            placed = place(row[1:], value)
            bucket = bucket_of(placed.leaf)
            size, count = self.sizes[bucket]
            self.sizes[bucket] = size + placed.entry.size, count + 1
            record = _LENGTHS.pack(len(row) - 1, len(value)) + row[1:] + value
            self._waiting[bucket] += record
            self._bytes += len(record)
            if self._bytes > BUFFER_BYTES_MAX:
                self._flush()

    def load(self, bucket: int) -> list[PlacedEntry]:
        path = self._file(bucket)
        written = path.read_bytes() if path.exists() else b""
        return list(_entries(written + bytes(self._waiting[bucket])))

    def _flush(self) -> None:
        for bucket, waiting in enumerate(self._waiting):
            if waiting:
                with self._file(bucket).open("ab") as file:
                    file.write(waiting)
                waiting.clear()
        self._bytes = 0

    def _file(self, bucket: int) -> Path:
        return self.folder / f"bucket-{bucket}"


def _entries(data: bytes) -> Iterator[PlacedEntry]:
    at = 0
    while at < len(data):
        key_bytes, value_bytes = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        middle, end = at + key_bytes, at + key_bytes + value_bytes
        yield place(data[at:middle], data[middle:end])
        at = end


def _head(rows: Reader) -> Head:
    row = rows.get(HEAD)
    if row is None:
        raise CorruptStore("the store has no head")
    return decode(Head, row)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())
