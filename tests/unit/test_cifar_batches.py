"""CIFAR-10 in its own binary files: whole ones are read in their order, others are named."""

from pathlib import Path

import numpy as np
import pytest

from fl.data import cifar_batches
from fl.data.errors import DataError
from fl.data.registry import load

RECORDS = 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar_batches, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar_batches, "BATCH_BYTES", RECORDS * cifar_batches.RECORD_BYTES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for at, name in enumerate(each for names in cifar_batches.BATCHES.values() for each in names):
        rows = np.zeros((RECORDS, cifar_batches.RECORD_BYTES), dtype=np.uint8)
        rows[:, 0] = (np.arange(RECORDS) + at) % 10
        rows[:, 1] = at  # the red of the first pixel
        rows[:, 1 + 1024 + 32] = 7  # the green of the first pixel of the second row
        rows[:, -1] = 9  # the blue of the last pixel
        (tmp_path / name).write_bytes(rows.tobytes())
    return tmp_path


def test_planes_of_colour_become_channels(folder: Path):
    split = load("cifar10", {}, folder)
    assert (split.train.features.shape, len(split.test)) == ((5 * RECORDS, 3, 32, 32), RECORDS)
    assert [int(split.train.features[at * RECORDS, 0, 0, 0]) for at in range(5)] == [0, 1, 2, 3, 4]
    assert (split.train.features[0, 1, 1, 0], split.train.features[0, 2, 31, 31]) == (7, 9)
    assert int(split.train.features[0].sum()) == 16
    assert split.train.labels[RECORDS] == 1
    assert load("cifar10", {"downscale": "2"}, folder).test.features[0, 2, 15, 15] == pytest.approx(9 / 4 / 255)


def test_a_batch_of_another_length_or_with_a_strange_label_is_named(folder: Path):
    path = folder / "data_batch_2.bin"
    good = path.read_bytes()
    for content, said in (
        (good[:-1], f"has {len(good) - 1} bytes, want {len(good)}"),
        (good + b"x", "has more bytes"),
        (good[: 5 * cifar_batches.RECORD_BYTES] + b"\x0a" + good[5 * cifar_batches.RECORD_BYTES + 1 :], "record 6 has"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said) as refused:
            load("cifar10", {}, folder)
        assert str(path) in str(refused.value)
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_2\.bin: cannot be read: No such file"):
        load("cifar10", {}, folder)
