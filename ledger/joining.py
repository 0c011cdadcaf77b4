"""A chain built from a snapshot: into a store of its own, chunk by chunk, the head last. Pure but for that store.

Trust: from the genesis, along the headers at which the committee changed, each signed by the committee in office, to
the snapshot's header; every chunk is checked against its state root. What is skipped is the re-execution of older
blocks: a quorum of their committees vouches for the outcome, as it does towards any light client.

A crash leaves a store without a head, which goes on where it stopped or is emptied; nothing else looks at such a store.
Rows beside those of `chain.py` and `chain_rows.py`, gone at the end: `Q` the snapshot that is joined, `Q`+slice what of
it is in.
"""

from collections.abc import Iterator, Sequence

from ledger.blocks import FinalHeader
from ledger.certificates import Committee
from ledger.chain import HEAD, LAYOUT, LAYOUT_KEY, Head
from ledger.chain_rows import ChainRows, height_key, put_base, put_change, stored
from ledger.codec import encode
from ledger.election import committee_of
from ledger.entries import ELECTION, Election
from ledger.errors import InvalidProof, InvalidSnapshot
from ledger.genesis import Genesis
from ledger.light import NO_SKIPPING, Trusted, advance, check_final_header, trust_genesis, trust_header
from ledger.snapshots import Chunk, Slice, Snapshot, check_chunk, check_slices
from ledger.store import Store, WriteBatch
from ledger.types import Hash32

JOINED = b"Q"
# Rows that one batch deletes of what an earlier attempt left.
DELETED_PER_BATCH_MAX = 10_000


class Path:
    """The way of trust from the genesis to a snapshot's header, as far as it has been shown."""

    def __init__(self, genesis: Genesis, store: Store, final: FinalHeader) -> None:
        """To `final`, from the changes that `store` holds of an earlier attempt, which were checked on their way in.

        Raises InvalidProof when those are not of this league.
        """
        self._store = store
        self._final = final
        self.trusted: Trusted = trust_genesis(genesis)
        for change in ChainRows(store).committee_changes(0, final.header.height):
            self.trusted = trust_header(change)
        if self.trusted.chain_id != genesis.chain_id:
            raise InvalidProof(f"what was fetched before is of chain {self.trusted.chain_id.hex()[:16]}")

    def follow(self, changes: Sequence[FinalHeader]) -> None:
        """Later changes of the committee, ascending. Raises InvalidProof; those before the wrong one stay."""
        batch = WriteBatch()
        try:
            for change in changes:
                following = advance(self.trusted, change, NO_SKIPPING)
                if change.header.next_committee == change.header.committee or following.height == self.trusted.height:
                    raise InvalidProof(f"the committee does not change at height {change.header.height}")
                self.trusted = following
                put_change(batch, change)
        finally:
            self._store.write(batch, sync=False)

    def arrive(self) -> None:
        """That the league made the snapshot's header final. Raises InvalidProof, also when changes are missing."""
        if self.trusted.block == self._final.header.id:
            check_final_header(self._final)  # the last change is the snapshot's own height
        else:
            advance(self.trusted, self._final, NO_SKIPPING)


class Join:
    """One snapshot on its way into `store`. Its header must have passed `Path.arrive`.

    What the store holds of another snapshot is deleted; of the same one it is kept. Raises InvalidSnapshot when the
    slices leave something out.
    """

    def __init__(self, store: Store, genesis: Genesis, snapshot: Snapshot) -> None:
        check_slices(snapshot.slices)
        self._store = store
        self._genesis = genesis
        self.snapshot = snapshot
        self._root = snapshot.final.header.state_root
        if store.get(JOINED) != snapshot.id:
            # The mark goes first: a crash in the midst of this leaves a store that is emptied again.
            for prefix in (JOINED, b"S", b"N"):
                _delete_all(store, prefix)
            store.write(WriteBatch({JOINED: snapshot.id}), sync=False)

    @property
    def height(self) -> int:
        return self.snapshot.final.header.height

    def missing(self) -> Iterator[Slice]:
        """What is not in yet, ascending."""
        return (each for each in self.snapshot.slices if self._store.get(JOINED + encode(each)) is None)

    def add(self, wanted: Slice, chunk: Chunk) -> None:
        """Put a chunk where it belongs. Raises InvalidSnapshot, and nothing has happened."""
        nodes = check_chunk(self._root, wanted, chunk)
        batch = WriteBatch({b"N" + node_id: node for node_id, node in nodes.items()})
        for entry in chunk.entries:
            batch.put(b"S" + entry.key, entry.value)
        batch.put(JOINED + encode(wanted), b"")
        # Unsynced: after a power cut the chunks before some moment are in, and the rest is fetched again.
        self._store.write(batch, sync=False)

    def finish(self) -> None:
        """Make the store a chain whose head is the snapshot's header, synced. Raises InvalidSnapshot.

        All chunks must be in.
        """
        assert not any(True for _ in self.missing()), "a chunk is missing"
        final = self.snapshot.final
        committee = self._elected()
        if committee.hash != final.header.next_committee:
            raise InvalidSnapshot(f"the state of height {self.height} elects another committee than its header says")
        batch = WriteBatch()
        for key, _ in self._store.scan(JOINED):
            batch.delete(key)
        put_base(batch, final, committee)
        if final.header.next_committee != final.header.committee:
            put_change(batch, final)
        batch.put(LAYOUT_KEY, height_key(LAYOUT))
        head = Head(self.height, final.header.id, final.header.time, Hash32(self._root), Hash32(self._genesis.chain_id))
        batch.put(HEAD, encode(head))
        self._store.write(batch, sync=True)

    def _elected(self) -> Committee:
        row = self._store.get(b"S" + ELECTION)
        if row is None:
            raise InvalidSnapshot(f"the state of height {self.height} has no election")
        return committee_of(stored(Election, row, "the election"))


def _delete_all(store: Store, prefix: bytes) -> None:
    while keys := [key for key, _ in store.scan(prefix, limit=DELETED_PER_BATCH_MAX)]:
        store.write(WriteBatch(dict.fromkeys(keys)), sync=False)
