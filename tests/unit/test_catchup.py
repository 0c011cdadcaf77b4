"""Catch-up: several ranges at once, blocks handed on in order, and peers that are silent, short or wrong."""

import random

from consensus.catchup import ANSWER_TIMEOUT_MS, RANGES_MAX, REST_MS, Ask, CatchUp
from consensus.messages import BLOCKS_PER_MESSAGE_MAX
from ledger.blocks import Block, FinalBlock, Header
from ledger.certificates import VoteKind
from ledger.types import OrgId
from tests.support.abstract_votes import block, certificate, member, members

FOUR = members(4)
SAMPLE, PROOF = block(FOUR), certificate(FOUR, 0, VoteKind.FINALIZE, block(FOUR).id)


def final(height: int) -> FinalBlock:
    fields = {name: getattr(SAMPLE.header, name) for name in Header.__dataclass_fields__}
    return FinalBlock(Block(Header(**{**fields, "height": height}), (), ()), PROOF)


def served(ask: Ask, short_by: int = 0) -> list[FinalBlock]:
    return [final(height) for height in range(ask.from_height, ask.from_height + ask.count - short_by)]


def heights(blocks: list[FinalBlock]) -> list[int]:
    return [each.block.height for each in blocks]


def behind(peers: int, height: int) -> CatchUp:
    catchup = CatchUp(head=0)
    for number in range(peers):
        catchup.peer_at(member(number), height)
    return catchup


def test_several_peers_are_asked_at_once_and_no_more_than_the_window_holds() -> None:
    catchup = behind(6, 10_000)
    asks = catchup.asks(0)
    assert len(asks) == RANGES_MAX
    assert len({ask.peer for ask in asks}) == RANGES_MAX
    assert [ask.from_height for ask in asks] == [1 + BLOCKS_PER_MESSAGE_MAX * at for at in range(RANGES_MAX)]
    assert catchup.asks(1) == []


def test_blocks_come_out_in_order_whatever_answer_is_first() -> None:
    catchup = behind(2, 100)
    first, second = catchup.asks(0)
    catchup.received(second.peer, served(second), 1)
    assert catchup.take() == []
    catchup.received(first.peer, served(first), 2)
    assert heights(catchup.take()) == list(range(1, 101))
    catchup.advanced(100)
    assert catchup.behind == 0


def test_a_short_answer_is_completed() -> None:
    catchup = behind(1, 10)
    (ask,) = catchup.asks(0)
    catchup.received(ask.peer, served(ask, short_by=4), 1)
    assert heights(catchup.take()) == [1, 2, 3, 4, 5, 6]
    (rest,) = catchup.asks(2)
    assert (rest.from_height, rest.count) == (7, 4)


def test_a_silent_peer_rests_and_another_is_asked() -> None:
    catchup = behind(2, 10)
    (ask,) = catchup.asks(0)
    (again,) = catchup.asks(ANSWER_TIMEOUT_MS)
    assert again.peer != ask.peer
    catchup.peer_gone(again.peer)
    assert catchup.asks(ANSWER_TIMEOUT_MS + 1) == []
    (last,) = catchup.asks(ANSWER_TIMEOUT_MS + REST_MS)
    assert last.peer == ask.peer


def test_a_peer_that_serves_a_wrong_block_is_named_and_everything_after_it_asked_again() -> None:
    catchup = behind(2, 10)
    (ask,) = catchup.asks(0)
    catchup.received(ask.peer, served(ask), 1)
    assert len(catchup.take()) == 10
    catchup.advanced(3)
    assert catchup.rejected(4, 2) == ask.peer
    (again,) = catchup.asks(3)
    assert again.peer != ask.peer
    assert again.from_height == 4


def test_answers_nobody_asked_for_or_of_other_heights_are_dropped() -> None:
    catchup = behind(1, 10)
    catchup.received(member(3), [final(1)], 0)
    (ask,) = catchup.asks(0)
    catchup.received(ask.peer, [final(2)], 1)
    assert catchup.take() == []
    assert catchup.asks(2) == [], "it rests"


def test_a_head_that_moves_on_by_its_own_votes_is_not_handed_old_blocks() -> None:
    catchup = behind(2, 100)
    first, second = catchup.asks(0)
    catchup.received(second.peer, served(second), 1)
    catchup.advanced(70)
    catchup.received(first.peer, served(first), 2)
    assert heights(catchup.take()) == list(range(71, 101))


def test_with_loss_silence_and_lies_it_still_arrives() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        catchup, head, now = behind(4, 700), 0, 0
        liar = member(rng.randrange(4))
        waiting: list[tuple[OrgId, list[FinalBlock], bool]] = []
        while head < 700:
            now += 1_000
            assert now < 4_000_000, f"seed {seed}: stuck at {head}"
            for ask in catchup.asks(now):
                if rng.random() < 0.8:
                    short = rng.randrange(ask.count) if rng.random() < 0.3 else 0
                    waiting.append((ask.peer, served(ask, short), ask.peer == liar))
            rng.shuffle(waiting)
            for peer, blocks, lies in waiting:
                if lies and blocks and rng.random() < 0.5:
                    blocks = blocks[1:]
                catchup.received(peer, blocks, now)
            waiting.clear()
            for each in catchup.take():
                assert each.block.height == head + 1, f"seed {seed}"
                head += 1
                catchup.advanced(head)
