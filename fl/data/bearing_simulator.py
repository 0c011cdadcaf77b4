"""The source "bearing-simulator", the embedded default: factories that watch bearings, from nothing but a seed.

Physics: bearing_physics.py. How factories differ: bearing_factories.py. The eight inputs: bearing_features.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from fl.data.bearing_factories import class_mix, factory_machine, mixed_labels
from fl.data.bearing_features import bearing_features
from fl.data.bearing_geometry import BearingGeometry
from fl.data.bearing_physics import CHANNELS, CLASSES, Recording, record
from fl.data.errors import DataError
from fl.data.tables import Split, Table, join
from fl.settings import Choice, Number, Whole

# Raw windows are in units of this acceleration, for every factory alike: a sound machine's then deviate by some tenths,
# which a network learns from; in larger units its first layer hardly notices them.
RAW_UNIT_G = 0.5
FACTORIES_MAX = 1024
RECORDS_MAX = 1_000_000
# A million raw records would be terabytes; this is 4 GB of float32.
RAW_VALUES_MAX = 1_000_000_000
INPUTS = 8
# Records simulated together: some ten MB of signals, and long enough that numpy is not called in vain.
CHUNK_RECORDS = 128
# Training and test records are drawn from streams of their own; stream 1 draws the machine.
PART_STREAMS = {"train": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class BearingSimulatorSettings:
    """The same settings give the same records, on every machine of one numpy version."""

    factory: Annotated[int, Whole(0, FACTORIES_MAX - 1, "which factory of the league")] = 0
    factories: Annotated[int, Whole(1, FACTORIES_MAX, "factories in the league")] = 5
    seed: Annotated[int, Whole(0, 2**32 - 1, "the league's seed")] = 1
    train_records: Annotated[int, Whole(1, RECORDS_MAX, "records to train on")] = 1000
    test_records: Annotated[int, Whole(1, RECORDS_MAX, "records to test on")] = 1000
    mode: Annotated[str, Choice(("features", "raw"), "eight features, or raw windows [8, length]")] = "features"
    features: Annotated[str, Choice(("envelope", "moments", "rms"), "which eight features")] = "envelope"
    length: Annotated[int, Whole(256, 65_536, "samples in a window, at 20 kHz")] = 2048
    severity: Annotated[float, Number(0.0, 20.0, "how far the damage has gone; 1 is a fault to be found")] = 1.0
    difference: Annotated[float, Number(0.0, 1.5, "how far factories lie apart; 0 is not at all")] = 1.0
    mix: Annotated[str, Choice(("skewed", "even"), "classes of the training records")] = "skewed"
    test_mix: Annotated[str, Choice(("own", "even"), "classes of the test records; own is as in training")] = "own"
    elements: Annotated[int, Whole(3, 100, "balls of the bearing")] = 9
    ball_mm: Annotated[float, Number(0.1, 1000, "diameter of a ball")] = 7.94
    pitch_mm: Annotated[float, Number(0.2, 10_000, "diameter of the circle of the balls")] = 39.04
    contact_deg: Annotated[float, Number(0, 60, "contact angle")] = 0.0

    def geometry(self) -> BearingGeometry:
        return BearingGeometry(self.elements, self.ball_mm, self.pitch_mm, self.contact_deg)


def load(settings: BearingSimulatorSettings, path: Path | None = None) -> Split:
    """One factory's records: float32 [n, 8] in -1..1, or in raw mode float32 [n, 8, length] in units of 0.5 g.

    About 1 s of CPU for 1,000 + 1,000 records. Raises DataError for a factory that the league does not have.
    """
    return Split(train=_table(settings, "train"), test=_table(settings, "test"))


def pooled_test(settings: BearingSimulatorSettings, path: Path | None = None) -> Table:
    """The test records of all factories of the league, in their order: what a common model is judged on."""
    return join([_table(replace(settings, factory=factory), "test") for factory in range(settings.factories)])


def recording(settings: BearingSimulatorSettings, part: str, chunk: int = CHUNK_RECORDS) -> Iterator[Recording]:
    """The sensor signals behind the "train" or "test" table, all eight channels in g, a chunk of records at a time."""
    if settings.factory >= settings.factories:
        raise DataError(f"bearing-simulator: factory is {settings.factory}, want 0..{settings.factories - 1}")
    rng = np.random.default_rng([settings.seed, settings.factory, PART_STREAMS[part]])
    skewed = settings.mix == "skewed" and (part == "train" or settings.test_mix == "own")
    records = settings.train_records if part == "train" else settings.test_records
    labels = mixed_labels(class_mix(settings.factory, skewed), records, rng)
    machine = factory_machine(settings.factory, settings.seed, settings.severity, settings.difference)
    for start in range(0, records, chunk):
        yield record(machine, settings.geometry(), labels[start : start + chunk], settings.length, rng)


def _table(settings: BearingSimulatorSettings, part: str) -> Table:
    raw = settings.mode == "raw"
    records = settings.train_records if part == "train" else settings.test_records
    if raw and records * CHANNELS * settings.length > RAW_VALUES_MAX:
        raise DataError(
            f"bearing-simulator: {records} raw windows of {CHANNELS} x {settings.length} samples, "
            f"want at most {RAW_VALUES_MAX} samples in all"
        )
    shape = (records, CHANNELS, settings.length) if raw else (records, INPUTS)
    features = np.empty(shape, dtype=np.float32)
    labels = np.empty(records, dtype=np.int64)
    start = 0
    for signals in recording(settings, part):
        rows = slice(start, start + len(signals.labels))
        labels[rows] = signals.labels
        features[rows] = (
            signals.windows / np.float32(RAW_UNIT_G)
            if raw
            else bearing_features(settings.features, signals, settings.geometry())
        )
        start = rows.stop
    return Table(features, labels, CLASSES)
