"""All that a federation is after a round, as bytes: a run that goes on from it ends in the same bits. No pickle.

Nothing random is kept: whatever is drawn is drawn from the seed and the round's number. Layout:
`"HQC1" | head length u32 LE | head, msgpack | blobs, one after the other | SHA-256 of all before`. The head lists the
lengths of the blobs: the global model, the one before it (0: none), and the states of the clients that have one.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from typing import Any, BinaryIO

import msgpack
import numpy as np
from numpy.typing import NDArray

from fl.simulate.attacks import Attack
from fl.simulate.terms import SimulationError, Terms

MAGIC = b"HQC1"
LENGTH = struct.Struct("<I")
# A head is some bytes a client and as many again for each state.
HEAD_BYTES_MAX = 64 * 1024 * 1024
# Read at a time: a length that is not true must not take the memory that it tells of.
PIECE_BYTES = 16 * 1024 * 1024


class CheckpointError(SimulationError):
    """A checkpoint that is damaged, or of another federation than the one it is to restore."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """After `rounds_done` rounds. asked: what the federation was asked to do, in JSON; data: hex digest of its records.

    base, previous: blobs of the global model and of the one before (None: none). taken: by client, the rounds it took
    part in. states: by client, what its strategy remembers; clients that have never taken part have none. The mapping
    may read from a disk: it is only valid while its federation has not gone on.
    """

    asked: str
    data: str
    rounds_done: int
    base: bytes
    previous: bytes | None
    taken: tuple[int, ...]
    states: Mapping[int, bytes]

    def write(self, sink: BinaryIO) -> None:
        """Into `sink`, one state at a time."""
        clients = sorted(self.states)
        lengths = [[client, len(self.states[client])] for client in clients]
        previous = b"" if self.previous is None else self.previous
        head = msgpack.packb(
            [
                self.asked,
                self.data,
                self.rounds_done,
                list(self.taken),
                len(self.base),
                len(previous),
                lengths,
            ]
        )
        hasher = hashlib.sha256()
        pieces: Iterator[bytes] = (self.states[client] for client in clients)
        for piece in (MAGIC, LENGTH.pack(len(head)), head, self.base, previous, *pieces):
            hasher.update(piece)
            sink.write(piece)
        sink.write(hasher.digest())

    def to_bytes(self) -> bytes:
        sink = BytesIO()
        self.write(sink)
        return sink.getvalue()

    @classmethod
    def read(cls, source: BinaryIO, states: MutableMapping[int, bytes] | None = None) -> "Checkpoint":
        """What `write` wrote. `states`, where given, takes the states one by one, so that they need not fit in memory.

        Raises CheckpointError unless every byte is as it was written and nothing follows.
        """
        reader = _Reader(source)
        if (magic := reader.take(len(MAGIC), "the mark")) != MAGIC:
            raise CheckpointError(f"a checkpoint begins with {MAGIC!r}, this does with {magic!r}")
        (length,) = LENGTH.unpack(reader.take(LENGTH.size, "the head's length"))
        if length > HEAD_BYTES_MAX:
            raise CheckpointError(f"a checkpoint's head of {length} bytes, want at most {HEAD_BYTES_MAX}")
        head = _head(reader.take(length, "the head"))
        base = reader.take(head.base_bytes, "the global model")
        previous = reader.take(head.previous_bytes, "the model before it")
        kept: MutableMapping[int, bytes] = {} if states is None else states
        for client, size in head.states:
            kept[client] = reader.take(size, f"the state of client {client}")
        reader.finish()
        return cls(head.asked, head.data, head.rounds_done, base, previous or None, tuple(head.taken), kept)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """Raises CheckpointError."""
        return cls.read(BytesIO(data))


def asked(
    terms: Terms,
    seed: int,
    clients: int,
    attack: Attack | None,
    attackers: Sequence[int],
    batch_seeds: Sequence[int] | None,
) -> str:
    """All that decides a federation's course but its records, as JSON with sorted keys.

    `batch_seeds`: None where they are drawn from the seed.

    What is tested, where it is computed and for how many rounds does not, but for the noise of a mode whose cost is
    spread over all rounds.
    """
    values = {each.name: getattr(terms, each.name) for each in fields(terms)}
    said: dict[str, object] = {key: dict(v) if isinstance(v, Mapping) else v for key, v in values.items()}
    for free in ("device", "evaluate_every"):
        said.pop(free)
    if terms.privacy == "none":
        said.pop("rounds")
    said["seed"] = seed
    said["clients"] = clients
    said["attack"] = None if attack is None else [attack.name, attack.strength, list(attackers)]
    if batch_seeds is not None:
        said["batch_seeds"] = hashlib.sha256(json.dumps(list(batch_seeds)).encode()).hexdigest()[:16]
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def check_same(before: str, now: str) -> None:
    """Raises CheckpointError naming what differs between two of `asked`."""
    if before == now:
        return
    try:
        then, wanted = json.loads(before), json.loads(now)
        names = sorted(name for name in {*then, *wanted} if then.get(name) != wanted.get(name))
        told = ", ".join(f"{name} {then.get(name)!r} (want {wanted.get(name)!r})" for name in names)
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint does not say of what it is: {error}") from None
    raise CheckpointError(f"the checkpoint is of another federation, with {told}")


def records_digest(tables: Iterable[tuple[NDArray[Any], NDArray[np.int64]]]) -> str:
    """Hex SHA-256 of tables, in order: types, shapes and bytes."""
    hasher = hashlib.sha256()
    for table in tables:
        for part in table:
            hasher.update(f"{part.dtype.str} {part.shape};".encode())
            hasher.update(np.ascontiguousarray(part).data)
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class _Head:
    asked: str
    data: str
    rounds_done: int
    taken: list[int]
    base_bytes: int
    previous_bytes: int
    states: list[tuple[int, int]]


class _Reader:
    """Pieces of a stream, hashed as they are read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hasher = hashlib.sha256()

    def take(self, size: int, what: str) -> bytes:
        data = b"".join(self._pieces(size))
        if len(data) != size:
            raise CheckpointError(f"the checkpoint ends within {what}: {len(data)} bytes, want {size}")
        self._hasher.update(data)
        return data

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size and (piece := self._source.read(min(size, PIECE_BYTES))):
            yield piece
            size -= len(piece)

    def finish(self) -> None:
        wanted = self._hasher.digest()
        if self._source.read(len(wanted)) != wanted:
            raise CheckpointError("the checkpoint is damaged: its bytes do not match their own SHA-256")
        if self._source.read(1):
            raise CheckpointError("something follows the end of the checkpoint")


def _head(data: bytes) -> _Head:
    try:
        asked_, digest, rounds_done, taken, base, previous, states = msgpack.unpackb(data)
        head = _Head(asked_, digest, rounds_done, list(taken), base, previous, [(at, size) for at, size in states])
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise CheckpointError(f"the checkpoint's head cannot be read: {error!r}") from None
    counts = [head.rounds_done, head.base_bytes, head.previous_bytes, *head.taken]
    counts += [number for row in head.states for number in row]
    if type(head.asked) is not str or type(head.data) is not str:
        raise CheckpointError("the checkpoint's head names no terms or no records")
    if any(type(number) is not int or number < 0 for number in counts):
        raise CheckpointError("the checkpoint's head holds what is no count")
    clients = [at for at, _ in head.states]
    if clients != sorted(set(clients)) or (clients and clients[-1] >= len(head.taken)):
        raise CheckpointError(f"the checkpoint has states of clients that are none of its {len(head.taken)}")
    return head
