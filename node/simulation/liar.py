"""What a faulty member does to what it says: the lies of `faults.py`, one after the other.

It runs the protocol beside, so that it is believed for long enough.
"""

from collections import deque
from dataclasses import replace
from pathlib import Path
from random import Random

import trio

from consensus.messages import Blocks, CertificateMessage, Decided, Message, encode_message, parse_message
from ledger.aggregation import AggregationResult
from ledger.certificates import Certificate, Signed
from ledger.codec import digest
from ledger.errors import InvalidBytes
from ledger.keys import KeyPair
from ledger.types import Hash32, NodeKey
from node.network.blob_store import BlobStore, MissingBlob
from node.network.transport import Transport
from node.simulation.faults import Lie

# What is said again was said at most so many messages ago: whole heights.
REMEMBERED_MAX = 400
EVERY_S = 0.3


class Liar:
    """One faulty member's intentions."""

    def __init__(self, key: KeyPair, lies: frozenset[Lie], rng: Random) -> None:
        self.lies = lies
        self._key = key
        self._rng = rng
        self._past: deque[bytes] = deque(maxlen=REMEMBERED_MAX)

    def says(self, to: NodeKey, message: bytes) -> list[bytes]:
        """What goes out in place of a message."""
        self._past.append(message)
        if Lie.MUTE in self.lies and self._rng.random() < (0.9 if to[0] % 2 else 0.2):
            return []
        if Lie.FORGED_BLOCKS in self.lies:
            return [self._forged(message)]
        return [message]

    def result(self, result: AggregationResult) -> AggregationResult:
        """What it proposes as the aggregate, and votes for."""
        if Lie.FALSE_AGGREGATE not in self.lies:
            return result
        return replace(result, model=digest("sim/false", result.model))

    async def run(self, transport: Transport) -> None:
        """Speak out of turn. Until cancelled."""
        while True:
            await trio.sleep(EVERY_S * self._rng.uniform(0.5, 1.5))
            members = [peer.org for peer in transport.peers()]
            if not members or not self._past:
                continue
            to = self._rng.choice(members)
            if Lie.GARBAGE in self.lies:
                transport.post(to, self._garbage())
            if Lie.STALE in self.lies:
                transport.post(to, self._rng.choice(self._past))

    def _garbage(self) -> bytes:
        if self._rng.random() < 0.3:
            return self._rng.randbytes(self._rng.randint(0, 200))
        message = bytearray(self._rng.choice(self._past))
        for _ in range(self._rng.randint(1, 3)):
            message[self._rng.randrange(len(message))] = self._rng.randrange(256)
        return bytes(message)

    def _forged(self, data: bytes) -> bytes:
        """The same certificates under signatures of its own: a quorum in name."""
        try:
            message = parse_message(data)
        except InvalidBytes:
            return data
        forged: Message
        match message:
            case Blocks(blocks) if blocks:
                last = blocks[-1]
                forged = Blocks((*blocks[:-1], replace(last, certificate=self._certificate(last.certificate))))
            case Decided(final):
                forged = Decided(replace(final, certificate=self._certificate(final.certificate)))
            case CertificateMessage(certificate):
                forged = CertificateMessage(self._certificate(certificate))
            case _:
                return data
        return encode_message(forged)

    def _certificate(self, certificate: Certificate) -> Certificate:
        own = self._key.sign(Hash32(bytes(32)), "vote", b"forged")
        return replace(certificate, signatures=tuple(Signed(each.voter, own) for each in certificate.signatures))


class LyingBlobStore(BlobStore):
    """Has everything, and serves nothing of it or something else."""

    def __init__(self, folder: Path, liar: Liar) -> None:
        super().__init__(folder)
        self._liar = liar

    def read_range(self, digest: Hash32, offset: int, length: int) -> bytes:
        if Lie.WITHHOLD in self._liar.lies:
            raise MissingBlob(digest.hex())
        piece = super().read_range(digest, offset, length)
        return bytes(byte ^ 1 for byte in piece)
