"""A connection to a database that reads and does nothing else: SQLite by the standard library, others by SQLAlchemy.

The only file that opens a database of somebody's own. Values come out as Python has them; `sql_columns.py` makes
columns of them.
"""

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, quote_plus

from fl.data.errors import DataError
from fl.data.own.sql_address import Address

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection
    from sqlalchemy.pool import Pool

Row = Sequence[object]
# Rows in memory as Python objects at a time.
ROWS_AT_ONCE = 10_000
# SQLite asks after so many of its steps whether to go on: some milliseconds.
STEPS_BETWEEN_LOOKS = 100_000
READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
# Options of a URL in whose names one of these stands hold what nobody may see.
SECRET_OPTIONS = ("pass", "pwd", "secret", "token", "odbc_connect")
# What makes the present transaction a reading one that ends in time, by SQLAlchemy's name of the database.
READ_ONLY = {
    "postgresql": ("SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = {ms}"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_execution_time = {ms}"),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_statement_time = {s}"),
    "oracle": ("SET TRANSACTION READ ONLY",),
}


class Database(Protocol):
    """An open database. `name` is what errors call it. `quoted`: a column's name as its SQL writes it."""

    @property
    def name(self) -> str: ...

    def quoted(self, column: str) -> str: ...

    def rows(self, before: str, query: str, after: str, values: Mapping[str, object]) -> "Answer":
        """The answer to `before` + the user's query + `after`; `values` are those of :names in `after`.

        Raises DataError for what the database refuses, and for an answer that takes too long.
        """


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of its columns, and its rows, some at a time."""

    names: tuple[str, ...]
    parts: Iterator[Sequence[Row]]


@contextmanager
def open_database(address: Address, timeout_s: int) -> Iterator[Database]:
    """Raises DataError for a database that is not there, cannot be opened, or whose driver is not installed."""
    if address.path is not None:
        with _open_sqlite(address, timeout_s) as opened:
            yield opened
        return
    try:
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise DataError(f"{address} wants sqlalchemy to be read: pip install 'hanse[sql]', and its driver") from None
    written = address.url()
    try:
        url = sqlalchemy.make_url(written)
    except (ArgumentError, ValueError):
        raise DataError(f"{address}: want a URL such as postgresql+psycopg://reader:password@host/plant") from None
    if "@" in (url.host or ""):
        # What stands before it is the end of a password.
        raise DataError(f"{address}: the password of the URL holds an @, want it written %40")
    name = f"{address} ({url.get_backend_name()}, {url.host or 'this machine'})"
    deadline = _Deadline(name, timeout_s)
    try:
        with _connected(name, url, NullPool) as connection:
            try:
                for statement in READ_ONLY.get(connection.dialect.name, ()):
                    connection.exec_driver_sql(statement.format(ms=timeout_s * 1000, s=timeout_s))
                yield _Other(name, connection, deadline)
            finally:
                connection.rollback()
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise DataError(f"{name} wants a driver that is not installed: {error}") from None
    except SQLAlchemyError as error:
        raise DataError(f"{name}: {without_secrets(url, error)}") from None


@contextmanager
def _open_sqlite(address: Address, timeout_s: int) -> Iterator[Database]:
    path = address.path
    assert path is not None
    if not path.is_file():
        raise DataError.of_file(path, "does not exist, want a SQLite file")
    deadline = _Deadline(str(path), timeout_s)
    connection = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout_s)
        connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY)
        connection.set_progress_handler(lambda: int(deadline.over()), STEPS_BETWEEN_LOOKS)
        yield _Sqlite(str(path), connection, deadline)
    # A name of a column that is not UTF-8 is one of Python's faults.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise deadline.fault() if deadline.over() else DataError.of_file(path, f"{error}") from None
    finally:
        if connection is not None:
            connection.close()


class _Deadline:
    """An answer that takes too long is given up, for a node waits for it."""

    def __init__(self, name: str, timeout_s: int) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    def over(self) -> bool:
        return time.monotonic() > self._end

    def check(self) -> None:
        if self.over():
            raise self.fault()

    def fault(self) -> DataError:
        return DataError(f"{self._name}: no whole answer after {self._timeout_s} s, want a quicker query or timeout_s")


@dataclass(frozen=True, slots=True)
class _Sqlite:
    name: str
    connection: sqlite3.Connection
    deadline: _Deadline

    def quoted(self, column: str) -> str:
        return '"' + column.replace('"', '""') + '"'

    def rows(self, before: str, query: str, after: str, values: Mapping[str, object]) -> Answer:
        cursor = self.connection.execute(before + query + after, dict(values))
        return Answer(tuple(column[0] for column in cursor.description), _parts(cursor, self.deadline))


@dataclass(frozen=True, slots=True)
class _Other:
    name: str
    connection: "Connection"
    deadline: _Deadline

    def quoted(self, column: str) -> str:
        return str(self.connection.dialect.identifier_preparer.quote(column))

    def rows(self, before: str, query: str, after: str, values: Mapping[str, object]) -> Answer:
        import sqlalchemy

        # A colon in the user's query is his own (a time, a cast), never the name of a value.
        statement = sqlalchemy.text(before + re.sub(r":", r"\\:", query) + after)
        result = self.connection.execution_options(stream_results=True).execute(statement, dict(values))
        return Answer(tuple(result.keys()), _parts(result, self.deadline))


def _parts(cursor: Any, deadline: _Deadline) -> Iterator[Sequence[Row]]:
    while part := cursor.fetchmany(ROWS_AT_ONCE):
        deadline.check()
        yield part


@contextmanager
def _connected(name: str, url: "URL", pool: "type[Pool]") -> "Iterator[Connection]":
    """Raises DataError for options in the URL that the driver cannot take, without their values."""
    import sqlalchemy

    try:
        connection = sqlalchemy.create_engine(url, poolclass=pool, hide_parameters=True).connect()
    except (ValueError, TypeError):
        options = ", ".join(sorted(url.query)) or "none"
        raise DataError(f"{name}: its driver does not take the URL's options ({options})") from None
    with connection:
        yield connection


def without_secrets(url: "URL", error: Exception) -> str:
    """The first line of what a driver says, without the password that some of them repeat, as it is or as a URL
    writes it, and without the options that hold one."""
    password = str(url.password or "")
    told = [password, quote(password, safe=""), quote_plus(password)]
    for name, values in url.query.items():
        if any(word in name.lower() for word in SECRET_OPTIONS):
            told += [values] if isinstance(values, str) else values
    said = str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0]
    # One may be the beginning of another.
    for secret in sorted(filter(None, told), key=len, reverse=True):
        said = said.replace(secret, "***")
    return said
