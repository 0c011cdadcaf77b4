"""The simulated bearings obey the published kinematics, and simulated factories differ."""

from dataclasses import replace

import numpy as np
import pytest

from fl.data.bearing_factories import class_mix, factory_machine, mixed_labels
from fl.data.bearing_features import PUBLIC_RANGES
from fl.data.bearing_geometry import BearingGeometry
from fl.data.bearing_physics import BALL, HEALTHY, INNER, OUTER, RATE_HZ, load_zone, record
from fl.data.bearing_simulator import BearingSimulatorSettings, load, pooled_test, recording
from fl.data.errors import DataError
from fl.data.features import envelope_spectrum
from fl.data.tables import join
from tests.support.plain_training import trained_accuracy

SKF_6205 = BearingGeometry()
LENGTH = 32_768
SHAFT_HZ = 29.95
BAND_HZ = (1_500.0, 7_500.0)


def mean_envelope(label, factory=0, severity=4.0, **changes):
    """The envelope spectrum at the damaged bearing, its upright sensor, mean of 16 records at one exact speed."""
    machine = replace(factory_machine(factory, 3, severity, 1.0), shaft_hz=SHAFT_HZ, shaft_hz_spread=0.0, **changes)
    signals = record(machine, SKF_6205, np.full(16, label), LENGTH, np.random.default_rng(5))
    upright = signals.windows[np.arange(16), 2 * signals.bearing + 1]
    return envelope_spectrum(upright, RATE_HZ, BAND_HZ).mean(axis=0)


def around(spectrum, order):
    """The largest line within 1 % of a multiple of the shaft's rate, over the median up to 400 Hz."""
    line = order * SHAFT_HZ * LENGTH / RATE_HZ
    near = spectrum[int(np.floor(line * 0.99)) : int(np.ceil(line * 1.01)) + 1].max()
    return near / np.median(spectrum[10 : int(400 * LENGTH / RATE_HZ)])


def test_the_6205_has_the_published_fault_orders():
    orders = SKF_6205.orders()
    assert (orders.bpfo, orders.bpfi) == (pytest.approx(3.585, abs=1e-3), pytest.approx(5.415, abs=1e-3))
    assert (orders.bsf, orders.ftf) == (pytest.approx(2.357, abs=1e-3), pytest.approx(0.398, abs=1e-3))


@pytest.mark.parametrize("factory", [0, 1, 4])
def test_every_fault_rings_at_its_own_rate_and_at_no_others(factory):
    orders = SKF_6205.orders()
    line_of = {OUTER: orders.bpfo, INNER: orders.bpfi, BALL: 2 * orders.bsf}
    for label, own in line_of.items():
        spectrum = mean_envelope(label, factory)
        strength = {other: around(spectrum, order) for other, order in line_of.items()}
        assert strength[label] > 8, (label, strength)
        assert max(value for other, value in strength.items() if other != label) < strength[label] / 2
        # Nothing there is larger than the fault's own line. Below, the load zone shows at whole turns of the shaft.
        lowest, highest = (int(order * SHAFT_HZ * LENGTH / RATE_HZ) for order in (3.2, 8.0))
        loudest = (lowest + spectrum[lowest:highest].argmax()) * RATE_HZ / LENGTH / SHAFT_HZ
        assert loudest == pytest.approx(own, rel=0.01)


def test_a_sound_bearing_rings_at_no_fault_rate():
    orders = SKF_6205.orders()
    spectrum = mean_envelope(HEALTHY)
    assert max(around(spectrum, order) for order in (orders.bpfo, orders.bpfi, 2 * orders.bsf)) < 2.5


def test_the_load_zone_modulates_inner_faults_by_the_shaft_and_balls_by_the_cage():
    orders = SKF_6205.orders()
    calm = {"slip": 0.0}
    inner, outer, ball = (mean_envelope(label, **calm) for label in (INNER, OUTER, BALL))
    assert around(inner, orders.bpfi - 1) > 5 * around(outer, orders.bpfo - 1)
    assert around(inner, orders.bpfi + 1) > 5 * around(outer, orders.bpfo + 1)
    assert around(ball, 2 * orders.bsf - orders.ftf) > 10
    assert around(ball, 2 * orders.bsf + orders.ftf) > 10


def test_slip_blurs_the_line():
    third = 3 * SKF_6205.orders().bpfo
    assert around(mean_envelope(OUTER, slip=0.0), third) > 2 * around(mean_envelope(OUTER, slip=0.02), third)


def test_the_load_is_borne_at_the_bottom_and_by_half_the_circle_at_most():
    angle = np.linspace(-np.pi, np.pi, 721)
    light, full = load_zone(angle, 0.3), load_zone(angle, 1.0)
    assert light.argmax() == full.argmax() == 360
    assert full.max() == light.max() == 1.0
    assert (full >= light).all()
    assert not full[np.abs(angle) > np.pi / 2 + 1e-9].any()


def test_damage_further_gone_shakes_more():
    rms = [
        np.concatenate(
            [s.windows[s.labels == OUTER] for s in recording(replace(SETTINGS, severity=severity), "test")]
        ).std()
        for severity in (0.0, 1.0, 3.0)
    ]
    assert rms[0] < rms[1] < rms[2]


SETTINGS = BearingSimulatorSettings(train_records=90, test_records=60)


def test_the_same_settings_give_the_same_records_and_each_factory_others():
    once, again = load(SETTINGS), load(SETTINGS)
    other = load(replace(SETTINGS, factory=1))
    assert once.train.features.tobytes() == again.train.features.tobytes()
    assert not np.array_equal(once.train.features, other.train.features)
    assert not np.array_equal(once.train.features[:60], once.test.features)


def test_features_are_eight_finite_numbers_in_the_public_range_and_raw_are_windows():
    for kind in PUBLIC_RANGES:
        split = load(replace(SETTINGS, features=kind))
        assert split.train.features.shape == (90, 8)
        assert split.test.features.shape == (60, 8)
        assert np.abs(split.train.features).max() <= 1
        # A range that fits nothing would send every record to the edge.
        assert (np.abs(split.train.features) < 1).mean() > 0.9
    raw = load(replace(SETTINGS, mode="raw", length=512))
    assert raw.train.features.shape == (90, 8, 512)
    assert 0.001 < raw.train.features.std() < 1


def test_classes_are_mixed_differently_at_every_factory_and_exactly():
    counts = [load(replace(SETTINGS, factory=factory)).train.class_counts().tolist() for factory in range(3)]
    assert counts == [[36, 36, 18, 0], [36, 0, 36, 18], [36, 18, 0, 36]]
    even = load(replace(SETTINGS, mix="even", test_mix="even")).train.class_counts()
    assert even.max() - even.min() <= 1
    assert load(replace(SETTINGS, test_mix="even")).test.class_counts().tolist() == [15] * 4


@pytest.mark.parametrize("records", [1, 2, 3, 7, 101])
def test_mixed_labels_are_as_many_as_asked_for(records):
    labels = mixed_labels(class_mix(4, skewed=True), records, np.random.default_rng(0))
    assert len(labels) == records


def test_without_difference_factories_have_the_same_machine():
    one, two = factory_machine(0, 9, 1.0, 0.0), factory_machine(3, 9, 1.0, 0.0)
    assert one.shaft_hz == two.shaft_hz
    assert np.array_equal(one.resonance_hz, two.resonance_hz)
    assert factory_machine(0, 9, 1.0, 1.0).shaft_hz != factory_machine(3, 9, 1.0, 1.0).shaft_hz


def test_the_pooled_test_is_every_factorys_test_in_order():
    settings = replace(SETTINGS, factories=3, train_records=1)
    pooled = pooled_test(settings)
    assert len(pooled) == 180
    assert np.array_equal(pooled.features[60:120], load(replace(settings, factory=1)).test.features)


def test_one_model_learns_all_faults_and_a_factory_alone_does_not():
    league = [load(BearingSimulatorSettings(factory=factory, test_records=400)) for factory in range(5)]
    pooled = join([split.test for split in league])
    together = trained_accuracy(join([split.train for split in league]), pooled, epochs=10, rate=0.05)
    alone = [trained_accuracy(split.train, pooled, epochs=12, rate=0.05) for split in league]
    assert together >= 0.95
    # Each has never seen one of the faults, and other machines' ring otherwise.
    assert max(alone) < together - 0.08
    assert trained_accuracy(league[0].train, league[0].test, epochs=12, rate=0.05) > 0.9


def test_settings_that_contradict_are_refused():
    with pytest.raises(DataError, match=r"factory is 5, want 0\.\.4"):
        load(replace(SETTINGS, factory=5))
    with pytest.raises(DataError, match="smaller than the pitch"):
        load(replace(SETTINGS, ball_mm=50.0))
    with pytest.raises(DataError, match="at most"):
        load(replace(SETTINGS, mode="raw", train_records=1_000_000))
