"""The kind "sql": what a database answers to one SELECT, one record a row, described as in tabular_schema.py.

    kind = "sql"
    path = "plant.sqlite"             # a SQLite file; any other database has a URL instead:
    url_env = "PLANT_DATABASE"        # the variable of the environment that holds it
    url_file = "plant.url"            # or the file (mode 0600) whose first line it is: passwords stay out of blocks
    query = "SELECT id, heat, state FROM runs WHERE line = 3"
    test_query = "SELECT ..."         # optional: what to test on, instead of test_percent of the rows
    key = "id"                        # names every row once and grows with every new one: rows are read in its order
    timeout_s = 300                   # the longest an answer may take
    label = "state"
    classes = ["ok", "worn"]
    [[features]]
    column = "heat"
    low = 0
    high = 100

It is read only: the SELECT runs as a part of another one, so nothing that is no SELECT can run; SQLite is opened for
reading, the others are asked for a transaction that only reads, and what they do is never committed. All the same, give
Hanse a login that may SELECT and nothing else.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl.data.entries import optional_text, text, whole
from fl.data.errors import DataError
from fl.data.growing import Division, GrowingSource
from fl.data.own.contents import Contents, Survey
from fl.data.own.sql_address import Address, address_of
from fl.data.own.sql_columns import Selection, read_selection
from fl.data.own.sql_growing import SelectionReader
from fl.data.own.sql_open import Database, open_database
from fl.data.own.tables import split_columns, surveyed
from fl.data.tables import Split
from fl.data.tabular_files import Columns
from fl.data.tabular_schema import COLUMN_NAME, SCHEMA_KEYS, Schema, parse_schema

QUERY_CHARS_MAX = 65_536
TIMEOUT_S = 300
TIMEOUT_S_MAX = 86_400


@dataclass(frozen=True, slots=True)
class SqlRows:
    """The answer to `query`, and to `test_query`, None when the test records are among the rows of the first."""

    address: Address
    query: str
    test_query: str | None
    key: str
    timeout_s: int
    schema: Schema

    def load(self, division: Division) -> Split:
        return split_columns(*self._read(), self.schema, division)

    def survey(self, division: Division) -> Survey:
        return surveyed(*self._read(), self.schema, division)

    def growing(self, division: Division) -> GrowingSource:
        if self.test_query is not None:
            raise DataError(f"{self.address}: grows, and is tested on its own records: want no test_query")
        return SelectionReader(self.address, self._open, self._selection(self.query), self.schema, division)

    def _open(self) -> AbstractContextManager[Database]:
        return open_database(self.address, self.timeout_s)

    def _selection(self, query: str) -> Selection:
        return Selection(query, self.key, self.schema.columns())

    def _read(self) -> tuple[Columns, Columns | None]:
        with self._open() as database:
            rows = read_selection(database, self._selection(self.query)).columns
            if self.test_query is None:
                return rows, None
            return rows, read_selection(database, self._selection(self.test_query)).columns


@dataclass(frozen=True, slots=True)
class SqlKind:
    keys: frozenset[str] = (SCHEMA_KEYS - {"delimiter"}) | frozenset(
        {"path", "url_env", "url_file", "query", "test_query", "key", "timeout_s"}
    )
    summary: str = "what a database answers to one SELECT; SQLite by itself, others need sqlalchemy; it may grow"

    def parse(self, table: Mapping[str, Any], folder: Path, where: str) -> Contents:
        test = optional_text(table, "test_query", where, "one SELECT")
        return SqlRows(
            address=address_of(table, folder, where),
            query=_select(text(table, "query", where, "one SELECT"), "query", where),
            test_query=None if test is None else _select(test, "test_query", where),
            key=text(table, "key", where, f"{COLUMN_NAME} that names every row once, and grows with new rows"),
            timeout_s=whole(table, "timeout_s", 1, TIMEOUT_S_MAX, where, TIMEOUT_S),
            schema=parse_schema({key: table[key] for key in SCHEMA_KEYS & table.keys()}, where),
        )


SQL = SqlKind()


def _select(query: str, entry: str, where: str) -> str:
    """The query without what may end it. Strict on purpose: nobody's SELECT needs a semicolon within."""
    plain = query.strip().removesuffix(";").rstrip()
    if len(plain) > QUERY_CHARS_MAX:
        raise DataError(f"{where}: {entry} has {len(plain)} characters, want at most {QUERY_CHARS_MAX}")
    first = plain.split(None, 1)[0].upper() if plain else ""
    if first not in ("SELECT", "WITH") or ";" in plain:
        raise DataError(f"{where}: {entry} is {plain[:60]!r}, want a single SELECT, without a semicolon in it")
    return plain
