"""Blobs from node to node: asked for by digest and offset, streamed in pieces, checked before anybody sees them.

Protocol of a `blob.get` channel: the asker sends Wanted; the holder answers with the blob's size (or a refusal:
"missing", "withheld", "busy", "offset"), then the bytes from the offset on in pieces of PIECE_BYTES, a frame each,
deflated where that helps (`blob_pieces.py`; of a large blob on a slow link only); the asker ends with one frame,
b"whole" or b"wrong", so that the holder knows. A broken transfer goes on where it stopped, with any holder.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, ClassVar

import trio

from ledger.codec import Range, Size, decode, encode
from ledger.errors import InvalidBytes
from ledger.types import BLOB_BYTES_MAX, Hash32, NodeKey
from node.network.blob_pieces import pack_piece, unpack_piece
from node.network.blob_store import BlobStore, InvalidBlob, MissingBlob, PartialBlob
from node.network.bucket import Bucket
from node.network.transport import Channel, Fault, RequestRefused, RequestTimedOut, Transport, TransportError

log = logging.getLogger(__name__)

KIND = "blob.get"
# Larger writes cost less per byte, and a piece is what is lost when a transfer breaks.
PIECE_BYTES = 2**20
# Transfers share one thread of Python at both ends: more at once do not get faster.
FETCHES_MAX = 4
SERVED_PER_PEER_MAX = 4
# What one peer gets: five of the largest blobs as fast as the line allows, then some 270 Mbit/s. Who fetches the same
# again and again would else have all of our line and, for it is encrypted, most of our processor.
SERVED_BURST_BYTES = 512 * 2**20
SERVED_BYTES_PER_S = 32 * 2**20
# Deflating a piece takes as long as sending it at 100 MB/s: on a link that is not far slower it only
# costs time. The first piece of a large blob shows how fast the link is; small blobs are over before that.
DEFLATE_BELOW_BYTES_PER_S = 30e6
_OPEN_S = 10.0
# A source slower than one piece in so long (50 KB/s) makes way for the next one.
_PIECE_S = 20.0
# Rounds over all sources before a fetch is given up, and the pause between them.
_ROUNDS = 3
_PAUSE_S = 0.5

Progress = Callable[[Hash32, int, int], None]
"""(digest, bytes that have arrived, bytes in all), about once a piece."""
Withholds = Callable[[Hash32], bool]
"""Whether a blob that is here is given to nobody yet."""


class BlobUnavailable(Exception):
    """No source gave the blob. The text says what each of them answered."""


class _WrongSize(InvalidBlob):
    """Not the size we were told of; who holds it may be right, and who told us wrong."""


@dataclass(frozen=True, slots=True)
class Wanted:
    KIND: ClassVar[int] = 1
    digest: Annotated[Hash32, Size(32, 32)]
    offset: Annotated[int, Range(0, BLOB_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class Offered:
    KIND: ClassVar[int] = 2
    size: Annotated[int, Range(0, BLOB_BYTES_MAX)]


class BlobExchange:
    """Serves the store's blobs to members and fetches what others have into it."""

    def __init__(self, transport: Transport, store: BlobStore, withholds: Withholds = lambda _: False) -> None:
        self._transport = transport
        self._store = store
        self._withholds = withholds
        self._slots = trio.CapacityLimiter(FETCHES_MAX)
        self._under_way: dict[Hash32, trio.Lock] = {}
        # One a peer that ever fetched: members only, so a few hundred at most.
        self._served: dict[NodeKey, Bucket] = {}
        transport.serve_channel(KIND, self._serve, concurrent_per_peer=SERVED_PER_PEER_MAX)

    async def fetch(
        self,
        digest: Hash32,
        sources: Sequence[NodeKey],
        size_max: int = BLOB_BYTES_MAX,
        progress: Progress | None = None,
    ) -> None:
        """Have the blob in the store when this returns, from any of `sources`, tried in order.

        Raises BlobUnavailable, and NoSpaceForBlob when our own disk is full. A blob larger than `size_max` bytes is
        refused. Two fetches of one blob become one.
        """
        lock = self._under_way.setdefault(digest, trio.Lock())
        try:
            async with lock:
                if digest in self._store:
                    return
                async with self._slots:
                    await self._fetch(digest, sources, size_max, progress)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._under_way.pop(digest, None)

    async def _fetch(
        self, digest: Hash32, sources: Sequence[NodeKey], size_max: int, progress: Progress | None
    ) -> None:
        answers: dict[NodeKey, str] = {}
        liars: set[NodeKey] = set()
        await trio.to_thread.run_sync(self._store.trim_partials)
        with await trio.to_thread.run_sync(self._store.resume, digest) as partial:
            for round_number in range(_ROUNDS):
                for source in [each for each in sources if each not in liars]:
                    try:
                        if partial.arrived:
                            # What is there may be a liar's: when it does not fit, this source starts anew.
                            with suppress(InvalidBlob):
                                await self._fetch_from(source, partial, digest, size_max, progress)
                                return
                        await self._fetch_from(source, partial, digest, size_max, progress)
                    except InvalidBlob as error:
                        answers[source] = str(error)
                        liars.add(source)
                        if not isinstance(error, _WrongSize):
                            self._transport.blame(source, Fault.FORGED, f"blob {digest.hex()[:16]}: {error}")
                        continue
                    except TransportError as error:
                        answers[source] = str(error)
                        continue
                    return
                if round_number + 1 < _ROUNDS:
                    await trio.sleep(_PAUSE_S)
        told = "; ".join(f"{org.hex()[:16]}: {text}" for org, text in answers.items())
        raise BlobUnavailable(f"blob {digest.hex()[:16]}: {told or 'nobody to ask'}")

    async def _fetch_from(
        self, source: NodeKey, partial: PartialBlob, digest: Hash32, size_max: int, progress: Progress | None
    ) -> None:
        async with self._transport.channel(source, KIND, _OPEN_S) as channel:
            await channel.send(encode(Wanted(digest, partial.arrived)))
            try:
                size = decode(Offered, await channel.receive(64)).size
            except InvalidBytes as error:
                raise InvalidBlob(str(error)) from None
            if size > size_max:
                raise _WrongSize(f"{size} bytes, want at most {size_max}")
            if size < partial.arrived:
                await trio.to_thread.run_sync(partial.restart)
                raise _WrongSize(f"it says {size} bytes, more had arrived already: from the start again")
            self._store.make_room(size)
            while partial.arrived < size:
                due = min(PIECE_BYTES, size - partial.arrived)
                frame = await _piece(channel, due)
                await trio.to_thread.run_sync(_append, partial, frame, due)
                if progress is not None:
                    progress(digest, partial.arrived, size)
            try:
                await trio.to_thread.run_sync(partial.publish)
            except InvalidBlob:
                with suppress(TransportError):
                    await channel.send(b"wrong")
                raise
            with suppress(TransportError):  # we have it, whether the source hears of it or not
                await channel.send(b"whole")

    async def _serve(self, channel: Channel) -> None:
        wanted = decode(Wanted, await channel.receive(64))
        try:
            # Not from the count alone: somebody may have taken the file away.
            self._store.path(wanted.digest)
            size = self._store.size(wanted.digest)
        except MissingBlob:
            raise RequestRefused("missing", f"no blob {wanted.digest.hex()[:16]} here") from None
        if self._withholds(wanted.digest):
            raise RequestRefused("withheld", f"blob {wanted.digest.hex()[:16]} is not given out yet")
        if wanted.offset > size:
            raise RequestRefused("offset", f"offset {wanted.offset} in a blob of {size} bytes")
        await channel.send(encode(Offered(size)))
        offset = wanted.offset
        now = trio.current_time()
        budget = self._served.setdefault(channel.peer, Bucket(SERVED_BYTES_PER_S, SERVED_BURST_BYTES, now))
        deflate = size <= PIECE_BYTES
        while offset < size:
            due = min(PIECE_BYTES, size - offset)
            budget.spend(due, trio.current_time())
            await trio.sleep(budget.wait_s(trio.current_time()))
            frame = await trio.to_thread.run_sync(self._frame, wanted.digest, offset, due, deflate)
            began = trio.current_time()
            await channel.send(frame)
            deflate = len(frame) < DEFLATE_BELOW_BYTES_PER_S * (trio.current_time() - began)
            offset += due
        verdict = await channel.receive(16)
        if verdict != b"whole":
            log.warning("%s got wrong bytes for blob %s", channel.peer.hex()[:16], wanted.digest.hex()[:16])

    def _frame(self, digest: Hash32, offset: int, due: int, deflate: bool) -> bytes:
        piece = self._store.read_range(digest, offset, due)
        if len(piece) != due:
            raise MissingBlob(digest.hex())
        return pack_piece(piece) if deflate else piece


def _append(partial: PartialBlob, frame: bytes, due: int) -> None:
    partial.append(unpack_piece(frame, due))


async def _piece(channel: Channel, bytes_max: int) -> bytes:
    try:
        with trio.fail_after(_PIECE_S):
            return await channel.receive(bytes_max)
    except trio.TooSlowError:
        raise RequestTimedOut(f"no piece of {bytes_max} bytes within {_PIECE_S} s") from None
