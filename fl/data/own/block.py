"""The block: which kind of data, where it lies, what it means, and which records are kept for testing.

    kind = "csv"                      # csv, parquet, npz, arrays, images or sql
    path = "press.csv"                # from the folder of the file in which the block stands
    test_percent = 20                 # share of the records to test on ...
    split = "last"                    # ... the last ones, or random ones drawn with `seed`
    label = "State"
    classes = ["ok", "worn"]
    ...                               # what else a kind wants: tables.py, arrays.py, pictures.py, sql.py

A block stands in a file of its own, or as [data.block] in a node's configuration or in a run file of the simulator.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl.data.entries import choice, refuse_unknown, whole
from fl.data.errors import DataError
from fl.data.growing import Division, GrowingSource
from fl.data.own.arrays import ARRAYS
from fl.data.own.contents import Contents, Kind, Survey
from fl.data.own.pictures import PICTURES
from fl.data.own.sql import SQL
from fl.data.own.tables import TABLES
from fl.data.tables import Split
from fl.data.tabular_schema import read_toml

KINDS: Mapping[str, Kind] = {**TABLES, "arrays": ARRAYS, "images": PICTURES, "sql": SQL}
DIVISION_KEYS = frozenset({"test_percent", "split", "seed"})
# Where test records lie apart, nothing is divided.
APART = frozenset({"test_path", "test_query"})
TEST_PERCENT = 30
SEED_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Block:
    """Data of one's own. `where` is what errors call the block; `division` does not count when test records lie apart.

    Everything that reads raises DataError naming the file (or database), the column, the row and what was wanted.
    """

    kind: str
    where: str
    contents: Contents
    division: Division

    def load(self) -> Split:
        """The records to train on and those to test on."""
        return self.contents.load(self.division)

    def survey(self) -> Survey:
        """The same, and how the numbers lie in the declared ranges."""
        return self.contents.survey(self.division)

    def growing(self) -> GrowingSource:
        """The records as a source to look at again and again; not every kind is one."""
        return self.contents.growing(self.division)


def read_block(path: Path) -> Block:
    """The block in a TOML file: the whole of it, or its table [data.block]. Raises DataError naming the file, the entry
    and what is wanted."""
    table = read_toml(path, "the block of the data")
    data = table.get("data")
    if isinstance(data, dict) and isinstance(data.get("block"), dict):
        return parse_block(data["block"], path.parent, f"{path}: [data.block]")
    return parse_block(table, path.parent, str(path))


def parse_block(table: Mapping[str, Any], folder: Path, where: str) -> Block:
    """The block that a TOML table says; relative paths count from `folder`. Opens no data file. Raises DataError."""
    name = choice(table, "kind", tuple(KINDS), where)
    kind = KINDS[name]
    refuse_unknown(table, kind.keys | DIVISION_KEYS | {"kind"}, f"{where}: kind {name!r}")
    apart = sorted(APART & table.keys())
    if apart and (said := sorted(DIVISION_KEYS & table.keys())):
        raise DataError(f"{where}: {apart[0]} says which records to test on, and so does {said[0]}: want one of them")
    how = choice(table, "split", ("last", "random"), where, "random" if name == "images" else "last")
    division = Division(
        percent=whole(table, "test_percent", 1, 90, where, TEST_PERCENT),
        split="random" if how == "random" else "last",
        seed=whole(table, "seed", 0, SEED_MAX, where, 0),
    )
    return Block(name, where, kind.parse(table, folder, where), division)
