"""The vote journal on disk: what a member must not forget is synced here before anything that depends on it leaves.

What is written and what it means is `consensus/journal.py`'s. A group of records is one frame:
magic ‖ length ‖ CRC-32 of the payload ‖ CRC-32 of these twelve bytes ‖ payload, integers big-endian.
"""

import logging
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from consensus.journal import JournalRecord
from ledger.codec import Range, Size, decode, encode
from ledger.errors import CorruptStore, InvalidBytes, StoreFull
from ledger.types import AMOUNT_MAX
from node.files import AppendFile, Files, OsFiles

log = logging.getLogger(__name__)

MAGIC = b"HJ1\n"
_HEAD = struct.Struct(">4sII")
_HEAD_BYTES = _HEAD.size + 4
# A proposal's block of 4 MB with its votes, twice over.
FRAME_BYTES_MAX = 16 * 2**20
# Past this the file is written anew with what still counts, so that it never grows with the chain.
REWRITE_BYTES = 8 * 2**20
# A file that was made longer before its bytes were there ends in zeros. So few could be the end of a signature.
TORN_ZEROS_MIN = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Records of one height that were synced together."""

    height: Annotated[int, Range(0, AMOUNT_MAX)]
    records: Annotated[tuple[JournalRecord, ...], Size(1, 4096)]


class _Unreadable(CorruptStore):
    """A frame whose checks hold and whose payload is no group."""


class JournalFile:
    """Open the journal at `path`, made when it is missing. One owner; the data directory's lock guards it.

    A torn last frame, the mark of a power cut, is cut off: its write was never acknowledged. Damage before a whole
    frame raises CorruptStore: votes may have been lost, and a member that forgets its votes can be made to contradict
    them. A damaged last frame that no torn write looks like may hold votes that were said: `in_doubt` is called before
    it is cut off, and must make sure that nothing is signed that could contradict them; None raises CorruptStore.
    """

    def __init__(self, path: Path, files: Files | None = None, in_doubt: Callable[[], None] | None = None) -> None:
        self._path = path
        self._files = files or OsFiles()
        self._in_doubt = in_doubt
        existed = self._files.exists(path)
        self._file = self._files.open(path)
        self._groups = self._read() if existed else []
        # What a killed process wrote may be read again and still not be on the disk: it counts from here on, so it
        # must be there. A power cut after this start would else take votes that were said on the strength of it.
        self._file.sync()
        self._files.sync_folder(path.parent)

    def load(self, height: int) -> list[JournalRecord]:
        """What was recorded for a height, in order."""
        return [record for group in self._groups if group.height == height for record in group.records]

    def later(self, height: int) -> dict[int, list[JournalRecord]]:
        """What was recorded for heights above one, by height."""
        return {each: self.load(each) for each in sorted({group.height for group in self._groups}) if each > height}

    @property
    def newest(self) -> int:
        """The highest height that anything was recorded for; 0 for none."""
        return max((group.height for group in self._groups), default=0)

    def append(self, height: int, records: Sequence[JournalRecord]) -> None:
        """Synced on return. Raises StoreFull or OSError; then nothing may leave that depends on it."""
        group = Group(height, tuple(records))
        frame = _frame(group)
        end = self._file.size
        try:
            self._file.append(frame)
            self._file.sync()
        except OSError as error:
            # Half a frame must not stand before a whole one.
            self._file.cut(end)
            raise StoreFull(
                f"{self._path}: {len(frame)} bytes of votes could not be synced: {error.strerror}"
            ) from error
        self._groups.append(group)

    def start_height(self, height: int) -> None:
        """Records below `height` count no more; the file is written anew when it has grown long."""
        self._groups = [group for group in self._groups if group.height >= height]
        if self._file.size > REWRITE_BYTES:
            self._rewrite()

    def close(self) -> None:
        self._file.close()

    def _rewrite(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            file = self._write_fresh(fresh)
        except OSError as error:
            with suppress(OSError):
                self._files.remove(fresh)
            # The old file stays and is longer than it need be: nothing is lost.
            log.warning("%s could not be shortened: %s", self._path, error)
            return
        self._files.rename(fresh, self._path)
        self._files.sync_folder(self._path.parent)
        self._file.close()
        self._file = file

    def _write_fresh(self, path: Path) -> AppendFile:
        file = self._files.open(path, fresh=True)
        try:
            file.append(b"".join(map(_frame, self._groups)))
            file.sync()
        except OSError:
            file.close()
            raise
        return file

    def _read(self) -> list[Group]:
        data = self._files.read(self._path)
        groups: list[Group] = []
        at = 0
        while at < len(data):
            found = _group_at(data, at)
            if found is None:
                self._cut_torn_end(data, at)
                break
            group, at = found
            groups.append(group)
        return groups

    def _cut_torn_end(self, data: bytes, at: int) -> None:
        later = data.find(MAGIC, at + 1)
        while later >= 0:
            # Sixteen bytes inside a torn block can be made to look like an empty frame, hence: one that can be read.
            with suppress(_Unreadable):
                if _group_at(data, later) is not None:
                    raise CorruptStore(f"{self._path}: damaged at byte {at}, and votes stand after it at byte {later}")
            later = data.find(MAGIC, later + 1)
        if not _is_torn(data[at:]):
            if self._in_doubt is None:
                raise CorruptStore(f"{self._path}: the last votes, at byte {at}, are damaged and not merely cut short")
            self._in_doubt()
        log.warning("%s: %d bytes of a last write that is torn are cut off", self._path, len(data) - at)
        self._file.cut(at)


def _frame(group: Group) -> bytes:
    payload = encode(group)
    if len(payload) > FRAME_BYTES_MAX:
        raise ValueError(f"{len(payload)} bytes in one group of votes, at most {FRAME_BYTES_MAX}")
    head = _HEAD.pack(MAGIC, len(payload), zlib.crc32(payload))
    return head + zlib.crc32(head).to_bytes(4, "big") + payload


def _group_at(data: bytes, at: int) -> tuple[Group, int] | None:
    """The whole group at an offset, and where the next begins; None when none is there."""
    if len(data) - at < _HEAD_BYTES:
        return None
    magic, length, check = _HEAD.unpack_from(data, at)
    head_check = int.from_bytes(data[at + _HEAD.size : at + _HEAD_BYTES], "big")
    if magic != MAGIC or head_check != zlib.crc32(data[at : at + _HEAD.size]) or length > FRAME_BYTES_MAX:
        return None
    payload = data[at + _HEAD_BYTES : at + _HEAD_BYTES + length]
    if len(payload) != length or zlib.crc32(payload) != check:
        return None
    try:
        return decode(Group, payload), at + _HEAD_BYTES + length
    except InvalidBytes as error:
        raise _Unreadable(f"a group of votes at byte {at} is whole and cannot be read: {error}") from None


def _is_torn(rest: bytes) -> bool:
    """Whether bytes that are no whole frame are what a power cut leaves of one: cut short, or zeros at the end."""
    zeros = len(rest) - len(rest.rstrip(b"\0"))
    written = rest[: len(rest) - zeros] if zeros >= TORN_ZEROS_MIN else rest
    if len(written) < _HEAD_BYTES:
        return MAGIC.startswith(written[: len(MAGIC)])
    magic, length, _ = _HEAD.unpack_from(written)
    check = int.from_bytes(written[_HEAD.size : _HEAD_BYTES], "big")
    return magic == MAGIC and check == zlib.crc32(written[: _HEAD.size]) and len(written) < _HEAD_BYTES + int(length)
