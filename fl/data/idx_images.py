"""The sources "mnist" and "fashion-mnist": pictures in the idx format (two big-endian files, gzipped or plain).

idx: two zero bytes, a type (8: unsigned bytes), the number of dimensions, every dimension as four bytes, the values.
"""

import gzip
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.images import shrink
from fl.data.tables import Split, Table
from fl.settings import Whole

DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
UNSIGNED_BYTE = 8
# A million pictures of 28x28; a head that promises more is damaged.
VALUES_MAX = 1_000_000 * 28 * 28


@dataclass(frozen=True, slots=True)
class IdxImagesSettings:
    downscale: Annotated[int, Whole(1, 28, "average blocks of this side into one pixel: 2 makes 14x14")] = 1


def load_mnist(settings: IdxImagesSettings, path: Path | None) -> Split:
    """Handwritten digits: uint8 [n, 1, 28, 28], smaller and float32 in 0..1 when downscaled. Raises DataError."""
    assert path is not None
    return Split(train=_part(settings, path, "train", DIGITS), test=_part(settings, path, "test", DIGITS))


def load_fashion_mnist(settings: IdxImagesSettings, path: Path | None) -> Split:
    """Pictures of clothes: as `load_mnist`."""
    assert path is not None
    return Split(train=_part(settings, path, "train", CLOTHES), test=_part(settings, path, "test", CLOTHES))


def _part(settings: IdxImagesSettings, folder: Path, part: str, classes: tuple[str, ...]) -> Table:
    of_images, of_labels = FILES[part]
    images, labels = read_idx(_file(folder, of_images), 3), read_idx(_file(folder, of_labels), 1)
    if len(images) != len(labels):
        raise DataError.of_file(_file(folder, of_labels), f"{len(labels)} labels, want one for each of {len(images)}")
    if len(labels) and labels.max() >= len(classes):
        raise DataError.of_file(_file(folder, of_labels), f"label {labels.max()}, want 0..{len(classes) - 1}")
    return Table(shrink(images[:, None], settings.downscale), labels.astype(np.int64), classes)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise DataError.of_file(folder / f"{name}.gz", "does not exist, nor does the plain file")


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes. Raises DataError unless it is whole, and nothing but that."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            head = file.read(4 + 4 * dimensions)
            if head[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(head) < 4 + 4 * dimensions:
                raise DataError.of_file(
                    path,
                    f"starts with {head[:4].hex()}, want an idx file of bytes in {dimensions} dimensions",
                )
            shape = tuple(int(side) for side in np.frombuffer(head[4:], dtype=">u4"))
            if prod(shape) > VALUES_MAX:
                raise DataError.of_file(path, f"promises {prod(shape)} values, want at most {VALUES_MAX}")
            body = file.read(prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.of_file(path, f"cannot be read: {error}") from None
    if len(body) != prod(shape):
        came = "more" if len(body) > prod(shape) else f"{len(body)}"
        raise DataError.of_file(path, f"has {came} values, want {prod(shape)} as its head says")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)
