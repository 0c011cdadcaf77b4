"""The vibration of a machine whose bearing is sound or damaged: from blows on the structure to eight sensors, in g.

A damaged spot is struck at the rate that the geometry gives, not quite regularly, for the elements slip. How hard
depends on where the spot is: the load is borne by an arc at the bottom (Stribeck). Every blow rings the structure;
each sensor hears it through its own resonances. Added are the shaft's harmonics, background force and sensor noise.
Randomness comes in as an argument. What a particular factory is like is in bearing_factories.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.data.bearing_geometry import BearingGeometry

CLASSES = ("healthy", "inner", "outer", "ball")
HEALTHY, INNER, OUTER, BALL = range(4)
RATE_HZ = 20_000
BEARINGS = 4
CHANNELS = 2 * BEARINGS
"""Four bearings on the shaft, each with a sensor across (x, even channels) and one upright (y, odd channels)."""

# A blow has died away (to 1 % at 700 Hz and 5 % damping) in this time: the lead-in whose ringing reaches the window,
# and the length of the impulse response.
LEAD_SAMPLES = 512
# A blow on one axis of the housing is felt on the other: share of the amplitude.
CROSS_COUPLING = 0.3
# A blow on a ring reaches the housing through fewer contacts the further out it is. Outer ring: direct.
PATH_GAIN = {INNER: 0.8, OUTER: 1.0, BALL: 0.8}
# A ball is pressed a little outside the load zone too, by its own centrifugal force.
BALL_PRELOAD = 0.25
HARMONICS = (1.0, 0.5, 0.25)


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One factory's machine and its sensors. Arrays of 8 are by channel, of 4 by bearing.

    `load` is in 0..1 of the rated one, `slip` the relative standard deviation of the time between two blows.
    `resonance_hz` and `resonance_share` are [8, modes], `gain` and `offset_g` [8], `path` [4, 8]: what channel c hears
    of bearing b.
    """

    shaft_hz: float
    shaft_hz_spread: float
    load: float
    slip: float
    defect_angle: float
    severity_g: float
    severity_spread: float
    unbalance_g: float
    force_noise_g: float
    sensor_noise_g: float
    damping: float
    resonance_hz: NDArray[np.float64]
    resonance_share: NDArray[np.float64]
    gain: NDArray[np.float64]
    offset_g: NDArray[np.float64]
    path: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """`windows` float32 [n, 8, length] in g; `labels` int64 [n]; `shaft_hz` [n], as a tachometer tells it.

    `bearing` int64 [n] is the damaged one of the four (of a sound machine, one of them all the same).
    """

    windows: NDArray[np.float32]
    labels: NDArray[np.int64]
    shaft_hz: NDArray[np.float64]
    bearing: NDArray[np.int64]


def load_zone(angle: NDArray[np.float64], load: float) -> NDArray[np.float64]:
    """Share of the largest element load at this angle from the bottom (Stribeck's distribution, exponent 3/2).

    The more load, the wider the arc that bears it; half the circle is the most for a bearing with play.
    """
    extent = 0.25 + 0.25 * load
    inside = 1 - (1 - np.cos(angle)) / (2 * extent)
    zone: NDArray[np.float64] = np.maximum(inside, 0.0) ** 1.5
    return zone


def record(
    machine: Machine,
    geometry: BearingGeometry,
    labels: NDArray[np.int64],
    length: int,
    rng: np.random.Generator,
) -> Recording:
    """One window of `length` samples at 20 kHz for each label (int64 [n], places in CLASSES).

    Takes some 100 kB of working memory a record at 2,048 samples: call it for a few hundred at a time.
    """
    count, padded = len(labels), LEAD_SAMPLES + length
    shaft_hz = machine.shaft_hz * (1 + machine.shaft_hz_spread * rng.standard_normal(count))
    bearing = rng.integers(0, BEARINGS, count)
    force = machine.force_noise_g * rng.standard_normal((count, 2, padded), dtype=np.float32)
    force += _blows(machine, geometry, labels, shaft_hz, padded, rng)
    response = np.fft.rfft(_impulse_responses(machine), padded, axis=1).astype(np.complex64)
    spectrum = np.fft.rfft(force, axis=2).astype(np.complex64, copy=False)
    # Channel c hears axis c % 2. The lead-in is as long as the impulse response: what wraps round is cut off with it.
    heard = np.fft.irfft(spectrum[:, np.arange(CHANNELS) % 2] * response, padded, axis=2)[:, :, LEAD_SAMPLES:]
    heard = heard * machine.path[bearing][:, :, None].astype(np.float32)
    heard += machine.sensor_noise_g * rng.standard_normal(heard.shape, dtype=np.float32)
    heard += _shaft_harmonics(machine, shaft_hz, length, rng)
    heard *= machine.gain[None, :, None].astype(np.float32)
    heard += machine.offset_g[None, :, None].astype(np.float32)
    return Recording(heard.astype(np.float32, copy=False), labels, shaft_hz, bearing)


def _impulse_responses(machine: Machine) -> NDArray[np.float64]:
    """[8, LEAD_SAMPLES]: what a unit blow makes each sensor show: decaying sinusoids, one a mode."""
    time_s = np.arange(LEAD_SAMPLES) / RATE_HZ
    angular = 2 * np.pi * machine.resonance_hz[:, :, None]
    ringing = np.exp(-machine.damping * angular * time_s) * np.sin(angular * np.sqrt(1 - machine.damping**2) * time_s)
    summed: NDArray[np.float64] = (machine.resonance_share[:, :, None] * ringing).sum(axis=1)
    return summed


def _blows(
    machine: Machine,
    geometry: BearingGeometry,
    labels: NDArray[np.int64],
    shaft_hz: NDArray[np.float64],
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """[n, 2, samples]: the force of every blow on the axes x and y, zero between the blows."""
    orders = geometry.orders()
    # A healthy bearing gets a rate as well, so that the arrays stay whole, and blows of strength 0.
    order = np.array([orders.bpfo, orders.bpfi, orders.bpfo, 2 * orders.bsf])[labels]
    interval = RATE_HZ / (order * shaft_hz)
    most = int(np.ceil(samples / interval.min())) + 2
    # Slip adds up from blow to blow, as between real elements; a bearing keeps no clock (McFadden, Antoni).
    steps = interval[:, None] * (1 + machine.slip * rng.standard_normal((len(labels), most)))
    at = np.cumsum(steps, axis=1) - interval[:, None] * (1 + rng.random(len(labels)))[:, None]
    angle, strength = _angle_and_strength(machine, labels, shaft_hz, orders.ftf, at, rng)
    axes = np.stack([np.sin(angle), np.cos(angle)], axis=1) * strength[:, None, :]
    axes = axes + CROSS_COUPLING * axes[:, ::-1]
    return _place(axes, at, samples)


def _angle_and_strength(
    machine: Machine,
    labels: NDArray[np.int64],
    shaft_hz: NDArray[np.float64],
    cage_order: float,
    at: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where on the circle each blow falls (radians from the bottom), and how hard it is, in g; both [n, blows]."""
    turns = np.array([0.0, 1.0, 0.0, cage_order])[labels] * shaft_hz / RATE_HZ
    fixed = np.isin(labels, (HEALTHY, OUTER))
    start = np.where(fixed, machine.defect_angle, rng.uniform(0, 2 * np.pi, len(labels)))
    angle = start[:, None] + 2 * np.pi * turns[:, None] * at
    pressed = load_zone(angle, machine.load)
    ball = labels == BALL
    pressed[ball] = BALL_PRELOAD + (1 - BALL_PRELOAD) * pressed[ball]
    # The spot on a ball meets the outer ring, then the inner ring, whose blow has the longer way to the housing.
    pressed[ball, 1::2] *= PATH_GAIN[INNER]
    gain = np.array([0.0, PATH_GAIN[INNER], PATH_GAIN[OUTER], PATH_GAIN[BALL]])[labels]
    severity = machine.severity_g * np.exp(machine.severity_spread * rng.standard_normal(len(labels)))
    strength = (gain * severity)[:, None] * pressed * (1 + 0.1 * rng.standard_normal(at.shape))
    return angle, strength


def _place(axes: NDArray[np.float64], at: NDArray[np.float64], samples: int) -> NDArray[np.float32]:
    """Blows [n, 2, blows] at fractional samples [n, blows], each shared by the two samples beside it."""
    count = len(at)
    force = np.zeros(count * 2 * samples)
    whole = np.floor(at).astype(np.int64)
    part = at - whole
    row = (np.arange(count)[:, None] * 2) * samples
    for shift, share in ((0, 1 - part), (1, part)):
        index = whole + shift
        inside = (index >= 0) & (index < samples)
        for axis in (0, 1):
            np.add.at(force, (row + axis * samples + index)[inside], (axes[:, axis] * share)[inside])
    return force.reshape(count, 2, samples).astype(np.float32)


def _shaft_harmonics(
    machine: Machine, shaft_hz: NDArray[np.float64], length: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """[n, 8, length]: unbalance and misalignment, once, twice and three times a turn; x and y a quarter turn apart."""
    time_s = np.arange(length, dtype=np.float32) / np.float32(RATE_HZ)
    axes = np.zeros((len(shaft_hz), 2, length), dtype=np.float32)
    for harmonic, share in enumerate(HARMONICS, start=1):
        phase = rng.uniform(0, 2 * np.pi, (len(shaft_hz), 1)).astype(np.float32)
        turning = (2 * np.pi * harmonic * shaft_hz[:, None]).astype(np.float32) * time_s + phase
        axes[:, 0] += np.float32(share * machine.unbalance_g) * np.cos(turning)
        axes[:, 1] += np.float32(share * machine.unbalance_g) * np.sin(turning)
    return np.tile(axes, (1, BEARINGS, 1))
