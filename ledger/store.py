"""What a store of rows promises: byte keys in order, and batches that are written whole or not at all.

Only the promise: `memory_store.py` keeps it in memory, `node/leveldb.py` on a disk, and one test suite runs against
both. Which keys mean what is `chain.py`'s business.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class WriteBatch:
    """Changes that belong together: key → new value, or None to delete. The last word on a key counts."""

    changes: dict[bytes, bytes | None] = field(default_factory=dict)

    def put(self, key: bytes, value: bytes) -> None:
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove the row if there is one."""
        self.changes[key] = None


class Reader(Protocol):
    """What can be read. Every method raises CorruptStore when the disk contradicts itself."""

    def get(self, key: bytes) -> bytes | None:
        """The row's value, None when there is no such row."""
        ...

    def scan(
        self, prefix: bytes = b"", start: bytes | None = None, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with `prefix`, by key ascending, or descending with `reverse`.

        `start`: a whole key to begin at, included; it need not exist. `limit`: at most so many rows. Later writes are
        not seen: the rows are those of the moment of the call.
        """
        ...


class Store(Reader, Protocol):
    """Rows that stay. One writer at a time; readers may be other threads. Used after `close` it raises RuntimeError."""

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        """All of the batch or nothing, whatever happens meanwhile.

        With `sync` it has reached the disk on return, and so has everything written before. One batch is one step
        from a consistent state to the next (a block with its whole outcome): never write half of one.
        """
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """The rows of this moment, unmoved by later writes, for reads that must fit together."""
        ...

    def close(self) -> None:
        """Let go of the disk; twice does no harm."""
        ...


def scan_range(prefix: bytes, start: bytes | None, reverse: bool) -> tuple[bytes, bytes | None]:
    """The keys that `Reader.scan` runs over: from the first, included, up to the second, excluded (None: no end)."""
    first, end = prefix, _after_prefix(prefix)
    if start is None:
        return first, end
    if not reverse:
        return max(first, start), end
    # The least key above `start` is `start` and one zero byte: with it as the end, `start` itself is included.
    after_start = start + b"\x00"
    return first, after_start if end is None else min(end, after_start)


def _after_prefix(prefix: bytes) -> bytes | None:
    """The least key above every key that begins with `prefix`; None when there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
