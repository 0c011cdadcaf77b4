"""The source "cifar10": 32x32 colour pictures, 1,000 to a lossless WebP mosaic of 25 x 40 tiles, and labels.npz.

Loads whatever mosaics are there: train_00.webp, train_01.webp, ... without a gap, and test_00.webp, ... Needs pillow.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.images import shrink
from fl.data.npz import open_npz
from fl.data.tables import Split, Table
from fl.settings import Whole

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ROWS, COLUMNS, SIDE = 25, 40, 32
TILES = ROWS * COLUMNS
MOSAICS_MAX = {"train": 50, "test": 10}


@dataclass(frozen=True, slots=True)
class CifarSettings:
    downscale: Annotated[int, Whole(1, 32, "average blocks of this side into one pixel: 2 makes 16x16")] = 1
    mosaics: Annotated[int, Whole(0, 50, "training mosaics to read, 1,000 pictures each; 0 reads all")] = 0


def load(settings: CifarSettings, path: Path | None) -> Split:
    """uint8 [n, 3, 32, 32], smaller and float32 in 0..1 when downscaled.

    Raises DataError when pillow is not installed, or a file is missing, damaged or of another size.
    """
    assert path is not None
    most = settings.mosaics or MOSAICS_MAX["train"]
    return Split(
        train=_part(path, "train", most, settings.downscale),
        test=_part(path, "test", MOSAICS_MAX["test"], settings.downscale),
    )


def _part(folder: Path, part: str, most: int, downscale: int) -> Table:
    pictures = []
    for number in range(most):
        file = folder / f"{part}_{number:02}.webp"
        if not file.is_file():
            break
        pictures.append(_mosaic(file))
    if not pictures:
        raise DataError.of_file(folder / f"{part}_00.webp", "does not exist, want at least the first mosaic")
    images = np.concatenate(pictures)
    with open_npz(folder / "labels.npz") as labels_file:
        labels = labels_file.array(f"{part}_y", 1, "iu").astype(np.int64)
    if len(labels) < len(images):
        raise DataError.of_file(
            folder / "labels.npz",
            f"{len(labels)} labels, want one for each of {len(images)} pictures",
            f"{part}_y",
        )
    return Table(shrink(images, downscale), labels[: len(images)], CLASSES)


def _mosaic(file: Path) -> NDArray[np.uint8]:
    """uint8 [1000, 3, 32, 32], the tiles row by row."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError.of_file(file, "is a picture, want pillow to read it: pip install 'hanse[data]'") from None
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError.of_file(file, f"cannot be read as a picture: {error}") from None
    if pixels.shape != (ROWS * SIDE, COLUMNS * SIDE, 3):
        raise DataError.of_file(file, f"is {pixels.shape[0]}x{pixels.shape[1]}, want {ROWS * SIDE}x{COLUMNS * SIDE}")
    tiles = pixels.reshape(ROWS, SIDE, COLUMNS, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(TILES, 3, SIDE, SIDE))
