"""The messages between two members over one long-lived stream: numbered, acknowledged, sent again, told apart.

Sans-IO. An `Outbox` belongs to the sender and outlives its connections; an `Inbox` is what the receiver remembers of
one sender. The sender opens with HELLO(session, chain id), the receiver answers WELCOME(last number it has of that
session), MESSAGE(number, body) flow one way and ACKNOWLEDGE(number) the other; PING and PONG ask for signs of life.
Numbers of a session only grow; a gap is what the sender dropped while its peer was away. Nothing here reads a clock.
"""

import struct
from collections import deque

from ledger.types import Hash32
from node.network.transport import Limits
from node.network.wire import FrameKind, FrameReader, InvalidFrame, frame

SESSION_BYTES = 16
# Messages that come on one stream although we have them: what was in flight when the stream before it broke.
REPEATS_MAX = 1024
_NUMBER = struct.Struct(">Q")


class Overrun(InvalidFrame):
    """Frames of ours, but more of them than the protocol ever needs."""


class OtherChain(InvalidFrame):
    """A HELLO of a member of another league, or of ours with another genesis: somebody's configuration is wrong."""


class Outbox:
    """What one peer has still to get, oldest first. `session`: 16 random bytes that name this run of our node."""

    def __init__(self, session: bytes, chain_id: Hash32, limits: Limits) -> None:
        assert len(session) == SESSION_BYTES
        self._hello = frame(FrameKind.HELLO, session, chain_id)
        self._limits = limits
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._in_flight: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._flight_bytes = 0
        self._last_number = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def unacknowledged(self) -> bool:
        return bool(self._in_flight)

    def post(self, message: bytes) -> bool:
        """Queue; False when older messages had to go for it."""
        limits = self._limits
        if len(message) > limits.message_bytes_max:
            raise ValueError(f"a message of {len(message)} bytes, want at most {limits.message_bytes_max}")
        self._last_number += 1
        self._waiting.append((self._last_number, message))
        self._bytes += len(message)
        fits = True
        while len(self) > limits.queued_messages_max or (self._bytes > limits.queued_bytes_max and len(self) > 1):
            self._drop_oldest()
            fits = False
        return fits

    def _drop_oldest(self) -> None:
        # What is in flight has probably arrived: it only goes when nothing else can.
        if len(self._waiting) > 1:
            _, message = self._waiting.popleft()
        else:
            _, message = self._in_flight.popleft()
            self._flight_bytes -= len(message)
        self._bytes -= len(message)
        self.dropped += 1

    def hello(self) -> bytes:
        """The first bytes of a new stream. All that is unacknowledged will be sent again on it."""
        self._waiting.extendleft(reversed(self._in_flight))
        self._in_flight.clear()
        self._flight_bytes = 0
        return self._hello

    def acknowledge(self, number: int) -> None:
        """The peer has all up to `number` (ACKNOWLEDGE, WELCOME). Raises InvalidFrame for a number never sent."""
        if number > self._last_number:
            raise InvalidFrame(f"an acknowledgement of message {number}, the last one was {self._last_number}")
        for queue in (self._in_flight, self._waiting):
            while queue and queue[0][0] <= number:
                _, message = queue.popleft()
                self._bytes -= len(message)
                if queue is self._in_flight:
                    self._flight_bytes -= len(message)

    def take(self) -> bytes:
        """Frames to write now, as one piece; empty when nothing waits or enough is in flight."""
        limits = self._limits
        frames = []
        while self._waiting and len(self._in_flight) < limits.flight_messages_max:
            number, message = self._waiting[0]
            # A message larger than the window goes alone: the receiver reads it whole before it waits.
            if self._in_flight and self._flight_bytes + len(message) > limits.flight_bytes_max:
                break
            self._waiting.popleft()
            self._in_flight.append((number, message))
            self._flight_bytes += len(message)
            frames.append(frame(FrameKind.MESSAGE, _NUMBER.pack(number), message))
        return b"".join(frames)


class Inbox:
    """What one sender has sent us: the last number of its present session."""

    def __init__(self) -> None:
        self.session = b""
        self._last_number = 0
        self._repeats = 0

    def hello(self, body: bytes, chain_id: Hash32) -> bytes:
        """Take the HELLO of a new stream, return the WELCOME. Raises InvalidFrame for another chain's."""
        if len(body) != SESSION_BYTES + len(chain_id) or body[SESSION_BYTES:] != chain_id:
            raise OtherChain(f"a HELLO of chain {body[SESSION_BYTES:].hex()[:16]}, want {chain_id.hex()[:16]}")
        if body[:SESSION_BYTES] != self.session:
            self.session, self._last_number = body[:SESSION_BYTES], 0
        self._repeats = 0
        return frame(FrameKind.WELCOME, _NUMBER.pack(self._last_number))

    def message(self, body: bytes) -> tuple[int, bytes] | None:
        """(number, message) of a MESSAGE frame, or None when we had it before. Say `delivered` when it is safe."""
        if len(body) < _NUMBER.size:
            raise InvalidFrame(f"a MESSAGE of {len(body)} bytes has no number")
        (number,) = _NUMBER.unpack_from(body)
        if number <= self._last_number:
            self._repeats += 1
            if self._repeats > REPEATS_MAX:
                raise Overrun(f"{self._repeats} messages again that had arrived, want at most {REPEATS_MAX}")
            return None
        return number, body[_NUMBER.size :]

    def delivered(self, number: int) -> None:
        self._last_number = number

    def acknowledgement(self) -> bytes:
        return frame(FrameKind.ACKNOWLEDGE, _NUMBER.pack(self._last_number))


def number_in(body: bytes) -> int:
    """The number in a WELCOME, ACKNOWLEDGE, PING or PONG. Raises InvalidFrame."""
    if len(body) != _NUMBER.size:
        raise InvalidFrame(f"{len(body)} bytes, want a number of {_NUMBER.size}")
    (number,) = _NUMBER.unpack(body)
    return int(number)


def ping(number: int) -> bytes:
    return frame(FrameKind.PING, _NUMBER.pack(number))


def pong(body: bytes) -> bytes:
    return frame(FrameKind.PONG, _NUMBER.pack(number_in(body)))


def sender_frames() -> FrameReader:
    """Reads what a receiver sends back."""
    number = _NUMBER.size
    return FrameReader(
        {
            FrameKind.WELCOME: number,
            FrameKind.ACKNOWLEDGE: number,
            FrameKind.PONG: number,
            FrameKind.REFUSAL: 1024,
        }
    )


def receiver_frames(limits: Limits) -> FrameReader:
    """Reads what a sender sends."""
    return FrameReader(
        {
            FrameKind.HELLO: SESSION_BYTES + 32,
            FrameKind.MESSAGE: limits.message_bytes_max + _NUMBER.size,
            FrameKind.PING: _NUMBER.size,
        }
    )
