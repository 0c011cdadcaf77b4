"""Which folder of a node's data holds its ledger, also after a snapshot took the place of an older one.

`ledger/` is the ledger. `ledger.joining/` is one that is being built from a snapshot and counts for nothing.
`ledger.joined-HEIGHT/` is a whole one that is to take the place of `ledger/`: it got its name by one rename, so a crash
at any moment leaves it or not. A running node goes on in it; the next time nobody has it open, it becomes `ledger/`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from node.data_folder import JOINED, JOINING, LEDGER
from node.disk import sync_folder
from node.leveldb import LevelDbStore


def open_ledger(data_dir: Path) -> LevelDbStore:
    """The ledger of a node that is not running. Raises StoreLocked, StoreUnavailable, CorruptStore."""
    settle_ledger(data_dir)
    return LevelDbStore(data_dir / LEDGER)


def settle_ledger(data_dir: Path) -> None:
    """Give what a snapshot led to its place. Raises StoreLocked when a running node has it open."""
    ledger, joined = data_dir / LEDGER, _joined(data_dir)
    if not joined:
        return
    for folder in (*joined, ledger):
        if folder.exists():
            LevelDbStore(folder).close()
    # Again from here after a crash: the highest joined one is the ledger as long as it has its name.
    *older, newest = joined
    for folder in (*older, ledger):
        shutil.rmtree(folder, ignore_errors=True)
    newest.rename(ledger)
    sync_folder(data_dir)


def open_joining(data_dir: Path) -> LevelDbStore:
    """Where a ledger is built from a snapshot; what an earlier attempt left is still in it."""
    return LevelDbStore(data_dir / JOINING)


def drop_joining(data_dir: Path) -> None:
    """Delete what is there of a snapshot that is not wanted any more; nobody has it open."""
    shutil.rmtree(data_dir / JOINING, ignore_errors=True)


def put_in_place(store: LevelDbStore, joining: LevelDbStore, data_dir: Path, height: int) -> Callable[[], None]:
    """Let `store` go on with the whole, synced ledger in `joining`, whose head has this height. Raises OSError.

    Returns what deletes the old ledger: to be called when no thread can read in it any more.
    """
    old, joined = store.directory, data_dir / f"{JOINED}{height:016}"
    joining.close()
    (data_dir / JOINING).rename(joined)
    sync_folder(data_dir)
    let_go = store.move_to(joined)

    def delete() -> None:
        let_go()
        shutil.rmtree(old, ignore_errors=True)

    return delete


def _joined(data_dir: Path) -> list[Path]:
    """By height ascending."""
    return sorted(path for path in data_dir.glob(f"{JOINED}*") if path.is_dir())
