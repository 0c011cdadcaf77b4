"""Who answers which kind of request, and the shape of an exchange: a frame with the kind, then what the kind says.

A request is: kind, body; the answer is one DATA or one REFUSAL. A channel is: kind, then frames as its handler likes.
Shared by libp2p and the memory double; sockets are below, meanings above.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import trio

from ledger.types import NodeKey
from node.network.bucket import Bucket
from node.network.channel import FramedChannel, FrameOutOfBounds
from node.network.transport import (
    Answer,
    Channel,
    ChannelClosed,
    ChannelHandler,
    Fault,
    Limits,
    PeerUnreachable,
    RequestRefused,
    TransportError,
)

log = logging.getLogger(__name__)

KIND_BYTES_MAX = 64
# Blocks for catching up are the largest answers that are no blobs: some of them together.
REPLY_BYTES_MAX = 32 * 2**20
# A handler that computes longer holds a slot of its peer; long work belongs behind a message.
ANSWER_S_MAX = 60.0
# Peers and kinds whose rates are remembered: the largest league and a dozen kinds. Past that the quietest is forgotten.
RATES_REMEMBERED_MAX = 4096
# Bodies above may not fit the stream's first window, so a refusal has to be heard while sending.
_LARGE_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Service:
    handler: ChannelHandler
    concurrent_per_peer: int
    strangers: bool


class Services:
    """The table of kinds, how many exchanges of each kind every peer has open, and how often it asks.

    `blame(peer, fault, what)` hears of what no correct program asks; `paused(peer)`: refuse whatever it asks.
    """

    def __init__(
        self, limits: Limits, blame: Callable[[NodeKey, Fault, str], None], paused: Callable[[NodeKey], bool]
    ) -> None:
        self._limits = limits
        self._blame = blame
        self._paused = paused
        self._services: dict[str, _Service] = {}
        self._open: Counter[tuple[NodeKey, str]] = Counter()
        self._rates: OrderedDict[tuple[NodeKey, str], Bucket] = OrderedDict()

    def add_channel(self, kind: str, handler: ChannelHandler, concurrent_per_peer: int, strangers: bool) -> None:
        assert kind not in self._services, f"{kind} is served already"
        assert 0 < len(kind.encode()) <= KIND_BYTES_MAX
        self._services[kind] = _Service(handler, concurrent_per_peer, strangers)

    def add(self, kind: str, answer: Answer, body_bytes_max: int, concurrent_per_peer: int, strangers: bool) -> None:
        async def handler(channel: Channel) -> None:
            body = await self._body(channel, kind, body_bytes_max)
            with trio.move_on_after(ANSWER_S_MAX) as deadline:
                reply = await answer(channel.peer, body)
            if deadline.cancelled_caught:
                raise RequestRefused("failed", f"{kind} took more than {ANSWER_S_MAX} s")
            await channel.send(reply)

        self.add_channel(kind, handler, concurrent_per_peer, strangers)

    async def answer(self, channel: FramedChannel, is_member: bool) -> None:
        """Serve one exchange that a peer opened. Never raises: faults become refusals or end the stream."""
        refusals: list[RequestRefused] = []
        # `except*`: a handler's nursery raises groups, and one that is cancelled too is no Exception.
        try:
            kind = (await channel.receive(KIND_BYTES_MAX)).decode(errors="replace")
            with self._slot(channel.peer, kind, is_member) as service:
                await service.handler(channel)
        except* RequestRefused as group:
            refusals += [error for error in _leaves(group) if isinstance(error, RequestRefused)]
        except* TransportError as group:
            log.debug("an exchange ended early: %s", _leaves(group)[0])
        except* Exception as group:
            log.error("a handler failed", exc_info=group)
            refusals.append(RequestRefused("failed", type(_leaves(group)[0]).__name__))
        if refusals:
            with suppress(TransportError):  # who does not listen need not know
                await channel.refuse(refusals[0])

    @contextmanager
    def _slot(self, peer: NodeKey, kind: str, is_member: bool) -> Iterator[_Service]:
        service = self._services.get(kind)
        if service is None:
            raise RequestRefused("unknown_kind", f"{kind!r} is not served here")
        if not is_member and not service.strangers:
            raise RequestRefused("stranger", f"{kind} is for members")
        if self._paused(peer):
            raise RequestRefused("paused", "you sent what no correct program sends; ask again in some minutes")
        if not self._allows(peer, kind, is_member):
            raise RequestRefused("busy", f"{kind} is asked too often")
        if self._open[peer, kind] >= service.concurrent_per_peer:
            raise RequestRefused("busy", f"{service.concurrent_per_peer} {kind} of yours are under way")
        self._open[peer, kind] += 1
        try:
            yield service
        finally:
            self._open[peer, kind] -= 1
            if not self._open[peer, kind]:
                del self._open[peer, kind]

    def _allows(self, peer: NodeKey, kind: str, is_member: bool) -> bool:
        limits = self._limits
        rate, burst = limits.requests_per_s, limits.requests_burst
        if not is_member:
            rate, burst = limits.stranger_requests_per_s, limits.stranger_requests_burst
        now = trio.current_time()
        bucket = self._rates.setdefault((peer, kind), Bucket(rate, burst, now))
        self._rates.move_to_end((peer, kind))
        if len(self._rates) > RATES_REMEMBERED_MAX:
            self._rates.popitem(last=False)
        return bucket.take(1, now)

    async def _body(self, channel: Channel, kind: str, bytes_max: int) -> bytes:
        try:
            return await channel.receive(bytes_max)
        except FrameOutOfBounds as error:
            self._blame(channel.peer, Fault.GARBAGE, f"{kind}: {error}")
            # The bound is checked on the header, so the other direction can still say why.
            raise RequestRefused("too_large", str(error)) from None


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


async def ask(channel: FramedChannel, kind: str, body: bytes) -> bytes:
    """The asking side of a request on a fresh channel."""
    if len(body) <= _LARGE_BODY_BYTES:
        await channel.send_all(kind.encode(), body)
        return await _reply(channel)
    replies: list[bytes | TransportError] = []
    async with trio.open_nursery() as nursery:

        async def hear() -> None:
            try:
                replies.append(await _reply(channel))
            except TransportError as error:
                replies.append(error)
            nursery.cancel_scope.cancel()

        async def speak() -> None:
            try:
                await channel.send_all(kind.encode(), body)
            except TransportError:
                # What the peer had to say about it comes first; without a word, hearing fails too.
                log.debug("sending %s broke off", kind)

        nursery.start_soon(hear)
        nursery.start_soon(speak)
    (reply,) = replies
    if isinstance(reply, TransportError):
        raise reply
    return reply


async def _reply(channel: FramedChannel) -> bytes:
    try:
        return await channel.receive(REPLY_BYTES_MAX)
    except ChannelClosed:
        raise PeerUnreachable("the peer finished without an answer") from None
