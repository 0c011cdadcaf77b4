"""No source fits anything on its records: whatever another row holds, a row's features stay what they are."""

from pathlib import Path

import numpy as np
import pytest

from fl.data import registry
from fl.data.bearing_features import PUBLIC_RANGES as BEARING_RANGES
from fl.data.cwru import PUBLIC_RANGES as CWRU_RANGES
from fl.data.features import channel_moments
from fl.data.ims import BEARING_RANGES as IMS_RANGES
from fl.data.scaling import scale

SCHEMA = """
label = "State"
classes = ["ok", "worn"]

[[features]]
column = "Heat"
low = 0
high = 100

[[features]]
column = "Force"
low = 0.1
high = 1000
log = true
"""
ROWS = [
    f"{heat},{force},{state}"
    for heat, force, state in zip(range(10, 90, 4), range(1, 21), ["ok", "worn"] * 10, strict=True)
]


def loaded(folder: Path, rows: list[str]):
    path = folder / "press.csv"
    path.write_text("\n".join(["Heat,Force,State", *rows]) + "\n")
    path.with_name("press.csv.schema.toml").write_text(SCHEMA)
    return registry.load("table", {"test_percent": "20"}, path)


@pytest.mark.parametrize("outlier", ["99.9,999,worn", "0,0.1,ok", "1e9,1e9,worn"])
def test_a_table_row_is_scaled_alike_whatever_the_others_are(tmp_path, outlier):
    plain = loaded(tmp_path, ROWS)
    for at in (0, 7, 19):
        changed = loaded(tmp_path, [*ROWS[:at], outlier, *ROWS[at + 1 :]])
        for part, other in ((plain.train, changed.train), (plain.test, changed.test)):
            differing = np.flatnonzero((part.features != other.features).any(axis=1))
            assert len(differing) <= 1, "one row was changed"
    # And beyond the declared range it goes to the edge, for everybody to know.
    assert float(np.abs(loaded(tmp_path, [outlier, *ROWS[1:]]).train.features).max()) <= 1.0


@pytest.mark.parametrize("ranges", [CWRU_RANGES, IMS_RANGES, *BEARING_RANGES.values()])
def test_vibration_is_scaled_alike_whatever_the_other_windows_are(ranges):
    rng = np.random.default_rng(1)
    values = rng.uniform(0.01, 5.0, (6, len(ranges)))
    louder = values.copy()
    louder[3] *= 50
    same = [0, 1, 2, 4, 5]
    assert np.array_equal(scale(values, ranges)[same], scale(louder, ranges)[same])


def test_a_windows_moments_are_its_own():
    rng = np.random.default_rng(2)
    windows = rng.normal(size=(5, 2, 256)).astype(np.float32)
    louder = windows.copy()
    louder[2] *= 100
    before, after = channel_moments(windows), channel_moments(louder)
    assert np.array_equal(before[[0, 1, 3, 4]], after[[0, 1, 3, 4]])
    assert not np.array_equal(before[2], after[2])
