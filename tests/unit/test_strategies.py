"""Strategies: the guards that keep a factory in its federation, what is remembered, and what is refused."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.strategies import registry
from fl.strategies.base import StrategyError
from fl.strategies.own_model import DamagedState, OwnModel, own_model
from fl.strategies.registry import strategy
from tests.support.strategies import layout, view

GLOBAL = np.zeros(4, np.float32)
# Ten away from the global model; alpha 0.08 makes that beta 0.8.
FAR = np.array([10.0, 0.0, 0.0, 0.0], np.float32)


def remembered(vector=FAR, alpha=0.08, last_round=4, betas=()):
    return OwnModel(vector, alpha, last_round, betas).to_bytes()


def test_dlmu_keeps_at_most_the_cap_of_itself_and_strict_the_published_share():
    guarded = strategy("dlmu", {}).begin(view(GLOBAL, remembered(), 5))
    assert (guarded.beta, guarded.beta_asked) == (0.5, pytest.approx(0.8))
    assert guarded.vector.tolist() == [5.0, 0.0, 0.0, 0.0]
    strict = strategy("dlmu", {"strict": "true"}).begin(view(GLOBAL, remembered(), 5))
    assert strict.beta == pytest.approx(0.8)
    assert strategy("dlmu", {"cap": "0.25"}).begin(view(GLOBAL, remembered(), 5)).beta == 0.25


@pytest.mark.parametrize(("last_round", "mixes"), [(4, True), (3, False), (0, False), (5, False)])
def test_a_factory_that_missed_a_round_starts_from_the_global_model(last_round, mixes):
    state = remembered(last_round=last_round)
    assert (strategy("dlmu", {}).begin(view(GLOBAL, state, 5)).beta > 0) is mixes
    for literal in ({"strict": "true"}, {"selective": "false"}):
        assert strategy("dlmu", literal).begin(view(GLOBAL, state, 5)).beta > 0


def test_a_factory_is_warned_when_it_stops_federating():
    locked = remembered(alpha=9.0, betas=(1.0, 1.0))
    (told,) = strategy("dlmu", {"strict": "true"}).begin(view(GLOBAL, locked, 5)).warnings
    assert "no longer federating: beta 1.00 for 3 rounds" in told
    (told,) = strategy("dlmu", {}).begin(view(GLOBAL, locked, 5)).warnings
    assert "without the cap of 0.5" in told
    for calmer in (remembered(alpha=9.0, betas=(1.0,)), remembered(alpha=9.0, betas=(0.9, 1.0))):
        assert strategy("dlmu", {"strict": "true"}).begin(view(GLOBAL, calmer, 5)).warnings == ()


def test_beta_is_counted_over_rounds_and_bytes():
    rule, state = strategy("dlmu", {"strict": "true", "tau": "1"}), None
    warned = []
    for round_number in range(6):
        start = rule.begin(view(GLOBAL, state, round_number))
        warned.append(bool(start.warnings))
        # Always one drift of its own further: beta is 1 from the second participation on.
        state = rule.finish(view(GLOBAL, state, round_number), start, start.vector + FAR, None, None)
    assert warned == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    "state",
    [
        remembered(vector=np.array([1, np.nan, 0, 0], np.float32)),
        remembered(vector=np.array([1, np.inf, 0, 0], np.float32)),
        remembered(alpha=float("nan")),
        remembered(alpha=float("inf")),
    ],
)
def test_a_state_that_is_not_finite_starts_from_the_global_model_and_heals(state):
    for settings in ({}, {"strict": "true"}):
        rule = strategy("dlmu", settings)
        start = rule.begin(view(GLOBAL, state, 5))
        assert start.vector.tolist() == GLOBAL.tolist()
        assert start.beta == 0.0
        assert "not finite" in start.warnings[0]
        healed = rule.begin(view(GLOBAL, rule.finish(view(GLOBAL, state, 5), start, FAR, None, None), 6))
        assert healed.beta > 0
    served, share = strategy("fedavg", {}).serve(GLOBAL, state, layout(4))
    assert (served.tolist(), share) == (GLOBAL.tolist(), 0.0)


def test_a_first_training_that_moves_nothing_leaves_alpha_unset_and_the_next_sets_it():
    rule = strategy("dlmu", {})
    start = rule.begin(view(GLOBAL, None, 0))
    assert (start.beta, start.alpha) == (0.0, None)
    idle = rule.finish(view(GLOBAL, None, 0), start, GLOBAL, None, None)
    assert own_model(idle, 4).alpha is None
    again = rule.begin(view(FAR, idle, 1))
    assert (again.vector.tolist(), again.beta) == (FAR.tolist(), 0.0)
    moved = rule.finish(view(FAR, idle, 1), again, FAR + FAR, None, None)
    assert own_model(moved, 4).alpha == pytest.approx(0.08)
    # Once set, it stays.
    later = rule.finish(view(FAR, moved, 2), again, FAR * 9, None, None)
    assert own_model(later, 4).alpha == pytest.approx(0.08)


def test_fedavg_trains_from_the_global_model_and_serves_a_mix():
    rule = strategy("fedavg", {"proximal": "0.5"})
    start = rule.begin(view(GLOBAL, remembered(), 5))
    assert (start.vector.tolist(), start.beta) == (GLOBAL.tolist(), 0.0)
    assert rule.objective.proximal == 0.5
    assert rule.weight(123, None) == 123
    assert (rule.aggregation.rule, rule.aggregation.settings) == ("mean", {})
    # Serving has no guard: a model of round 4 is still the factory's own in round 40.
    assert rule.serve(GLOBAL, remembered(), layout(4))[1] == pytest.approx(0.8)
    assert rule.serve(GLOBAL, remembered(alpha=None), layout(4))[1] == 0.0
    assert strategy("fedavg", {"serve": "own"}).serve(GLOBAL, remembered(), layout(4))[0].tolist() == FAR.tolist()
    assert strategy("dlmu", {"serve": "global"}).serve(GLOBAL, remembered(), layout(4))[0].tolist() == GLOBAL.tolist()
    assert strategy("dlmu", {}).serve(GLOBAL, None, layout(4))[1] == 0.0


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("fedsgd", {}, "unknown strategy 'fedsgd', want one of fedavg, dlmu"),
        ("fedavg", {"mu": "1"}, "no setting mu"),
        ("dlmu", {"tau": "1.5"}, "tau is '1.5', want a number in 0..1"),
        ("dlmu", {"tau": "nan"}, "tau"),
        ("dlmu", {"strict": "yes"}, "want one of true, false"),
        ("dlmu", {"strict": "true", "cap": "0.5"}, "strict=true has no guards, but cap is set"),
    ],
)
def test_strategies_and_settings_that_do_not_exist_are_refused(name, settings, told):
    with pytest.raises(StrategyError, match=told):
        strategy(name, settings)


@given(
    st.lists(st.floats(width=32), max_size=20),
    st.none() | st.floats(),
    st.integers(0, 10**9),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_state_comes_back_bit_for_bit(values, alpha, last_round, betas):
    vector = np.array(values, np.float32)
    back = own_model(OwnModel(vector, alpha, last_round, tuple(betas)).to_bytes(), len(values))
    assert back.vector.tobytes() == vector.tobytes()
    assert repr(back.alpha) == repr(alpha)
    assert (back.last_round, back.betas_asked) == (last_round, tuple(betas))


def test_damaged_state_is_found_wherever_it_is_damaged_and_costs_only_the_mix():
    state = remembered()
    for at in range(len(state)):
        flipped = state[:at] + bytes([state[at] ^ 1]) + state[at + 1 :]
        for damaged in (flipped, state[:at]):
            with pytest.raises(DamagedState):
                own_model(damaged, 4)
    for rule in (strategy("dlmu", {}), strategy("fedavg", {})):
        start = rule.begin(view(GLOBAL, state[:-1], 5))
        assert start.vector.tolist() == GLOBAL.tolist()
        assert "damaged" in start.warnings[0]
        assert own_model(rule.finish(view(GLOBAL, state[:-1], 5), start, FAR, None, None), 4).last_round == 5


def test_state_of_another_model_or_of_a_later_version_is_refused():
    with pytest.raises(DamagedState, match="4 coordinates, want 5"):
        own_model(remembered(), 5)
    with pytest.raises(DamagedState):
        own_model(msgpack.packb([1, 2, 3]), 4)


def test_plug_ins_are_found_by_entry_point_and_cannot_replace_a_built_in(monkeypatch):
    offered = EntryPoints(
        [
            EntryPoint("twin", "fl.strategies.fedavg:FedAvg", registry.GROUP),
            EntryPoint("dlmu", "fl.strategies.fedavg:FedAvg", registry.GROUP),
            EntryPoint("gone", "no.such.module:Rule", registry.GROUP),
            EntryPoint("odd", "fl.strategies.own_model:OwnModel", registry.GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda **wanted: offered.select(**wanted))
    assert registry.names() == (*registry.BUILT_IN, "gone", "odd", "twin")
    assert strategy("twin", {"tau": "0.5"}).name == "fedavg"
    assert strategy("dlmu", {}).name == "dlmu"
    with pytest.raises(StrategyError, match="cannot be loaded"):
        strategy("gone", {})
    with pytest.raises(StrategyError, match="want a subclass of Strategy"):
        strategy("odd", {})


def test_what_a_committee_needs_is_had_without_torch():
    modules = "fl.aggregate, fl.fixed_point, fl.export, fl.dlmu, fl.strategies.registry, fl.privacy.modes"
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
