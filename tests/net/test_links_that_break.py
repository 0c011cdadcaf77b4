"""Members that come late, die, stop or are reached by their second address: the link comes back, nothing is lost."""

import signal
from dataclasses import replace

import pytest
import trio

from node.devnet.league import free_ports
from node.network.addresses import parse_address, peer_id
from node.network.libp2p_transport import open_transport
from node.network.transport import Direction, PeerUnreachable, RequestTimedOut
from tests.support.leagues import (
    QUICK,
    acquaint,
    all_connected,
    config_of,
    connected,
    key_of,
    league,
    wait_until,
)
from tests.support.peer_process import peer_process

BOB = key_of("bob").org


def last_error(node):
    (status,) = node.peers()
    return status.last_error


@pytest.mark.trio
async def test_a_bootstrap_member_that_starts_late_is_found(monkeypatch):
    port = free_ports(1)[0]
    bootstrap = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id(BOB)}"
    async with open_transport(config_of("alice", bootstrap=(bootstrap,))) as alice:
        alice.set_members({BOB: ()})
        # The library forgets a bootstrap peer after a few failures; here some have failed before it comes.
        dials, dial = [], alice._host.dial

        async def counted(*where):
            dials.append(where)
            return await dial(*where)

        monkeypatch.setattr(alice._host, "dial", counted)
        await wait_until(lambda: len(dials) > 5)
        assert last_error(alice)
        async with open_transport(config_of("bob", listen=(f"/ip4/127.0.0.1/tcp/{port}",))) as bob:
            bob.set_members({alice.me: ()})
            await all_connected([alice, bob])


@pytest.mark.trio
async def test_a_dead_first_address_does_not_hide_the_good_second_one():
    dead = f"/ip4/127.0.0.1/tcp/{free_ports(1)[0]}"
    async with league("libp2p", "alice", "bob", meet=False) as (alice, bob):
        bob.set_members({alice.me: ()})
        alice.set_members({bob.me: (dead, bob.listening[0])})
        await wait_until(lambda: connected(alice, bob.me), within_s=5)


@pytest.mark.trio
@pytest.mark.parametrize("words", [b"", b"\x13/multistream/1.0.0\n", b"\x13/multistream/1.0.0\n\x07/noise\n"])
async def test_dialling_somebody_mute_is_bounded(words, nursery):
    accepted = []

    async def say_and_be_silent(stream):
        accepted.append(stream)
        await stream.send_all(words)
        await trio.sleep_forever()

    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    nursery.start_soon(trio.serve_listeners, say_and_be_silent, [listener])
    port = listener.socket.getsockname()[1]
    async with open_transport(config_of("alice", replace(QUICK, dial_s=0.3))) as alice:
        alice.set_members({BOB: (f"/ip4/127.0.0.1/tcp/{port}",)})
        await wait_until(lambda: len(accepted) >= 2)
        assert "no answer within 0.3 s" in last_error(alice)
    nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_killed_member_is_noticed_and_found_again_and_gets_what_was_posted_meanwhile():
    port = free_ports(1)[0]
    async with open_transport(config_of("alice")) as alice:
        with peer_process("bob", {"alice": ""}, port) as bob:
            alice.set_members({BOB: (bob.address,)})
            await wait_until(lambda: connected(alice, BOB))
            bob.kill()
            await wait_until(lambda: not connected(alice, BOB), within_s=3)
            assert not alice.post(BOB, b"while you were away")
            with pytest.raises(PeerUnreachable):
                await alice.request(BOB, "echo", b"", 1)
        with peer_process("bob", {"alice": ""}, port):
            await wait_until(lambda: connected(alice, BOB))
            with trio.fail_after(10):
                assert await alice.incoming.receive() == (BOB, b"echo while you were away")


@pytest.mark.trio
async def test_a_stopped_member_is_noticed_and_each_message_still_arrives_once():
    async with open_transport(config_of("alice")) as alice:
        with peer_process("bob", {"alice": ""}) as bob:
            alice.set_members({BOB: (bob.address,)})
            await wait_until(lambda: connected(alice, BOB))
            bob.signal(signal.SIGSTOP)
            for number in range(50):
                alice.post(BOB, b"%d" % number)
            with pytest.raises((RequestTimedOut, PeerUnreachable)):
                await alice.request(BOB, "echo", bytes(2**19), 1)
            await wait_until(lambda: not connected(alice, BOB), within_s=10)
            bob.signal(signal.SIGCONT)
            await wait_until(lambda: connected(alice, BOB))
            with trio.fail_after(10):
                got = [await alice.incoming.receive() for _ in range(50)]
            assert got == [(BOB, b"echo %d" % number) for number in range(50)]
            assert await alice.request(BOB, "echo", b"well again", 5) == b"well again"


@pytest.mark.trio
async def test_an_idle_member_that_stops_is_noticed_by_its_silence():
    async with open_transport(config_of("alice")) as alice:
        with peer_process("bob", {"alice": ""}) as bob:
            alice.set_members({BOB: (bob.address,)})
            await wait_until(lambda: connected(alice, BOB) and alice.peers()[0].round_trip_s is not None)
            bob.signal(signal.SIGSTOP)
            await wait_until(lambda: not connected(alice, BOB), within_s=10)
            assert "silent" in last_error(alice) or "no answer" in last_error(alice)
            bob.signal(signal.SIGCONT)


@pytest.mark.trio
async def test_two_that_dial_each_other_at_once_stay_connected():
    for _ in range(5):
        async with league("libp2p", "alice", "bob", meet=False) as (alice, bob):
            acquaint([alice, bob])
            await all_connected([alice, bob])
            for node, other in ((alice, bob), (bob, alice)):
                node.post(other.me, b"hello")
            with trio.fail_after(5):
                assert await alice.incoming.receive() == (bob.me, b"hello")
                assert await bob.incoming.receive() == (alice.me, b"hello")


@pytest.mark.trio
async def test_the_bytes_of_every_connection_to_a_member_are_counted_also_when_it_is_gone():
    body = bytes(200_000)

    async def answer(org, asked):
        return asked

    async with league("libp2p", "alice", "bob") as (alice, bob):
        for node in (alice, bob):
            node.serve("echo", answer, body_bytes_max=len(body), concurrent_per_peer=1)
        # As when two dial each other at once: a connection each way, and a link over each.
        dialled = alice.peers()[0].direction is Direction.DIALLED
        accepts, dials = (alice, bob) if dialled else (bob, alice)
        await dials._host.dial(parse_address(accepts.listening[0]), accepts.me)
        for node, other in ((alice, bob), (bob, alice)):
            assert await node.request(other.me, "echo", body, 5) == body
        for node in (alice, bob):
            (status,) = node.peers()
            assert min(status.bytes_in, status.bytes_out) > 2 * len(body)
        (before,) = dials.peers()
        dials._host.live(accepts.me).abort()
        await wait_until(lambda: len(dials._host.connections.get(accepts.me, ())) < 2)
        (after,) = dials.peers()
        assert after.bytes_in >= before.bytes_in
        assert after.bytes_out >= before.bytes_out


@pytest.mark.trio
async def test_messages_survive_connections_that_are_cut_again_and_again():
    async with league("libp2p", "alice", "bob") as (alice, bob):
        got = []

        async def collect():
            async for _, message in bob.incoming:
                got.append(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            for number in range(400):
                alice.post(bob.me, b"%d" % number)
                if number % 50 == 25:
                    await wait_until(lambda: connected(alice, bob.me))
                    for connection in alice._host.connections.get(bob.me, []):
                        connection.abort()
                await trio.lowlevel.checkpoint()
            await wait_until(lambda: len(got) >= 400)
            nursery.cancel_scope.cancel()
        assert got == [b"%d" % number for number in range(400)]


@pytest.mark.trio
async def test_a_member_whose_consumer_is_slow_is_held_back_and_kept():
    limits = replace(QUICK, incoming_messages_max=8, silence_s=0.8, ping_every_s=0.2)
    async with league("libp2p", "alice", "bob", limits=limits) as (alice, bob):
        changes = []
        alice.watch_peers(lambda org, up: changes.append(up))
        for number in range(300):
            alice.post(bob.me, b"%d" % number)
        # Nobody takes anything for longer than the silence that ends a link.
        await wait_until(lambda: alice.peers()[0].since_s > 3 * limits.silence_s)
        assert changes == []
        with trio.fail_after(10):
            assert [(await bob.incoming.receive())[1] for _ in range(300)] == [b"%d" % n for n in range(300)]


@pytest.mark.trio
async def test_a_taken_port_is_said_by_name():
    async with open_transport(config_of("alice")) as alice:
        place = alice.listening[0].partition("/p2p/")[0]
        with pytest.raises(OSError, match=f"cannot listen on {place}"):
            async with open_transport(config_of("bob", listen=(place,))):
                raise AssertionError("two nodes on one port")


@pytest.mark.trio
async def test_another_chain_of_the_same_members_is_refused():
    async with (
        open_transport(config_of("alice")) as alice,
        open_transport(config_of("bob", chain_id=bytes(32))) as bob,
    ):
        acquaint([alice, bob])
        await wait_until(lambda: last_error(alice) and last_error(bob))
        assert not connected(alice, bob.me)
        assert not connected(bob, alice.me)


@pytest.mark.trio
async def test_a_member_that_is_dropped_and_let_in_again_is_heard_though_the_other_kept_its_end():
    async with league("libp2p", "alice", "bob") as (alice, bob):
        for number in range(3):
            assert alice.post(bob.me, b"before %d" % number)
            assert await bob.incoming.receive() == (alice.me, b"before %d" % number)
            assert bob.post(alice.me, b"before %d" % number)
            assert await alice.incoming.receive() == (bob.me, b"before %d" % number)
        # Alice's ledger says that bob left and came back; bob never dropped alice.
        alice.set_members({})
        await wait_until(lambda: not connected(bob, alice.me))
        alice.set_members({alice.me: (), bob.me: bob.listening})
        await all_connected([alice, bob])
        with trio.fail_after(10):
            for number in range(3):
                for sender, receiver in ((alice, bob), (bob, alice)):
                    assert sender.post(receiver.me, b"after %d" % number)
                    heard = await receiver.incoming.receive()
                    # What bob had no acknowledgement of before the drop, he sends again.
                    while heard[1].startswith(b"before"):
                        heard = await receiver.incoming.receive()
                    assert heard == (sender.me, b"after %d" % number)
