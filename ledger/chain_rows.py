"""Where a chain's blocks, headers and committees lie in the store, and how they are read back. Decides nothing.

Rows, heights as 8 bytes big-endian: `B`+height final block, `H`+height final header of a block that is not held (any
more), `K`+height final header of a height after which another committee votes, `I`+id height, `T`+transaction id
place, `C`+height its committee where the block is held, `P` from which heights on blocks and headers are held.
`M`, `V`, `S` and `N` are `chain.py`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

from ledger.blocks import FinalBlock, FinalHeader, Header
from ledger.certificates import Committee
from ledger.codec import Range, decode, encode
from ledger.errors import CorruptStore, InvalidBytes
from ledger.store import Reader, WriteBatch
from ledger.types import AMOUNT_MAX

T = TypeVar("T")

BLOCK, BARE_HEADER, CHANGE, BLOCK_ID, PLACE, COMMITTEE = b"B", b"H", b"K", b"I", b"T", b"C"
HELD = b"P"
# Blocks that one batch forgets: some milliseconds, so that it fits between two events of the agreement.
PRUNED_PER_BATCH_MAX = 16


@dataclass(frozen=True, slots=True)
class Held:
    """The lowest heights of which the header, and the whole block, are in the store. A full chain holds both from 1."""

    first_header: Annotated[int, Range(1, AMOUNT_MAX)]
    first_block: Annotated[int, Range(1, AMOUNT_MAX)]


WHOLE_CHAIN = Held(1, 1)


class ChainRows:
    """Reads of one store. Every method raises CorruptStore when a row is not what it says."""

    def __init__(self, store: Reader) -> None:
        self._store = store

    def held(self) -> Held:
        row = self._store.get(HELD)
        return WHOLE_CHAIN if row is None else stored(Held, row, "what the store holds")

    def final_block(self, height: int) -> FinalBlock | None:
        """None where the block is not held, beyond the head and at height 0."""
        row = self._store.get(BLOCK + height_key(height)) if height > 0 else None
        return None if row is None else stored(FinalBlock, row, f"block {height}")

    def header(self, height: int) -> Header | None:
        final = self.final_block(height)
        if final is not None:
            return final.block.header
        bare = self._bare(height)
        return None if bare is None else bare.header

    def final_header(self, height: int) -> FinalHeader | None:
        """Also of heights whose block was dropped; None below the first header, beyond the head and at height 0."""
        final, committee = self.final_block(height), self.committee_at(height)
        if final is None or committee is None:
            return self._bare(height)
        return FinalHeader(final.block.header, final.certificate, committee)

    def committee_at(self, height: int) -> Committee | None:
        row = self._store.get(COMMITTEE + height_key(height)) if height > 0 else None
        if row is None:
            bare = self._bare(height)
            return None if bare is None else bare.committee
        return stored(Committee, row, f"the committee of height {height}")

    def committee_changes(self, after: int, up_to: int) -> Iterator[FinalHeader]:
        """Headers of heights in after+1 .. up_to that hand over to another committee, ascending; O(changes)."""
        first = CHANGE + height_key(max(after, 0) + 1)
        for key, row in self._store.scan(CHANGE, start=first):
            if int.from_bytes(key[1:], "big") > up_to:
                return
            yield stored(FinalHeader, row, f"the change of committee in row {key.hex()}")

    def height_of(self, block_id: bytes) -> int | None:
        row = self._store.get(BLOCK_ID + block_id)
        return None if row is None else int.from_bytes(row, "big")

    def find_transaction(self, transaction_id: bytes) -> tuple[int, int] | None:
        """Height and index of a transaction of a block that is held."""
        row = self._store.get(PLACE + transaction_id)
        return None if row is None else (int.from_bytes(row[:8], "big"), int.from_bytes(row[8:], "big"))

    def _bare(self, height: int) -> FinalHeader | None:
        row = self._store.get(BARE_HEADER + height_key(height)) if height > 0 else None
        return None if row is None else stored(FinalHeader, row, f"header {height}")


def put_block(batch: WriteBatch, final: FinalBlock, committee: Committee, next_committee: Committee) -> None:
    """All rows of a new final block but those of the state and the head."""
    block = final.block
    row = height_key(block.height)
    batch.put(BLOCK + row, encode(final))
    batch.put(BLOCK_ID + block.id, row)
    for at, transaction in enumerate(block.transactions):
        batch.put(PLACE + transaction.id, row + at.to_bytes(4, "big"))
    batch.put(COMMITTEE + height_key(block.height + 1), encode(next_committee))
    if next_committee.hash != committee.hash:
        put_change(batch, FinalHeader(block.header, final.certificate, committee))


def put_change(batch: WriteBatch, final: FinalHeader) -> None:
    batch.put(CHANGE + height_key(final.header.height), encode(final))


def put_base(batch: WriteBatch, final: FinalHeader, next_committee: Committee) -> None:
    """A chain that begins after this header: nothing below it is held, and of its own height no block."""
    height = final.header.height
    batch.put(BARE_HEADER + height_key(height), encode(final))
    batch.put(BLOCK_ID + final.header.id, height_key(height))
    batch.put(COMMITTEE + height_key(height + 1), encode(next_committee))
    batch.put(HELD, encode(Held(height, height + 1)))


def drop_blocks(rows: ChainRows, below: int) -> WriteBatch:
    """A batch that leaves of the lowest blocks under `below` their headers only, PRUNED_PER_BATCH_MAX at most.

    With a block go the places of its transactions; its header, certificate, committee and id stay for good.
    """
    held, batch = rows.held(), WriteBatch()
    end = min(below, held.first_block + PRUNED_PER_BATCH_MAX)
    for height in range(held.first_block, end):
        final, bare = rows.final_block(height), rows.final_header(height)
        if final is None or bare is None:
            raise CorruptStore(f"block {height} is not in the store, which says that it holds all from there on")
        row = height_key(height)
        batch.put(BARE_HEADER + row, encode(bare))
        batch.delete(BLOCK + row)
        batch.delete(COMMITTEE + row)
        for transaction in final.block.transactions:
            batch.delete(PLACE + transaction.id)
    if batch.changes:
        batch.put(HELD, encode(Held(held.first_header, end)))
    return batch


def stored(kind: type[T], row: bytes, what: str) -> T:
    """Our own row as a `kind`. Raises CorruptStore."""
    try:
        return decode(kind, row)
    except InvalidBytes as error:
        raise CorruptStore(f"{what} in the store is damaged: {error}") from None


def height_key(height: int) -> bytes:
    return height.to_bytes(8, "big")
