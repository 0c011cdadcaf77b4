"""A `Store` in memory: for simulations and tests, and wherever rows need not outlive the process.

It passes the same tests as `node/leveldb.py`.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from ledger.store import Reader, WriteBatch, scan_range


class MemoryStore:
    """Rows in a dict, beside it their keys in order, put in order by the next scan. `sync` has nothing to wait for."""

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        self._rows = dict(rows or {})
        self._keys: list[bytes] = []
        # Keys that came or went since `_keys` was in order: most writes are never scanned.
        self._moved = set(self._rows)
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        self._check_open()
        return self._rows.get(key)

    def scan(
        self, prefix: bytes = b"", start: bytes | None = None, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check_open()
        assert limit is None or limit >= 0, f"limit {limit}"
        first, end = scan_range(prefix, start, reverse)
        ordered = self._ordered()
        low = bisect_left(ordered, first)
        high = len(ordered) if end is None else bisect_left(ordered, end)
        keys = ordered[low:high]
        if reverse:
            keys.reverse()
        # Copied now, so that a write during the iteration is not seen, as on a disk.
        return iter([(key, self._rows[key]) for key in keys[:limit]])

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        self._check_open()
        # First, as the batch is written whole or not at all.
        for row in batch.changes.items():
            if not isinstance(row[0], bytes) or not isinstance(row[1], bytes | None):
                raise TypeError(f"a row of {type(row[0]).__name__} and {type(row[1]).__name__}, want bytes")
        for key, value in batch.changes.items():
            if value is not None:
                if key not in self._rows:
                    self._moved.add(key)
                self._rows[key] = value
            elif self._rows.pop(key, None) is not None:
                self._moved.add(key)

    def snapshot(self) -> AbstractContextManager[Reader]:
        self._check_open()
        return nullcontext(MemoryStore(self._rows))

    def close(self) -> None:
        self._closed = True

    def _ordered(self) -> list[bytes]:
        if self._moved:
            stayed = [key for key in self._keys if key not in self._moved]
            # Two ordered runs, which `sorted` merges in one go.
            self._keys = sorted(stayed + sorted(key for key in self._moved if key in self._rows))
            self._moved.clear()
        return self._keys

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the store is closed")
