"""Stores for tests: one by name, and child processes that write to a LevelDB directory until they are stopped.

`python -m tests.support.stores write|hold|fill DIRECTORY` is such a child.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import StoreFull
from ledger.memory_store import MemoryStore
from ledger.store import Reader, Store, WriteBatch
from node.leveldb import LevelDbStore

REPOSITORY = Path(__file__).parents[2]

ROWS_PER_BATCH = 12
# Larger than a log block of 32 KiB now and then, so that a record has several fragments.
VALUE_BYTES = (10, 700, 5_000)
# What a child of `fill` may write into one file before the system says no.
FILL_BYTES_MAX = 200_000


@contextmanager
def open_test_store(kind: str, directory: Path) -> Iterator[Store]:
    store: Store = MemoryStore() if kind == "memory" else LevelDbStore(directory / "store")
    try:
        yield store
    finally:
        store.close()


def numbered_batch(number: int) -> WriteBatch:
    """Batch `number` of a run: its rows, the head that names it, and the rows of the batch before last deleted."""
    batch = WriteBatch()
    for at in range(ROWS_PER_BATCH):
        batch.put(row_key(number, at), row_value(number, at))
        batch.delete(row_key(number - 2, at))
    batch.put(b"head", str(number).encode())
    return batch


def row_key(number: int, at: int) -> bytes:
    return f"row/{number:08}/{at:02}".encode()


def row_value(number: int, at: int) -> bytes:
    return f"{number}.{at};".encode() * (VALUE_BYTES[number % len(VALUE_BYTES)] // 5)


def head_of(store: Reader) -> int:
    """The number of the last batch, after checking that its outcome is there whole and nothing else is."""
    head = int(store.get(b"head") or b"0")
    want = {
        row_key(number, at): row_value(number, at)
        for number in (head - 1, head)
        if number > 0
        for at in range(ROWS_PER_BATCH)
    }
    assert dict(store.scan(b"row/")) == want, f"batch {head} is not whole"
    return head


@contextmanager
def store_child(task: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A child process at `task`; killed when the block ends."""
    command = [sys.executable, "-m", "tests.support.stores", task, str(directory)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def _write(store: Store) -> None:
    number = head_of(store)
    while True:
        number += 1
        store.write(numbered_batch(number))
        print(number, flush=True)


def _fill(store: Store) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILL_BYTES_MAX, FILL_BYTES_MAX))
    number = head_of(store)
    try:
        while True:
            store.write(numbered_batch(number + 1))
            number += 1
    except StoreFull:
        # Room again: the store must refuse all the same, its log ends in half a record.
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILL_BYTES_MAX, FILL_BYTES_MAX))
        try:
            store.write(WriteBatch({b"late": b"row"}))
        except StoreFull as refused:
            assert head_of(store) == number
            print(number, refused, flush=True)


if __name__ == "__main__":
    opened = LevelDbStore(Path(sys.argv[2]))
    if sys.argv[1] == "write":
        _write(opened)
    elif sys.argv[1] == "fill":
        _fill(opened)
    else:
        print("open", flush=True)
        sys.stdin.read()
