"""What only the double can do: lose, delay and cut, on virtual time."""

import pytest
import trio

from node.network.memory_transport import MemoryNetwork, open_memory_transport
from node.network.transport import PeerUnreachable
from tests.support.leagues import acquaint, all_connected, connected, key_of


@pytest.mark.trio
async def test_the_test_decides_what_is_lost_and_what_is_late(autojump_clock):
    network = MemoryNetwork(fate=lambda _from, _to, message: {b"lost": None, b"late": 30.0}.get(message, 0.0))
    async with (
        open_memory_transport(network, key_of("alice").org) as alice,
        open_memory_transport(network, key_of("bob").org) as bob,
    ):
        acquaint([alice, bob])
        for message in (b"late", b"lost", b"at once"):
            assert alice.post(bob.me, message)
        began = trio.current_time()
        assert await bob.incoming.receive() == (alice.me, b"at once")
        assert trio.current_time() == began
        assert await bob.incoming.receive() == (alice.me, b"late")
        assert trio.current_time() == pytest.approx(began + 30)


@pytest.mark.trio
async def test_a_cut_is_heard_by_both_breaks_what_is_under_way_and_heals(autojump_clock):
    network = MemoryNetwork()
    async with (
        open_memory_transport(network, key_of("alice").org) as alice,
        open_memory_transport(network, key_of("bob").org) as bob,
        trio.open_nursery() as nursery,
    ):
        heard = []
        bob.watch_peers(lambda org, up: heard.append(up))
        acquaint([alice, bob])

        async def cut_when_asked(_org, _body):
            network.set_cut(alice.me, bob.me, True)
            await trio.sleep_forever()

        bob.serve("cut", cut_when_asked, body_bytes_max=10, concurrent_per_peer=1)
        with pytest.raises(PeerUnreachable):
            await alice.request(bob.me, "cut", b"", 60)
        assert not connected(alice, bob.me)
        assert not alice.post(bob.me, b"meanwhile")
        network.set_cut(alice.me, bob.me, False)
        await all_connected([alice, bob])
        assert await bob.incoming.receive() == (alice.me, b"meanwhile")
        assert heard == [True, False, True]
        nursery.cancel_scope.cancel()
