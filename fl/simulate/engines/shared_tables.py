"""Tables in one file that every worker process maps: records are written once and copied to nobody.

The file is the arrays' bytes one after the other; where each lies is a plain list that travels beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.simulate.engines.base import Rows

# What the widest vector instructions like to begin at.
ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies in the file."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


TablePlaces = list[tuple[Place, Place]]


def write_tables(path: Path, tables: Sequence[Rows]) -> TablePlaces:
    """One file of all tables; one that is there several times is written once."""
    known: dict[int, Place] = {}
    places = []
    with path.open("wb") as file:
        for table in tables:
            pair = []
            for array in table:
                if id(array) not in known:
                    file.write(bytes(-file.tell() % ALIGNED))
                    known[id(array)] = Place(file.tell(), array.dtype.str, array.shape)
                    file.write(np.ascontiguousarray(array).data)
                pair.append(known[id(array)])
            places.append((pair[0], pair[1]))
    return places


def map_tables(path: Path, places: TablePlaces) -> list[Rows]:
    """The tables as they were written, read-only; pages come from the file when they are looked at."""
    whole = np.memmap(path, np.uint8, mode="r")
    return [(_array(whole, features), _array(whole, labels)) for features, labels in places]


def _array(whole: NDArray[np.uint8], place: Place) -> NDArray[Any]:
    dtype = np.dtype(place.dtype)
    size = dtype.itemsize * int(np.prod(place.shape))
    return np.asarray(whole[place.offset : place.offset + size]).view(dtype).reshape(place.shape)
