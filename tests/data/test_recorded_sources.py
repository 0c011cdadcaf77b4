"""The real data sets are read as their descriptions say, and a model learns from them."""

import hashlib

import numpy as np
import pytest

from fl.data import join
from fl.data.registry import load, pooled_test
from tests.support.plain_training import trained_accuracy
from tests.support.shared_data import shared_data

pytestmark = pytest.mark.data


def test_four_motor_loads_share_one_normal_record_and_one_model_knows_all_faults():
    path = shared_data("cwru")
    loads = [load("cwru", {"load": str(hp)}, path) for hp in range(4)]
    pooled = pooled_test("cwru", {}, path)
    assert len(pooled) == sum(len(split.test) for split in loads) == 1329
    assert [split.train.class_counts()[0] for split in loads] == [41] * 4
    together = join([split.train for split in loads])
    assert trained_accuracy(together, pooled, epochs=30, rate=0.05) >= 0.965
    # A factory that trains alone has seen one motor load only.
    assert trained_accuracy(loads[0].train, pooled, epochs=30, rate=0.05) < 0.94


def test_raw_motor_windows_are_accelerations():
    raw = load("cwru", {"load": "0", "mode": "raw", "limit": "41"}, shared_data("cwru")).train
    assert raw.record_shape == (2, 1024)
    # Normal running at the drive end: 0.07 g RMS, in units of half a g.
    assert (raw.features[:, 0] * 0.5).std() == pytest.approx(0.07, abs=0.01)


def test_digits_and_clothes_are_whole():
    for name, mean in (("mnist", 0.1307), ("fashion-mnist", 0.2860)):
        split = load(name, {}, shared_data(name))
        assert (split.train.features.shape, len(split.test)) == ((60_000, 1, 28, 28), 10_000)
        assert split.train.features.mean() / 255 == pytest.approx(mean, abs=5e-4)
        assert split.test.class_counts().sum() == 10_000


def test_class_2_gives_five_factories_two_digits_each_of_the_same_set():
    path = shared_data("mnist")
    common = {"limit": "2000", "downscale": "2", "partition": "class(2)", "parts": "5"}
    parts = [load("mnist", {**common, "part": str(part)}, path).train for part in range(5)]
    assert [np.count_nonzero(part.class_counts()) for part in parts] == [2] * 5
    assert len({part.features[i].tobytes() for part in parts for i in range(len(part))}) == sum(map(len, parts)) == 2000


def test_colour_pictures_are_bit_exact():
    path = shared_data("cifar10")
    split = load("cifar10", {"mosaics": "1"}, path)
    assert split.train.features.shape == (1000, 3, 32, 32)
    assert split.train.class_counts().tolist() == [100] * 10
    means = split.train.features.mean(axis=(0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.02)


def test_ims_is_eight_channels_in_volts():
    path = shared_data("ims-bearing") / "ims_set1_first20.npz"
    raw = load("ims", {"features": "raw", "window": "20480"}, path)
    assert (raw.train.features.shape, raw.test.features.shape) == ((14, 8, 20_480), (6, 8, 20_480))
    with np.load(path) as arrays:
        assert raw.test.features[-1, 7, -1] == pytest.approx(arrays["mV"][-1, -1, 7] / 1000)


def test_shakespeare_is_spoken_by_its_speakers():
    split = load("text", {"speaker_chars": "2000"}, shared_data("shakespeare") / "input.txt.xz")
    assert len(split.train.group_names) == pytest.approx(99, abs=6)
    assert "GLOUCESTER" in split.train.group_names
    assert len(split.train.classes) == 65


def test_a_milling_machines_table_is_read_by_its_schema(tmp_path):
    source = shared_data("ai4i2020") / "ai4i2020.csv"
    path = tmp_path / "ai4i2020.csv"
    path.write_bytes(source.read_bytes())
    (tmp_path / "ai4i2020.csv.schema.toml").write_text(
        'label = "Machine failure"\nclasses = ["0", "1"]\ngroup = "Type"\n'
        '[[features]]\ncolumn = "Air temperature [K]"\nlow = 290\nhigh = 310\n'
        '[[features]]\ncolumn = "Rotational speed [rpm]"\nlow = 1000\nhigh = 3000\n'
        '[[features]]\ncolumn = "Type"\nvalues = ["L", "M", "H"]\n'
    )
    split = load("table", {"partition": "group", "parts": "3", "part": "0"}, path)
    assert set(split.train.groups.tolist()) == {split.train.group_names.index("L")}
    whole = load("table", {}, path)
    assert (len(whole.train), len(whole.test)) == (7000, 3000)
    assert hashlib.sha256(source.read_bytes()).hexdigest().startswith("2830d0f5")
