"""A chain in a file: written by `hanse ledger export`, read by `import` and `verify`. docs/proofs.md has the layout.

    "HANSECHAIN1\\n"  then frames of u32 length, big-endian, and so many bytes:
    the head (canonical bytes of ChainFileHead), every final block from `first` to `last` (canonical bytes),
    a frame of length 0, and the SHA-256 of all that comes before it.

The digest finds damage before anything is taken in; that a block is right is the ledger's business.
"""

import hashlib
import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

from ledger.blocks import FinalBlock
from ledger.codec import Range, decode, encode
from ledger.errors import InvalidBytes, InvalidGenesis
from ledger.genesis import Genesis, check_genesis
from ledger.types import AMOUNT_MAX, BLOCK_BYTES_MAX
from node.disk import sync_folder

MAGIC = b"HANSECHAIN1\n"
_LENGTH = struct.Struct(">I")
DIGEST_BYTES = 32
# A block, and 31 signatures with their subject.
FRAME_BYTES_MAX = BLOCK_BYTES_MAX + 64 * 1024
_READ_BYTES = 2**20


class InvalidChainFile(ValueError):
    """The file is no export, or was cut short or changed."""


@dataclass(frozen=True, slots=True)
class ChainFileHead:
    """Which chain, and which of its blocks, both ends included."""

    genesis: Genesis
    first: Annotated[int, Range(1, AMOUNT_MAX)]
    last: Annotated[int, Range(1, AMOUNT_MAX)]


def write_chain_file(path: Path, head: ChainFileHead, blocks: Iterable[bytes]) -> int:
    """Write the canonical bytes of blocks `first` to `last`; how many bytes the file has.

    It is there whole or not at all. Raises FileExistsError, OSError, and whatever `blocks` raises.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with beside.open("xb") as file:
            writing = _Hashed(file)
            writing.write(MAGIC)
            writing.frame(encode(head))
            count = 0
            for block in blocks:
                writing.frame(block)
                count += 1
            assert count == head.last - head.first + 1, f"{count} blocks from {head.first} to {head.last}"
            writing.frame(b"")
            file.write(writing.hasher.digest())
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        # Unlike a rename, a link never takes the place of a file that is there.
        os.link(beside, path)
    finally:
        with suppress(OSError):
            beside.unlink()
    sync_folder(path.parent)
    return size


class _Hashed:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hasher = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.hasher.update(data)

    def frame(self, data: bytes) -> None:
        self.write(_LENGTH.pack(len(data)) + data)


class ChainFile:
    """An export, opened for reading. Every method raises InvalidChainFile and OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.head = self._read_head(file)

    def check_digest(self) -> None:
        """That the file is whole and unchanged since it was written."""
        size, hasher = self.path.stat().st_size, hashlib.sha256()
        with self.path.open("rb") as file:
            left = size - DIGEST_BYTES
            while left > 0 and (piece := file.read(min(_READ_BYTES, left))):
                hasher.update(piece)
                left -= len(piece)
            if left or file.read() != hasher.digest():
                raise InvalidChainFile(f"{self.path} was cut short or changed: its digest is another one")

    def blocks(self) -> Iterator[FinalBlock]:
        """Every block, ascending. Raises InvalidChainFile where the file does not go on as its head says."""
        with self.path.open("rb") as file:
            self._read_head(file)
            for height in range(self.head.first, self.head.last + 1):
                try:
                    final = decode(FinalBlock, self._frame(file))
                except InvalidBytes as error:
                    raise InvalidChainFile(f"{self.path}: block {height}: {error}") from None
                if final.block.height != height:
                    raise InvalidChainFile(f"{self.path}: a block of height {final.block.height}, want {height}")
                yield final
            if self._frame(file) or len(file.read(DIGEST_BYTES + 1)) != DIGEST_BYTES:
                raise InvalidChainFile(f"{self.path}: more follows block {self.head.last}, the last one")

    def _read_head(self, file: BinaryIO) -> ChainFileHead:
        if file.read(len(MAGIC)) != MAGIC:
            raise InvalidChainFile(f"{self.path} is no exported ledger")
        try:
            head = decode(ChainFileHead, self._frame(file))
            check_genesis(head.genesis)
        except (InvalidBytes, InvalidGenesis) as error:
            raise InvalidChainFile(f"{self.path}: {error}") from None
        if head.last < head.first:
            raise InvalidChainFile(f"{self.path}: blocks {head.first} to {head.last}")
        return head

    def _frame(self, file: BinaryIO) -> bytes:
        length = file.read(_LENGTH.size)
        size = int.from_bytes(length, "big")
        if len(length) != _LENGTH.size or size > FRAME_BYTES_MAX:
            raise InvalidChainFile(f"{self.path}: a frame of {size} bytes at {file.tell()}, at most {FRAME_BYTES_MAX}")
        data = file.read(size)
        if len(data) != size:
            raise InvalidChainFile(f"{self.path} is cut short: {len(data)} of {size} bytes at {file.tell()}")
        return data
