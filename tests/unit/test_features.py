"""Windows, moments, envelope and public scales, against plain versions of their definitions."""

import numpy as np
import pytest

from fl.data.errors import DataError
from fl.data.features import channel_moments, cut_windows, envelope_spectrum
from fl.data.scaling import PublicRange, scale


def test_windows_do_not_overlap_and_the_rest_is_dropped():
    signal = np.arange(22.0).reshape(2, 11)
    windows = cut_windows(signal, 4)
    assert windows.tolist() == [[[0, 1, 2, 3], [11, 12, 13, 14]], [[4, 5, 6, 7], [15, 16, 17, 18]]]
    assert len(cut_windows(signal, 4, step=1)) == 8
    with pytest.raises(DataError, match="11 samples, want at least one window of 12"):
        cut_windows(signal, 12)


def test_moments_are_those_of_their_definitions():
    rng = np.random.default_rng(1)
    windows = (rng.gamma(2.0, size=(5, 3, 400)) + 7).astype(np.float32)
    moments = channel_moments(windows)
    for row in range(5):
        for channel in range(3):
            x = windows[row, channel].astype(np.float64)
            x -= x.mean()
            rms = np.sqrt((x**2).mean())
            slow = [rms, np.abs(x).max(), (x**4).mean() / rms**4, (x**3).mean() / rms**3]
            assert moments[row, channel] == pytest.approx(slow, rel=2e-4)


def test_a_sensor_that_stands_still_has_no_moments_and_no_nan():
    assert not channel_moments(np.full((1, 2, 64), 5.0, dtype=np.float32)).any()


def test_gain_scales_rms_and_peak_and_leaves_the_shape():
    windows = np.random.default_rng(2).standard_normal((4, 1, 512))
    one, ten = channel_moments(windows), channel_moments(10 * windows + 3)
    assert ten[..., :2] == pytest.approx(10 * one[..., :2])
    assert ten[..., 2:] == pytest.approx(one[..., 2:])


def test_the_envelope_of_a_modulated_tone_has_the_modulations_line():
    rate, length = 20_000, 4_000
    time = np.arange(length) / rate
    tone = (1 + 0.8 * np.cos(2 * np.pi * 115 * time)) * np.sin(2 * np.pi * 3_000 * time)
    loud_elsewhere = 5 * np.sin(2 * np.pi * 300 * time)
    lines = envelope_spectrum(tone + loud_elsewhere, rate, (2_000.0, 4_000.0))
    assert lines.shape == (length // 2 + 1,)
    assert lines.argmax() * rate / length == pytest.approx(115)


def test_scaling_uses_the_declared_range_and_clips():
    columns = (PublicRange("t", 290, 310), PublicRange("g", 0.01, 100, log=True))
    values = np.array([[290, 0.01], [300, 1.0], [310, 100], [400, 1e9], [-5, 0.0]])
    assert scale(values, columns) == pytest.approx(np.array([[-1, -1], [0, 0], [1, 1], [1, 1], [-1, -1]]), abs=1e-6)
    assert scale(values[3:4], columns, clip=False)[0, 0] == pytest.approx(10)
    with pytest.raises(DataError, match="logarithm"):
        scale(values, columns, clip=False)
    with pytest.raises(DataError, match=r"want \[n, 2\]"):
        scale(values[:, :1], columns)


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True), (0, np.inf, False)])
def test_a_range_that_cannot_be_is_refused(low, high, log):
    with pytest.raises(DataError, match="range of 'x'"):
        PublicRange("x", low, high, log)
