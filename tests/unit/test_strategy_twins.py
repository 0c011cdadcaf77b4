"""Every strategy of the literature against a twin written from its paper: float64, no fixed point, no shared code."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fl.strategies.corrections import gradients_in_step
from tests.support.plain_federations import COUNT, JOB, TABLES, federation, first_weights, mean, sgd

CLIENTS = range(len(TABLES))
ROUNDS = 4
# Rounding to 2^-20 in every round and float32 in every step; a wrong sign or weight costs a thousand times this.
NEAR = 2e-5


def plain(weights, gradient):
    return gradient


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_fedavg_and_fedprox(momentum):
    job = replace(JOB, momentum=momentum)
    for name, settings, mu in (("fedavg", {}, 0.0), ("fedprox", {"mu": "0.5"}, 0.5), ("fedprox", {}, 0.01)):
        weights, expected = first_weights(), []
        for number in range(ROUNDS):
            origin = weights
            pulled = lambda now, gradient, origin=origin, mu=mu: gradient + mu * (now - origin)  # noqa: E731
            weights = mean([sgd(origin, client, number, job, pulled)[0] for client in CLIENTS])
            expected.append(weights)
        got = federation(replace(job, strategy=name, strategy_settings=settings), ROUNDS)
        assert np.abs(np.array(got.models) - np.array(expected)).max() < NEAR
    # FedProx is FedAvg with its pull.
    as_fedavg = replace(job, strategy="fedavg", strategy_settings={"proximal": "0.5"})
    as_fedprox = replace(job, strategy="fedprox", strategy_settings={"mu": "0.5"})
    assert federation(as_fedavg, 2).models[1].tolist() == federation(as_fedprox, 2).models[1].tolist()


def test_fedavgm_against_its_own_form_with_a_velocity():
    """Hsu, Qi and Brown: v <- momentum v + (w - mean); w <- w - lr v."""
    weights, velocity, expected = first_weights(), np.zeros(COUNT), []
    for number in range(ROUNDS):
        ends = [sgd(weights, client, number, JOB, plain)[0] for client in CLIENTS]
        velocity = 0.7 * velocity + (weights - mean(ends))
        weights = weights - 0.4 * velocity
        expected.append(weights)
    asked = replace(JOB, strategy="fedavgm", strategy_settings={"lr": "0.4", "momentum": "0.7"})
    assert np.abs(np.array(federation(asked, ROUNDS).models) - np.array(expected)).max() < NEAR


def test_fedadam_against_algorithm_2():
    """Reddi et al.: m <- b1 m + (1 - b1) d, v <- b2 v + (1 - b2) d^2, x <- x + eta m / (sqrt(v) + tau); v_-1 = tau^2"""
    eta, first, second, tau = 0.05, 0.8, 0.9, 0.01
    weights, m, v, expected = first_weights(), np.zeros(COUNT), np.full(COUNT, tau**2), []
    for number in range(ROUNDS):
        step = mean([sgd(weights, client, number, JOB, plain)[0] for client in CLIENTS]) - weights
        m = first * m + (1 - first) * step
        v = second * v + (1 - second) * step**2
        weights = weights + eta * m / (np.sqrt(v) + tau)
        expected.append(weights)
    settings = {"lr": "0.05", "beta1": "0.8", "beta2": "0.9", "tau": "0.01"}
    got = federation(replace(JOB, strategy="fedadam", strategy_settings=settings), ROUNDS)
    assert np.abs(np.array(got.models) - np.array(expected)).max() < NEAR


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_scaffold_against_algorithm_1(momentum):
    """Karimireddy et al., option II; factories weigh by records, and c with them."""
    job = replace(JOB, momentum=momentum)
    weights, common, expected = first_weights(), np.zeros(COUNT), []
    controls = [np.zeros(COUNT) for _ in CLIENTS]
    for number in range(ROUNDS):
        ends, moves = [], []
        for client in CLIENTS:
            own = controls[client]
            corrected = lambda now, gradient, own=own, common=common: gradient - own + common  # noqa: E731
            end, steps = sgd(weights, client, number, job, corrected)
            # How far one unit of gradient in every step would have led, counted step by step.
            velocity = way = 0.0
            for _ in range(steps):
                velocity = momentum * velocity + 1.0
                way += velocity
            new = own - common + (weights - end) / (way * job.lr)
            ends.append(end)
            moves.append(new - own)
            controls[client] = new
        weights, common = mean(ends), common + mean(moves)
        expected.append(weights)
    got = federation(replace(job, strategy="scaffold"), ROUNDS)
    assert np.abs(np.array(got.models) - np.array(expected)).max() < 5 * NEAR
    assert np.abs(np.array(federation(job, ROUNDS).models) - np.array(expected)).max() > 50 * NEAR


def test_scaffold_with_some_of_the_factories_at_a_time():
    """c moves by |S| / N of the mean move of those who took part; who did not keeps its control variate."""
    weights, common, expected = first_weights(), np.zeros(COUNT), []
    controls = [np.zeros(COUNT) for _ in CLIENTS]
    part = lambda number: (number % 3, (number + 1) % 3)  # noqa: E731
    for number in range(ROUNDS):
        ends, moves = [], []
        for client in part(number):
            own = controls[client]
            corrected = lambda now, gradient, own=own, common=common: gradient - own + common  # noqa: E731
            end, steps = sgd(weights, client, number, JOB, corrected)
            new = own - common + (weights - end) / (steps * JOB.lr)
            ends.append(end)
            moves.append(new - own)
            controls[client] = new
        weights, common = mean(ends, part(number)), common + 2 / 3 * mean(moves, part(number))
        expected.append(weights)
    asked = replace(JOB, strategy="scaffold", strategy_settings={"participation": repr(2 / 3)})
    got = federation(asked, ROUNDS, taking_part=part)
    assert np.abs(np.array(got.models) - np.array(expected)).max() < 5 * NEAR


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_gradient_tracking_is_scaffold_where_all_take_part_and_make_as_many_steps(momentum):
    # Everybody's records fit one batch: as many steps for all, whatever they count for.
    job = replace(JOB, momentum=momentum, batch=128, epochs=6)
    settings = {"strength": "1", "guarded": "false"}
    tracking = replace(job, strategy="gradient-tracking", strategy_settings=settings)
    scaffold = replace(job, strategy="scaffold", strategy_settings={"guarded": "false"})
    got, wanted = (np.array(federation(each, 6, named="mean").models) for each in (tracking, scaffold))
    assert np.abs(got - wanted).max() < 10 * NEAR
    assert np.abs(got - np.array(federation(job, 6).models)).max() > 100 * NEAR


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("missing", [False, True])
def test_gradient_tracking_against_its_own_words(momentum, missing):
    """a = s (c - g_i), with c the movement of the model a round since the own last start, g_i the own one less a; every
    factory counts alike."""
    strength = 0.7
    job = replace(JOB, momentum=momentum)
    part = lambda number: (number % 3, (number + 1) % 3) if missing and number else CLIENTS  # noqa: E731
    weights, expected = first_weights(), []
    last = {}
    for number in range(6):
        ends = []
        for client in part(number):
            added = np.zeros(COUNT)
            if client in last:
                at, start, own, way = last[client]
                added = strength * ((start - weights) / ((number - at) * way) - own)
            corrected = lambda now, gradient, added=added: gradient + added  # noqa: E731
            end, steps = sgd(weights, client, number, job, corrected)
            velocity = way = 0.0
            for _ in range(steps):
                velocity = momentum * velocity + 1.0
                way += velocity * job.lr
            last[client] = number, weights, (weights - end) / way - added, way
            ends.append(end)
        weights = np.mean(ends, axis=0)
        expected.append(weights)
    asked = replace(job, strategy="gradient-tracking", strategy_settings={"strength": "0.7", "guarded": "false"})
    got = federation(asked, 6, taking_part=part)
    assert np.abs(np.array(got.models) - np.array(expected)).max() < 5 * NEAR
    assert np.abs(np.array(federation(job, 6, taking_part=part).models) - np.array(expected)).max() > 50 * NEAR


@pytest.mark.parametrize(("steps", "momentum"), [(1, 0.0), (1, 0.9), (7, 0.0), (40, 0.8), (3, 0.999999)])
def test_the_way_of_equal_gradients_is_counted_right(steps, momentum):
    # The j-th of K gradients moves the model by (1 - m^(K-j+1)) / (1 - m) steps.
    exact = Fraction(str(momentum))
    way = sum((1 - exact ** (steps - at)) / (1 - exact) for at in range(steps))
    assert gradients_in_step(steps, momentum) == pytest.approx(float(way), rel=1e-12)


@pytest.mark.parametrize("epochs", [0, 3])
def test_ditto_against_algorithm_1(epochs):
    """Li et al.: v <- v - eta (grad F(v) + lambda (v - w^t)), from the last v; w^t goes its way as under FedAvg."""
    weights, own = first_weights(), [first_weights() for _ in CLIENTS]
    for number in range(ROUNDS):
        pulled = lambda now, gradient, origin=weights: gradient + 0.3 * (now - origin)  # noqa: E731
        own = [sgd(own[client], client, number, JOB, pulled, epochs)[0] for client in CLIENTS]
        weights = mean([sgd(weights, client, number, JOB, plain)[0] for client in CLIENTS])
    asked = replace(JOB, strategy="ditto", strategy_settings={"mu": "0.3", "epochs": str(epochs)})
    got = federation(asked, ROUNDS)
    assert np.abs(np.array(got.served) - np.array(own)).max() < NEAR
    # The federation knows nothing of it.
    assert got.models[-1].tolist() == federation(JOB, ROUNDS).models[-1].tolist()


@pytest.mark.parametrize("head", ["home", "averaged"])
def test_fedper_against_its_algorithm(head):
    body = 8 * 6 + 6
    weights, heads = first_weights(), [first_weights()[body:] for _ in CLIENTS]
    for number in range(ROUNDS):
        ends = [
            sgd(np.concatenate([weights[:body], heads[client]]), client, number, JOB, plain)[0] for client in CLIENTS
        ]
        heads = [end[body:] for end in ends]
        met = mean(ends)
        weights = met if head == "averaged" else np.concatenate([met[:body], weights[body:]])
    got = federation(replace(JOB, strategy="fedper", strategy_settings={"head": head}), ROUNDS)
    assert np.abs(got.models[-1] - weights).max() < NEAR
    expected = [np.concatenate([weights[:body], each]) for each in heads]
    assert np.abs(np.array(got.served) - np.array(expected)).max() < NEAR
    # A head at home is in nothing that left.
    first = first_weights()[body:]
    assert (head == "home") == (np.abs(got.models[-1][body:] - first).max() < 1e-6)


def test_everybody_alone_learns_from_nobody():
    own = [first_weights() for _ in CLIENTS]
    for number in range(ROUNDS):
        own = [sgd(own[client], client, number, JOB, plain)[0] for client in CLIENTS]
    got = federation(replace(JOB, strategy="local-only"), ROUNDS)
    assert np.abs(np.array(got.served) - np.array(own)).max() < NEAR
    assert np.abs(got.models[-1] - first_weights()).max() < 1e-6


def test_drift_beta_against_easyfls_form():
    """beta = min(tau |last training| / |first training|, 1): the first mix is tau itself."""
    weights, kept = first_weights(), [None] * len(TABLES)
    first = [0.0] * len(TABLES)
    for number in range(ROUNDS):
        ends = []
        for client in CLIENTS:
            start = weights
            if kept[client] is not None:
                end, drift = kept[client]
                beta = min(0.6 * drift / first[client], 1.0)
                assert number != 1 or beta == 0.6
                start = (1 - beta) * weights + beta * end
            end, _ = sgd(start, client, number, JOB, plain)
            kept[client] = end, float(np.linalg.norm(end - start))
            first[client] = first[client] or kept[client][1]
            ends.append(end)
        weights = mean(ends)
    got = federation(replace(JOB, strategy="dlmu", strategy_settings={"form": "drift", "tau": "0.6"}), ROUNDS)
    assert np.abs(got.models[-1] - weights).max() < NEAR
