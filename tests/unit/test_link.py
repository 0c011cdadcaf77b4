"""Messages between two members: each once, in order, through connections that end anywhere; queues within bounds."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.types import Hash32
from node.network.link import Inbox, Outbox, number_in, ping, pong, receiver_frames, sender_frames
from node.network.transport import Limits
from node.network.wire import FrameKind, FrameReader, InvalidFrame

CHAIN = Hash32(bytes(range(32)))
LIMITS = Limits(
    message_bytes_max=1000,
    queued_messages_max=20,
    queued_bytes_max=5000,
    flight_messages_max=6,
    flight_bytes_max=300,
)


def outbox(session=b"s" * 16, limits=LIMITS):
    return Outbox(session, CHAIN, limits)


def frames_in(reader: FrameReader, data: bytes):
    reader.feed(data)
    found = []
    while (item := reader.next()) is not None:
        found.append(item)
    return found


class Wire:
    """One connection between an outbox and an inbox; `pump` carries everything, or breaks off after some bytes."""

    def __init__(self, sender, inbox, got):
        self.sender, self.inbox, self.got = sender, inbox, got
        self.to_receiver, self.to_sender = receiver_frames(LIMITS), sender_frames()
        (_, hello) = frames_in(self.to_receiver, sender.hello())[0]
        ((_, body),) = frames_in(self.to_sender, inbox.hello(hello, CHAIN))
        sender.acknowledge(number_in(body))

    def pump(self, bytes_until_break=10**9, acknowledge=True):
        while (data := self.sender.take()) and bytes_until_break > 0:
            for kind, body in frames_in(self.to_receiver, data[:bytes_until_break]):
                assert kind is FrameKind.MESSAGE
                taken = self.inbox.message(body)
                if taken is not None:
                    number, message = taken
                    self.got.append(message)
                    self.inbox.delivered(number)
            bytes_until_break -= len(data)
            if acknowledge:
                ((_, body),) = frames_in(self.to_sender, self.inbox.acknowledgement())
                self.sender.acknowledge(number_in(body))


@given(st.integers(0, 2**32))
def test_every_message_arrives_once_and_in_order_through_any_breaks(seed):
    chance = random.Random(seed)
    sender, inbox, got, sent = outbox(), Inbox(), [], []
    for _ in range(chance.randrange(1, 12)):
        for _ in range(chance.randrange(4)):
            message = b"%d" % len(sent) * chance.randrange(1, 30)
            if len(sender) < LIMITS.queued_messages_max - 1 and len(sender) * 60 < 4000:
                sent.append(message)
                sender.post(message)
        Wire(sender, inbox, got).pump(chance.choice([0, 5, 40, 200, 10**9]), acknowledge=chance.random() < 0.5)
    Wire(sender, inbox, got).pump()
    assert got == sent
    assert len(sender) == 0
    assert sender.dropped == 0


def test_what_is_in_flight_is_bounded_and_a_large_message_goes_alone():
    sender = outbox()
    sender.hello()
    for _ in range(10):
        sender.post(bytes(10))
    assert len(frames_in(receiver_frames(LIMITS), sender.take())) == LIMITS.flight_messages_max
    assert sender.take() == b""
    sender.acknowledge(6)
    assert len(frames_in(receiver_frames(LIMITS), sender.take())) == 4
    sender.post(bytes(900))
    assert sender.take() == b"", "four are still in flight"
    sender.acknowledge(10)
    assert len(frames_in(receiver_frames(LIMITS), sender.take())) == 1
    sender.post(b"x")
    assert sender.take() == b""


@pytest.mark.parametrize("size", [10, 900])
def test_the_oldest_go_when_too_many_or_too_much_waits(size):
    sender, inbox, got = outbox(), Inbox(), []
    fits = [sender.post(bytes([number]) * size) for number in range(30)]
    kept = 20 if size == 10 else 5
    assert fits == [True] * kept + [False] * (30 - kept)
    assert (len(sender), sender.dropped) == (kept, 30 - kept)
    Wire(sender, inbox, got).pump()
    assert [message[0] for message in got] == list(range(30 - kept, 30))


def test_a_flight_that_is_never_acknowledged_makes_way_too():
    sender = outbox(limits=replace(LIMITS, queued_messages_max=3))
    sender.hello()
    sender.post(b"1")
    sender.post(b"2")
    sender.take()
    for number in range(3, 9):
        sender.post(b"%d" % number)
    assert len(sender) == 3
    sender.acknowledge(8)
    assert len(sender) == 0


def test_a_sender_that_was_started_anew_is_not_taken_for_its_former_self():
    inbox, got = Inbox(), []
    first, second = outbox(b"1" * 16), outbox(b"2" * 16)
    for sender in (first, second):
        sender.post(b"first words")
        Wire(sender, inbox, got).pump()
    assert got == [b"first words"] * 2


def test_nonsense_is_refused():
    inbox = Inbox()
    with pytest.raises(InvalidFrame, match="want 0001020304050607"):
        inbox.hello(bytes(48), CHAIN)
    with pytest.raises(InvalidFrame):
        inbox.hello(b"short", CHAIN)
    with pytest.raises(InvalidFrame, match="no number"):
        inbox.message(b"1234567")
    with pytest.raises(InvalidFrame, match="acknowledgement of message 1, the last one was 0"):
        outbox().acknowledge(1)
    with pytest.raises(InvalidFrame):
        number_in(b"123")
    with pytest.raises(ValueError, match="1001 bytes, want at most 1000"):
        outbox().post(bytes(1001))


def test_a_pong_answers_its_ping():
    ((kind, body),) = frames_in(receiver_frames(LIMITS), ping(77))
    assert kind is FrameKind.PING
    ((kind, body),) = frames_in(sender_frames(), pong(body))
    assert (kind, number_in(body)) == (FrameKind.PONG, 77)
