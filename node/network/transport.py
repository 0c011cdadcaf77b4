"""What the daemon may ask of the network: the interface, its values, its bounds and its faults.

Holds no sockets and imports no libp2p. `libp2p_transport.py` is the real thing, `memory_transport.py` the double; both
pass `tests/net/test_transport_interface.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import trio

from ledger.keys import KeyPair
from ledger.types import BLOCK_BYTES_MAX, Hash32, NodeKey

Answer = Callable[[NodeKey, bytes], Awaitable[bytes]]
"""Answers one request: (who asks, body) -> reply. Raise RequestRefused to refuse with a code; any other exception
is logged here and reaches the asker as a refusal with code "failed"."""

PeerWatcher = Callable[[NodeKey, bool], None]
"""Told (org, True) when messages to a member start to flow and (org, False) when they stop. Must not block or raise."""


class TransportError(Exception):
    """Something between us and one peer went wrong. Nothing else is affected."""


class PeerUnreachable(TransportError):
    """There is no connection to the peer, none could be made, or it broke before the answer was whole."""


class RequestTimedOut(TransportError):
    """The peer is connected and did not answer in time."""


class RequestRefused(TransportError):
    """The peer answered no. `code` is one short word a program can act on, the text is for people.

    Codes of the transport itself: "unknown_kind", "too_large", "busy", "stranger", "failed". Services add their own.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class ChannelClosed(TransportError):
    """The other end finished or broke the channel where another frame was due."""


class InvalidAddress(ValueError):
    """An address that names no place to dial. The fault of whoever wrote it."""


class Fault(Enum):
    """What no correct program sends, and how many points it costs (`peer_scores.py`)."""

    # Bytes that are no frame or message of ours. A member whose program is newer may send a few: it is paused first.
    GARBAGE = "garbage"
    # A message that is well formed and provably false: a signature, certificate, block or blob.
    FORGED = "forged"
    # More of something than the protocol ever needs: signs of life, repetitions, acknowledgements.
    OVERRUN = "overrun"

    @property
    def points(self) -> float:
        return 20.0 if self is Fault.GARBAGE else 10.0


class Direction(Enum):
    DIALLED = "dialled"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One member as the transport sees it. Times in seconds; `since_s` is how long the present state has lasted.

    `score`: points for what no correct program does, fading (`peer_scores.py`); `paused`: its requests are refused;
    `banned_s`: how long its connections still are; `held_s`: how long its messages still wait, for they took more of
    our processor than its share.
    """

    org: NodeKey
    connected: bool
    direction: Direction | None
    address: str | None
    since_s: float
    round_trip_s: float | None
    bytes_in: int
    bytes_out: int
    messages_queued: int
    messages_dropped: int
    last_error: str | None
    score: float = 0.0
    faults: int = 0
    paused: bool = False
    banned_s: float = 0.0
    held_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound of the transport, by name. The defaults suit a league over the open internet."""

    # A block of 4 MB with its certificate and envelope, and room to spare.
    message_bytes_max: int = BLOCK_BYTES_MAX + 2**20
    # What waits for one peer that is slow or away: some heights of votes of the largest committee, or two full blocks.
    queued_messages_max: int = 1024
    queued_bytes_max: int = 12 * 2**20
    # In flight without an acknowledgement. Under Yamux's first window of 256 KiB, so that a reader that is slow to
    # take messages never leaves our writer at a shut window (py-libp2p resets such a stream after 5 s).
    flight_messages_max: int = 256
    flight_bytes_max: int = 192 * 1024
    # What one peer may have waiting for our consumer before its link, and only its link, is held back.
    incoming_messages_max: int = 64
    incoming_bytes_max: int = 8 * 2**20

    # Of one processor's time, what messages that move nothing may have, shared by all members alike; votes, blocks and
    # clients have the rest. A league of many shares no finer than the least.
    processing_share: float = 0.2
    processing_share_least: float = 0.01
    # At once: some thousand votes, or a dozen proposals of full blocks that nobody asked for.
    processing_burst_s: float = 0.5
    # The same for gossip: as many transactions of each member as blocks take of one (`consensus/intake.py`). At once:
    # the checks of as many as one sender may have waiting.
    gossip_share: float = 0.2
    gossip_burst_s: float = 1.0
    # Reads off one connection, twice one a record of Noise: small frames cost as much as large ones. A blob at 100 MB/s
    # takes some 4,000.
    reads_per_s: float = 8000.0
    reads_burst: float = 40000.0

    # A round trip across the world takes 0.3 s; a handshake takes three of them and some computing.
    handshake_s: float = 5.0
    dial_s: float = 8.0
    # 0.5 s: a restarted peer is back at once; 15 s: a dead one costs nothing.
    backoff_first_s: float = 0.5
    backoff_last_s: float = 15.0
    # A link is asked for a sign of life when silent for so long, and given up when it stays silent.
    ping_every_s: float = 5.0
    silence_s: float = 8.0
    # A peer that gives or takes nothing on a stream where it is its turn has stopped.
    stall_s: float = 20.0
    # Acknowledgements wait a little, so that one answers many messages.
    acknowledge_after_s: float = 0.05

    # Half-done handshakes, of anybody. A new one past that replaces the oldest: real ones take milliseconds.
    handshakes_max: int = 64
    # Of one network (an IPv4 address, an IPv6 /64): a newcomer past that replaces the oldest of the same network. The
    # rate bounds the processor: a handshake takes some 3 ms. A league on one machine starts within the burst.
    handshakes_per_network_max: int = 32
    handshakes_per_network_per_s: float = 50.0
    handshakes_per_network_burst: float = 200.0
    # No honest handshake sends more before it is through.
    handshake_bytes_max: int = 64 * 1024
    # Streams that one member may have open towards us; requests are short and transfers few.
    streams_per_member_max: int = 64
    # Opening a stream takes a millisecond here; who opens more waits.
    streams_per_s: float = 100.0
    streams_burst: float = 400.0
    # Requests of one kind of one peer; past that they are refused as busy.
    requests_per_s: float = 50.0
    requests_burst: float = 400.0
    # Signs of life that one link may ask for: one in `ping_every_s` (0.2 s at least) is due, one when a link begins.
    pings_per_s: float = 8.0
    pings_burst: float = 32.0
    # Acknowledgements and signs of life that come back on our own link: one in `acknowledge_after_s`, or one in half a
    # window of messages.
    answers_per_s: float = 200.0
    answers_burst: float = 2000.0
    # What a connection may hold unread. Sixteen streams at their full window of 2 MiB.
    unread_bytes_max: int = 32 * 2**20

    # Peers that are no members: just enough to ask for admission.
    strangers_max: int = 8
    strangers_per_network_max: int = 4
    strangers_per_network_per_minute: int = 20
    stranger_requests_per_s: float = 2.0
    stranger_requests_burst: float = 20.0
    streams_per_stranger_max: int = 4
    stranger_unread_bytes_max: int = 2**20
    stranger_lifetime_s: float = 20.0
    # Connections of strangers that are let in per minute, all together.
    strangers_per_minute: int = 60

    # Points for what no correct program does (`peer_scores.py`): five frames of garbage in a minute are no accident.
    score_half_life_s: float = 60.0
    pause_score: float = 50.0
    ban_score: float = 90.0
    # Long enough to cost a flood nearly all of its rate; short enough that a member that was mended is back in minutes.
    ban_first_s: float = 15.0
    ban_last_s: float = 300.0
    bans_forgotten_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """Where we listen, what we tell others to dial, whom we may always try, and who we are.

    Addresses are multiaddrs: `/ip4/10.0.0.5/tcp/4001`, `/dns4/a.example/tcp/4001`; bootstrap addresses end in
    `/p2p/<peer id>`.
    """

    key: KeyPair
    chain_id: Hash32
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/4001",)
    announce: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


class Channel(Protocol):
    """One exchange with one peer: frames go both ways, in order, until either side leaves."""

    @property
    def peer(self) -> NodeKey: ...

    async def send(self, body: bytes) -> None:
        """Send one frame. Raises PeerUnreachable when the channel broke, RequestTimedOut when the peer stalls."""

    async def receive(self, bytes_max: int) -> bytes:
        """The next frame, at most `bytes_max` bytes.

        Raises ChannelClosed at the end, RequestRefused when the peer said no, RequestTimedOut when it stalls,
        PeerUnreachable when the connection broke or the frame breaks the bound.
        """


ChannelHandler = Callable[[Channel], Awaitable[None]]


class Transport(Protocol):
    """The network of one node. All of it is called from one trio task tree; nothing here blocks but what is async."""

    @property
    def me(self) -> NodeKey: ...

    @property
    def listening(self) -> tuple[str, ...]:
        """The addresses we listen on, ports filled in, with `/p2p/<our peer id>`."""

    @property
    def incoming(self) -> trio.MemoryReceiveChannel[tuple[NodeKey, bytes]]:
        """Messages of members, each once and in the order it was posted; peers take turns."""

    def set_members(self, members: Mapping[NodeKey, tuple[str, ...]]) -> None:
        """Admit and dial exactly these (addresses may be empty: then they dial us). Others are disconnected."""

    def peers(self) -> list[PeerStatus]: ...

    def watch_peers(self, watcher: PeerWatcher) -> None: ...

    def post(self, to: NodeKey, message: bytes) -> bool:
        """Queue a message for a member; never blocks. It is sent again after a reconnection until acknowledged.

        False when it cannot be on its way now: no such member, the peer is away (then it waits, and the oldest
        goes when the queue is full), or it pushed older messages out.
        """

    def broadcast(self, message: bytes) -> None:
        """Post to every member but ourselves."""

    async def request(self, to: NodeKey, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask a connected member. Raises RequestRefused, PeerUnreachable, RequestTimedOut."""

    async def request_at(self, address: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask whoever has the key named at the end of `address`, member or not. Raises InvalidAddress too."""

    def channel(self, to: NodeKey, kind: str, timeout_s: float) -> AbstractAsyncContextManager[Channel]:
        """Open a channel to a connected member within `timeout_s`; from then on `stall_s` bounds every wait."""

    def charge(self, org: NodeKey, processor_s: float, gossip: bool = False) -> None:
        """A message of `org` took so much of our processor and moved nothing: past its share its next ones wait.

        What `gossip` took is counted apart, and makes nothing wait: see `takes_gossip`.
        """

    def takes_gossip(self, org: NodeKey) -> bool:
        """Whether `org` has a share left for messages that may be dropped instead."""

    def blame(self, org: NodeKey, fault: Fault, what: str) -> None:
        """`org` did what no correct program does; `what` says it to its operator and ours. See `peer_scores.py`."""

    def serve(
        self,
        kind: str,
        answer: Answer,
        *,
        body_bytes_max: int,
        concurrent_per_peer: int,
        strangers: bool = False,
    ) -> None:
        """Answer requests of this kind; more than `concurrent_per_peer` at once from one peer are refused as busy."""

    def serve_channel(
        self, kind: str, handler: ChannelHandler, *, concurrent_per_peer: int, strangers: bool = False
    ) -> None:
        """Hand channels of this kind to `handler`; it may raise RequestRefused before it sent anything."""
