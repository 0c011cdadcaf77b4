"""The salts of anchored records: one secret a period in the record store, from which each record's salt follows.

A salt is the first 16 bytes of HMAC-SHA256 over the record's place (RFC 2104), keyed with the period's secret: who is
shown one record's salt, in a proof or a dispute, learns nothing of the others'. The secret never leaves the store.
"""

import hmac
import secrets
import sqlite3
from functools import partial
from pathlib import Path

from ledger.errors import CorruptStore
from ledger.records import SALT_BYTES, Salts

SECRET_BYTES = 32


def draw_salts(file: sqlite3.Connection, period: int) -> Salts:
    """Salts for a period that is being closed, in the transaction that closes it."""
    secret = secrets.token_bytes(SECRET_BYTES)
    file.execute("INSERT INTO salts VALUES (?, ?)", (period, secret))
    return partial(salt_of, secret)


def salts_of(file: sqlite3.Connection, path: Path, period: int) -> Salts | None:
    """The salts of a period; None for one that is open, or was closed before there were salts. Raises CorruptStore."""
    row = file.execute("SELECT secret FROM salts WHERE period = ?", (period,)).fetchone()
    if row is None:
        return None
    if type(row[0]) is not bytes or len(row[0]) != SECRET_BYTES:
        raise CorruptStore(f"{path}: the secret of period {period} is not {SECRET_BYTES} bytes")
    return partial(salt_of, row[0])


def salt_of(secret: bytes, place: int) -> bytes:
    """The salt of the record at `place` of a period; any number that SQLite holds, for a damaged row has one too."""
    return hmac.digest(secret, place.to_bytes(8, "big", signed=True), "sha256")[:SALT_BYTES]
