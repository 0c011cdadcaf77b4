"""The source "ims": eight channels of the IMS run-to-failure rig (four bearings, x and y), 20 kHz, 2,000 rpm.

An .npz file with "mV" int16 [snapshots, samples, 8]. The snapshots here are of the healthy period: one class, for
anomaly detection and for records to anchor. The first 70 % of the snapshots are for training.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.features import MOMENTS, channel_moments, cut_windows
from fl.data.npz import open_npz
from fl.data.scaling import PublicRange, scale
from fl.data.tables import Split, Table
from fl.settings import Choice, Whole

CLASSES = ("healthy",)
BEARINGS = 4
BEARING_NAMES = tuple(f"bearing {i + 1}" for i in range(BEARINGS))
CHANNELS = 2 * BEARINGS
RAW_UNIT_V = 1.0

# Volts of the rig's ICP accelerometers, whose amplifier ends at 5 V.
_RANGES = {"rms": (0.01, 5.0), "peak": (0.03, 10.0), "kurtosis": (1.5, 40.0), "skewness": (-3.0, 3.0)}
RMS_RANGES = tuple(
    PublicRange(f"bearing{1 + i // 2}_{'xy'[i % 2]}_rms", *_RANGES["rms"], log=True) for i in range(CHANNELS)
)
BEARING_RANGES = tuple(
    PublicRange(f"{axis}_{name}", *_RANGES[name], log=name != "skewness") for axis in "xy" for name in MOMENTS
)


@dataclass(frozen=True, slots=True)
class ImsSettings:
    features: Annotated[
        str,
        Choice(
            ("rms", "bearing", "raw"),
            "RMS of the 8 channels; or a record a bearing, the moments of its x and y; or raw windows [8, window]",
        ),
    ] = "rms"
    window: Annotated[int, Whole(64, 20_480, "samples in a window, at 20 kHz")] = 1024
    train_percent: Annotated[int, Whole(10, 90, "share of the snapshots, from the first, to train on")] = 70


def load(settings: ImsSettings, path: Path | None) -> Split:
    """float32 [n, 8], or [n, 8, window] in volts. With features=bearing the groups are the four bearings.

    Raises DataError when the file is not as described above or holds fewer than two snapshots.
    """
    assert path is not None
    with open_npz(path) as file:
        snapshots = file.array("mV", 3, "iu")
    if snapshots.shape[2] != CHANNELS or len(snapshots) < 2:
        raise DataError.of_file(path, f"has the shape {list(snapshots.shape)}, want [at least 2, samples, 8]", "mV")
    cut = min(max(len(snapshots) * settings.train_percent // 100, 1), len(snapshots) - 1)
    return Split(train=_table(snapshots[:cut], settings), test=_table(snapshots[cut:], settings))


def _table(snapshots: NDArray[np.generic], settings: ImsSettings) -> Table:
    volts = snapshots.astype(np.float32) / np.float32(1000)
    windows = np.concatenate([cut_windows(snapshot.T, settings.window) for snapshot in volts])
    if settings.features == "raw":
        return Table((windows / RAW_UNIT_V).astype(np.float32), np.zeros(len(windows), dtype=np.int64), CLASSES)
    moments = channel_moments(windows)
    if settings.features == "rms":
        return Table(scale(moments[:, :, 0], RMS_RANGES), np.zeros(len(windows), dtype=np.int64), CLASSES)
    features = scale(moments.reshape(len(windows) * BEARINGS, -1), BEARING_RANGES)
    groups = np.tile(np.arange(BEARINGS, dtype=np.int64), len(windows))
    return Table(features, np.zeros(len(features), dtype=np.int64), CLASSES, groups, BEARING_NAMES, "bearing")
