"""Sound training: what a unit can change, how often it is looked at, how large the noise is, where rounds start."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fl.batches import Records, UnusableTable, as_records
from fl.models.registry import build
from fl.privacy.accountant import epsilon_of, rdp_poisson_gaussian
from fl.privacy.clipper_choice import clipper_for
from fl.privacy.modes import MODES, PrivacyRefused, check_privacy, notes
from fl.privacy.quantile import QuantileClip, clipping_of, gradient_sigma, pack_clips, unpack_clips
from fl.privacy.sampling import sampling
from fl.privacy.secure_random import SecureRandom
from fl.privacy.sound import SoundPlan, Units, sound_train
from fl.privacy.terms import SoundSettings, group_column
from fl.round import RoundJob, initial_model, run_round
from fl.strategies.base import Trained
from fl.strategies.registry import strategy
from fl.vectors import flatten_in_place, parameter_vector
from tests.support.learning import separable
from tests.support.strategies import view

SMALL = {"layers": "8,6,4"}


def plan_of(records, batch=16, epochs=2, sigma=1.0, lr=0.1, momentum=0.0, **given):
    return SoundPlan(SoundSettings(**given), sigma, sampling(records, batch, epochs), epochs, lr, momentum)


class Scripted(SecureRandom):
    """Draws what the test says: batches in turn, and noise of one number for every coordinate."""

    def __init__(self, batches, noise=0.0):
        super().__init__(1)
        self.batches, self.noise, self.deviations = list(batches), noise, []

    def chosen(self, probability, count):
        return np.array(self.batches.pop(0), np.intp)

    def normal(self, count, deviation=1.0):
        self.deviations.append(deviation)
        return np.full(count, self.noise * deviation)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    records=st.integers(1, 40),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4, 1e12]),
    clip=st.floats(1e-3, 100.0),
    grouped=st.booleans(),
)
def test_zeroing_one_unit_out_moves_the_sum_by_no_more_than_the_clipping_norm(seed, records, scale, clip, grouped):
    """Whatever the data: the very number that the noise is measured against."""
    rng = np.random.default_rng(seed)
    table = as_records((rng.normal(size=(records, 8)) * scale).astype(np.float32), rng.integers(0, 4, records))
    groups = rng.integers(0, 5, records) if grouped else None
    units = Units(records, groups)
    clipper = clipper_for(flatten_in_place(build("mlp", SMALL, seed % 7)))
    everybody = np.arange(units.count)
    left_out = int(rng.integers(units.count))
    whole = units.clipped_sum(clipper, table, everybody, clip).total.double()
    less = units.clipped_sum(clipper, table, np.delete(everybody, left_out), clip).total.double()
    assert float((whole - less).norm()) <= clip


def test_a_step_is_the_noised_sum_over_the_expected_batch_and_the_norm():
    """By hand, with momentum: batches of four, of none, of all; noise of sigma C in every coordinate."""
    features, labels = separable(2, records=12)
    records = as_records(features, labels)
    vector = parameter_vector(build("mlp", SMALL, 1))
    plan = plan_of(12, batch=4, epochs=1, sigma=0.5, lr=0.2, momentum=0.5, clip=0.3)
    batches = [[0, 3, 5, 7], [], list(range(12))]
    random = Scripted(batches, noise=1.0)
    got = sound_train(build("mlp", SMALL, 1), vector, records, plan, random)
    assert got.steps == 3
    assert random.deviations == [pytest.approx(0.5 * 0.3)] * 3

    flat = flatten_in_place(build("mlp", SMALL, 1))
    flat.load(vector)
    clipper, velocity = clipper_for(flat), torch.zeros_like(flat.values)
    for rows in batches:
        summed = clipper.of_records(records.features[rows], records.labels[rows], 0.3)
        velocity = 0.5 * velocity + (summed.total + 0.5 * 0.3) / (4 * 0.3)
        flat.values.sub_(0.2 * velocity)
    assert np.abs(got.vector - flat.vector()).max() < 1e-6


def test_a_batch_that_is_empty_is_a_step_of_noise_alone():
    records = as_records(*separable(2, records=12))
    vector = np.zeros(len(parameter_vector(build("mlp", SMALL, 1))), np.float32)
    plan = plan_of(12, batch=4, epochs=1, sigma=2.0, lr=0.5)
    got = sound_train(build("mlp", SMALL, 1), vector, records, plan, Scripted([[]] * 3, noise=1.0))
    assert got.vector == pytest.approx(np.full(len(vector), -3 * 0.5 * 2.0 / 4))
    assert got.losses == (0.0,)


def test_the_noise_has_the_deviation_that_was_charged():
    """Without a gradient (no unit is there) what is left of a step is the noise: lr sigma / batch a coordinate."""
    records = as_records(*separable(2, records=1))
    model = {"layers": "8,200,200,4"}
    vector = parameter_vector(build("mlp", model, 1))
    plan = SoundPlan(SoundSettings(clip=3.0), 1.7, sampling(1_000_000, 20, 1), 1, 0.1)
    plan = replace(plan, sampling=replace(plan.sampling, steps=1))
    moved = (sound_train(build("mlp", model, 1), vector, records, plan, SecureRandom(4)).vector - vector).astype(float)
    # 42,804 coordinates: the standard error of a deviation is 0.34 %.
    assert moved.std() == pytest.approx(0.1 * 1.7 / 20, rel=0.02)
    assert abs(moved.mean()) < 5 * 0.1 * 1.7 / 20 / math.sqrt(len(moved))


def test_the_norm_does_not_change_the_step_of_gradients_that_are_clipped_anyway():
    """Normalised: C scales the clipped gradient and the noise alike, so that the learning rate keeps its meaning."""
    records = as_records(*separable(2, records=60))
    vector = parameter_vector(build("mlp", SMALL, 1))
    one, other = (
        sound_train(build("mlp", SMALL, 1), vector, records, plan_of(60, clip=clip), SecureRandom(9)).vector
        for clip in (1e-3, 1e-5)
    )
    assert np.abs(one - other).max() < 1e-4


def test_a_seed_repeats_a_training_and_no_seed_does_not():
    records = as_records(*separable(2, records=60))
    vector = parameter_vector(build("mlp", SMALL, 1))
    seen = [
        sound_train(build("mlp", SMALL, 1), vector, records, plan_of(60), random).vector.tobytes()
        for random in (SecureRandom(9), SecureRandom(9), SecureRandom(10), SecureRandom(), SecureRandom())
    ]
    assert seen[0] == seen[1]
    assert len(set(seen)) == 4


def test_sampling_is_what_is_charged_for():
    assert sampling(1000, 32, 3) == replace(sampling(1000, 32, 1), steps=3 * 32)
    assert sampling(1000, 32, 1).rate == Fraction(32, 1000)
    # Fewer units than a batch: all of them, every time.
    assert (sampling(10, 32, 2).rate, sampling(10, 32, 2).steps, sampling(10, 32, 2).batch) == (1, 2, 10)
    for wrong in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            sampling(*wrong)


def test_a_coin_is_decided_by_all_of_its_64_bits():
    """With the first 16 bits tied, the other 48 decide: half of the ties win at a rate in the middle of them."""
    rate = Fraction((0x1234 << 48) + (1 << 47), 1 << 64)
    random, wins, count = SecureRandom(5), 0, 1 << 20
    drawn = np.frombuffer(SecureRandom(5)._stream.update(bytes(2 * count)), "<u2")
    chosen = random.chosen(rate, count)
    assert set(np.flatnonzero(drawn < 0x1234)) <= set(chosen) <= set(np.flatnonzero(drawn <= 0x1234))
    for seed in range(60):
        drawn = np.frombuffer(SecureRandom(seed)._stream.update(bytes(1 << 15)), "<u2")
        wins += int((drawn[SecureRandom(seed).chosen(rate, 1 << 14)] == 0x1234).sum())
    ties = sum(
        int((np.frombuffer(SecureRandom(seed)._stream.update(bytes(1 << 15)), "<u2") == 0x1234).sum())
        for seed in range(60)
    )
    # Ties: Poisson(15); wins: half of them.
    assert 0 < wins < ties


def test_groups_are_drawn_and_clipped_as_wholes():
    features, labels = separable(3, records=30)
    groups = np.repeat(np.array([7, 1, 4], np.int64), 10)
    records = as_records(features, labels)
    units = Units(30, groups)
    assert units.count == 3
    flat = flatten_in_place(build("mlp", SMALL, 1))
    summed = units.clipped_sum(clipper_for(flat), records, np.array([1]), 0.5)
    # The second in order is the group 4: rows 20 to 29.
    assert summed.records == 10
    want = clipper_for(flat).of_groups(records, [torch.arange(20, 30)], 0.5)
    assert torch.equal(summed.total, want.total)
    assert float(summed.total.norm()) <= 0.5

    plan = plan_of(3, batch=2, epochs=1)
    vector = parameter_vector(build("mlp", SMALL, 1))
    assert sound_train(build("mlp", SMALL, 1), vector, records, plan, SecureRandom(1), groups).steps == 2
    with pytest.raises(UnusableTable, match="30 units of privacy, charged for were 3"):
        sound_train(build("mlp", SMALL, 1), vector, records, plan, SecureRandom(1))
    with pytest.raises(UnusableTable, match="want \\[30\\]"):
        Units(30, groups[:3])


# -- the clipping norm


def quantile(sigma=1.0, **given):
    return QuantileClip(SoundSettings(clip_rule="quantile", **given), sigma, batch=100)


@pytest.mark.parametrize(("norm", "ends"), [(5.0, 10.0), (0.05, 0.05)])
def test_the_norm_goes_towards_the_quantile_and_not_away_from_it(norm, ends):
    """Long gradients let C grow, short ones let it shrink (one system we read had the sign wrong)."""
    clip = quantile(clip_least=0.001, clip_pace=0.2)
    for _ in range(400):
        clip.observe(torch.full((100,), norm), Scripted([]))
    assert clip.threshold == pytest.approx(norm, rel=0.25)
    assert ends > clip.threshold / 2


def test_the_caps_hold_whatever_is_seen():
    clip = quantile(clip_least=0.5, clip_most=2.0, clip_pace=1.0)
    seen = []
    for norm in [*[1e9] * 20, *[0.0] * 20, *[float("inf")] * 20]:
        clip.observe(torch.full((100,), norm), SecureRandom(len(seen)))
        seen.append(clip.threshold)
    assert max(seen) == 2.0
    assert min(seen) == 0.5


@settings(max_examples=50, deadline=None)
@given(norms=st.lists(st.floats(0, 10), min_size=1, max_size=50), left_out=st.integers(0, 49))
def test_one_unit_changes_the_count_by_a_half(norms, left_out):
    """Seen through the estimate: log C moves by pace / batch * 1/2, and the count's noise is measured against 1/2."""
    left_out %= len(norms)

    def estimate(values):
        clip = quantile(clip_least=1e-6, clip_most=1e6, clip_pace=0.5)
        clip.observe(torch.tensor(values), Scripted([]))
        return math.log(clip.threshold)

    less = norms[:left_out] + norms[left_out + 1 :]
    assert abs(estimate(norms) - estimate(less)) == pytest.approx(0.5 / 100 / 2)


def test_gradient_and_count_together_cost_what_sigma_alone_does():
    own = gradient_sigma(2.0, 7.0)
    assert own**-2 + (2 * 7.0) ** -2 == pytest.approx(2.0**-2)
    assert own / 2.0 == pytest.approx(1.0103, abs=1e-3)
    with pytest.raises(PrivacyRefused, match="want more than 1"):
        gradient_sigma(2.0, 1.0)
    clip = quantile(sigma=2.0)
    random = Scripted([], noise=1.0)
    clip.observe(torch.ones(100), random)
    assert clip.sigma == pytest.approx(own)


def test_equation_2_works_on_private_numbers_an_epoch_at_a_time():
    chosen = SoundSettings(clip_rule="published", clip_least=0.01)
    clip = QuantileClip(chosen, 1.0, 100, past=(1.0, 2.0))
    # C_{E-1} = 2, C_{E-2} = 1: gamma 1/2, so 1.5.
    assert clip.threshold == pytest.approx(1.5)
    clip.observe(torch.full((100,), 9.0), Scripted([]))
    assert clip.threshold == pytest.approx(1.5)
    clip.epoch_ended()
    assert clip.past == (2.0, pytest.approx(2.0 * math.exp(0.05)))
    assert clip.threshold != 1.5


def test_the_norm_is_carried_to_the_next_round_beside_the_strategys_state():
    assert unpack_clips(pack_clips((0.5, 2.0), b"state")) == ((0.5, 2.0), b"state")
    assert unpack_clips(b"HQS1 anything") == ((), b"HQS1 anything")
    assert unpack_clips(None) == ((), None)
    assert unpack_clips(pack_clips((float("nan"),), b"state")) == ((), b"state")

    job = RoundJob(
        "mlp", 1, 32, 0.5, 0.0, 0, 1, strategy="dlmu", privacy="sound", noise=1.0, arguments=SMALL,
        privacy_settings={"clip_rule": "quantile"},
    )  # fmt: skip
    base = initial_model("mlp", SMALL, 1)
    first = run_round(job, separable(1), None, base, None)
    past, own = unpack_clips(first.state)
    assert len(past) == 1
    assert own is not None
    assert own[:4] == b"HQS1"
    second = run_round(replace(job, round_number=1), separable(1), None, base, first.state)
    assert unpack_clips(second.state)[0][0] == past[0]
    assert second.diagnostics.beta > 0


# -- the round


@pytest.mark.parametrize("name", ["fedavg", "dlmu"])
@pytest.mark.parametrize("clip_rule", ["fixed", "quantile"])
def test_a_round_starts_from_what_was_released_whatever_the_records_were(name, clip_rule):
    """Two factories with other records, whose updates by chance were the same bytes: all that is kept is the same, and
    the next round starts in the same place. So a start tells nothing that the updates did not."""
    base = parameter_vector(build("mlp", SMALL, 1))
    uploads = [base + np.float32(0.1) * (at + 1) for at in range(3)]
    states: list[bytes | None] = [None, None]
    for number, released in enumerate(uploads):
        starts = []
        for factory in range(2):
            rule = strategy(name, {})
            seen = view(base, states[factory], number)
            start = rule.begin(seen)
            starts.append((start.vector.tobytes(), start.beta, start.alpha))
            # What was trained is another thing at each of them; a strategy sees it where it decides an upload.
            other = np.random.default_rng(factory).normal(size=len(base)).astype(np.float32)
            trained = Trained(other, 7, 7, ())
            rule.upload(seen, start, trained)
            states[factory] = rule.finish(seen, start, released, trained, None)
        assert starts[0] == starts[1]
        assert states[0] == states[1]

    # And through the round itself: what is kept is a function of the update's bytes.
    job = RoundJob(
        "mlp", 1, 32, 0.5, 0.0, 0, 1, strategy=name, privacy="sound", noise=1.0, arguments=SMALL,
        privacy_settings={"clip_rule": clip_rule},
    )  # fmt: skip
    base_q = initial_model("mlp", SMALL, 1)
    outcome = run_round(job, separable(1), separable(2), base_q, None)
    again = strategy(name, {})
    released = outcome.update_q.astype(np.float64) / 2**job.scale_bits
    seen = view((base_q / 2**job.scale_bits).astype(np.float32), None, 0)
    kept = again.finish(seen, again.begin(seen), released.astype(np.float32), None, None)
    assert unpack_clips(outcome.state)[1] == kept


def test_a_round_needs_a_noise_that_was_decided_and_a_model_whose_records_do_not_meet():
    job = RoundJob("mlp", 1, 32, 0.5, 0.0, 0, 1, privacy="sound", arguments=SMALL)
    base = initial_model("mlp", SMALL, 1)
    with pytest.raises(PrivacyRefused, match="without a noise multiplier"):
        run_round(job, separable(1), None, base, None)
    with pytest.raises(PrivacyRefused, match=r"noise multiplier of 0\.1"):
        run_round(replace(job, noise=0.1), separable(1), None, base, None)
    named = replace(job, privacy_settings={"sigma": "1.2"})
    report = run_round(named, separable(1), None, base, None).privacy
    # Of this round alone: 7 steps at a rate of 32 / 200.
    assert report.mode == "sound"
    assert report.epsilon == pytest.approx(epsilon_of(rdp_poisson_gaussian(0.16, 1.2, 7), 1e-5))
    by_machine = replace(job, noise=1.0, privacy_settings={"unit": "group:machine"})
    with pytest.raises(PrivacyRefused, match="bear no groups"):
        run_round(by_machine, separable(1), None, base, None)
    groups = np.arange(200, dtype=np.int64) // 20
    assert run_round(by_machine, separable(1), None, base, None, groups=groups).metrics.steps == 1

    mixing = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6, affine=True, track_running_stats=False), nn.Linear(6, 4))
    features, labels = separable(1, records=20)
    untouched = parameter_vector(mixing)
    with pytest.raises(PrivacyRefused, match="layer 1 is BatchNorm1d"):
        sound_train(mixing, untouched, Records(torch.from_numpy(features), torch.from_numpy(labels)), plan_of(20),
                    SecureRandom(1))  # fmt: skip
    assert parameter_vector(mixing).tobytes() == untouched.tobytes()


def test_sound_training_learns():
    job = RoundJob("mlp", 2, 32, 0.5, 0.0, 0, 1, privacy="sound", noise=1.0, arguments={"layers": "8,32,4"})
    base, state = initial_model("mlp", {"layers": "8,32,4"}, 1), None
    for number in range(4):
        outcome = run_round(
            replace(job, round_number=number), separable(1, records=1000), separable(2, records=500), base, state,
            random=SecureRandom(number),
        )  # fmt: skip
        base, state = outcome.update_q, outcome.state
    assert outcome.metrics.update is not None
    assert outcome.metrics.update.accuracy > 0.8


def test_settings_of_sound_are_parsed_or_refused():
    check_privacy("sound", {})
    check_privacy("sound", {"epsilon": "3", "clip_rule": "quantile", "unit": "group:Site", "accuracy": "none"})
    for wrong in (
        {"epsilon": "0"},
        {"clip_quantile": "0.8"},
        {"unit": "machine"},
        {"unit": "group:"},
        {"clip_rule": "quantile", "clip": "11"},
        {"clip_noise": "0.4"},
    ):
        with pytest.raises(PrivacyRefused):
            check_privacy("sound", wrong)
    assert (group_column("record"), group_column("group:Site 2")) == (None, "Site 2")
    assert {"epsilon", "delta", "sigma", "clip", "unit", "accuracy"} <= {note.name for note in notes("sound")}
    # A guarantee is never told as a number by the mode itself: that is for whoever counts rounds.
    assert all(mode.report.epsilon is None for mode in MODES.values())
    assert isinstance(clipping_of(SoundSettings(clip_rule="quantile"), 1.0, 10), QuantileClip)
