"""Files of one's own that were damaged on the way: whatever stands in them, they are read, or refused by name."""

import csv
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fl.data.errors import DataError
from fl.data.own.block import parse_block, read_block
from fl.data.own.picture_files import PixelForm, read_picture

DAMAGED = 120
COLUMNS: dict[str, Any] = {"label": "y", "classes": ["a", "b"], "features": [{"column": "x", "low": 0, "high": 20}]}
BLOCK = (
    'kind = "csv"\npath = "t.csv"\nlabel = "y"\nclasses = ["a", "b"]\n[[features]]\ncolumn = "x"\nlow = 0\nhigh = 5.5\n'
)


def written_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["t", "x", "y"], *[[f"2024-01-{1 + at:02}", at / 10, "ab"[at % 2]] for at in range(28)]]
        )


def written_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE r (id INTEGER PRIMARY KEY, x REAL, y TEXT)")
        connection.executemany("INSERT INTO r VALUES (?, ?, ?)", [(at, at / 10, "ab"[at % 2]) for at in range(200)])
    connection.close()


def written_arrays(path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 2, 3))
    np.savez(path, x=x, y=np.arange(30) % 2)


def written_picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 12, 3)).astype(np.uint8)).save(path)


def load(**block: Any) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        named = {name: str(path) if value == "HERE" else value for name, value in block.items()}
        return parse_block(named, path.parent, "block").load()

    return read


def look(path: Path) -> object:
    return read_picture(path, PixelForm(8, 8, False, True, True))


ARRAYS = load(kind="arrays", path="HERE", array="x", values="numbers", low=-3, high=3, label="y", classes=["0", "1"])
SQL = load(kind="sql", path="HERE", query="SELECT * FROM r", key="id", **COLUMNS)
KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "t.csv": (written_csv, load(kind="csv", path="HERE", time="t", missing="drop", **COLUMNS)),
    "t.sqlite": (written_sqlite, SQL),
    "t.npz": (written_arrays, ARRAYS),
    "t.toml": (lambda path: path.write_text(BLOCK), read_block),
    **{f"p.{suffix}": (written_picture, look) for suffix in ("png", "jpg", "bmp", "webp", "gif", "ppm")},
}


def damaged(good: bytes, rng: random.Random) -> bytes:
    """Cut short, grown by a few bytes, or with some bytes changed, most often near the beginning."""
    at = rng.randrange(len(good))
    if rng.random() < 0.3:
        return good[:at] + (rng.randbytes(5) + good[at:] if rng.random() < 0.5 else b"")
    changed = bytearray(good)
    for _ in range(rng.choice([1, 2, 8])):
        changed[rng.randrange(min(len(good), rng.choice([200, len(good)])))] = rng.choice([0, 255, rng.randrange(256)])
    return bytes(changed)


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_refused_by_the_files_name_or_read_over(tmp_path: Path, name: str) -> None:
    write, read = KINDS[name]
    path, rng = tmp_path / name, random.Random(name)
    write(path)
    read(path)
    good, told = path.read_bytes(), []
    for _ in range(DAMAGED):
        path.write_bytes(damaged(good, rng))
        try:
            read(path)
        except DataError as error:
            told.append(str(error))
    assert len(told) > DAMAGED // 10
    assert [each for each in told if name not in each] == []


def test_a_database_whose_column_has_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    written_sqlite(path)
    path.write_bytes(path.read_bytes().replace(b"x REAL", b"\xff REAL"))
    with pytest.raises(DataError, match=r"t\.sqlite: 'utf-8' codec can't decode"):
        SQL(path)
