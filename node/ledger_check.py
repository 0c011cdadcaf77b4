"""Going through a whole ledger again: every block executed from the genesis, every row compared with what came of it.

For files and stores of a stopped node. A ledger that a snapshot began, or that dropped old blocks, cannot be executed
again; of it the headers and the state are checked.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256

from ledger.blocks import FinalBlock, Header
from ledger.chain import HEAD, Chain
from ledger.chain_rows import BLOCK, BLOCK_ID, CHANGE, COMMITTEE, PLACE
from ledger.errors import CorruptStore, InvalidBlock, InvalidCertificate, InvalidProof
from ledger.genesis import Genesis
from ledger.light import NO_SKIPPING, check_final_header, follow, trust_genesis
from ledger.light_path import path_between
from ledger.state_tree import StateTree, key_path
from ledger.store import Reader, Store, WriteBatch
from ledger.types import Hash32

# Rows whose every one must be as a fresh execution writes it; those of the state come on top.
SAME_ROWS = (BLOCK, BLOCK_ID, PLACE, COMMITTEE, CHANGE, b"S")
ROW_NAMES = {
    BLOCK: "block",
    BLOCK_ID: "place of a block",
    PLACE: "place of a transaction",
    COMMITTEE: "committee",
    CHANGE: "change of the committee",
    b"S": "entry of the state",
}
# Blocks between two waits for the disk: what a power cut takes back is executed once more.
BLOCKS_PER_SYNC = 256

Progress = Callable[[int], None]
"""Called with a height when it is done."""


class WrongLedger(Exception):
    """The ledger is not what its blocks make of it. `height`: the first that is wrong; 0: a row that is of none."""

    def __init__(self, height: int, reason: str) -> None:
        super().__init__(f"height {height}: {reason}" if height else reason)
        self.height = height


@dataclass(frozen=True, slots=True)
class CheckedLedger:
    """`executed`: blocks that were executed again, 0 when older ones are not kept. `entries`: of the state."""

    height: int
    head_id: Hash32
    state_root: Hash32
    executed: int
    entries: int


class SeldomSynced:
    """A store for work that can be done again: it waits for the disk once in BLOCKS_PER_SYNC batches, or never.

    Batches stay whole and in order, so a power cut takes back the last ones and nothing in between.
    """

    def __init__(self, store: Store, batches_per_sync: int = BLOCKS_PER_SYNC) -> None:
        self._store = store
        self._batches_per_sync = batches_per_sync
        self._written = 0

    def get(self, key: bytes) -> bytes | None:
        return self._store.get(key)

    def scan(
        self, prefix: bytes = b"", start: bytes | None = None, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan(prefix, start, reverse, limit)

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        self._written += 1
        self._store.write(batch, sync=bool(self._batches_per_sync) and self._written % self._batches_per_sync == 0)

    def snapshot(self) -> AbstractContextManager[Reader]:
        return self._store.snapshot()

    def close(self) -> None:
        """Wait for the disk a last time, where that is wanted, and let go of it."""
        if self._batches_per_sync and self._written:
            self._store.write(WriteBatch(), sync=True)
        self._store.close()


def execute(chain: Chain, blocks: Iterable[FinalBlock], progress: Progress) -> int:
    """Append blocks from `chain`'s next height on; blocks that it has must be the same ones. How many were appended.

    Raises WrongLedger naming the first height that is wrong, UnknownProtocol when this program is too old for the next
    one, and whatever reading `blocks` raises.
    """
    appended = 0
    for final in blocks:
        height = final.block.height
        if height <= chain.height:
            known = chain.header(height)
            if known is not None and known.id != final.block.id:
                raise WrongLedger(height, f"block {final.block.id.hex()[:16]}, here is {known.id.hex()[:16]}")
            continue
        try:
            chain.append(final)
        except (InvalidBlock, InvalidCertificate, CorruptStore) as error:
            raise WrongLedger(height, str(error)) from None
        appended += 1
        progress(height)
    return appended


def check_store(store: Store, genesis: Genesis, again: Store, progress: Progress) -> CheckedLedger:
    """Execute the ledger in `store` once more in `again`, an empty store, and compare all rows.

    Raises WrongLedger, and CorruptStore for a store that cannot be read or is another league's.
    """
    chain = Chain(store, genesis)
    _check_state(store, chain)
    if chain.held.first_block > 1:
        _check_headers(chain, progress)
        executed = 0
    else:
        executed = execute(Chain(again, genesis), _blocks_of(chain), progress)
        _compare(store, again)
    entries = sum(1 for _ in store.scan(b"S"))
    return CheckedLedger(chain.height, chain.head_id, chain.state_root, executed, entries)


def _blocks_of(chain: Chain) -> Iterator[FinalBlock]:
    for height in range(1, chain.height + 1):
        try:
            final = chain.final_block(height)
        except CorruptStore as error:
            raise WrongLedger(height, str(error)) from None
        if final is None:
            raise WrongLedger(height, "the block is missing")
        yield final


def _check_state(store: Store, chain: Chain) -> None:
    """That every entry is the one under the state root, and that none is missing."""
    tree = StateTree(chain.state_root, lambda node_id: store.get(b"N" + node_id))
    try:
        proven = {leaf.path: leaf.value_hash for leaf in tree.leaves()}
    except CorruptStore as error:
        raise WrongLedger(0, f"the tree over the state is damaged: {error}") from None
    for key, value in store.scan(b"S"):
        if proven.pop(key_path(key[1:]), None) != sha256(value).digest():
            raise WrongLedger(0, f"entry {key[1:]!r} of the state is not the one under its root")
    if proven:
        raise WrongLedger(0, f"{len(proven)} entries under the state's root are missing")


def _check_headers(chain: Chain, progress: Progress) -> None:
    """Committees from the genesis to the head, and of every header that is kept its certificate and its parent."""
    try:
        follow(trust_genesis(chain.genesis), path_between(chain, 0, chain.height, NO_SKIPPING))
    except (InvalidProof, CorruptStore) as error:
        raise WrongLedger(0, str(error)) from None
    before: Header | None = None
    for height in range(chain.held.first_header, chain.height + 1):
        try:
            final = chain.final_header(height)
            if final is None or final.header.height != height:
                raise WrongLedger(height, "the header is missing, or one of another height")
            check_final_header(final)
        except (InvalidProof, CorruptStore) as error:
            raise WrongLedger(height, str(error)) from None
        header = final.header
        if before and (header.parent, header.committee) != (before.id, before.next_committee):
            raise WrongLedger(height, "the header does not follow from the one before")
        before = header
        progress(height)
    if before is None or (before.id, before.state_root) != (chain.head_id, chain.state_root):
        raise WrongLedger(chain.height, "the head is another one than the last header")


def _compare(store: Store, again: Store) -> None:
    """Row by row. Raises WrongLedger naming the first that differs."""
    for prefix in SAME_ROWS:
        theirs, ours = store.scan(prefix), again.scan(prefix)
        while True:
            came, want = next(theirs, None), next(ours, None)
            if came == want:
                if came is None:
                    break
                continue
            key = min(row[0] for row in (came, want) if row is not None)
            height = int.from_bytes(key[1:], "big") if prefix in (BLOCK, COMMITTEE, CHANGE) else 0
            raise WrongLedger(height, f"row {key.hex()} ({ROW_NAMES[prefix]}) is not what the blocks make of it")
    if store.get(HEAD) != again.get(HEAD):
        raise WrongLedger(0, "the head is not the last block")
