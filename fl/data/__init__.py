"""Data as a factory sees it: sources, windows, features, public scales. numpy only, torch is never imported."""

from fl.data.errors import DataError
from fl.data.tables import Split, Table, join

__all__ = ["DataError", "Split", "Table", "join"]
