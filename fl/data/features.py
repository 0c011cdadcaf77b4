"""From a sensor's signal to numbers: windows, the four moments of a channel, the envelope spectrum. No source here."""

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError

MOMENTS = ("rms", "peak", "kurtosis", "skewness")

Signal = NDArray[np.float32] | NDArray[np.float64]


def cut_windows(signal: Signal, length: int, step: int | None = None) -> Signal:
    """[channels, samples] -> [n, channels, length], a new window every `step` samples (default: `length`, no overlap).

    The rest at the end that fills no window is dropped. Raises DataError when not one window fits.
    """
    step = length if step is None else step
    if length < 1 or step < 1:
        raise DataError(f"windows of {length} samples every {step}, want at least 1 of both")
    if signal.shape[1] < length:
        raise DataError(f"{signal.shape[1]} samples, want at least one window of {length}")
    cut = np.lib.stride_tricks.sliding_window_view(signal, length, axis=1)[:, ::step]
    return np.ascontiguousarray(cut.transpose(1, 0, 2))


def channel_moments(windows: Signal) -> NDArray[np.float64]:
    """[n, channels, length] -> [n, channels, 4]: root mean square, peak, kurtosis, skewness of every channel.

    All are about the window's own mean: an accelerometer is AC-coupled, an offset belongs to its amplifier. Kurtosis
    is the plain one (3 for noise). A channel that does not move has 0 for all four.
    """
    centred = windows - windows.mean(axis=2, keepdims=True, dtype=np.float64).astype(windows.dtype)
    # Largest and smallest instead of an absolute copy: these arrays are the whole cost.
    peak = np.maximum(centred.max(axis=2), -centred.min(axis=2)).astype(np.float64)
    length = windows.shape[2]
    squares = centred * centred
    second = np.einsum("ncl->nc", squares, dtype=np.float64) / length
    third = np.einsum("ncl,ncl->nc", squares, centred).astype(np.float64) / length
    fourth = np.einsum("ncl,ncl->nc", squares, squares).astype(np.float64) / length
    moves = second > 0
    safe = np.where(moves, second, 1.0)
    kurtosis = np.where(moves, fourth / safe**2, 0.0)
    skewness = np.where(moves, third / safe**1.5, 0.0)
    return np.stack([np.sqrt(second), peak, kurtosis, skewness], axis=2)


def envelope_spectrum(windows: Signal, rate_hz: float, band_hz: tuple[float, float]) -> NDArray[np.float64]:
    """[..., length] -> [..., length // 2 + 1]: the spectrum of the envelope; line i is at i * rate_hz / length.

    The signal is cut to `band_hz` (where the structure rings), made analytic (Hilbert), and the square of its
    magnitude, less its mean, is weighted by a Hann window and transformed: shocks that repeat show at their rate.
    """
    length = windows.shape[-1]
    spectrum = np.fft.fft(windows, axis=-1)
    frequency = np.fft.fftfreq(length, 1 / rate_hz)
    # Only the positive half is kept, which is what makes the signal analytic; outside the band nothing is.
    spectrum *= (frequency >= band_hz[0]) & (frequency <= band_hz[1])
    analytic = np.fft.ifft(spectrum, axis=-1)
    envelope = analytic.real**2 + analytic.imag**2
    envelope -= envelope.mean(axis=-1, keepdims=True)
    lines: NDArray[np.float64] = np.abs(np.fft.rfft(envelope * np.hanning(length), axis=-1)).astype(np.float64)
    return lines
