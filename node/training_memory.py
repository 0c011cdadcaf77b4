"""What a provider remembers of each request it trains for: its strategy's state, and its answer to the last round.

The answer is written down before it is announced, so that after a crash the very same bytes are announced again and
nothing is trained twice. One file a request, there whole or not at all. What the state means is the strategy's.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import structlog

from ledger.codec import decode, encode
from ledger.errors import InvalidBytes
from ledger.fields import Count, Digest, Millionths
from ledger.transactions import AnnounceProtected, AnnounceUpdate, DeclineRound
from node.disk import publish_file
from node.rounds import RoundId

log = structlog.get_logger(__name__)

MAGIC = b"HQT1"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """`before`: the strategy's state when the round began, for another attempt at the same round; `after`: now.

    `own_accuracy`: millionths, of this factory's update on its own test records when it had been trained.
    """

    request: Digest
    round: Count
    attempt: Count
    before: bytes | None
    after: bytes | None
    answer: AnnounceUpdate | AnnounceProtected | DeclineRound | None
    own_accuracy: Millionths | None

    @property
    def id(self) -> RoundId:
        return RoundId(self.request, self.round, self.attempt)

    def state_for(self, number: int) -> bytes | None:
        """The state that a round begins with: a round tried again begins where it began the first time."""
        return self.before if number == self.round else self.after


class TrainingMemory:
    """The folder with those files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def requests(self) -> list[bytes]:
        """Requests of which something is remembered."""
        return [bytes.fromhex(path.stem) for path in self.folder.glob("*.training") if len(path.stem) == 64]

    def load(self, request: bytes) -> TrainingRecord | None:
        """None when nothing is remembered. A damaged file is set aside with a warning: the ledger still says what we
        announced, and a strategy without its state starts from the global model."""
        path = self._path(request)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _parse(data, request)
        except InvalidBytes as error:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            log.warning("training_memory_damaged", file=str(aside), reason=str(error))
            return None

    def save(self, record: TrainingRecord) -> None:
        """On the disk when this returns. Raises OSError for a full one; what was there stays."""
        body = encode(record)
        publish_file(self._path(record.request), MAGIC + hashlib.sha256(body).digest() + body, mode=0o600)

    def forget(self, request: bytes) -> None:
        self._path(request).unlink(missing_ok=True)

    def _path(self, request: bytes) -> Path:
        return self.folder / f"{request.hex()}.training"


def _parse(data: bytes, request: bytes) -> TrainingRecord:
    head = len(MAGIC) + _DIGEST_BYTES
    body = data[head:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != data[len(MAGIC) : head]:
        raise InvalidBytes(f"{len(data)} bytes that are not what was written")
    record = decode(TrainingRecord, body)
    if record.request != request:
        raise InvalidBytes(f"it is of request {record.request.hex()[:16]}")
    return record
