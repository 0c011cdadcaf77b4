"""Everything between us and one member: dialling, the stream of our messages to it, the stream of its to us.

One task a member keeps a connection up and our link on it; it dials all known addresses in turn, backs off, asks for
signs of life and drops a connection that gives none. Imports no libp2p: it works on the host's connections.
"""

import logging
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from ledger.types import Hash32, NodeKey
from node.network.addresses import Address
from node.network.bucket import Bucket
from node.network.incoming import Incoming
from node.network.link import Inbox, OtherChain, Outbox, Overrun, number_in, ping, pong, receiver_frames, sender_frames
from node.network.transport import Fault, Limits, PeerStatus, PeerUnreachable
from node.network.wire import FrameKind, FrameReader, InvalidFrame

if TYPE_CHECKING:
    from node.network.libp2p_host import Host
    from node.network.libp2p_stream import Connection, Stream

log = logging.getLogger(__name__)

LINK_PROTOCOL = "/hanse/link/1"
_PIECE_BYTES = 256 * 1024
# Broken links of one member that are logged; past that only its status tells of the last.
COMPLAINTS_LOGGED_MAX = 8


class MemberLink:
    """One member. `keep` and `receive` are its tasks, the rest may be called at any time."""

    def __init__(
        self,
        org: NodeKey,
        session: bytes,
        chain_id: Hash32,
        limits: Limits,
        incoming: Incoming,
        told: Callable[[NodeKey, bool], None],
        blame: Callable[[NodeKey, Fault, str], None],
    ) -> None:
        self.org = org
        self.addresses: tuple[Address, ...] = ()
        self.outbox = Outbox(session, chain_id, limits)
        self.scope = trio.CancelScope()
        self._inbox = Inbox()
        self._chain_id = chain_id
        self._limits = limits
        self._incoming = incoming
        self._told = told
        self._blame = blame
        self._answers = Bucket(limits.answers_per_s, limits.answers_burst, trio.current_time())
        self._pings = Bucket(limits.pings_per_s, limits.pings_burst, trio.current_time())
        # Neither dialled nor spoken to before this time of trio's.
        self.refused_until = float("-inf")
        self._work = trio.Event()
        self._changed = trio.Event()
        self._receiving = trio.Lock()
        self._receiving_scope = trio.CancelScope()
        self._connection: Connection | None = None
        self._since = trio.current_time()
        self._round_trip_s: float | None = None
        self._last_error: str | None = None
        self._complaints = 0
        self._ping_number = 0
        self._ping_sent_at: float | None = None
        self._bytes_before = (0, 0)

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def post(self, message: bytes) -> bool:
        fits = self.outbox.post(message)
        self._work.set()
        return fits and self.connected

    def changed(self) -> None:
        """Connections to this member came or went, or its addresses are new: look again now."""
        self._changed.set()

    def count(self, ended: "Connection") -> None:
        """A connection to this member is gone: its bytes still count."""
        self._bytes_before = (
            self._bytes_before[0] + ended.wire.bytes_in,
            self._bytes_before[1] + ended.wire.bytes_out,
        )

    def status(self, live: "Sequence[Connection]") -> PeerStatus:
        """`live`: all connections to this member. Two that dialled each other at once keep both: our messages go over
        one of them, the member's over the other, and the bytes of both are told."""
        at = self._connection
        return PeerStatus(
            org=self.org,
            connected=at is not None,
            direction=None if at is None else at.direction,
            address=None if at is None else str(at.place),
            since_s=trio.current_time() - self._since,
            round_trip_s=self._round_trip_s,
            bytes_in=self._bytes_before[0] + sum(each.wire.bytes_in for each in live),
            bytes_out=self._bytes_before[1] + sum(each.wire.bytes_out for each in live),
            messages_queued=len(self.outbox),
            messages_dropped=self.outbox.dropped,
            last_error=self._last_error,
        )

    async def keep(self, host: "Host") -> None:
        """Keep a connection and our link on it, until cancelled through `scope`."""
        limits = self._limits
        backoff_s = limits.backoff_first_s
        with self.scope:
            while True:
                await trio.sleep_until(max(self.refused_until, trio.current_time()))
                connection = host.live(self.org) or await self._dial(host)
                if connection is not None and await self._run_link(connection):
                    backoff_s = limits.backoff_first_s
                self._changed = trio.Event()
                other = host.live(self.org)
                if other is None or other is connection:
                    # Jitter, or two members that restart together dial each other in step for ever.
                    with trio.move_on_after(backoff_s * random.uniform(0.5, 1.0)):
                        await self._changed.wait()
                backoff_s = min(backoff_s * 2, limits.backoff_last_s)

    async def _dial(self, host: "Host") -> "Connection | None":
        for address in self.addresses:
            try:
                return await host.dial(address, self.org)
            except PeerUnreachable as error:
                self._last_error = str(error)
            connection = host.live(self.org)
            if connection is not None:
                return connection  # it dialled us meanwhile
        return None

    async def _run_link(self, connection: "Connection") -> bool:
        """Send our messages over `connection` until it fails; whether the member ever took us as one."""
        stream = None
        try:
            with trio.fail_after(self._limits.silence_s):
                stream = await connection.open_stream(LINK_PROTOCOL)
                await stream.write(self.outbox.hello())
                frames = sender_frames()
                await self._take_answer(stream, frames, FrameKind.WELCOME)
            self._link_is_up(connection)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, stream, connection)
                while True:
                    await self._take_answer(stream, frames, FrameKind.ACKNOWLEDGE)
        except* InvalidFrame as group:
            self._complain(_first_of(group))
        except* PeerUnreachable as group:
            self._last_error = str(_first_of(group))
        except* trio.TooSlowError:
            self._last_error = f"silent for {self._limits.silence_s} s"
            connection.abort()
        finally:
            welcomed = self._link_is_down()
            if stream is not None:
                await stream.finish(False)
        return welcomed

    def _link_is_up(self, connection: "Connection") -> None:
        self._connection = connection
        self._since = trio.current_time()
        self._last_error = None
        self._ping_sent_at = None
        self._told(self.org, True)

    def _link_is_down(self) -> bool:
        if self._connection is None:
            return False
        self._connection = None
        self._since = trio.current_time()
        self._told(self.org, False)
        return True

    async def _take_answer(self, stream: "Stream", frames: FrameReader, due: FrameKind) -> None:
        """Read until a frame of kind `due` came; what else comes is taken on the way."""
        while True:
            while (item := frames.next()) is not None:
                kind, body = item
                if not self._answers.take(1, trio.current_time()):
                    raise Overrun("more acknowledgements and signs of life than it was asked for")
                if kind is FrameKind.REFUSAL:
                    raise PeerUnreachable(f"it refuses our messages: {body.decode(errors='replace')}")
                if kind is FrameKind.PONG:
                    self._heard_pong(number_in(body))
                else:
                    self.outbox.acknowledge(number_in(body))
                    self._work.set()
                if kind is due:
                    return
            data = await stream.read()
            if not data:
                raise PeerUnreachable("it ended the link")
            frames.feed(data)

    def _heard_pong(self, number: int) -> None:
        if number == self._ping_number and self._ping_sent_at is not None:
            self._round_trip_s = trio.current_time() - self._ping_sent_at
            self._ping_sent_at = None

    async def _write(self, stream: "Stream", connection: "Connection") -> None:
        """Write what the outbox gives; ask for a sign of life when there was none. TooSlowError when mute."""
        limits = self._limits
        waiting_since: float | None = None
        # The first ping gives the round trip at once.
        ping_due = True
        while True:
            self._work = trio.Event()
            data = self.outbox.take()
            if ping_due:
                self._ping_number += 1
                self._ping_sent_at = trio.current_time()
                data += ping(self._ping_number)
                ping_due = False
            if data:
                # In pieces: a block may take its time over a slow line, 256 KB may not.
                for at in range(0, len(data), _PIECE_BYTES):
                    with trio.fail_after(limits.silence_s):
                        await stream.write(data[at : at + _PIECE_BYTES])
                continue
            expecting = self.outbox.unacknowledged or self._ping_sent_at is not None
            if not expecting:
                waiting_since = None
            elif waiting_since is None:
                waiting_since = trio.current_time()
            with trio.move_on_after(limits.silence_s / 4 if expecting else limits.ping_every_s):
                await self._work.wait()
            now = trio.current_time()
            silent_s = now - connection.wire.heard_at
            if waiting_since is not None and min(silent_s, now - waiting_since) > limits.silence_s:
                raise trio.TooSlowError
            ping_due = self._ping_sent_at is None and silent_s >= limits.ping_every_s * 0.9

    async def receive(self, stream: "Stream", connection: "Connection", others: "list[Connection]") -> None:
        """Serve the member's link to us: the newest one counts, older ones end first."""
        self._receiving_scope.cancel()
        async with self._receiving:
            with trio.CancelScope() as self._receiving_scope:
                try:
                    await self._receive(stream, connection, others)
                except* InvalidFrame as group:
                    self._complain(_first_of(group))
                    raise

    def _complain(self, error: BaseException) -> None:
        """A member broke the protocol: its operator and ours should talk."""
        reason = str(error)
        self._last_error = f"it sent {reason}"
        if not isinstance(error, OtherChain):
            self._blame(self.org, Fault.OVERRUN if isinstance(error, Overrun) else Fault.GARBAGE, reason)
        self._complaints += 1
        if self._complaints <= COMPLAINTS_LOGGED_MAX:
            log.warning("the link of %s ended: it sent %s", self.org.hex()[:16], reason)

    async def _receive(self, stream: "Stream", connection: "Connection", others: "list[Connection]") -> None:
        frames = receiver_frames(self._limits)
        known_session = self._inbox.session
        hello = await _first_frame(stream, frames, self._limits.handshake_s)
        welcome = self._inbox.hello(hello, self._chain_id)
        if known_session and self._inbox.session != known_session:
            # The member was started anew: what it opened before is dead, whatever TCP thinks.
            for each in others:
                if each.opened_at < connection.opened_at:
                    each.abort()
        await stream.write(welcome)
        # It takes us for a member: if it did not before, our own link may be tried again at once.
        self.changed()
        answers = _Answers(stream, self._inbox, self._limits)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answers.run)
            while True:
                while (item := frames.next()) is not None:
                    kind, body = item
                    if kind is FrameKind.PING:
                        if not self._pings.take(1, trio.current_time()):
                            raise Overrun("signs of life asked for more often than is of use")
                        answers.pong(body)
                    elif kind is FrameKind.MESSAGE:
                        await self._deliver(body, answers)
                    else:
                        raise InvalidFrame("a second HELLO")
                data = await stream.read()
                if not data:
                    break
                frames.feed(data)
            nursery.cancel_scope.cancel()

    async def _deliver(self, body: bytes, answers: "_Answers") -> None:
        taken = self._inbox.message(body)
        if taken is not None:
            number, message = taken
            delivered = False
            while not delivered:
                with trio.move_on_after(self._limits.silence_s / 4):
                    await self._incoming.put(self.org, message)
                    delivered = True
                if not delivered:
                    # Too much of this member waits for our consumer. It is held back, not given up: say so.
                    answers.acknowledge(0)
            self._inbox.delivered(number)
        answers.acknowledge(len(body))


class _Answers:
    """What goes back on the link of a member, from one task, few frames for many messages."""

    def __init__(self, stream: "Stream", inbox: Inbox, limits: Limits) -> None:
        self._stream = stream
        self._inbox = inbox
        self._limits = limits
        self._due = trio.Event()
        self._now = trio.Event()
        self._pongs = b""
        self._bytes = 0
        self._messages = 0

    def pong(self, body: bytes) -> None:
        self._pongs = pong(body)  # the latest answers all
        self._due.set()
        self._now.set()

    def acknowledge(self, message_bytes: int) -> None:
        self._messages += 1
        self._bytes += message_bytes
        self._due.set()
        # Half a window: the sender goes on while the acknowledgement travels.
        if self._bytes * 2 >= self._limits.flight_bytes_max or self._messages * 2 >= self._limits.flight_messages_max:
            self._now.set()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            with trio.move_on_after(self._limits.acknowledge_after_s):
                await self._now.wait()
            data = self._pongs
            if self._messages:
                data += self._inbox.acknowledgement()
            self._pongs, self._bytes, self._messages = b"", 0, 0
            self._due, self._now = trio.Event(), trio.Event()
            with trio.fail_after(self._limits.silence_s):
                await self._stream.write(data)


async def _first_frame(stream: "Stream", frames: FrameReader, within_s: float) -> bytes:
    with trio.fail_after(within_s):
        while (item := frames.next()) is None:
            data = await stream.read()
            if not data:
                raise PeerUnreachable("the link ended before its HELLO")
            frames.feed(data)
    kind, body = item
    if kind is not FrameKind.HELLO:
        raise InvalidFrame(f"a {kind.name} where the HELLO was due")
    return body


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
