"""The source "table" while its file grows: its rows as they stand there, their times, and no half-written line."""

from collections.abc import Callable
from pathlib import Path

from fl.data.csv_tail import Mark, read_tail
from fl.data.growing import Division, GrowingTable
from fl.data.tabular import TabularSettings, division_of, records_of, schema_path, without_gaps
from fl.data.tabular_files import kind_of, read_columns
from fl.data.tabular_schema import Schema, read_schema
from fl.data.tabular_times import times_of


class TableReader:
    """Reads a table again and again; of a CSV file only what is new, as long as all before it is what it was.

    `kind`: one of tabular_files.KINDS. `schema` is asked at every look; `beside`: files that it comes from.
    """

    def __init__(
        self, path: Path, kind: str, schema: Callable[[], Schema], division: Division, beside: tuple[Path, ...] = ()
    ) -> None:
        self.files = (path, *beside)
        self._path = path
        self._kind = kind
        self._schema = schema
        self._division = division
        self._mark: Mark | None = None
        self._records = 0

    def read(self, after: int = 0) -> GrowingTable | None:
        """The table as it is now, in the file's order, without its first `after` records where it can be told that they
        are those given before; None while it has no records.

        A time column says when each record was taken; it does not order them, for then a late row would rewrite
        history. A last line of CSV without its line end is taken to be still written at. Raises DataError as
        `tabular.load` does, and for a time that is none.
        """
        schema = self._schema()
        mark, goes_on = None, False
        if self._kind == "csv":
            known = self._mark if after and after == self._records else None
            columns, mark, goes_on = read_tail(self._path, schema, known)
        else:
            columns = read_columns(self._path, schema.columns(), schema.delimiter, self._kind)
        columns = without_gaps(columns, schema)
        first = after if goes_on else 0
        if not first and not columns.rows:
            return None
        records, times = records_of(columns, schema), times_of(columns, schema)
        self._mark, self._records = mark, first + len(records)
        return GrowingTable(self._path, records, times, self._division, columns.place, first)


def grow(settings: TabularSettings, path: Path) -> TableReader:
    """The source "table" as it grows: its schema lies in a file of its own."""
    described = schema_path(settings, path)
    return TableReader(path, kind_of(path), lambda: read_schema(described), division_of(settings), (described,))
