"""What makes one simulated factory another than the next: its machine, its sensors, and which faults it has seen."""

import numpy as np
from numpy.typing import NDArray

from fl.data.bearing_physics import BEARINGS, CHANNELS, CLASSES, Machine

# A sensor two bearings away hears a blow this much weaker for every bearing between.
BEARING_ATTENUATION = 0.35
MODES = 2
# Healthy, then three faults: a factory knows one well, one a little, and the third it has never had.
SKEWED_MIX = (0.40, 0.40, 0.20, 0.0)


def factory_machine(factory: int, seed: int, severity: float, difference: float) -> Machine:
    """The machine of factory number `factory` of the league that `seed` stands for.

    `difference` scales how far factories lie apart: 0 gives every factory the same machine, 1 is the default. The
    ranges: shaft 1,200 to 2,000 rpm, load 30 to 100 %, resonances 2 to 5 kHz, gains within a factor of 2.
    """
    rng = np.random.default_rng([seed, factory, 1])

    def about(middle: float, reach: float) -> float:
        return middle + difference * reach * float(rng.uniform(-1, 1))

    def factor(reach: float, shape: tuple[int, ...] = ()) -> NDArray[np.float64]:
        return np.asarray(np.exp(difference * reach * rng.uniform(-1, 1, shape)))

    shaft_hz = about(26.7, 6.6)
    first = about(2_800, 700)
    modes = np.array([first, first * 1.6]) * factor(0.08, (CHANNELS, MODES))
    away = np.abs(np.arange(CHANNELS) // 2 - np.arange(BEARINGS)[:, None])
    return Machine(
        shaft_hz=shaft_hz,
        shaft_hz_spread=0.02,
        load=about(0.65, 0.35),
        slip=about(0.015, 0.005),
        defect_angle=about(0.0, 0.6),
        severity_g=2.4 * severity * float(factor(0.25)),
        severity_spread=0.35,
        unbalance_g=0.08 * (shaft_hz / 26.7) ** 2 * float(factor(0.5)),
        force_noise_g=0.05 * float(factor(0.3)),
        sensor_noise_g=0.06 * float(factor(0.5)),
        damping=about(0.04, 0.012),
        resonance_hz=modes,
        resonance_share=np.array([1.0, 0.5]) * factor(0.4, (CHANNELS, MODES)),
        gain=float(factor(0.5)) * factor(0.15, (CHANNELS,)),
        offset_g=difference * rng.uniform(-0.05, 0.05, CHANNELS),
        path=BEARING_ATTENUATION**away * factor(0.2, (BEARINGS, CHANNELS)),
    )


def class_mix(factory: int, skewed: bool) -> NDArray[np.float64]:
    """Share of each class in a factory's records, [4]; the well-known fault goes round from factory to factory."""
    if not skewed:
        return np.full(len(CLASSES), 1 / len(CLASSES))
    healthy, *faults = SKEWED_MIX
    return np.array([healthy, *np.roll(faults, factory % len(faults))])


def mixed_labels(mix: NDArray[np.float64], records: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """int64 [records] in random order, the counts as near to the mix as whole numbers go (largest remainders)."""
    exact = mix * records
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: records - int(counts.sum())]] += 1
    return rng.permutation(np.repeat(np.arange(len(mix), dtype=np.int64), counts))
