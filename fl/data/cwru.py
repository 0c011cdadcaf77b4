"""The source "cwru": bearing faults recorded at Case Western Reserve University; every motor load is a factory.

12 kHz, faults at the drive end. One file a load, `cwru_12k_load0hp.npz` to `3hp`: "<state>__<channel>" int16 with
"<state>__<channel>__step" in g. A normal record exists at 0 hp only: its quarters, in order, belong to the four loads.
The first 70 % of every record are for training, the rest for testing: no window of the one touches one of the other.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.features import MOMENTS, channel_moments, cut_windows
from fl.data.npz import NpzFile, open_npz
from fl.data.scaling import PublicRange, scale
from fl.data.tables import Split, Table, join
from fl.settings import Choice, Whole

CLASSES = ("healthy", "inner", "outer", "ball")
LOADS = ("0", "1", "2", "3")
LOAD_NAMES = tuple(f"{load} hp" for load in LOADS)
FAULTS = ("inner", "outer", "ball")
DIAMETERS = ("007", "014", "021")
# The recordings of a load, in the order in which they are read.
STATES = ("healthy", *(f"{fault} {diameter}" for fault in FAULTS for diameter in DIAMETERS))
RECORDING_NAMES = tuple(f"{load}, {state}" for load in LOAD_NAMES for state in STATES)
CHANNELS = ("DE", "FE")
RATE_HZ = 12_000
NORMAL_RECORD_LOAD = "0"
# Raw windows are in units of this acceleration, for everybody alike: about 0.1 RMS when sound, 1 when damaged.
RAW_UNIT_G = 0.5

# In g and for any 1.5 kW motor: a silent one is above the low end, one that shakes itself apart below the high one.
_RANGES = {"rms": (0.03, 2.0), "peak": (0.1, 8.0), "kurtosis": (2.0, 30.0), "skewness": (-1.0, 1.0)}
PUBLIC_RANGES = tuple(
    PublicRange(f"{channel}_{name}", *_RANGES[name], log=name != "skewness") for channel in CHANNELS for name in MOMENTS
)


@dataclass(frozen=True, slots=True)
class CwruSettings:
    load: Annotated[str, Choice((*LOADS, "all"), "the motor load in hp that this factory runs at")] = "0"
    window: Annotated[int, Whole(64, 16_384, "samples in a window, at 12 kHz")] = 1024
    mode: Annotated[str, Choice(("features", "raw"), "eight moments, or raw windows [2, window]")] = "features"
    train_percent: Annotated[int, Whole(10, 90, "share of every record, from its start, to train on")] = 70
    group: Annotated[str, Choice(("load", "recording"), "what a group is: a load, or the recording of a window")] = (
        "load"
    )


def load(settings: CwruSettings, path: Path | None) -> Split:
    """One load's windows, or all four's: float32 [n, 8] (the four moments of DE, then of FE), or [n, 2, window].

    Groups are the loads, or the recordings. Raises DataError for a file or an array that is missing, damaged or of
    another type.
    """
    assert path is not None
    if settings.load == "all":
        each = [load(replace(settings, load=one), path) for one in LOADS]
        return Split(train=join([split.train for split in each]), test=join([split.test for split in each]))
    train: list[tuple[NDArray[np.float32], int]] = []
    test: list[tuple[NDArray[np.float32], int]] = []
    for label, signal in _records(settings.load, path):
        cut = signal.shape[1] * settings.train_percent // 100
        train.append((_inputs(signal[:, :cut], settings), label))
        test.append((_inputs(signal[:, cut:], settings), label))
    return Split(train=_table(train, settings), test=_table(test, settings))


def pooled_test(settings: CwruSettings, path: Path | None) -> Table:
    """The last part of every record of all four loads: what a common model is judged on."""
    return load(replace(settings, load="all"), path).test


def _records(load: str, folder: Path) -> list[tuple[int, NDArray[np.float32]]]:
    """(label, signal [2, samples] in g) of this load's quarter of the normal record, then of its nine fault records."""
    with open_npz(_file(folder, NORMAL_RECORD_LOAD)) as file:
        normal = _signal(file, "normal")
    quarter = normal.shape[1] // len(LOADS)
    start = int(load) * quarter
    records = [(CLASSES.index("healthy"), normal[:, start : start + quarter])]
    with open_npz(_file(folder, load)) as file:
        for fault in FAULTS:
            records += [(CLASSES.index(fault), _signal(file, f"{fault}_{diameter}")) for diameter in DIAMETERS]
    return records


def _file(folder: Path, load: str) -> Path:
    path = folder / f"cwru_12k_load{load}hp.npz"
    if not path.is_file():
        raise DataError.of_file(path, "does not exist, want the record file of this motor load")
    return path


def _signal(file: NpzFile, state: str) -> NDArray[np.float32]:
    channels = []
    for channel in CHANNELS:
        step = float(file.array(f"{state}__{channel}__step", 0, "f"))
        channels.append(file.array(f"{state}__{channel}", 1, "iu").astype(np.float64) * step)
    if len(channels[0]) != len(channels[1]):
        raise DataError.of_file(file.path, f"{len(channels[1])} samples, DE has {len(channels[0])}", f"{state}__FE")
    return np.stack(channels).astype(np.float32)


def _inputs(signal: NDArray[np.float32], settings: CwruSettings) -> NDArray[np.float32]:
    windows = cut_windows(signal, settings.window)
    if settings.mode == "raw":
        return (windows / RAW_UNIT_G).astype(np.float32)
    return scale(channel_moments(windows).reshape(len(windows), -1), PUBLIC_RANGES)


def _table(parts: list[tuple[NDArray[np.float32], int]], settings: CwruSettings) -> Table:
    features = np.concatenate([inputs for inputs, _ in parts])
    labels = np.concatenate([np.full(len(inputs), label, dtype=np.int64) for inputs, label in parts])
    load = LOADS.index(settings.load)
    if settings.group == "load":
        return Table(features, labels, CLASSES, np.full(len(labels), load, dtype=np.int64), LOAD_NAMES, "load")
    first = load * len(STATES)
    groups = np.concatenate([np.full(len(inputs), first + at, dtype=np.int64) for at, (inputs, _) in enumerate(parts)])
    return Table(features, labels, CLASSES, groups, RECORDING_NAMES, "recording")
