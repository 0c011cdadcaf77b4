"""Mode distributed: exact bounds on what one unit changes, noise that is enough together, and models that learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from fl.batches import UnusableTable, as_records
from fl.data.bearing_simulator import BearingSimulatorSettings, load, pooled_test
from fl.evaluate import evaluate
from fl.fixed_point import InvalidVector, decode, pack, unpack
from fl.gradient_blob import pack_gradient, unpack_gradient
from fl.masked_aggregate import GRADIENT_BITS, aggregate_masked, factor
from fl.models.registry import build
from fl.privacy.distributed import ONE, DistributedPlan, distributed_gradient, whole_rows, whole_sum
from fl.privacy.secure_random import SecureRandom
from fl.privacy.shared_noise import noise_shares, own_multiplier, own_variance, rdp_distributed, sum_multiplier
from fl.privacy.terms import DistributedSettings, PrivacyRefused
from fl.round import RoundJob, initial_model, run_round
from fl.vectors import parameter_vector
from tests.support.learning import separable
from tests.support.masked_round import context, masked_round, org

LIMIT_Q, BITS = 512 << 20, 20
# Next to none, so that what is under it shows: the deviation is 0.0001 clipping norms.
FAINT = DistributedPlan(0.0001, 1.0)
LAYERS = {"layers": "8,6,4"}

rows = st.lists(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=3, max_size=3), min_size=1, max_size=5
)


@given(rows, st.sampled_from([1e-6, 0.1, 1.0, 1e6]))
@settings(max_examples=200, deadline=None)
def test_no_unit_is_longer_than_one_whatever_its_gradient(gradients, clip):
    """In Python's integers, so that the bound is exact; a unit that is not finite counts for nothing."""
    steps = whole_rows(np.array(gradients, np.float32), clip)
    for given_row, row in zip(gradients, steps.tolist(), strict=True):
        assert sum(each * each for each in row) <= ONE * ONE
        if not np.isfinite(given_row).all():
            assert row == [0, 0, 0]


@given(st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([0.01, 1.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_whole_gradients_are_the_clipped_ones_to_the_last_step(seed, count, clip):
    gradients = np.random.default_rng(seed).normal(size=(4, count)).astype(np.float32)
    exact = (
        gradients.astype(np.float64) / np.maximum(np.linalg.norm(gradients.astype(np.float64), axis=1), clip)[:, None]
    )
    steps = whole_rows(gradients, clip)
    assert (np.abs(steps) <= np.abs(exact) * ONE + 1e-6).all()
    # One step for the rest that is cut off, and a millionth of the length for the margin under it.
    assert (np.abs(steps - exact * ONE) < 1 + 2e-6 * ONE * np.abs(exact)).all()
    assert (whole_sum(gradients, clip) == steps.sum(0)).all()


def sums(features, labels, plan=FAINT, groups=None, seed=1, arguments=LAYERS):
    model = build("mlp", arguments, 3)
    vector = parameter_vector(model)
    made = distributed_gradient(model, vector, as_records(features, labels), plan, SecureRandom(seed), groups)
    return made.sums


def naive(features, labels, clip, groups=None):
    """One record after the other, in float64."""
    model = build("mlp", LAYERS, 3).double()
    total = 0.0
    units = groups if groups is not None else np.arange(len(labels))
    for unit in np.unique(units):
        chosen = np.flatnonzero(units == unit)
        model.zero_grad()
        x, y = torch.from_numpy(features[chosen]).double(), torch.from_numpy(labels[chosen])
        cross_entropy(model(x), y, reduction="sum").backward()
        gradient = torch.cat([each.grad.flatten() for each in model.parameters()]).numpy()
        total = total + gradient / max(np.linalg.norm(gradient), clip)
    return total


@pytest.mark.parametrize("clip", [0.5, 5.0])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_sum_is_that_of_a_naive_loop(clip, grouped):
    features, labels = separable(4, records=40)
    groups = np.random.default_rng(1).integers(0, 7, 40) if grouped else None
    got = sums(features, labels, DistributedPlan(0.0001, clip), groups) / ONE
    assert np.abs(got - naive(features, labels, clip, groups)).max() < 1e-3


@given(st.integers(0, 19), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_one_record_changes_the_sum_by_at_most_a_clipping_norm_exactly(gone, seed):
    features, labels = separable(seed, records=20)
    # Long gradients, so that all of them are clipped; and the same stream, so that the noise is the same.
    plan = DistributedPlan(0.0001, 0.01)
    difference = sums(features, labels, plan) - sums(without(features, gone), labels, plan)
    assert 0.99 * ONE * ONE <= sum(each * each for each in difference.tolist()) <= ONE * ONE


def without(features, rows):
    """The rows replaced by nothing: no gradient comes of what is no number."""
    rest = features.copy()
    rest[rows] = np.nan
    return rest


def test_one_group_changes_the_sum_by_at_most_a_clipping_norm_exactly():
    features, labels = separable(5, records=60)
    groups = np.random.default_rng(2).integers(0, 6, 60)
    whole = sums(features, labels, groups=groups)
    for group in range(6):
        difference = whole - sums(without(features, groups == group), labels, groups=groups)
        assert sum(each * each for each in difference.tolist()) <= ONE * ONE


def test_a_record_that_breaks_the_arithmetic_counts_for_nothing_and_spoils_no_other():
    features, labels = separable(6, records=12)
    rest = np.delete(np.arange(12), 5)
    broken = sums(without(features, 5), labels) / ONE
    # Of another shape: torch may round a step or two elsewhere.
    assert np.abs(broken - sums(features[rest], labels[rest]) / ONE).max() < 1e-5


def test_the_noise_of_all_together_is_what_is_charged_and_of_one_alone_less():
    features, labels = separable(7, records=1)
    arguments = {"layers": "8,100,4"}
    shares = noise_shares(7)
    own = own_multiplier(4.0, shares.honest)
    still = sums(features, labels, arguments=arguments)
    noises = [
        sums(features, labels, DistributedPlan(own, 1.0), seed=at, arguments=arguments) - still for at in range(7)
    ]
    count = len(still)
    alone = [(noise / ONE).std() for noise in noises]
    honest = (sum(noises[: shares.honest]) / ONE).std()
    assert honest == pytest.approx(4.0, rel=5 / np.sqrt(2 * count))
    assert all(each == pytest.approx(4.0 / np.sqrt(3), rel=5 / np.sqrt(2 * count)) for each in alone)
    assert (sum(noises) / ONE).std() > honest
    assert own_variance(own) == pytest.approx(own**2 * 4**GRADIENT_BITS)


def test_noise_comes_from_the_secure_stream_and_is_fresh():
    features, labels = separable(8, records=9)
    plan = DistributedPlan(1.0, 1.0)
    assert (sums(features, labels, plan, seed=1) == sums(features, labels, plan, seed=1)).all()
    assert not (sums(features, labels, plan, seed=1) == sums(features, labels, plan, seed=2)).any()


def test_a_model_whose_records_meet_is_refused_by_name():
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normal = nn.BatchNorm1d(8, track_running_stats=False)
            self.last = nn.Linear(8, 4)

        def forward(self, x):
            return self.last(self.normal(x))

    model = Mixing()
    features, labels = separable(9, records=9)
    with pytest.raises(PrivacyRefused, match="normal is BatchNorm1d"):
        distributed_gradient(model, parameter_vector(model), as_records(features, labels), FAINT, SecureRandom(1))


def test_records_the_model_cannot_take_are_refused():
    features, labels = separable(10, records=9)
    with pytest.raises(UnusableTable):
        sums(features[:, :3], labels)


def job(**changes: object) -> RoundJob:
    plain = RoundJob("mlp", 1, 32, 0.1, 0.0, 0, 1, arguments=LAYERS, privacy="distributed", noise=0.5)
    return replace(plain, **changes)


def test_a_round_gives_a_gradient_and_no_model():
    table = separable(11, records=30)
    base = initial_model("mlp", LAYERS, 1)
    outcome = run_round(job(), table, table, base, None, random=SecureRandom(1))
    assert outcome.gradient_q is not None
    assert outcome.gradient_q.dtype == np.int64
    # What would leave by mistake is what everybody has.
    assert (outcome.update_q == base).all()
    assert outcome.weight == 30
    assert outcome.metrics.start is not None
    assert outcome.metrics.update is None
    assert outcome.diagnostics.drift == 0.0


def test_what_is_kept_of_a_round_says_nothing_of_its_records():
    base = initial_model("mlp", LAYERS, 1)
    kept = {run_round(job(), separable(seed, records=30), None, base, None).state for seed in (1, 2)}
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"noise": 0.0}, "own noise multiplier"),
        ({"strategy": "dlmu"}, "want fedavg"),
        ({"privacy_settings": {"unit": "group:machine"}}, "bear no groups"),
    ],
)
def test_a_round_without_what_makes_it_private_is_refused(changes, reason):
    base = initial_model("mlp", LAYERS, 1)
    with pytest.raises(PrivacyRefused, match=reason):
        run_round(job(**changes), separable(12, records=30), None, base, None)


def test_a_gradient_travels_to_the_masks_as_it_is():
    given_sums = np.array([0, -1, 2**62, -(2**63)])
    data = pack_gradient(given_sums)
    assert unpack_gradient(data, 4).tolist() == given_sums.tolist()
    # "HQG", version 1, 24 bits, and so on: what the training process of another build wrote is read.
    assert (
        pack_gradient(np.array([1, -2])).hex()
        == "48514701180000000200000000000000" + "0100000000000000" + "fe" + "ff" * 7
    )
    for damaged, code in (
        (b"", "length"),
        (data[:-1], "length"),
        (b"HQV" + data[3:], "magic"),
        (data[:3] + b"\2" + data[4:], "version"),
        (data[:4] + b"\1" + data[5:], "scale"),
        (data[:6] + b"\1" + data[7:], "version"),
        (data[:8] + b"\5" + data[9:], "count"),
    ):
        with pytest.raises(InvalidVector) as caught:
            unpack_gradient(damaged, 4)
        assert caught.value.code == code


def test_seven_factories_learn_to_tell_faults_at_epsilon_8_under_masks_with_two_gone():
    """60 rounds with masks and shares, two who vanish in turn, and exact steps."""
    rounds, arguments = 60, {"layers": "8,24,4"}
    league = BearingSimulatorSettings(factories=7, train_records=120, test_records=60, length=1024)
    tables = [load(replace(league, factory=at)).train for at in range(7)]
    pooled = pooled_test(league)
    shares = noise_shares(7)
    own = own_multiplier(sum_multiplier(DistributedSettings(epsilon=8.0), rounds), shares.honest)
    base, random = initial_model("mlp", arguments, 1), SecureRandom(1)
    count = len(base)
    # Dealt once, to save time: masks differ from round to round by their context alone.
    league_keys = masked_round(7, count)
    for number in range(rounds):
        asked = job(noise=own, arguments=arguments, round_number=number)
        masked = replace(league_keys, context=context(count, number))
        gone = {number % 7, (number + 3) % 7} if number % 3 == 0 else set()
        here = [at for at in range(7) if at not in gone]
        outcomes = {
            at: run_round(asked, (tables[at].features, tables[at].labels), None, base, None, random=random)
            for at in here
        }
        blobs = {
            at: masked.masked(
                at, outcomes[at].gradient_q, outcomes[at].weight, factor("noisy-step", outcomes[at].weight)
            )
            for at in here
        }
        members, weights = masked.members(blobs), {org(at): outcomes[at].weight for at in here}
        made = aggregate_masked(
            "noisy-step", {"lr": "3"}, pack(base, BITS), masked.context, members, weights, BITS, LIMIT_Q
        )
        base = unpack(made.blob, count, BITS, LIMIT_Q)
    assert rdp_distributed(own, shares.honest, count, rounds)
    found = evaluate(build("mlp", arguments, 0), as_records(pooled.features, pooled.labels), decode(base))
    assert found.accuracy > 0.75, "chance is 0.25 to 0.4"
