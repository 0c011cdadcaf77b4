"""Gradient tracking without a federation: factories of constant gradients, whose numbers can be told by hand."""

import numpy as np
import pytest

from fl.strategies.base import Trained
from fl.strategies.corrections import gradients_in_step
from fl.strategies.registry import strategy
from tests.support.strategies import view

LR, MOMENTUM, N = 0.1, 0.8, 3
# Of three factories: their gradients and steps.
GRADIENTS = np.array([[1.0, 0.0, -2.0], [0.0, 3.0, 0.5], [-0.5, -1.0, 1.0]])
STEPS = (4, 7, 2)
PLAIN = {"guarded": "false"}


def rounds(count, settings, *, steps=STEPS, lie=None, absent=(), void=(), states=None):
    """(movement of the model, corrections by factory) of every round.

    lie: {round: added to the mean}; absent: (round, factory) pairs that sent nothing; void: rounds of which nothing
    was counted.
    """
    rule = strategy("gradient-tracking", settings)
    model = np.zeros(N, np.float32)
    states = [None] * len(steps) if states is None else states
    told = []
    for number in range(count):
        here = [at for at in range(len(steps)) if (number, at) not in absent]
        ends, corrections = [], {}
        for at in here:
            seen = view(model, states[at], number, lr=LR, momentum=MOMENTUM)
            start = rule.begin(seen)
            corrections[at] = start.correction
            way = gradients_in_step(steps[at], MOMENTUM) * LR
            end = (model - way * (GRADIENTS[at] + start.correction)).astype(np.float32)
            made = Trained(end, steps[at], steps[at], ())
            states[at] = rule.finish(seen, start, rule.upload(seen, start, made), made, None)
            ends.append(end)
        after = np.mean(ends, axis=0) + (lie or {}).get(number, 0.0)
        if number in void:
            after = model
        told.append((model - after, corrections))
        model = after.astype(np.float32)
    return told


def test_all_corrections_together_move_the_mean_by_nothing_however_unlike_the_steps():
    ways = np.array([gradients_in_step(steps, MOMENTUM) * LR for steps in STEPS])
    told = rounds(6, {"strength": "1", **PLAIN})
    plain = np.mean(GRADIENTS * ways[:, None], axis=0)
    for movement, corrections in told:
        assert np.allclose(movement, plain, atol=1e-4)
        added = np.array([corrections[at] for at in range(3)]) * ways[:, None]
        assert np.allclose(np.mean(added, axis=0), 0, atol=1e-4)
    # And yet each factory goes everybody's way and not its own.
    _, corrections = told[-1]
    for at, way in enumerate(ways):
        assert np.allclose(GRADIENTS[at] + corrections[at], plain / way, atol=1e-3)
    assert not told[0][1][0].any()


@pytest.mark.parametrize("strength", [1.0, 0.9, 0.5])
def test_what_a_liar_adds_dies_away_by_the_strength(strength):
    lie = np.array([0.4, -0.3, 0.2])
    settings = {"strength": repr(strength), **PLAIN}
    same = (5, 5, 5)
    honest, lied = rounds(8, settings, steps=same), rounds(8, settings, steps=same, lie={2: -lie})
    for number in range(2, 8):
        # With full strength everybody repeats it for ever.
        left = lied[number][0] - honest[number][0]
        assert np.allclose(left, lie * strength ** (number - 2), atol=1e-4)


def test_who_missed_rounds_tells_everybodys_gradient_from_the_mean_movement_since():
    settings = {"strength": "1", **PLAIN}
    same = (5, 5, 5)
    way = gradients_in_step(5, MOMENTUM) * LR
    told = rounds(5, settings, steps=same, absent={(1, 0), (2, 0)})
    moved = np.mean([movement for movement, _ in told[:3]], axis=0) / way
    assert np.allclose(told[3][1][0], moved - GRADIENTS[0], atol=1e-4)


def test_a_round_that_came_to_nothing_does_not_end_the_training():
    settings = {"strength": "1", **PLAIN}
    ways = np.array([gradients_in_step(steps, MOMENTUM) * LR for steps in STEPS])
    plain = np.mean(GRADIENTS * ways[:, None], axis=0)
    told = rounds(5, settings, void={1})
    assert not any(told[2][1][at].any() for at in range(3))
    for number in (2, 3, 4):
        assert np.allclose(told[number][0], plain, atol=1e-4)


def test_the_same_round_again_and_a_state_from_later_correct_nothing():
    rule = strategy("gradient-tracking", {})
    states = [None] * 3
    rounds(3, {}, states=states)
    model = np.ones(N, np.float32)
    assert rule.begin(view(model, states[0], 3, lr=LR, momentum=MOMENTUM)).correction.any()
    for number in (2, 0):
        start = rule.begin(view(model, states[0], number, lr=LR, momentum=MOMENTUM))
        assert (start.correction.any(), start.warnings) == (False, ())


@pytest.mark.parametrize(
    "damage",
    [b"", b"HQS2", lambda state: state[:-1], lambda state: state[:40] + b"\x01" + state[41:], lambda state: state * 2],
)
def test_a_damaged_state_costs_a_warning_and_a_round_without_correction(damage):
    rule = strategy("gradient-tracking", {})
    states = [None] * 3
    rounds(2, {}, states=states)
    state = damage(states[0]) if callable(damage) else damage
    seen = view(np.ones(N, np.float32), state, 2, lr=LR, momentum=MOMENTUM)
    start = rule.begin(seen)
    assert not start.correction.any()
    assert any("damaged" in told for told in start.warnings)
    # What is kept after it is whole again.
    made = Trained(np.zeros(N, np.float32), 5, 5, ())
    kept = rule.finish(seen, start, made.vector, made, None)
    after = rule.begin(view(np.ones(N, np.float32), kept, 3, lr=LR, momentum=MOMENTUM))
    assert after.warnings == ()


def test_a_memory_that_leaves_the_numbers_is_not_added_to_gradients():
    rule = strategy("gradient-tracking", PLAIN)
    model = np.full(N, 500, np.float32)
    seen = view(model, None, 0, lr=LR, momentum=MOMENTUM)
    made = Trained(-model, 1, 1, ())
    kept = rule.finish(seen, rule.begin(seen), made.vector, made, None)
    start = rule.begin(view(-model, kept, 1, lr=1e-38, momentum=MOMENTUM))
    assert not start.correction.any()
    assert "no finite correction" in start.warnings[0]


def test_a_training_that_led_further_than_the_first_is_corrected_less():
    free, guarded = strategy("gradient-tracking", PLAIN), strategy("gradient-tracking", {})
    model, state = np.zeros(N, np.float32), None
    for number, length in enumerate((1.0, 2.0)):
        seen = view(model, state, number, lr=LR, momentum=MOMENTUM)
        made = Trained((model - length * np.array([1, 0, 0])).astype(np.float32), 5, 5, ())
        state = guarded.finish(seen, guarded.begin(seen), made.vector, made, None)
        model = model - np.float32(0.1)
    seen = view(model, state, 2, lr=LR, momentum=MOMENTUM)
    assert np.abs(free.begin(seen).correction).max() > 0.01
    assert np.allclose(guarded.begin(seen).correction, free.begin(seen).correction / 4, rtol=1e-6)


def test_a_factory_of_few_steps_does_not_repeat_everybodys_movement():
    """All have the same gradient but for a little of their own: one makes two steps, the others two hundred."""
    own = np.array([0.0, 0.1, 0.0])

    def last_way(settings):
        rule = strategy("gradient-tracking", settings)
        model, states, steps = np.zeros(N, np.float32), [None, None, None], (2, 200, 200)
        for number in range(4):
            ends = []
            for at in range(3):
                seen = view(model, states[at], number, lr=LR, momentum=MOMENTUM)
                start = rule.begin(seen)
                way = gradients_in_step(steps[at], MOMENTUM) * LR
                gradient = np.array([1.0, 0.0, 0.0]) + own * (1 if at == 0 else 0)
                end = (model - way * (gradient + start.correction)).astype(np.float32)
                made = Trained(end, steps[at], steps[at], ())
                states[at] = rule.finish(seen, start, end, made, None)
                ends.append(end)
            ways = [float(np.linalg.norm(end - model)) for end in ends]
            model = np.mean(ends, axis=0).astype(np.float32)
        return ways[0] / ways[1]

    assert last_way(PLAIN) > 0.3
    assert last_way({}) < 0.05


def test_with_steps_that_grow_with_records_gradients_vanish_by_records():
    """Quadratics with minima of their own: the model comes to rest where the sum over all records has its minimum."""
    rule = strategy("gradient-tracking", PLAIN)
    minima = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])
    records, lr = (2, 6, 16), 0.004
    model, states = np.zeros(N), [None] * 3
    for number in range(400):
        ends = []
        for at in range(3):
            seen = view(model.astype(np.float32), states[at], number, lr=lr, momentum=0.0)
            start = rule.begin(seen)
            end = model.copy()
            for _ in range(records[at]):
                end -= lr * (end - minima[at] + start.correction)
            made = Trained(end.astype(np.float32), records[at], records[at], ())
            states[at] = rule.finish(seen, start, made.vector, made, None)
            ends.append(end)
        model = np.mean(ends, axis=0)
    # Counted by records once more it would rest near (0.05, 0.5, 3.5).
    assert np.allclose(model, np.average(minima, axis=0, weights=records), atol=0.1)
