"""An answer that takes a while is about one head, or is none."""

import pytest
import trio

from ledger.errors import CorruptStore
from ledger.transactions import Transfer
from node.rpc.errors import RpcError
from node.rpc.node import Node
from node.rpc.steady import ATTEMPTS_MAX, steadily
from tests.support.rpc_services import BOB, LoneServices, settings_in


@pytest.fixture
def services() -> LoneServices:
    return LoneServices()


@pytest.fixture
def node(services, tmp_path) -> Node:
    return Node(services, settings_in(tmp_path), "1", 0.0)


def in_the_middle(services: LoneServices, moves: int, then: object = None):
    """A look during which the head moves, the first `moves` times; `then` is raised each of these times."""
    looks = []

    def look() -> int:
        looks.append(services.chain.height)
        if len(looks) <= moves:
            trio.from_thread.run(services.submit_own, Transfer(BOB.org, 1, ""))
            if isinstance(then, Exception):
                raise then
        return services.chain.height

    return look, looks


@pytest.mark.trio
async def test_a_look_during_which_the_head_moved_is_taken_again(node, services):
    look, looks = in_the_middle(services, moves=2)
    assert await steadily(node, look) == services.chain.height == 2
    assert looks == [0, 1, 2]


@pytest.mark.trio
async def test_a_tree_that_went_with_its_head_is_no_damage(node, services):
    look, looks = in_the_middle(services, 1, CorruptStore("state node is missing"))
    assert await steadily(node, look) == 1
    assert len(looks) == 2


@pytest.mark.trio
async def test_damage_under_a_head_that_stands_is_damage(node):
    def look() -> None:
        raise CorruptStore("state node is missing")

    with pytest.raises(CorruptStore):
        await steadily(node, look)


@pytest.mark.trio
async def test_who_never_keeps_up_is_told_so(node, services):
    look, looks = in_the_middle(services, moves=ATTEMPTS_MAX)
    with pytest.raises(RpcError) as caught:
        await steadily(node, look)
    assert caught.value.kind.word == "busy"
    assert len(looks) == ATTEMPTS_MAX
