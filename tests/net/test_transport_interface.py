"""What every transport promises: the memory double and libp2p pass the same tests."""

from dataclasses import replace

import pytest
import trio

from node.network.transport import (
    ChannelClosed,
    InvalidAddress,
    PeerUnreachable,
    RequestRefused,
    RequestTimedOut,
)
from tests.support.leagues import QUICK, acquaint, all_connected, connected, key_of, league, wait_until


@pytest.fixture(params=["memory", "libp2p"])
def kind(request):
    return request.param


async def take(node, count):
    with trio.fail_after(20):
        return [await node.incoming.receive() for _ in range(count)]


@pytest.mark.trio
async def test_messages_arrive_once_and_in_order(kind):
    async with league(kind, "alice", "bob") as (alice, bob):
        sent = [b"%d" % number for number in range(500)]
        assert all(alice.post(bob.me, message) for message in sent)
        assert await take(bob, 500) == [(alice.me, message) for message in sent]
        with trio.move_on_after(0.05):
            raise AssertionError(f"one more: {await bob.incoming.receive()}")


@pytest.mark.trio
async def test_broadcast_reaches_every_member_but_oneself(kind):
    async with league(kind, "alice", "bob", "carol") as (alice, bob, carol):
        alice.broadcast(b"hello")
        assert await take(bob, 1) == [(alice.me, b"hello")]
        assert await take(carol, 1) == [(alice.me, b"hello")]
        with trio.move_on_after(0.05):
            raise AssertionError(f"it came back: {await alice.incoming.receive()}")


@pytest.mark.trio
async def test_a_message_to_nobody_is_refused_and_one_to_an_absent_member_waits(kind):
    async with league(kind, "alice", "bob", meet=False) as (alice, bob):
        assert not alice.post(bob.me, b"who are you")
        alice.set_members({bob.me: bob.listening})
        assert not alice.post(bob.me, b"early")
        acquaint([alice, bob])
        await all_connected([alice, bob])
        assert await take(bob, 1) == [(alice.me, b"early")]


@pytest.mark.trio
async def test_the_oldest_go_when_the_queue_of_an_absent_member_is_full(kind):
    limits = replace(QUICK, queued_messages_max=10)
    async with league(kind, "alice", "bob", meet=False, limits=limits) as (alice, bob):
        alice.set_members({bob.me: bob.listening})
        for number in range(25):
            alice.post(bob.me, b"%d" % number)
        (status,) = alice.peers()
        assert (status.messages_queued, status.messages_dropped) == (10, 15)
        acquaint([alice, bob])
        assert [body for _, body in await take(bob, 10)] == [b"%d" % number for number in range(15, 25)]


@pytest.mark.trio
async def test_a_message_of_a_whole_block_arrives_and_a_larger_one_is_our_own_mistake(kind):
    async with league(kind, "alice", "bob") as (alice, bob):
        block = bytes(range(256)) * (QUICK.message_bytes_max // 256)
        alice.post(bob.me, b"before")
        alice.post(bob.me, block)
        alice.post(bob.me, b"after")
        assert [body for _, body in await take(bob, 3)] == [b"before", block, b"after"]
        with pytest.raises(ValueError, match="want at most"):
            alice.post(bob.me, bytes(QUICK.message_bytes_max + 1))


@pytest.mark.trio
async def test_a_flood_of_one_member_does_not_hold_back_another(kind):
    async with league(kind, "alice", "bob", "mallory") as (alice, bob, mallory):
        for number in range(800):
            mallory.post(alice.me, b"flood %d" % number)
        await wait_until(lambda: alice.incoming.statistics().current_buffer_used > 0)
        bob.post(alice.me, b"important")
        # Bob's turn comes round at once, though hundreds of Mallory's are still waiting.
        first = [org for org, _ in await take(alice, 200)]
        assert bob.me in first
        rest = [org for org, _ in await take(alice, 601)]
        assert rest == [mallory.me] * 601


@pytest.mark.trio
async def test_a_request_is_answered(kind):
    async with league(kind, "alice", "bob") as (alice, bob):

        async def reverse(org, body):
            assert org == alice.me
            return body[::-1]

        bob.serve("reverse", reverse, body_bytes_max=2**20, concurrent_per_peer=2)
        assert await alice.request(bob.me, "reverse", b"abc", 5) == b"cba"
        assert await alice.request(bob.me, "reverse", b"", 5) == b""
        large = bytes(2**20)
        assert await alice.request(bob.me, "reverse", large, 5) == large


@pytest.mark.trio
async def test_refusals_say_why(kind):
    async with league(kind, "alice", "bob") as (alice, bob):

        async def picky(org, body):
            if body == b"bug":
                raise ZeroDivisionError("ours")
            raise RequestRefused("nonce", "want 4")

        bob.serve("picky", picky, body_bytes_max=100, concurrent_per_peer=2)
        for kind_asked, body, code in [
            ("picky", b"x", "nonce"),
            ("picky", b"bug", "failed"),
            ("picky", bytes(101), "too_large"),
            ("picky", bytes(3 * 2**20), "too_large"),
            ("nothing", b"", "unknown_kind"),
        ]:
            with pytest.raises(RequestRefused) as refused:
                await alice.request(bob.me, kind_asked, body, 5)
            assert refused.value.code == code
        assert connected(alice, bob.me)


@pytest.mark.trio
async def test_more_requests_of_one_member_than_agreed_are_refused_as_busy(kind):
    async with league(kind, "alice", "bob") as (alice, bob):
        release = trio.Event()
        begun = []

        async def slow(org, body):
            begun.append(body)
            await release.wait()
            return b"done"

        bob.serve("slow", slow, body_bytes_max=100, concurrent_per_peer=2)
        answers = []

        async def ask_slowly():
            answers.append(await alice.request(bob.me, "slow", b"", 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_slowly)
            nursery.start_soon(ask_slowly)
            await wait_until(lambda: len(begun) == 2)
            with pytest.raises(RequestRefused, match="busy"):
                await alice.request(bob.me, "slow", b"", 5)
            release.set()
        assert answers == [b"done", b"done"]
        assert await alice.request(bob.me, "slow", b"", 5) == b"done"


@pytest.mark.trio
async def test_a_late_answer_times_out_and_costs_no_connection(kind):
    async with league(kind, "alice", "bob") as (alice, bob):

        async def never(org, body):
            await trio.sleep_forever()

        bob.serve("never", never, body_bytes_max=100, concurrent_per_peer=20)
        with pytest.raises(RequestTimedOut):
            await alice.request(bob.me, "never", b"", 0.8)
        alice.post(bob.me, b"still here")
        assert await take(bob, 1) == [(alice.me, b"still here")]


@pytest.mark.trio
async def test_a_channel_carries_frames_both_ways(kind):
    async with league(kind, "alice", "bob") as (alice, bob):
        heard = []

        async def count(channel):
            heard.append(channel.peer)
            total = 0
            while (body := await channel.receive(2**20)) != b"end":
                total += len(body)
            await channel.send(b"%d" % total)

        bob.serve_channel("count", count, concurrent_per_peer=1)
        async with alice.channel(bob.me, "count", 5) as channel:
            for _ in range(5):
                await channel.send(bytes(2**20))
            await channel.send(b"end")
            assert await channel.receive(100) == b"5242880"
            with pytest.raises(ChannelClosed):
                await channel.receive(100)
        assert heard == [alice.me]


@pytest.mark.trio
async def test_strangers_reach_only_what_is_meant_for_them(kind):
    async with league(kind, "alice", "stranger", meet=False) as (alice, stranger):

        async def echo(org, body):
            return body + org

        alice.serve("join", echo, body_bytes_max=100, concurrent_per_peer=1, strangers=True)
        alice.serve("secret", echo, body_bytes_max=100, concurrent_per_peer=1)
        address = alice.listening[0]
        assert await stranger.request_at(address, "join", b"hi", 5) == b"hi" + stranger.me
        with pytest.raises(RequestRefused, match="stranger"):
            await stranger.request_at(address, "secret", b"hi", 5)
        with pytest.raises(InvalidAddress):
            await stranger.request_at("/ip4/127.0.0.1/tcp/1", "join", b"", 5)
        with pytest.raises(PeerUnreachable):
            await stranger.request(alice.me, "join", b"", 5)


@pytest.mark.trio
async def test_a_member_that_is_removed_is_disconnected_and_both_sides_hear_of_it(kind):
    async with league(kind, "alice", "bob", "carol", meet=False) as (alice, bob, carol):
        heard = []
        alice.watch_peers(lambda org, up: heard.append((org, up)))
        acquaint([alice, bob, carol])
        await all_connected([alice, bob, carol])
        assert sorted(heard) == sorted([(bob.me, True), (carol.me, True)])
        alice.set_members({carol.me: carol.listening})
        await wait_until(lambda: (bob.me, False) in heard and not connected(bob, alice.me))
        assert not alice.post(bob.me, b"gone")
        assert [peer.org for peer in alice.peers()] == [carol.me]
        assert connected(alice, carol.me)


@pytest.mark.trio
async def test_a_request_to_nobody_is_unreachable(kind):
    async with league(kind, "alice", "bob", meet=False) as (alice, bob):
        with pytest.raises(PeerUnreachable):
            await alice.request(bob.me, "reverse", b"", 1)
        with pytest.raises(PeerUnreachable):
            await alice.request(key_of("nobody").org, "reverse", b"", 1)
