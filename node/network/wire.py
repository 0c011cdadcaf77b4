"""Frames on a stream: one byte of kind, seven of length, the body. Sans-IO: bytes in, frames out.

Sizes are bounded per kind and checked on the header, before a byte of the body is kept. What kinds mean is said by
`link.py` (messages) and `services.py` (requests).
"""

from collections.abc import Mapping
from enum import IntEnum

HEADER_BYTES = 8
_LENGTH_BYTES = 7


class FrameKind(IntEnum):
    # services.py
    DATA = 0
    REFUSAL = 1
    # link.py
    HELLO = 16
    WELCOME = 17
    MESSAGE = 18
    ACKNOWLEDGE = 19
    PING = 20
    PONG = 21


class InvalidFrame(ValueError):
    """Bytes of a peer that are no frame of ours or break its bound: end the stream, it cannot be read on."""


def frame(kind: FrameKind, *parts: bytes) -> bytes:
    """One frame whose body is `parts` end to end."""
    length = sum(map(len, parts))
    return b"".join((bytes([kind]), length.to_bytes(_LENGTH_BYTES, "big"), *parts))


class FrameReader:
    """Cuts a byte stream into frames. `bytes_max` names the kinds that may come and the longest body of each."""

    def __init__(self, bytes_max: Mapping[FrameKind, int]) -> None:
        self.bytes_max = dict(bytes_max)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> tuple[FrameKind, bytes] | None:
        """The next whole frame, or None while more bytes are needed. Raises InvalidFrame."""
        buffer = self._buffer
        if len(buffer) < HEADER_BYTES:
            return None
        kind, length = self._header()
        end = HEADER_BYTES + length
        if len(buffer) < end:
            return None
        body = bytes(memoryview(buffer)[HEADER_BYTES:end])
        del buffer[:end]
        return kind, body

    def wants(self) -> int:
        """How many bytes are missing to the end of the frame that has begun, or to its header."""
        if len(self._buffer) < HEADER_BYTES:
            return HEADER_BYTES - len(self._buffer)
        return max(0, HEADER_BYTES + self._header()[1] - len(self._buffer))

    @property
    def between_frames(self) -> bool:
        """Whether the stream may end here."""
        return not self._buffer

    def _header(self) -> tuple[FrameKind, int]:
        number = self._buffer[0]
        length = int.from_bytes(self._buffer[1:HEADER_BYTES], "big")
        if number not in FrameKind._value2member_map_ or FrameKind(number) not in self.bytes_max:
            wanted = ", ".join(kind.name for kind in self.bytes_max)
            raise InvalidFrame(f"a frame of kind {number}, want {wanted}")
        kind = FrameKind(number)
        if length > self.bytes_max[kind]:
            raise InvalidFrame(f"a {kind.name} of {length} bytes, want at most {self.bytes_max[kind]}")
        return kind, length
