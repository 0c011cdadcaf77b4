"""The event hub: who gets what, and what happens to a subscriber that does not read."""

import pytest
import trio

from node.events import EventHub, NodeEvent, SlowSubscriber, TooManySubscribers


def block(height: int) -> NodeEvent:
    return NodeEvent("block", height, {"id": "00"})


@pytest.mark.trio
async def test_events_reach_those_who_want_the_topic_and_in_order():
    hub = EventHub()
    async with hub.subscribe(frozenset({"block"})) as blocks, hub.subscribe(frozenset({"round", "block"})) as both:
        hub.publish(block(1))
        hub.publish(NodeEvent("round", 1, {}))
        hub.publish(block(2))
        assert [(await blocks.receive()).height for _ in range(2)] == [1, 2]
        assert [(await both.receive()).topic for _ in range(3)] == ["block", "round", "block"]
    assert hub.subscribers == 0


@pytest.mark.trio
async def test_a_slow_subscriber_reads_what_it_had_and_then_meets_an_error_while_others_go_on():
    hub = EventHub(queued_max=3)
    async with hub.subscribe(frozenset({"block"})) as slow, hub.subscribe(frozenset({"block"})) as quick:
        for height in range(1, 6):
            hub.publish(block(height))
            assert (await quick.receive()).height == height
        assert [(await slow.receive()).height for _ in range(3)] == [1, 2, 3]
        with pytest.raises(SlowSubscriber, match="more than 3 events"):
            await slow.receive()
        assert hub.subscribers == 1
        assert hub.wanted("block")


@pytest.mark.trio
async def test_the_end_of_the_hub_is_an_end_and_not_an_error():
    hub = EventHub()
    async with hub.subscribe(frozenset({"block"})) as subscription:
        hub.publish(block(1))
        hub.close()
        assert [event.height async for event in subscription] == [1]
        with pytest.raises(trio.EndOfChannel):
            await subscription.receive()


@pytest.mark.trio
async def test_unknown_topics_no_topics_and_too_many_subscribers_are_refused():
    hub = EventHub(subscribers_max=1)
    for topics in (frozenset({"blocks"}), frozenset()):
        with pytest.raises(ValueError, match="want some of anchor, ballot, block"):
            async with hub.subscribe(topics):
                pass
    async with hub.subscribe(frozenset({"tx"})):
        with pytest.raises(TooManySubscribers):
            async with hub.subscribe(frozenset({"tx"})):
                pass
    async with hub.subscribe(frozenset({"tx"})):
        assert not hub.wanted("block")
