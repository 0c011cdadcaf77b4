"""Snapshots: each chunk stands for itself, and what is built of them is the chain that they were cut from."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain import HEAD, Chain
from ledger.chain_rows import Held
from ledger.codec import decode, encode
from ledger.errors import CorruptStore, InvalidBytes, InvalidProof, InvalidSnapshot
from ledger.joining import Join, Path
from ledger.memory_store import MemoryStore
from ledger.snapshots import Chunk, Slice, check_chunk, check_slices, slice_at
from ledger.state_tree import StateTree
from ledger.store import Store, WriteBatch
from ledger.transactions import Transfer
from tests.support.league import League, anchored
from tests.support.snapshots import cut, join, snapshot_of


def state_of(count: int, value_bytes: int = 40) -> tuple[MemoryStore, bytes]:
    """Rows `S` and `N` of a map with so many keys, and its root."""
    items = {b"key/%d" % at: bytes([at % 256]) * (1 + at % value_bytes) for at in range(count)}
    update = StateTree(bytes(32), lambda _: None).update(items)  # type: ignore[arg-type]
    rows = {b"S" + key: value for key, value in items.items()}
    return MemoryStore(rows | {b"N" + each: node for each, node in update.new_nodes.items()}), update.root


def rows_of(store: Store, *prefixes: bytes) -> dict[bytes, bytes]:
    return {key: value for prefix in prefixes for key, value in store.scan(prefix)}


@pytest.fixture(scope="module")
def lived() -> League:
    """A league whose committee changes: two of seven seats go to members that rise."""
    league = League(9)
    for period in range(1, 12):
        league.say(*[(key, anchored(period)) for key in league.keys[:3]])
        league.say((league.keys[0], Transfer(league.keys[8].org, period, "")))
    assert len(list(league.chain.committee_changes(0, league.chain.height))) > 1
    return league


# --- chunks


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 600])
@pytest.mark.parametrize("chunk_bytes", [1, 200, 5_000, 10**9])
def test_the_chunks_of_a_state_hold_every_entry_once_and_stand_each_for_itself(count: int, chunk_bytes: int) -> None:
    store, root = state_of(count)
    chunks = cut(store, root, chunk_bytes)
    check_slices([chunk.slice for chunk in chunks])
    nodes: dict[bytes, bytes] = {}
    for chunk in chunks:
        nodes |= check_chunk(root, chunk.slice, decode(Chunk, encode(chunk)))
    entries = [(b"S" + entry.key, entry.value) for chunk in chunks for entry in chunk.entries]
    assert len(entries) == count
    assert dict(entries) | {b"N" + each: node for each, node in nodes.items()} == rows_of(store, b"S", b"N")


def test_one_state_is_cut_in_one_way_and_a_smaller_chunk_is_a_part_of_a_larger_one() -> None:
    store, root = state_of(300)
    assert cut(store, root, 700) == cut(store, root, 700)
    coarse, fine = cut(store, root, 4_000), cut(store, root, 700)
    assert 1 < len(coarse) < len(fine)
    assert {chunk.slice.first for chunk in coarse} <= {chunk.slice.first for chunk in fine}
    assert all(len(chunk.entries) < 2 or sum(each.size for each in chunk.entries) <= 700 for chunk in fine)


def test_any_flipped_bit_of_a_chunk_is_refused() -> None:
    store, root = state_of(12)
    for chunk in cut(store, root, 150):
        good = encode(chunk)
        for at in range(len(good)):
            for bit in (0, 3, 7):
                bad = bytearray(good)
                bad[at] ^= 1 << bit
                with pytest.raises((InvalidBytes, InvalidSnapshot)):
                    check_chunk(root, chunk.slice, decode(Chunk, bytes(bad)))


def damaged(chunk: Chunk, other: Chunk) -> Iterator[Chunk]:
    """A chunk in every way that it can be told wrongly."""
    entries = chunk.entries
    yield replace(chunk, entries=entries[1:])
    yield replace(chunk, entries=entries[:-1])
    yield replace(chunk, entries=())
    yield replace(chunk, entries=(*entries, entries[-1]))
    yield replace(chunk, entries=tuple(reversed(entries)))
    yield replace(chunk, entries=other.entries)
    yield replace(chunk, entries=(*entries, *other.entries))
    yield replace(chunk, entries=(replace(entries[0], value=b"more" + entries[0].value), *entries[1:]))
    yield replace(chunk, siblings=chunk.siblings[1:])
    yield replace(chunk, siblings=(bytes(32), *chunk.siblings))
    yield replace(chunk, siblings=other.siblings)
    yield replace(chunk, slice=other.slice)
    yield other


def test_a_missing_a_doubled_a_foreign_or_a_changed_entry_is_refused() -> None:
    store, root = state_of(40)
    chunks = cut(store, root, 400)
    assert len(chunks) >= 4
    for chunk, other in itertools.pairwise(chunks):
        assert len(chunk.entries) > 1, "the damage below must be damage"
        for bad in damaged(chunk, other):
            with pytest.raises(InvalidSnapshot):
                check_chunk(root, chunk.slice, bad)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2**12)), max_size=12))
def test_slices_are_taken_only_when_each_key_falls_into_exactly_one(parts: list[tuple[int, int]]) -> None:
    slices = [slice_at(depth, prefix % (1 << depth)) for depth, prefix in parts]
    points = {edge for each in slices for edge in (each.first, each.end - 1)} | {0, 2**256 - 1}
    covered = all(sum(each.first <= point < each.end for each in slices) == 1 for point in points)
    whole = covered and sum(each.end - each.first for each in slices) == 2**256
    ascending = slices == sorted(slices, key=lambda each: each.first)
    if whole and ascending:
        check_slices(slices)
    else:
        with pytest.raises(InvalidSnapshot):
            check_slices(slices)


@pytest.mark.parametrize(
    "bad", [Slice(0, b"\x00"), Slice(1, b""), Slice(1, b"\x01"), Slice(9, b"\x00"), Slice(3, b"\xe1")]
)
def test_a_slice_is_written_in_one_way(bad: Slice) -> None:
    with pytest.raises(InvalidSnapshot, match="bits with prefix"):
        check_slices([bad])


# --- joining


def test_a_joined_chain_has_the_servers_state_tree_changes_and_head(lived: League) -> None:
    store = MemoryStore()
    chain = join(store, lived.genesis, lived.chain)
    assert rows_of(store, b"S", b"N", b"K", b"V", HEAD) == rows_of(lived.store, b"S", b"N", b"K", b"V", HEAD)
    assert rows_of(store, b"Q") == {}
    assert chain.held == Held(chain.height, chain.height + 1)
    assert chain.final_header(chain.height) == lived.chain.final_header(chain.height)
    assert chain.final_block(chain.height) is None
    assert chain.header(chain.height - 1) is None
    assert chain.committee() == lived.chain.committee()
    assert chain.leaders() == lived.chain.leaders()


def test_a_joined_chain_goes_on_like_the_others() -> None:
    league = League(7)
    league.say((league.keys[0], anchored(1)))
    store = MemoryStore()
    chain = join(store, league.genesis, league.chain)
    for period in range(2, 20):
        final = league.say((league.keys[period % 7], anchored(period)))
        chain.append(final)
    assert rows_of(store, b"S", b"N", HEAD) == rows_of(league.store, b"S", b"N", HEAD)
    assert chain.held.first_block == 2
    assert chain.final_block(2) == league.chain.final_block(2)
    assert Chain(store, league.genesis).height == league.chain.height


class PowerCut(Exception):
    pass


class FailingStore(MemoryStore):
    """Fails instead of the write with this number; what was written before stays."""

    def __init__(self, rows: dict[bytes, bytes], fail_at: int) -> None:
        super().__init__(rows)
        self.writes_left = fail_at

    def write(self, batch: WriteBatch, sync: bool = True) -> None:
        if self.writes_left == 0:
            raise PowerCut
        self.writes_left -= 1
        super().write(batch, sync)


def test_a_crash_at_any_step_of_joining_leaves_no_head_and_can_be_gone_on_from(lived: League) -> None:
    whole = MemoryStore()
    join(whole, lived.genesis, lived.chain)
    wanted = dict(whole.scan())
    steps = 0
    while True:
        store = FailingStore({}, steps)
        try:
            join(store, lived.genesis, lived.chain)
        except PowerCut:
            assert store.get(HEAD) is None
        else:
            break
        resumed = MemoryStore(dict(store.scan()))
        join(resumed, lived.genesis, lived.chain)
        assert dict(resumed.scan()) == wanted, f"after a crash at write {steps}"
        steps += 1
    assert steps > 12


def test_what_was_fetched_of_another_snapshot_is_thrown_away(lived: League) -> None:
    league = League(9)
    league.say((league.keys[0], anchored(1)))
    store = MemoryStore()
    snapshot, chunks = snapshot_of(league.chain)
    joining = Join(store, league.genesis, snapshot)
    joining.add(chunks[0].slice, chunks[0])
    assert next(joining.missing()) != chunks[0].slice
    assert next(Join(store, league.genesis, snapshot).missing()) != chunks[0].slice, "the same one goes on"
    league.say((league.keys[1], anchored(1)))
    newer = join(store, league.genesis, league.chain)
    assert rows_of(store, b"S", b"N") == rows_of(league.store, b"S", b"N")
    assert newer.height == 2


def test_a_header_that_does_not_descend_from_the_genesis_is_not_joined(lived: League) -> None:
    strangers = League(9, balance=5)
    strangers.say((strangers.keys[0], anchored(1)))
    forged = strangers.chain.final_header(1)
    assert forged is not None
    with pytest.raises(InvalidProof):
        Path(lived.genesis, MemoryStore(), forged).arrive()
    # The right header without the changes that lead to it, and with one of them left out.
    final = lived.chain.final_header(lived.chain.height)
    assert final is not None
    changes = list(lived.chain.committee_changes(0, lived.chain.height))
    with pytest.raises(InvalidProof):
        Path(lived.genesis, MemoryStore(), final).arrive()
    with pytest.raises(InvalidProof):
        Path(lived.genesis, MemoryStore(), final).follow(changes[1:])
    path = Path(lived.genesis, MemoryStore(), final)
    path.follow(changes)
    with pytest.raises(InvalidProof):
        path.follow(changes[-1:])


def test_a_wrong_change_costs_none_of_the_right_ones_before_it(lived: League) -> None:
    final = lived.chain.final_header(lived.chain.height)
    assert final is not None
    changes = list(lived.chain.committee_changes(0, lived.chain.height))
    store = MemoryStore()
    wrong = replace(changes[1], header=replace(changes[1].header, next_committee=bytes(32)))
    with pytest.raises(InvalidProof):
        Path(lived.genesis, store, final).follow([changes[0], wrong])
    again = Path(lived.genesis, store, final)
    assert again.trusted.height == changes[0].header.height
    again.follow(changes[1:])
    again.arrive()


def test_a_state_that_elects_others_than_its_header_says_is_not_finished(lived: League) -> None:
    snapshot, chunks = snapshot_of(lived.chain)
    other = replace(snapshot.final, header=replace(snapshot.final.header, next_committee=bytes(32)))
    store = MemoryStore()
    joining = Join(store, lived.genesis, replace(snapshot, final=other))
    for chunk in chunks:
        joining.add(chunk.slice, chunk)
    with pytest.raises(InvalidSnapshot, match="elects another committee"):
        joining.finish()
    assert store.get(HEAD) is None


# --- pruning blocks


def test_a_chain_without_its_old_blocks_keeps_headers_committees_and_proofs(lived: League) -> None:
    store = MemoryStore(dict(lived.store.scan()))
    chain = Chain(store, lived.genesis)
    before = [chain.final_header(height) for height in range(1, chain.height + 1)]
    changes = list(chain.committee_changes(0, chain.height))
    dropped = chain.final_block(3)
    assert dropped is not None
    while chain.drop_blocks(below=chain.height - 2):
        pass
    assert chain.held == Held(1, chain.height - 2)
    assert [chain.final_header(height) for height in range(1, chain.height + 1)] == before
    assert [chain.committee_at(height) for height in range(1, 4)] == [each.committee for each in before[:3] if each]
    assert list(chain.committee_changes(0, chain.height)) == changes
    assert chain.final_block(3) is None
    assert chain.header(3) == dropped.block.header
    assert chain.height_of(dropped.block.id) == 3
    assert chain.find_transaction(dropped.block.transactions[0].id) is None
    assert chain.final_block(chain.height - 2) == lived.chain.final_block(chain.height - 2)
    assert not chain.drop_blocks(below=chain.height - 2)
    assert Chain(store, lived.genesis).held == chain.held


def test_the_heads_block_is_never_dropped() -> None:
    league = League(4)
    for _ in range(3):
        league.commit()
    while league.chain.drop_blocks(below=10**6):
        pass
    assert league.chain.held == Held(1, 3)
    league.commit()
    assert league.chain.final_block(4) is not None


def test_a_hole_among_the_blocks_stops_the_pruning() -> None:
    league = League(4)
    for _ in range(3):
        league.commit()
    league.store.write(WriteBatch({b"B" + (1).to_bytes(8, "big"): None}))
    with pytest.raises(CorruptStore, match="block 1 is not in the store"):
        league.chain.drop_blocks(below=3)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.binary(min_size=1, max_size=12), st.binary(max_size=30), max_size=40), st.integers(1, 500))
def test_any_map_comes_back_from_its_chunks(items: dict[bytes, bytes], chunk_bytes: int) -> None:
    update = StateTree(bytes(32), lambda _: None).update(items)  # type: ignore[arg-type]
    rows = {b"S" + key: value for key, value in items.items()}
    store = MemoryStore(rows | {b"N" + each: node for each, node in update.new_nodes.items()})
    rebuilt: dict[bytes, bytes] = {}
    for chunk in cut(store, update.root, chunk_bytes):
        nodes = check_chunk(update.root, chunk.slice, chunk)
        rebuilt |= {b"N" + each: node for each, node in nodes.items()}
        rebuilt |= {b"S" + entry.key: entry.value for entry in chunk.entries}
    assert rebuilt == dict(store.scan())


def test_a_snapshot_of_a_height_that_changes_the_committee_is_joined_too() -> None:
    league = League(9)
    for period in range(1, 40):
        final = league.say(*[(key, anchored(period)) for key in league.keys[:3]])
        if final.block.header.next_committee != final.block.header.committee:
            break
    joined = join(MemoryStore(), league.genesis, league.chain)
    assert joined.committee() == league.chain.committee()
    changes = list(joined.committee_changes(0, joined.height))
    assert changes[-1].header.height == joined.height


def test_every_version_of_the_program_cuts_the_same_chunks() -> None:
    """A joiner takes chunks of one snapshot from members that run different versions."""
    store, root = state_of(300)
    chunks = cut(store, root, 700)
    assert len(chunks) == 27
    together = sha256(b"".join(encode(chunk) for chunk in chunks)).hexdigest()
    assert together == "6af3c39e6769d0fbe5adf70f63ea1d44a640dfc7cae58191429a2058ae11ffe7"
