"""The fault of data that cannot be used."""

from pathlib import Path


class DataError(ValueError):
    """Data, or a setting of a source, that is not what was wanted. The owner of the data can mend it.

    The text names the file, the column or line where there is one, what came and what was wanted.
    """

    @classmethod
    def of_file(cls, path: Path | str, reason: object, column: str | None = None) -> "DataError":
        """The error of one file (or of what is read like one), and of one column of it."""
        where = str(path) if column is None else f"{path}, column {column!r}"
        return cls(f"{where}: {reason}")
