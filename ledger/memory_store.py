"""A `Store` in memory: for simulations and tests, and wherever rows need not outlive the process.

It passes the same tests as `node/leveldb.py`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from ledger.store import Reader, WriteBatch, scan_range


class MemoryStore:
    """Rows in a dict, their keys in a sorted list beside it. `sync` has nothing to wait for."""

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        self._rows = dict(rows or {})
        self._keys = sorted(self._rows)
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
        low = bisect_left(self._keys, first)
        high = len(self._keys) if end is None else bisect_left(self._keys, end)
        keys = self._keys[low:high]
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
            known = key in self._rows
            if value is not None:
                self._rows[key] = value
                if not known:
                    insort(self._keys, key)
            elif known:
                del self._rows[key]
                del self._keys[bisect_left(self._keys, key)]

    def snapshot(self) -> AbstractContextManager[Reader]:
        self._check_open()
        return nullcontext(MemoryStore(self._rows))

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the store is closed")
