"""What one peer may take and what becomes of it past that: bans that end, rates at their bounds, shares by network."""

from dataclasses import replace
from time import monotonic

import pytest
import trio

from node.network.addresses import parse_address
from node.network.libp2p_host import Host
from node.network.libp2p_transport import ASK_PROTOCOL, open_transport
from node.network.link import SESSION_BYTES, Outbox, ping
from node.network.member_link import LINK_PROTOCOL
from node.network.transport import Fault, Limits, PeerUnreachable, RequestRefused
from tests.support.leagues import CHAIN, QUICK, all_connected, config_of, connected, key_of, league, wait_until

SHORT_BAN = replace(QUICK, ban_first_s=1.0)
NAMES = ("alice", "bob", "carol", "mallory")


def status_of(node, org):
    return next(peer for peer in node.peers() if peer.org == org)


async def echo(_org, body):
    return body


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["memory", "libp2p"])
async def test_a_member_that_sends_garbage_is_refused_for_a_while_and_then_let_in_again(kind):
    async with league(kind, *NAMES, limits=SHORT_BAN) as (alice, bob, carol, mallory):
        for _ in range(5):
            alice.blame(mallory.me, Fault.GARBAGE, "garbage")
        assert status_of(alice, mallory.me).banned_s > 0
        await wait_until(lambda: not connected(alice, mallory.me) and not connected(mallory, alice.me))
        assert connected(alice, bob.me)
        assert connected(mallory, bob.me), "others judge for themselves"
        await all_connected([alice, bob, carol, mallory])
        assert status_of(alice, mallory.me).banned_s == 0


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["memory", "libp2p"])
async def test_where_a_quorum_needs_everybody_nobody_is_refused_only_paused(kind):
    async with league(kind, "alice", "bob", "mallory", limits=SHORT_BAN) as (alice, bob, mallory):
        alice.serve("echo", echo, body_bytes_max=100, concurrent_per_peer=4)
        for _ in range(50):
            alice.blame(mallory.me, Fault.GARBAGE, "garbage")
        with pytest.raises(RequestRefused, match="paused"):
            await mallory.request(alice.me, "echo", b"x", 5)
        assert await bob.request(alice.me, "echo", b"fine", 5) == b"fine"
        mallory.post(alice.me, b"my vote")
        with trio.fail_after(5):
            assert await alice.incoming.receive() == (mallory.me, b"my vote")


@pytest.mark.trio
async def test_a_body_that_is_too_long_is_held_against_who_sends_it():
    async with league("memory", *NAMES) as (alice, _, _, mallory):
        alice.serve("echo", echo, body_bytes_max=10, concurrent_per_peer=4)
        with pytest.raises(RequestRefused, match="too_large"):
            await mallory.request(alice.me, "echo", bytes(11), 5)
        assert status_of(alice, mallory.me).faults == 1
        assert await mallory.request(alice.me, "echo", bytes(10), 5) == bytes(10)


@pytest.mark.trio
async def test_requests_of_one_kind_have_a_rate(autojump_clock):
    limits = replace(Limits(), requests_per_s=1.0, requests_burst=3.0)
    async with league("memory", *NAMES, limits=limits) as (alice, bob, _, mallory):
        alice.serve("echo", echo, body_bytes_max=10, concurrent_per_peer=4)
        for _ in range(3):
            await mallory.request(alice.me, "echo", b"x", 5)
        with pytest.raises(RequestRefused, match="busy: echo is asked too often"):
            await mallory.request(alice.me, "echo", b"x", 5)
        assert await bob.request(alice.me, "echo", b"x", 5) == b"x"
        await trio.sleep(1.01)
        assert await mallory.request(alice.me, "echo", b"x", 5) == b"x"
        assert status_of(alice, mallory.me).faults == 0, "who asks often is no liar"


def bare_host(name, nursery):
    """A peer with this key that follows no rules of ours."""
    return Host(
        key_of(name), QUICK, nursery, lambda org, network: True, lambda org: True, lambda org: None, lambda c: None
    )


@pytest.mark.trio
async def test_signs_of_life_have_a_rate():
    limits = replace(QUICK, pings_burst=8.0, pings_per_s=0.001)
    async with open_transport(config_of("alice", limits)) as alice, trio.open_nursery() as nursery:
        mallory = key_of("mallory").public
        alice.set_members({mallory: ()})
        connection = await bare_host("mallory", nursery).dial(parse_address(alice.listening[0]), alice.me)
        stream = await connection.open_stream(LINK_PROTOCOL)
        await stream.write(Outbox(bytes(SESSION_BYTES), CHAIN, QUICK).hello() + b"".join(map(ping, range(8))))
        assert await stream.read()
        assert status_of(alice, mallory).faults == 0
        await stream.write(ping(9))
        await wait_until(lambda: status_of(alice, mallory).faults == 1)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_handshakes_of_one_network_have_a_rate_and_a_share():
    limits = replace(QUICK, handshakes_per_network_burst=12.0, handshakes_per_network_per_s=0.001)
    async with open_transport(config_of("alice", limits)) as alice, trio.open_nursery() as nursery:
        alice.set_members({key_of("mallory").public: ()})
        host, place = bare_host("mallory", nursery), parse_address(alice.listening[0])
        for _ in range(12):
            (await host.dial(place, alice.me)).abort()
        with pytest.raises(PeerUnreachable):
            await host.dial(place, alice.me)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_unfinished_handshakes_of_one_network_take_its_share_only():
    limits = replace(QUICK, handshakes_max=20, handshakes_per_network_max=5)
    async with open_transport(config_of("alice", limits)) as alice:
        port = parse_address(alice.listening[0]).port
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(30)]
        await wait_until(lambda: len(alice._host._handshakes) == 5)
        for stream in idle:
            await trio.aclose_forcefully(stream)


@pytest.mark.trio
async def test_strangers_of_one_network_do_not_take_all_places():
    limits = replace(QUICK, strangers_max=4, strangers_per_network_max=1)
    async with open_transport(config_of("alice", limits)) as alice, trio.open_nursery() as nursery:
        place = parse_address(alice.listening[0])
        await bare_host("one", nursery).dial(place, alice.me)
        with pytest.raises(PeerUnreachable):
            await bare_host("two", nursery).dial(place, alice.me)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_stranger_that_sends_garbage_shuts_out_its_network_but_no_member_there():
    limits = replace(QUICK, ban_first_s=60.0, strangers_per_network_max=8, strangers_max=8)
    async with open_transport(config_of("alice", limits)) as alice, trio.open_nursery() as nursery:
        bob = key_of("bob").public
        alice.set_members({bob: ()})
        place = parse_address(alice.listening[0])
        await bare_host("stranger", nursery).dial(place, alice.me)
        for _ in range(5):
            alice.blame(key_of("stranger").public, Fault.GARBAGE, "garbage")
        with pytest.raises(PeerUnreachable):
            await bare_host("another", nursery).dial(place, alice.me)
        await bare_host("bob", nursery).dial(place, alice.me)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.parametrize(
    "bounds",
    [{"reads_per_s": 400.0, "reads_burst": 100.0}, {"streams_per_s": 40.0, "streams_burst": 10.0}],
    ids=["reads", "streams"],
)
async def test_who_reads_off_a_connection_or_opens_streams_too_often_is_held_back_and_kept(bounds):
    async with (
        open_transport(config_of("alice", replace(QUICK, **bounds))) as alice,
        open_transport(config_of("bob")) as bob,
    ):
        alice.serve("echo", echo, body_bytes_max=10, concurrent_per_peer=4)
        alice.set_members({bob.me: bob.listening})
        bob.set_members({alice.me: alice.listening})
        await all_connected([alice, bob])
        began = monotonic()
        for _ in range(60):
            assert await bob.request(alice.me, "echo", b"x", 10) == b"x"
        # Sixty streams, and more than six reads each: both are a second over what was saved up.
        assert monotonic() - began > 0.5
        assert connected(alice, bob.me)


@pytest.mark.trio
async def test_a_protocol_that_nobody_speaks_is_no_fault():
    async with open_transport(config_of("alice")) as alice, trio.open_nursery() as nursery:
        mallory = key_of("mallory").public
        alice.set_members({mallory: ()})
        connection = await bare_host("mallory", nursery).dial(parse_address(alice.listening[0]), alice.me)
        for protocol in ("/hanse/link/9", "/ipfs/id/1.0.0", ASK_PROTOCOL):
            stream = await connection.open_stream(protocol)
            await stream.finish(True)
        assert status_of(alice, mallory).faults == 0, "a newer program may speak more than we do"
        nursery.cancel_scope.cancel()
