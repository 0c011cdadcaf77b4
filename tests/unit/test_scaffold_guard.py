"""SCAFFOLD's guard: a correction that makes a factory move further than ever is taken back, and counted right."""

import numpy as np
import pytest

from fl.strategies.base import Start, Trained
from fl.strategies.corrections import gradients_in_step
from fl.strategies.registry import strategy
from tests.support.strategies import view

STEPS, LR, MOMENTUM = 5, 0.1, 0.8
FIRST = np.array([1.0, 0.0, 0.0], np.float32)


def trained(vector):
    return Trained(vector, STEPS, STEPS, ())


def a_round(rule, model, common, state, number, step):
    """(start, upload, state) of a training that moves the model by `step`."""
    whole = np.concatenate([model, common]).astype(np.float32)
    seen = view(whole, state, number, vectors=2, epochs=STEPS, batch=1, lr=LR, momentum=MOMENTUM)
    start: Start = rule.begin(seen)
    made = trained((model + step).astype(np.float32))
    uploaded = rule.upload(seen, start, made)
    return start, uploaded, rule.finish(seen, start, uploaded, made, None)


@pytest.mark.parametrize(("length", "strength"), [(0.5, 1.0), (1.0, 1.0), (2.0, 0.25), (10.0, 0.01)])
def test_a_correction_shrinks_with_the_square_of_how_much_further_a_training_led(length, strength):
    guarded, free = strategy("scaffold", {}), strategy("scaffold", {"guarded": "false"})
    model, common = np.zeros(3, np.float32), np.array([0.3, -0.2, 0.1], np.float32)
    _, _, state = a_round(guarded, model, common, None, 0, FIRST)
    _, _, state = a_round(guarded, model, common, state, 1, FIRST * length)
    ours, _, _ = a_round(guarded, model, common, state, 2, FIRST)
    theirs, _, _ = a_round(free, model, common, state, 2, FIRST)
    assert np.abs(theirs.correction).max() > 0.01
    assert np.allclose(ours.correction, strength * theirs.correction, rtol=1e-6)


def test_the_control_variate_is_the_gradient_without_what_was_really_added():
    rule = strategy("scaffold", {})
    model, common = np.zeros(3, np.float32), np.array([0.3, -0.2, 0.1], np.float32)
    _, _, state = a_round(rule, model, common, None, 0, FIRST)
    _, _, state = a_round(rule, model, common, state, 1, 6 * FIRST)
    gradient = np.array([-0.4, 0.7, 0.2], np.float32)
    whole = np.concatenate([model, common]).astype(np.float32)
    seen = view(whole, state, 2, vectors=2, epochs=STEPS, batch=1, lr=LR, momentum=MOMENTUM)
    start = rule.begin(seen)
    way = gradients_in_step(STEPS, MOMENTUM) * LR
    made = trained((model - way * (gradient + start.correction)).astype(np.float32))
    kept = rule.finish(seen, start, rule.upload(seen, start, made), made, None)
    # Its next correction is c less what it now takes for its own gradient, to the strength that is left to it.
    after = strategy("scaffold", {"guarded": "false"}).begin(
        view(whole, kept, 3, vectors=2, epochs=STEPS, batch=1, lr=LR, momentum=MOMENTUM)
    )
    assert np.allclose(after.correction, common - gradient, atol=1e-5)


def test_with_full_strength_nothing_differs_from_the_paper():
    guarded, free = strategy("scaffold", {}), strategy("scaffold", {"guarded": "false"})
    model, common = np.ones(3, np.float32), np.array([0.3, -0.2, 0.1], np.float32)
    states = [None, None]
    for number in range(4):
        done = [
            a_round(rule, model, common, state, number, FIRST * 0.9**number)
            for rule, state in zip((guarded, free), states, strict=True)
        ]
        states = [state for _, _, state in done]
        assert (done[0][1] == done[1][1]).all()


def test_a_first_training_that_moved_nothing_bounds_nothing():
    rule = strategy("scaffold", {})
    model, common = np.zeros(3, np.float32), np.array([0.3, -0.2, 0.1], np.float32)
    _, _, state = a_round(rule, model, common, None, 0, 0 * FIRST)
    _, _, state = a_round(rule, model, common, state, 1, FIRST)
    start, _, _ = a_round(rule, model, common, state, 2, FIRST)
    assert np.isfinite(start.correction).all()
    assert np.abs(start.correction).max() > 0.01
