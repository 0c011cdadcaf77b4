"""What a peer may try: forged identities, floods, garbage, streams never finished. It costs its own connection only.

Each test names a defect of the library that was reproduced before it was closed.
"""

import os
import random
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from node.network import libp2p_repairs
from node.network.addresses import parse_address
from node.network.channel import FramedChannel
from node.network.libp2p_host import Host
from node.network.libp2p_transport import ASK_PROTOCOL, open_transport
from node.network.link import SESSION_BYTES, Outbox
from node.network.member_link import LINK_PROTOCOL
from node.network.transport import PeerUnreachable, RequestRefused
from node.network.wire import FrameKind, frame
from tests.support.leagues import (
    CHAIN,
    QUICK,
    all_connected,
    config_of,
    connected,
    key_of,
    league,
    wait_until,
)

MULTISTREAM = b"\x13/multistream/1.0.0\n"


def port_of(node):
    return parse_address(node.listening[0]).port


@asynccontextmanager
async def bare_host(name, nursery):
    """A peer with this key that follows no rules of ours: it can open what it likes."""
    yield Host(
        key_of(name), QUICK, nursery, lambda org, network: True, lambda org: True, lambda org: None, lambda c: None
    )


async def echo(_org, body):
    return body


def serve_echo(node, **changes):
    node.serve("echo", echo, **{"body_bytes_max": 2**20, "concurrent_per_peer": 8} | changes)


def inner_state(node):
    """(connections, streams that Yamux keeps) of a node."""
    connections = [each for known in node._host.connections.values() for each in known]
    return len(connections), sum(len(each.muxer.streams) for each in connections)


def test_the_library_is_the_one_that_was_repaired(monkeypatch):
    libp2p_repairs.check_library()
    monkeypatch.setattr(libp2p_repairs.importlib.metadata, "version", lambda name: "0.8.2")
    with pytest.raises(RuntimeError, match=r"0\.8\.2 is installed, want 0\.8\.1"):
        libp2p_repairs.check_library()


def test_a_name_that_is_no_longer_there_to_repair_is_noticed(monkeypatch):
    monkeypatch.delattr(libp2p_repairs.yamux, "MAX_MESSAGE_SIZE")
    with pytest.raises(RuntimeError, match=r"yamux\.MAX_MESSAGE_SIZE"):
        libp2p_repairs.check_library()


@pytest.mark.trio
@pytest.mark.parametrize("protocol", ["/plaintext/2.0.0", "/tls/1.0.0", "/secio/1.0.0"])
async def test_no_identity_can_be_forged_through_another_security_protocol(protocol):
    """Defect: the default host accepts plaintext, where an identity is only said, not proven."""
    async with league("libp2p", "alice", "bob") as (alice, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(alice))
        line = protocol.encode() + b"\n"
        async with stream:
            await stream.send_all(MULTISTREAM + bytes([len(line)]) + line)
            answer = b""
            with trio.fail_after(5):
                while len(answer) < len(MULTISTREAM) + 4:
                    answer += await stream.receive_some()
        assert answer == MULTISTREAM + b"\x03na\n"


@pytest.mark.trio
async def test_who_is_no_member_is_refused_right_after_the_handshake_when_there_are_too_many():
    limits = replace(QUICK, strangers_max=2, stranger_lifetime_s=0.6)
    async with open_transport(config_of("alice", limits)) as alice, trio.open_nursery() as nursery:
        place = parse_address(alice.listening[0])
        opened = []
        for name in ("one", "two"):
            async with bare_host(name, nursery) as host:
                opened.append(await host.dial(place, alice.me))
        async with bare_host("three", nursery) as host:
            with pytest.raises(PeerUnreachable):
                await host.dial(place, alice.me)
        assert not opened[0].ended.is_set()
        # A stranger reaches nothing but what is meant for it, and not for long.
        stream = await opened[0].open_stream(LINK_PROTOCOL)
        await stream.write(Outbox(bytes(SESSION_BYTES), CHAIN, QUICK).hello())
        assert (await stream.read())[0] == FrameKind.REFUSAL
        await wait_until(lambda: opened[0].ended.is_set() and opened[1].ended.is_set())
        assert inner_state(alice) == (0, 0)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_key_other_than_the_address_names_is_refused_by_who_dials():
    async with league("libp2p", "alice", "mallory", meet=False) as (alice, mallory):
        bob = key_of("bob").org
        alice.set_members({bob: (mallory.listening[0].partition("/p2p/")[0],)})
        await wait_until(lambda: alice.peers()[0].last_error)
        assert not connected(alice, bob)


@pytest.mark.trio
async def test_a_handler_that_raises_costs_one_stream_not_the_process():
    """Defect: an exception in a stream handler climbs to the host and ends the process."""
    async with league("libp2p", "alice", "bob", "carol") as (alice, bob, carol):

        async def broken(channel):
            await channel.receive(100)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise KeyError("a bug")

        bob.serve_channel("broken", broken, concurrent_per_peer=4)
        serve_echo(bob)
        for _ in range(3):
            async with alice.channel(bob.me, "broken", 5) as channel:
                await channel.send(b"x")
                with pytest.raises(RequestRefused, match="failed: KeyError"):
                    await channel.receive(100)
        assert await alice.request(bob.me, "echo", b"fine", 5) == b"fine"
        assert await carol.request(bob.me, "echo", b"fine", 5) == b"fine"


@pytest.mark.trio
async def test_garbage_on_our_protocols_from_a_member_costs_its_stream_only():
    chance = random.Random(5)
    async with league("libp2p", "alice", "carol") as (alice, carol), trio.open_nursery() as nursery:
        serve_echo(alice)
        host_org = key_of("mallory").org
        alice.set_members({carol.me: carol.listening, host_org: ()})
        async with bare_host("mallory", nursery) as host:
            connection = await host.dial(parse_address(alice.listening[0]), alice.me)
            hello = Outbox(bytes(SESSION_BYTES), CHAIN, QUICK).hello()
            words = [
                b"",
                b"\xff" * 40,
                frame(FrameKind.MESSAGE, b"no hello before"),
                hello + hello,
                hello + frame(FrameKind.MESSAGE, b"short"),
                hello + bytes([FrameKind.MESSAGE]) + b"\xff" * 7,
                hello + frame(FrameKind.PING, b"too many bytes"),
                frame(FrameKind.HELLO, b"x"),
                frame(FrameKind.DATA, b"\xff\xfe"),
                frame(FrameKind.DATA, bytes(65)),
                *[chance.randbytes(chance.randrange(1, 200)) for _ in range(20)],
            ]
            for protocol in (LINK_PROTOCOL, ASK_PROTOCOL, "/unknown/1"):
                for said in words:
                    stream = await connection.open_stream(protocol)
                    await stream.write(said)
                    await stream.finish(True)
            assert await carol.request(alice.me, "echo", b"fine", 5) == b"fine"
            # The member that talked nonsense is still there, as far as its connection goes; its requests have to wait.
            stream = await connection.open_stream(ASK_PROTOCOL)
            channel = FramedChannel(stream, alice.me, 5)
            await channel.send_all(b"echo", b"sorry")
            with pytest.raises(RequestRefused, match="paused"):
                await channel.receive(100)
            await stream.finish(True)
            shown = {peer.org: peer for peer in alice.peers()}
            assert shown[host_org].paused
            assert shown[host_org].faults >= 3
            assert shown[carol.me].faults == 0
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_garbage_bytes_before_and_in_the_handshake_leave_nothing_behind():
    chance = random.Random(6)
    noise = b"\x07/noise\n"
    openings = [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        chance.randbytes(5000),
        b"\xff\xff\xff\xff\x0f" + bytes(2000),
        MULTISTREAM,
        MULTISTREAM + b"\x03na\n",
        MULTISTREAM + noise,
        MULTISTREAM + noise + b"\x00\x00",
        MULTISTREAM + noise + b"\xff\xff" + chance.randbytes(3000),
        MULTISTREAM + noise + b"\x00\x20" + chance.randbytes(32),
    ]
    async with league("libp2p", "alice", "bob") as (alice, bob):
        serve_echo(alice)
        for opening in openings * 4:
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(alice))
            async with stream:
                await stream.send_all(opening)
        assert await bob.request(alice.me, "echo", b"fine", 5) == b"fine"
        await wait_until(lambda: not alice._host._handshakes)
        # Bob's, or two when both dialled at once.
        assert inner_state(alice)[0] <= 2


@pytest.mark.trio
async def test_endless_bytes_before_the_handshake_is_done_are_cut_off():
    """Defect: a length of gigabytes is believed before anybody has said who he is."""
    async with open_transport(config_of("alice")) as alice:
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(alice))
        sent = 0
        await stream.send_all(b"\xff\xff\xff\x7f")
        with trio.fail_after(5):
            try:
                while True:
                    await stream.send_all(bytes(2**16))
                    sent += 2**16
            except trio.BrokenResourceError:
                pass  # as it should
        # What the kernel buffers is not ours; what we hold is bounded.
        assert sent < 32 * 2**20
        await stream.aclose()


@pytest.mark.trio
async def test_idle_connections_do_not_keep_members_out():
    """Defect: 250 connections that say nothing hold all places for 10 s."""
    async with open_transport(config_of("alice", replace(QUICK, handshakes_max=20))) as alice:
        idle = [await trio.open_tcp_stream("127.0.0.1", port_of(alice)) for _ in range(200)]
        async with open_transport(config_of("bob")) as bob:
            alice.set_members({bob.me: ()})
            bob.set_members({alice.me: alice.listening})
            with trio.fail_after(3):
                await all_connected([alice, bob])
        for stream in idle:
            await trio.aclose_forcefully(stream)


@pytest.mark.trio
async def test_more_than_300_connections_in_a_lifetime_are_no_problem():
    """Defect: a place is never given back, after 250 connections nobody can connect any more."""
    # How many come at once is bounded by a rate, which has a test of its own; here it is their number that counts.
    limits = replace(QUICK, handshakes_per_network_burst=1_000.0)
    async with open_transport(config_of("alice", limits=limits)) as alice, trio.open_nursery() as nursery:
        alice.set_members({key_of("mallory").org: ()})
        place = parse_address(alice.listening[0])
        async with bare_host("mallory", nursery) as host:
            for _ in range(310):
                connection = await host.dial(place, alice.me)
                connection.abort()
                await connection.ended.wait()
        async with open_transport(config_of("bob")) as bob:
            alice.set_members({bob.me: ()})
            bob.set_members({alice.me: alice.listening})
            await all_connected([alice, bob])
            await wait_until(lambda: inner_state(alice)[0] == 1)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_streams_are_finished_on_both_sides_however_many_and_however_they_end():
    """Defect: a handler that returns leaves its stream open; at 256 of them no stream can be opened any more."""
    async with league("libp2p", "alice", "bob") as (alice, bob):
        serve_echo(bob)

        async def leaves(channel):
            return

        bob.serve_channel("leaves", leaves, concurrent_per_peer=100)
        for number in range(300):
            assert await alice.request(bob.me, "echo", b"%d" % number, 5) == b"%d" % number
        for _ in range(30):
            with pytest.raises(Exception, match=r"finished|refused|unknown"):
                await alice.request(bob.me, "nothing", b"", 5)
            async with alice.channel(bob.me, "leaves", 5):
                pass
            with trio.move_on_after(0):
                await alice.request(bob.me, "echo", b"cancelled at once", 5)
        muxers = [each.muxer for node in (alice, bob) for known in node._host.connections.values() for each in known]

        def open_streams():
            return [stream for muxer in muxers for stream in muxer.streams.values() if not stream.closed]

        # What is left open are the two links, seen from both sides; what is closed but unread goes with a sweep.
        await wait_until(lambda: len(open_streams()) == 4)
        for muxer in muxers:
            muxer._sweep_stale_streams()
        assert inner_state(alice)[1] == inner_state(bob)[1] == 2


@pytest.mark.trio
async def test_a_peer_that_never_finishes_its_streams_gets_no_more_of_them():
    async with open_transport(config_of("alice", replace(QUICK, streams_per_member_max=10))) as alice:
        async with trio.open_nursery() as nursery, bare_host("mallory", nursery) as host:
            serve_echo(alice)
            alice.set_members({key_of("mallory").org: ()})
            connection = await host.dial(parse_address(alice.listening[0]), alice.me)
            streams = [await connection.open_stream(ASK_PROTOCOL) for _ in range(100)]
            for stream in streams:
                try:
                    await stream.write(b"")
                except PeerUnreachable:
                    break
            await wait_until(lambda: any(each._muxed.reset_received for each in streams))
            (theirs,) = alice._host.connections[key_of("mallory").org]
            assert theirs.streams_open <= 10
            nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_half_closed_streams_are_swept():
    """Defect: a stream that one side finished and the other never does is kept as long as the connection."""
    async with open_transport(config_of("alice")) as alice, trio.open_nursery() as nursery:
        serve_echo(alice)
        alice.set_members({key_of("mallory").org: ()})
        async with bare_host("mallory", nursery) as host:
            connection = await host.dial(parse_address(alice.listening[0]), alice.me)
            for _ in range(5):
                stream = await connection.open_stream(ASK_PROTOCOL)
                await FramedChannel(stream, alice.me, 5).send_all(b"echo", b"x")
            (theirs,) = alice._host.connections[key_of("mallory").org]
            muxer = theirs.muxer

            def half_closed():
                return {number for number, each in muxer.streams.items() if each.send_closed}

            await wait_until(lambda: len(half_closed()) == 5)
            stale = half_closed()
            muxer._sweep_stale_streams()
            assert half_closed() == stale, "they may still finish"
            muxer._sweep_stale_streams()
            assert not stale & muxer.streams.keys()
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_peer_that_ignores_the_window_is_cut_off():
    """Defect: 400 MB sent beyond the Yamux window are 400 MB of memory."""
    limits = replace(QUICK, unread_bytes_max=4 * 2**20)
    async with league("libp2p", "alice", "carol", limits=limits) as (alice, carol):
        async with trio.open_nursery() as nursery, bare_host("mallory", nursery) as host:
            serve_echo(alice)

            async def never_reads(channel):
                await trio.sleep_forever()

            alice.serve_channel("sink", never_reads, concurrent_per_peer=4)
            alice.set_members({carol.me: carol.listening, key_of("mallory").org: ()})
            connection = await host.dial(parse_address(alice.listening[0]), alice.me)
            stream = await connection.open_stream(ASK_PROTOCOL)
            await stream.write(frame(FrameKind.DATA, b"sink"))
            stream._muxed.send_window = 2**40
            sent = 0
            with trio.fail_after(20):
                try:
                    while True:
                        await stream.write(bytes(2**18))
                        sent += 2**18
                except PeerUnreachable:
                    pass  # as it should
            # Above the bound lies what the sockets of both sides hold.
            assert sent < 16 * 2**20
            await wait_until(lambda: key_of("mallory").org not in alice._host.connections)
            assert await carol.request(alice.me, "echo", b"fine", 5) == b"fine"
            nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_reply_of_30_megabytes_arrives():
    """Defect: what comes in more than 100 pieces (6.5 MB) fails."""
    async with league("libp2p", "alice", "bob") as (alice, bob):
        large = random.Random(7).randbytes(30 * 2**20)

        async def give(_org, _body):
            return large

        bob.serve("give", give, body_bytes_max=10, concurrent_per_peer=1)
        assert await alice.request(bob.me, "give", b"", 30) == large


@pytest.mark.trio
async def test_large_records_in_small_segments_arrive():
    """Defect: a Noise record in more than 100 TCP segments ends the connection."""
    async with league("libp2p", "alice", "bob", meet=False) as (alice, bob), trio.open_nursery() as nursery:
        segments = 0

        async def in_small_pieces(source, sink):
            nonlocal segments
            try:
                while data := await source.receive_some(400):
                    await sink.send_all(data)
                    segments += 1
                    await trio.lowlevel.checkpoint()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

        async def relay(stream):
            onward = await trio.open_tcp_stream("127.0.0.1", port_of(bob))
            async with onward, trio.open_nursery() as both:
                both.start_soon(in_small_pieces, stream, onward)
                both.start_soon(in_small_pieces, onward, stream)

        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        nursery.start_soon(trio.serve_listeners, relay, [listener])
        serve_echo(bob)
        bob.set_members({alice.me: ()})
        alice.set_members({bob.me: (f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}",)})
        await all_connected([alice, bob])
        body = random.Random(8).randbytes(2**19)
        assert await alice.request(bob.me, "echo", body, 20) == body
        assert segments > 2 * 2**19 // 400
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_tasks_and_sockets_are_given_back_when_a_transport_closes():
    """Defect: closing the host leaves sockets and tasks behind."""

    def counts():
        return trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))

    async with league("libp2p", "warm", "up"):
        pass
    before = counts()
    for _ in range(3):
        async with league("libp2p", "alice", "bob", "carol"):
            pass
    await wait_until(lambda: counts() == before)
