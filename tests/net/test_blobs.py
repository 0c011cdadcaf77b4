"""Blobs: published whole or not at all, fetched from whoever has them, resumed, never believed."""

import errno
import os
import random
from dataclasses import replace

import pytest
import trio

from ledger.codec import digest, encode
from ledger.types import BLOB_BYTES_MAX
from node.network import blob_exchange
from node.network.blob_exchange import KIND, PIECE_BYTES, BlobExchange, BlobUnavailable, Offered, Wanted
from node.network.blob_store import (
    PARTIAL_FILES_MAX,
    BlobStore,
    CorruptBlob,
    InvalidBlob,
    MissingBlob,
    NoSpaceForBlob,
    blob_digest,
    blob_hasher,
)
from tests.support.leagues import QUICK, connected, league, wait_until


def blob_of(size, seed=1):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "blobs")


def test_the_name_of_a_blob_is_its_tagged_digest_in_one_piece_or_many():
    data = blob_of(1000)
    hasher = blob_hasher()
    for at in range(0, 1000, 7):
        hasher.update(data[at : at + 7])
    assert blob_digest(data) == digest("blob", data) == hasher.digest()


def test_what_is_put_can_be_read_measured_listed_and_deleted(store):
    data = blob_of(5000)
    name = store.put(data)
    assert store.put(data) == name
    assert name in store
    assert list(store) == [name]
    assert (len(store), store.size(name), store.bytes_stored) == (1, 5000, 5000)
    assert store.read(name) == data
    assert store.read_range(name, 4990, 100) == data[4990:]
    store.delete(name)
    store.delete(name)
    assert name not in store
    assert store.bytes_stored == 0
    for ask in (store.read, store.size, store.path, lambda each: store.read_range(each, 0, 1)):
        with pytest.raises(MissingBlob):
            ask(name)


def test_blobs_are_there_after_a_restart_and_a_crash_during_put_leaves_none(store, tmp_path):
    name = store.put(blob_of(100))
    leftover = store.path(name).with_name("ab" * 32 + ".new")
    leftover.write_bytes(b"half a bl")
    again = BlobStore(tmp_path / "blobs")
    assert list(again) == [name]
    assert again.bytes_stored == 100
    assert not leftover.exists()


def test_a_changed_file_is_our_own_fault_and_said_so(store):
    name = store.put(blob_of(100))
    store.path(name).write_bytes(blob_of(100, seed=2))
    with pytest.raises(CorruptBlob, match=name.hex()):
        store.read(name)


def test_a_file_that_was_taken_away_is_missing_and_can_be_stored_again(store):
    looks = (store.read, store.path, lambda name: store.read_range(name, 0, 10))
    for seed, look in enumerate(looks):
        name = store.put(blob_of(1000, seed=seed))
        store.path(name).unlink()
        with pytest.raises(MissingBlob):
            look(name)
        assert name not in store
        assert store.put(blob_of(1000, seed=seed)) == name
        assert store.read(name) == blob_of(1000, seed=seed)
    assert store.bytes_stored == 1000 * len(looks)


def test_a_full_store_refuses_and_keeps_what_it_has(tmp_path):
    store = BlobStore(tmp_path / "blobs", capacity_bytes=1000)
    name = store.put(blob_of(600))
    with pytest.raises(NoSpaceForBlob, match="600 of 1000"):
        store.put(blob_of(500, seed=2))
    assert store.read(name) == blob_of(600)
    store.delete(name)
    store.put(blob_of(500, seed=2))


def test_a_full_disk_is_said_in_plain_words_and_costs_nothing(store, monkeypatch):
    name = store.put(blob_of(600))

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceForBlob, match="no room on the disk for 500 bytes"):
        store.put(blob_of(500, seed=2))
    monkeypatch.undo()
    assert list(store) == [name]
    assert not list(store.path(name).parent.parent.glob("*/*.new"))
    store.put(blob_of(500, seed=2))


def test_a_blob_beyond_the_limit_is_refused(store):
    with pytest.raises(InvalidBlob, match="want at most"):
        store.make_room(BLOB_BYTES_MAX + 1)


def test_a_partial_blob_goes_on_after_a_restart_and_a_wrong_one_starts_again(store, tmp_path):
    data = blob_of(3000)
    name = blob_digest(data)
    with store.resume(name) as partial:
        partial.append(data[:1000])
        assert name not in store
    store = BlobStore(tmp_path / "blobs")
    with store.resume(name) as partial:
        assert partial.arrived == 1000
        partial.append(data[1000:2999] + b"?")
        with pytest.raises(InvalidBlob, match="digest"):
            partial.publish()
        assert partial.arrived == 0
        partial.append(data)
        partial.publish()
    assert store.read(name) == data
    with store.resume(name) as partial:
        assert partial.arrived == 0


def test_abandoned_partial_files_are_bounded(store, tmp_path):
    for number in range(PARTIAL_FILES_MAX + 10):
        with store.resume(digest("test", b"%d" % number)) as partial:
            partial.append(b"x")
        os.utime(tmp_path / "blobs/partial" / digest("test", b"%d" % number).hex(), (number, number))
    store.trim_partials()
    left = {path.name for path in (tmp_path / "blobs/partial").iterdir()}
    assert left == {digest("test", b"%d" % number).hex() for number in range(10, PARTIAL_FILES_MAX + 10)}


@pytest.fixture(params=["memory", "libp2p"])
def kind(request):
    return request.param


def exchange_of(node, tmp_path, name, **options):
    store = BlobStore(tmp_path / name, **options)
    return BlobExchange(node, store), store


@pytest.mark.trio
async def test_a_blob_is_fetched_with_progress(kind, tmp_path):
    async with league(kind, "alice", "bob") as (alice, bob):
        fetching, mine = exchange_of(alice, tmp_path, "alice")
        _, theirs = exchange_of(bob, tmp_path, "bob")
        for size in (0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 17):
            data = blob_of(size)
            name = theirs.put(data)
            heard = []
            await fetching.fetch(name, [bob.me], progress=lambda *what, heard=heard: heard.append(what))
            assert mine.read(name) == data
            assert [arrived for _, arrived, _ in heard] == [
                *range(PIECE_BYTES, size, PIECE_BYTES),
                *([size] if size else []),
            ]
            await fetching.fetch(name, [])


@pytest.mark.trio
async def test_sources_are_tried_in_turn_and_what_they_said_is_told(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(blob_exchange, "_PAUSE_S", 0.01)
    async with league(kind, "alice", "bob", "carol") as (alice, bob, carol):
        fetching, mine = exchange_of(alice, tmp_path, "alice")
        exchange_of(bob, tmp_path, "bob")
        _, hers = exchange_of(carol, tmp_path, "carol")
        name = hers.put(blob_of(1000))
        await fetching.fetch(name, [bob.me, carol.me])
        assert mine.read(name) == blob_of(1000)
        with pytest.raises(BlobUnavailable, match=f"{bob.me.hex()[:16]}: missing"):
            await fetching.fetch(digest("blob", b"nowhere"), [bob.me])
        with pytest.raises(BlobUnavailable, match="nobody to ask"):
            await fetching.fetch(digest("blob", b"nowhere"), [])
        larger = hers.put(blob_of(2000))
        with pytest.raises(BlobUnavailable, match="2000 bytes, want at most 1999"):
            await fetching.fetch(larger, [carol.me], size_max=1999)


@pytest.mark.trio
async def test_a_source_that_lies_is_found_out_and_the_next_one_serves(kind, tmp_path):
    async with league(kind, "alice", "mallory", "carol") as (alice, mallory, carol):
        fetching, mine = exchange_of(alice, tmp_path, "alice")
        _, hers = exchange_of(carol, tmp_path, "carol")
        data = blob_of(2 * PIECE_BYTES)
        name = hers.put(data)
        verdicts = []

        async def lie(channel):
            await channel.receive(64)
            await channel.send(encode(Offered(len(data))))
            await channel.send(bytes(PIECE_BYTES))
            await channel.send(bytes(PIECE_BYTES))
            verdicts.append(await channel.receive(16))

        mallory.serve_channel(KIND, lie, concurrent_per_peer=1)
        await fetching.fetch(name, [mallory.me, carol.me])
        assert mine.read(name) == data
        await wait_until(lambda: verdicts == [b"wrong"])


@pytest.mark.trio
async def test_a_liar_that_sends_one_piece_at_a_time_cannot_keep_a_blob_from_us(kind, tmp_path):
    async with league(kind, "alice", "mallory", "carol") as (alice, mallory, carol):
        fetching, mine = exchange_of(alice, tmp_path, "alice")
        _, hers = exchange_of(carol, tmp_path, "carol")
        data = blob_of(3 * PIECE_BYTES)

        async def spoil(channel):
            await channel.receive(64)
            await channel.send(encode(Offered(len(data))))
            await channel.send(bytes(PIECE_BYTES))

        mallory.serve_channel(KIND, spoil, concurrent_per_peer=1)
        name = hers.put(data)
        await fetching.fetch(name, [mallory.me, carol.me])
        assert mine.read(name) == data


@pytest.mark.trio
async def test_a_transfer_that_breaks_goes_on_where_it_stopped(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(blob_exchange, "_PAUSE_S", 0.01)
    async with league(kind, "alice", "flaky", "carol") as (alice, flaky, carol):
        fetching, mine = exchange_of(alice, tmp_path, "alice")
        data = blob_of(4 * PIECE_BYTES)
        name = blob_digest(data)
        asked = []

        async def one_piece_each_time(channel):
            wanted = blob_exchange.decode(Wanted, await channel.receive(64))
            asked.append(wanted.offset)
            await channel.send(encode(Offered(len(data))))
            await channel.send(data[wanted.offset : wanted.offset + PIECE_BYTES])

        for node in (flaky, carol):
            node.serve_channel(KIND, one_piece_each_time, concurrent_per_peer=4)
        # The last one finishes without hearing the verdict, which is no reason to fetch again.
        await fetching.fetch(name, [flaky.me, carol.me])
        assert mine.read(name) == data
        assert asked == [0, PIECE_BYTES, 2 * PIECE_BYTES, 3 * PIECE_BYTES]


@pytest.mark.trio
async def test_two_fetches_of_one_blob_become_one_and_many_take_turns(kind, tmp_path):
    async with league(kind, "alice", "bob") as (alice, bob):
        fetching, mine = exchange_of(alice, tmp_path, "alice")
        served = []
        data = {blob_digest(each): each for each in (blob_of(100, seed) for seed in range(12))}

        async def serve(channel):
            name = blob_exchange.decode(Wanted, await channel.receive(64)).digest
            served.append(name)
            await channel.send(encode(Offered(100)))
            await channel.send(data[name])
            await channel.receive(16)

        bob.serve_channel(KIND, serve, concurrent_per_peer=blob_exchange.FETCHES_MAX)
        async with trio.open_nursery() as nursery:
            for name in [*data, *data]:
                nursery.start_soon(fetching.fetch, name, [bob.me])
        assert sorted(served) == sorted(data)
        assert sorted(mine) == sorted(data)
        assert not fetching._under_way


@pytest.mark.trio
async def test_a_full_store_stops_a_fetch_before_it_begins(kind, tmp_path):
    async with league(kind, "alice", "bob") as (alice, bob):
        fetching, _ = exchange_of(alice, tmp_path, "alice", capacity_bytes=1500)
        _, theirs = exchange_of(bob, tmp_path, "bob")
        await fetching.fetch(theirs.put(blob_of(1000)), [bob.me])
        with pytest.raises(NoSpaceForBlob):
            await fetching.fetch(theirs.put(blob_of(1000, seed=2)), [bob.me])


@pytest.mark.trio
async def test_a_fetch_survives_connections_that_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(blob_exchange, "_ROUNDS", 20)
    limits = replace(QUICK, backoff_first_s=0.02)
    async with league("libp2p", "alice", "bob", limits=limits) as (alice, bob):
        fetching, mine = exchange_of(alice, tmp_path, "alice")
        _, theirs = exchange_of(bob, tmp_path, "bob")
        data = blob_of(12 * PIECE_BYTES)
        name = theirs.put(data)
        heard = []

        def cut_now_and_then(_name, arrived, _size):
            heard.append(arrived)
            if len(heard) in (3, 7):
                for connection in alice._host.connections.get(bob.me, []):
                    connection.abort()

        await fetching.fetch(name, [bob.me], progress=cut_now_and_then)
        assert mine.read(name) == data
        # Not a byte was fetched twice.
        assert heard == sorted(set(heard))
        await wait_until(lambda: connected(alice, bob.me))
