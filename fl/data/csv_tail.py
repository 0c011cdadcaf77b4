"""What was added to a CSV file since it was read last, when what stood there then is still the same, byte by byte."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from fl.data.errors import DataError
from fl.data.tabular_files import Columns, not_csv, read_lines
from fl.data.tabular_schema import Schema

READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a file was read: its first `size` bytes with this SHA-256, which are `lines` lines under these names."""

    size: int
    sha256: bytes
    lines: int
    head: tuple[str, ...]
    schema: Schema


def read_tail(path: Path, schema: Schema, mark: Mark | None) -> tuple[Columns, Mark, bool]:
    """The rows after the mark, the new mark, and whether it was so: False when all rows are given, from the first on.

    A last line without its line end is left for the next time. Raises DataError as `read_columns` does.
    """
    try:
        with path.open("rb") as file:
            hasher = hashlib.sha256()
            goes_on = mark is not None and mark.schema == schema
            if mark is not None and goes_on:
                left = mark.size
                while left and (part := file.read(min(left, READ_BYTES))):
                    hasher.update(part)
                    left -= len(part)
                goes_on = not left and hasher.digest() == mark.sha256
            if not goes_on:
                file.seek(0)
                hasher, mark = hashlib.sha256(), None
            added = file.read()
    except OSError as error:
        raise not_csv(path, error) from None
    whole = added[: added.rfind(b"\n") + 1]
    if not whole and mark is None and b"\r" in added[:-1]:
        # Where such a file ends cannot be told from half a line end of the usual kind.
        raise DataError.of_file(path, "has lines that end in CR alone, want LF or CR LF in a file that grows")
    hasher.update(whole)
    try:
        text = io.StringIO(whole.decode("utf-8" if mark else "utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise not_csv(path, error) from None
    head, lines = (mark.head, mark.lines) if mark else ((), 0)
    columns, head, lines = read_lines(path, text, schema.columns(), schema.delimiter, head, lines)
    size = (mark.size if mark else 0) + len(whole)
    return columns, Mark(size, hasher.digest(), lines, head, schema), mark is not None
