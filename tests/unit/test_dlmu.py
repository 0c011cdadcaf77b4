"""DLMU against an independent reference (tests/vectors/dlmu-golden.json), tolerance 1e-6."""

import numpy as np
import pytest

from fl.aggregate import weighted_mean
from fl.dlmu import distance, scaler, start_point
from fl.fixed_point import decode, encode
from fl.strategies.dlmu import Dlmu
from fl.strategies.own_model import OwnModel
from fl.strategies.registry import strategy
from tests.support.learning import golden
from tests.support.strategies import view

GOLDEN = golden()


def vector(values):
    return None if values is None else np.array(values, np.float32)


@pytest.mark.parametrize("case", GOLDEN["dlmu_start"])
def test_start_points(case):
    start, beta, _ = start_point(vector(case["w_global"]), vector(case["w_prev"]), case["alpha"])
    assert beta == pytest.approx(case["beta"], abs=1e-6)
    assert start.tolist() == pytest.approx(case["start"], abs=1e-6)
    assert start.dtype == np.float32


@pytest.mark.parametrize("case", GOLDEN["dlmu_start"])
def test_the_strict_strategy_starts_where_the_published_rule_does(case):
    own = None if case["w_prev"] is None else OwnModel(vector(case["w_prev"]), case["alpha"], 1).to_bytes()
    start = strategy("dlmu", {"strict": "true"}).begin(view(vector(case["w_global"]), own, 2))
    assert start.beta == pytest.approx(case["beta"], abs=1e-6)
    assert start.vector.tolist() == pytest.approx(case["start"], abs=1e-6)


@pytest.mark.parametrize("case", GOLDEN["alpha_scaler"])
def test_scalers(case):
    alpha = scaler(vector(case["w0"]), vector(case["w1"]), case["tau"])
    assert (alpha is None) == (case["alpha"] is None)
    assert alpha is None or alpha == pytest.approx(case["alpha"], abs=1e-6)


def test_the_scaler_of_the_golden_network():
    case = GOLDEN["mlp_2_2_2"]
    assert scaler(vector(case["w0"]), vector(case["w1"]), 0.8) == pytest.approx(case["alpha_tau0.8"], abs=1e-6)


@pytest.mark.parametrize("case", GOLDEN["fedavg"])
def test_fedavg_in_fixed_point(case):
    # The case with 10^8 fills an int32 at scale 0; every other one has room for 20 bits after the point.
    scale_bits, limit = (0, 2.0**30) if np.abs(case["vectors"]).max() > 512 else (20, 512.0)
    encoded = [encode(vector(each), scale_bits, limit) for each in case["vectors"]]
    assert decode(weighted_mean(encoded, case["sizes"]), scale_bits).tolist() == pytest.approx(case["mean"], abs=1e-6)


def test_the_toy_federation_locks_one_client_in_as_published():
    toy = GOLDEN["toy_two_clients"]
    rule = Dlmu.from_settings({"strict": "true", "tau": str(toy["tau"])})
    states = [None, None]
    global_vector = np.array([toy["w0"]], np.float32)
    for expected in toy["rounds"]:
        assert float(global_vector[0]) == pytest.approx(expected["w_global_in"], abs=1e-6)
        trained = []
        for client, centre in enumerate(toy["c"]):
            seen = view(global_vector, states[client], expected["round"])
            start = rule.begin(seen)
            pulled = (start.vector - toy["lr"] * (start.vector - centre)).astype(np.float32)
            states[client] = rule.finish(seen, start, pulled, None, None)
            trained.append(pulled)
            want = expected[f"client{client}"]
            assert start.beta == pytest.approx(want["beta"], abs=1e-6)
            assert float(start.vector[0]) == pytest.approx(want["start"], abs=1e-6)
            assert float(pulled[0]) == pytest.approx(want["trained"], abs=1e-6)
            after = rule.begin(view(global_vector, states[client], expected["round"] + 1))
            assert after.alpha == pytest.approx(want["alpha"], abs=1e-6)
        sizes = np.array(toy["sizes"], np.float64)
        global_vector = (np.array(trained).T @ sizes / sizes.sum()).astype(np.float32)
        assert float(global_vector[0]) == pytest.approx(expected["w_global_out"], abs=1e-6)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_starts_from_the_global_model(poison):
    whole, own = np.ones(3, np.float32), np.array([1.0, poison, 1.0], np.float32)
    for start, beta, _ in (start_point(whole, own, 0.5), start_point(whole, whole + 1, poison)):
        assert beta == 0.0
        assert start.tolist() == [1.0, 1.0, 1.0]
    assert scaler(whole, own, 0.8) is None


def test_distance_is_exact_over_chunks_and_refuses_other_shapes():
    left = np.full(300_001, 3.0, np.float32)
    assert distance(left, np.zeros_like(left)) == pytest.approx(3.0 * 300_001**0.5, rel=1e-12)
    with pytest.raises(ValueError, match="want one shape"):
        distance(left, left[:-1])
