"""Where a database is: a SQLite file, or a URL that is kept out of the block because a password may stand in it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl.data.entries import text
from fl.data.errors import DataError

URL_BYTES_MAX = 4096
WAYS = ("path", "url_env", "url_file")
OTHERS_MAY = 0o077


@dataclass(frozen=True, slots=True)
class Address:
    """One of the three: a SQLite file, a variable of the environment, a file with a URL in it."""

    path: Path | None = None
    url_env: str = ""
    url_file: Path | None = None

    def __str__(self) -> str:
        """How errors call it; never the URL."""
        if self.path is not None:
            return str(self.path)
        return f"the database of {self.url_file}" if self.url_file is not None else f"the database of ${self.url_env}"

    def url(self) -> str:
        """The URL, read when it is needed. Raises DataError for one that is not there or that others can read."""
        if self.url_file is None:
            url = os.environ.get(self.url_env, "").strip()
            if not url:
                raise DataError(f"the variable {self.url_env} is not set, want the URL of the database in it")
            return url
        try:
            if self.url_file.stat().st_mode & OTHERS_MAY:
                raise DataError.of_file(self.url_file, "can be read by others, want mode 0600: it may hold a password")
            with self.url_file.open("rb") as file:
                first = file.read(URL_BYTES_MAX).split(b"\n", 1)[0].decode().strip()
        except OSError as error:
            raise DataError.of_file(self.url_file, f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DataError.of_file(self.url_file, "is not UTF-8, want a database's URL in its first line") from None
        if not first:
            raise DataError.of_file(self.url_file, "is empty, want the URL of a database in its first line")
        return first


def address_of(table: Mapping[str, Any], folder: Path, where: str) -> Address:
    """What path, url_env or url_file of a block say. Raises DataError unless it is one of them."""
    given = [way for way in WAYS if way in table]
    if len(given) != 1:
        said = f"{' and '.join(given)} are set" if given else "no database is named"
        raise DataError(f"{where}: {said}, want one of path (a SQLite file), url_env and url_file")
    value = text(table, given[0], where, "a variable's name" if given[0] == "url_env" else "a file")
    if "://" in value:
        raise DataError(f"{where}: {given[0]} is a URL, want {_instead(given[0])}: passwords stay out of blocks")
    if given[0] == "url_env":
        return Address(url_env=value)
    return Address(path=folder / value) if given[0] == "path" else Address(url_file=folder / value)


def _instead(way: str) -> str:
    return {"url_env": "the name of the variable that holds it", "url_file": "the file whose first line it is"}.get(
        way, "url_env or url_file for a database that is no SQLite file"
    )
