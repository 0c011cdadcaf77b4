"""Free riders, copies and noise are named, and honest updates are not: exact integers, the same names in any order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.aggregate import aggregate_blobs
from fl.fixed_point import limit_in_steps, pack
from fl.inspection import Reason, inspect

SCALE, COUNT = 20, 2000
LIMIT_Q = limit_in_steps(512.0, SCALE)


class League:
    """Seven honest factories whose steps share a direction, as those from one start do; the last movement was like
    it, and not the same."""

    def __init__(self, seed=1, honest=7):
        self.rng = np.random.default_rng(seed)
        self.previous = self.rng.integers(-LIMIT_Q // 4, LIMIT_Q // 4, COUNT).astype(np.int32)
        common = self.rng.normal(size=COUNT)
        self.base = self.previous + self.step(0.6 * common + self.rng.normal(size=COUNT))
        self.honest = [self.base + self.step(common + 0.9 * self.rng.normal(size=COUNT)) for _ in range(honest)]

    def step(self, direction, length=2.0):
        steps = direction / np.linalg.norm(direction) * length * 2**SCALE
        return np.rint(steps).astype(np.int32)

    def named(self, *others, previous=True):
        found = inspect(self.base, [*self.honest, *others], self.previous if previous else None)
        return {at - len(self.honest): reason for at, reason in found}


def test_honest_updates_are_not_named():
    assert League().named() == {}
    assert League(honest=3).named() == {}
    assert League(honest=1).named() == {}


def test_next_to_no_step_is_idle():
    league = League()
    tiny = league.base.copy()
    tiny[0] += 5
    assert league.named(league.base.copy(), tiny) == {0: Reason.IDLE, 1: Reason.IDLE}


def test_steps_that_most_make_to_the_digit_are_nobodys_copies():
    """A requester can ask for so few digits that steps round to the same: that must not harm who trains."""
    league = League()
    same = league.base + 1
    assert inspect(league.base, [same] * 5) == ()
    near = league.base + 2
    assert inspect(league.base, [*[same] * 6, near]) == ()
    # Few such among others, and two alone, are what they were.
    assert dict(inspect(league.base, [*league.honest, same, same])).keys() == {7, 8}
    assert inspect(league.base, [same, same]) == ((0, Reason.COPY), (1, Reason.COPY))


@pytest.mark.parametrize("factor", [0.2, 1, 3])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_last_movement_again_is_no_work(factor, noise):
    league = League()
    movement = (league.base - league.previous) * factor
    hidden = league.step(league.rng.normal(size=COUNT), noise * float(np.linalg.norm(movement)) / 2**SCALE)
    free_rider = league.base + np.rint(movement).astype(np.int32) + hidden
    assert league.named(free_rider) == {0: Reason.REPEATED}
    # Nobody can say so in the first round, which has no movement before it.
    assert league.named(free_rider, previous=False) == {}


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_copies_are_named_with_what_they_are_copies_of(noise):
    league = League()
    copy = league.honest[2] + league.step(league.rng.normal(size=COUNT), 2.0 * noise)
    assert league.named(copy) == {2 - 7: Reason.COPY, 0: Reason.COPY}


def test_what_everybody_has_seen_before_is_nobodys_copy():
    league = League()
    vectors = [*league.honest, league.honest[2] + 1]
    assert inspect(league.base, vectors, known_for=[1, 0, 1, 0, 0, 0, 0, 0]) == ((7, Reason.COPY),)
    # A copy does not become an original by being said again.
    assert inspect(league.base, vectors, known_for=[0, 0, 2, 0, 0, 0, 0, 1]) == ((7, Reason.COPY),)
    # Two that were alike the first time are alike the second.
    assert inspect(league.base, vectors, known_for=[0, 0, 1, 0, 0, 0, 0, 1]) == ((2, Reason.COPY), (7, Reason.COPY))


def test_noise_is_named_where_the_others_agree():
    league = League()
    assert league.named(league.base + league.step(league.rng.normal(size=COUNT))) == {0: Reason.NOISE}


def test_where_noise_protects_everybody_nobody_is_named_for_it():
    league = League()
    league.honest = [league.base + league.step(league.rng.normal(size=COUNT)) for _ in range(8)]
    assert league.named() == {}


def test_a_monstrous_step_is_named_and_a_long_one_is_not():
    league = League()
    direction = league.honest[0] - league.base + league.step(league.rng.normal(size=COUNT), 1.0)
    assert league.named(league.base + 500 * direction) == {}
    assert league.named(league.base + 9_500 * direction) == {0: Reason.OUTSIZED}


def test_updates_that_are_alike_by_nature_are_not_copies():
    """Whole batches of alike factories: every step is nearly the same, and nobody has copied."""
    league = League()
    common = league.rng.normal(size=COUNT)
    league.honest = [league.base + league.step(common + 0.02 * league.rng.normal(size=COUNT)) for _ in range(6)]
    assert league.named() == {}


def test_a_smooth_road_is_no_repetition():
    """Steps of everybody along the last movement: training goes on, and nobody repeats."""
    league = League()
    movement = (league.base - league.previous).astype(np.float64)
    wobble = float(np.linalg.norm(movement)) / np.sqrt(COUNT)
    league.honest = [
        league.base + league.step(movement + 0.1 * wobble * league.rng.normal(size=COUNT)) for _ in range(6)
    ]
    assert league.named() == {}


def test_of_two_only_the_same_bytes_are_certain():
    league = League(honest=2)
    assert league.named() == {}
    league.honest[1] = league.honest[0]
    assert set(league.named().values()) == {Reason.COPY}


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(10)))
def test_the_same_ones_are_named_in_any_order(order):
    league = League()
    bad = [league.base.copy(), league.honest[1] + 1, 2 * league.base - league.previous]
    vectors = [*league.honest, *bad]
    want = dict(inspect(league.base, vectors, league.previous))
    found = inspect(league.base, [vectors[at] for at in order], league.previous)
    assert {order[at]: reason for at, reason in found} == want
    assert set(want) == {1, 7, 8, 9}


def test_who_is_rejected_counts_for_nothing():
    league = League()
    vectors = [league.base.copy(), *league.honest]
    previous = pack(league.previous)

    def aggregate(chosen, **how):
        blobs = [(pack(vector), 10) for vector in chosen]
        return aggregate_blobs("mean", how.pop("said", {}), pack(league.base), blobs, COUNT, SCALE, LIMIT_Q, **how)

    with_rider = aggregate(vectors, inspected=True, previous=previous)
    assert with_rider.rejected == ((0, "idle: next to no step"),)
    assert with_rider.qualities[0] == 0
    assert with_rider.blob == aggregate(league.honest).blob
    assert with_rider.qualities[1:] == aggregate(league.honest).qualities
    # Neither who did not ask for it, nor who asked for none of it, has anybody rejected.
    assert aggregate(vectors).rejected == ()
    assert aggregate(vectors, inspected=True, previous=previous, said={"inspect": "false"}).rejected == ()


def test_a_round_of_free_riders_has_no_model():
    league = League()
    blobs = [(pack(league.base), 10)] * 3
    result = aggregate_blobs("median", {}, pack(league.base), blobs, COUNT, SCALE, LIMIT_Q, inspected=True)
    assert result.blob == b""
    assert [at for at, _ in result.rejected] == [0, 1, 2]


def test_work_shows_in_the_model_whatever_lies_behind_it():
    """An update of two vectors: a tail of one's own makes no work of idling, and equal tails make nobody a copy."""
    league = League()
    tail = league.rng.integers(-LIMIT_Q // 4, LIMIT_Q // 4, COUNT).astype(np.int32)
    other = tail + league.step(league.rng.normal(size=COUNT), 30.0)
    movement = league.base - league.previous
    updates = [*(np.concatenate([model, tail]) for model in league.honest)]
    updates += [np.concatenate([league.base, other]), np.concatenate([league.base + movement, other])]
    blobs = [(pack(update, SCALE), 1) for update in updates]
    base, previous = (pack(np.concatenate([model, tail]), SCALE) for model in (league.base, league.previous))
    found = aggregate_blobs(
        "mean", {"vectors": "2"}, base, blobs, 2 * COUNT, SCALE, LIMIT_Q, inspected=True, previous=previous
    )
    assert dict(found.rejected) == {7: Reason.IDLE.value, 8: Reason.REPEATED.value}
    alone = [(pack(model, SCALE), 1) for model in league.honest]
    models = aggregate_blobs("mean", {}, pack(league.base, SCALE), alone, COUNT, SCALE, LIMIT_Q)
    assert found.qualities == (*models.qualities, 0, 0)
