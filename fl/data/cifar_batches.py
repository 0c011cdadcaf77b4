"""The source "cifar10" from its own binary files: data_batch_1.bin to data_batch_5.bin and test_batch.bin.

A record is a byte of label and 3,072 bytes of pixels: 32 x 32 of red, then of green, then of blue, row by row.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.data import cifar_mosaics
from fl.data.cifar_mosaics import CLASSES, SIDE, TILES, CifarSettings
from fl.data.errors import DataError
from fl.data.images import shrink
from fl.data.tables import Split, Table

BATCHES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
RECORDS = 10_000
RECORD_BYTES = 1 + 3 * SIDE * SIDE
BATCH_BYTES = RECORDS * RECORD_BYTES


def load(settings: CifarSettings, path: Path | None) -> Split:
    """uint8 [n, 3, 32, 32], smaller and float32 in 0..1 when downscaled: of the batches, or else of the mosaics.

    Batches keep the order of their authors, mosaics have the classes in turn. Raises DataError for files that are
    missing, of another length, or hold a label that is no class.
    """
    assert path is not None
    if not any((path / name).is_file() for names in BATCHES.values() for name in names):
        return cifar_mosaics.load(settings, path)
    most = settings.mosaics * TILES if settings.mosaics else len(BATCHES["train"]) * RECORDS
    return Split(
        train=_part(path, BATCHES["train"], most, settings.downscale),
        test=_part(path, BATCHES["test"], RECORDS, settings.downscale),
    )


def _part(folder: Path, names: tuple[str, ...], most: int, downscale: int) -> Table:
    """The first `most` records."""
    rows = np.concatenate([_records(folder / name) for name in names[: -(-most // RECORDS)]])[:most]
    images = np.ascontiguousarray(rows[:, 1:]).reshape(-1, 3, SIDE, SIDE)
    return Table(shrink(images, downscale), rows[:, 0].astype(np.int64), CLASSES)


def _records(path: Path) -> NDArray[np.uint8]:
    """uint8 [10000, 3073]."""
    try:
        with path.open("rb") as file:
            content = file.read(BATCH_BYTES + 1)
    except OSError as error:
        raise DataError.of_file(path, f"cannot be read: {error.strerror}") from None
    if len(content) != BATCH_BYTES:
        came = "more" if len(content) > BATCH_BYTES else str(len(content))
        raise DataError.of_file(path, f"has {came} bytes, want {BATCH_BYTES}: {RECORDS} records of {RECORD_BYTES}")
    rows = np.frombuffer(content, dtype=np.uint8).reshape(RECORDS, RECORD_BYTES)
    if rows[:, 0].max() >= len(CLASSES):
        at = int(np.argmax(rows[:, 0] >= len(CLASSES)))
        raise DataError.of_file(path, f"record {at + 1} has the label {rows[at, 0]}, want 0..{len(CLASSES) - 1}")
    return rows
