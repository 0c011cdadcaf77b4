"""Eight numbers out of eight vibration channels, for the 8-150-150-4 network of [ANCHOR], and their public ranges.

`envelope` (default): the loudest bearing's two sensors, each with the strength of the envelope at the outer-ring, the
inner-ring and the ball rate (over its median) and its kurtosis. `moments`: the same two sensors, each with RMS, peak,
kurtosis and skewness. `rms`: the RMS of all eight channels. What a maintenance engineer would read, in this order.
"""

import numpy as np
from numpy.typing import NDArray

from fl.data.bearing_geometry import BearingGeometry
from fl.data.bearing_physics import BEARINGS, RATE_HZ, Recording
from fl.data.features import MOMENTS, channel_moments, envelope_spectrum
from fl.data.scaling import PublicRange, scale

# Where housings ring; below it the shaft and the mains are, above it the sensors' mounting.
RINGING_BAND_HZ = (1_500.0, 7_500.0)
# The median of the envelope is taken below this: fault lines and their first harmonics lie there.
FLOOR_BAND_HZ = 800.0
LINE_HARMONICS = 2
AXES = ("x", "y")
LINES = ("bpfo", "bpfi", "bsf2")

_LINE = (0.5, 30.0)
_KURTOSIS = (1.5, 40.0)
_MOMENT_RANGES = {"rms": (0.01, 10.0), "peak": (0.03, 100.0), "kurtosis": _KURTOSIS, "skewness": (-3.0, 3.0)}

PUBLIC_RANGES: dict[str, tuple[PublicRange, ...]] = {
    "envelope": tuple(
        PublicRange(f"{axis}_{name}", *(_LINE if name in LINES else _KURTOSIS), log=True)
        for axis in AXES
        for name in (*LINES, "kurtosis")
    ),
    "moments": tuple(
        PublicRange(f"{axis}_{name}", *_MOMENT_RANGES[name], log=name != "skewness")
        for axis in AXES
        for name in MOMENTS
    ),
    "rms": tuple(
        PublicRange(f"bearing{1 + i // 2}_{AXES[i % 2]}_rms", *_MOMENT_RANGES["rms"], log=True)
        for i in range(2 * BEARINGS)
    ),
}
"""The eight columns of each kind of features. Same for everybody: they follow from physics, not from anyone's data."""


def bearing_features(kind: str, recording: Recording, geometry: BearingGeometry) -> NDArray[np.float32]:
    """float32 [n, 8] in -1..1, the columns of PUBLIC_RANGES[kind]."""
    moments = channel_moments(recording.windows)
    if kind == "rms":
        return scale(moments[:, :, 0], PUBLIC_RANGES[kind])
    count, _, length = recording.windows.shape
    rows, loudest = np.arange(count), loudest_bearing(moments)
    pair = moments.reshape(count, BEARINGS, 2, len(MOMENTS))[rows, loudest]
    if kind == "moments":
        return scale(pair.reshape(count, -1), PUBLIC_RANGES[kind])
    windows = recording.windows.reshape(count, BEARINGS, 2, length)[rows, loudest]
    lines = fault_lines(windows, recording.shaft_hz, geometry)
    return scale(np.concatenate([lines, pair[:, :, 2:3]], axis=2).reshape(count, -1), PUBLIC_RANGES[kind])


def loudest_bearing(moments: NDArray[np.float64]) -> NDArray[np.intp]:
    """[n, 8, 4] moments -> [n]: the bearing with the most impulsive sensor. Kurtosis knows no gain."""
    kurtosis = moments[:, :, MOMENTS.index("kurtosis")].reshape(-1, BEARINGS, 2)
    return np.asarray(kurtosis.max(axis=2).argmax(axis=1))


def fault_lines(
    windows: NDArray[np.float32], shaft_hz: NDArray[np.float64], geometry: BearingGeometry
) -> NDArray[np.float64]:
    """[n, 2, length] and [n] -> [n, 2, 3]: the envelope at BPFO, BPFI and twice BSF, over the envelope's median.

    Each is the geometric mean over the rate and its double, of the largest of the three lines about it: the tachometer
    is exact to the resolution of a window, slip is not.
    """
    spectrum = envelope_spectrum(windows, RATE_HZ, RINGING_BAND_HZ)
    resolution_hz = RATE_HZ / windows.shape[-1]
    floor = np.median(spectrum[..., 2 : max(int(FLOOR_BAND_HZ / resolution_hz), 4)], axis=-1)
    orders = geometry.orders()
    strengths = []
    for order in (orders.bpfo, orders.bpfi, 2 * orders.bsf):
        product = np.ones_like(floor)
        for harmonic in range(1, LINE_HARMONICS + 1):
            middle = np.rint(harmonic * order * shaft_hz / resolution_hz).astype(np.int64)
            around = np.clip(middle[:, None] + np.arange(-1, 2), 0, spectrum.shape[-1] - 1)
            near = np.take_along_axis(spectrum, np.repeat(around[:, None, :], len(AXES), axis=1), axis=2)
            product *= near.max(axis=2) / np.maximum(floor, np.finfo(np.float64).tiny)
        strengths.append(product ** (1 / LINE_HARMONICS))
    return np.stack(strengths, axis=2)
