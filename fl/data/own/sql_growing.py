"""A database whose table grows: asked for the rows after the last key, as long as what came before it is as it was."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from fl.data.growing import Division, GrowingTable
from fl.data.own.sql_address import Address
from fl.data.own.sql_columns import LastRow, Selection, read_selection, still_there
from fl.data.own.sql_open import Database
from fl.data.tabular import records_of, without_gaps
from fl.data.tabular_schema import Schema
from fl.data.tabular_times import times_of


class SelectionReader:
    """Looks at the answer to a SELECT again and again.

    Rows have to appear in the order of their keys: one that shows later than a row with a larger key is a past that was
    rewritten. That the rows of before are as many, and the last of them is the same, is asked at every look; all of
    them are read and compared at a start.
    """

    def __init__(
        self,
        address: Address,
        opened: Callable[[], AbstractContextManager[Database]],
        selection: Selection,
        schema: Schema,
        division: Division,
    ) -> None:
        # What is written to a SQLite file may stand in its log for long. Of other databases only a look tells.
        self.files = () if address.path is None else (address.path, Path(f"{address.path}-wal"))
        self._open = opened
        self._selection = selection
        self._schema = schema
        self._division = division
        self._last: LastRow | None = None
        self._records = 0

    def read(self, after: int = 0) -> GrowingTable | None:
        """As GrowingSource says: rows are in the order of their keys, a time column dates them and does not order."""
        with self._open() as database:
            last = self._last if after and after == self._records else None
            if last is not None and not still_there(database, self._selection, last):
                last = None
            selected = read_selection(database, self._selection, last)
        columns = without_gaps(selected.columns, self._schema)
        first = after if last is not None else 0
        if not first and not columns.rows:
            return None
        records, times = records_of(columns, self._schema), times_of(columns, self._schema)
        self._last, self._records = selected.last, first + len(records)
        return GrowingTable(database.name, records, times, self._division, columns.place, first)
