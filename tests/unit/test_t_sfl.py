"""T-SFL: training ends by time, who got too little done sends nothing, and what is sent counts by what it rests on."""

from dataclasses import replace

import numpy as np
import pytest

from fl.batches import as_records
from fl.data.tables import Split, Table
from fl.fixed_point import limit_in_steps
from fl.local_training import Clock
from fl.models.registry import build
from fl.privacy.modes import PrivacyRefused
from fl.round import RoundJob, first_model, run_round
from fl.simulate.federation import Federation, Terms
from fl.simulate.paces import pace_of
from fl.simulate.terms import SimulationError
from fl.strategies.base import LeftOut, StrategyError, Trained
from fl.strategies.registry import strategy
from fl.train import ASKED_EVERY, LocalPlan, local_train
from fl.vectors import parameter_vector

LIMIT_Q = limit_in_steps(512.0, 20)
JOB = RoundJob(
    "mlp", 4, 10, 0.05, 0.5, 0, 5, "t-sfl", arguments={"layers": "8,12,4"}, strategy_settings={"seconds": "3"}
)


def table(seed=1, records=100):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, records)
    features = rng.normal(size=(records, 8)).astype(np.float32)
    features[np.arange(records), labels] += 3
    return features, labels.astype(np.int64)


def ticking(seconds_a_look: float) -> Clock:
    """A clock that goes on by so much whenever somebody looks at it."""
    now = [100.0]

    def clock() -> float:
        now[0] += seconds_a_look
        return now[0]

    return clock


def test_a_training_that_time_ends_is_one_of_fewer_steps_to_the_bit():
    """The same mini-batches in the same order, ended after so many: what `steps_max` gives."""
    records = as_records(*table())
    plan = LocalPlan(4, 10, 0.05, 0.5, 7)
    start = parameter_vector(build("mlp", JOB.arguments, 1))
    looks = [0]

    def over_after(looks_wanted):
        def over():
            looks[0] += 1
            return looks[0] > looks_wanted

        return over

    timed = local_train(build("mlp", JOB.arguments, 1), start, records, plan, over=over_after(2))
    # Eight steps, a look, the last two of the epoch; a look; eight steps of the second, and the look that ends it.
    assert timed.steps == 10 + ASKED_EVERY
    cut = local_train(build("mlp", JOB.arguments, 1), start, records, replace(plan, steps_max=timed.steps))
    assert timed.vector.tobytes() == cut.vector.tobytes()
    assert timed.losses == pytest.approx(cut.losses)
    looks[0] = 0
    endless = local_train(build("mlp", JOB.arguments, 1), start, records, plan, over=lambda: False)
    whole = local_train(build("mlp", JOB.arguments, 1), start, records, plan)
    assert (endless.vector.tobytes(), endless.steps) == (whole.vector.tobytes(), 40)


@pytest.mark.parametrize(("pace", "steps"), [(0.01, 40), (0.1, 30), (0.3, 10)])
def test_in_a_simulation_the_pace_says_how_far_a_factory_gets(pace, steps):
    base = first_model(JOB, 1)
    outcome = run_round(replace(JOB, pace_s=pace), table(), None, base, None)
    assert outcome.metrics.steps == steps
    assert outcome.weight == 100 * steps // 40
    again = run_round(replace(JOB, pace_s=pace), table(), None, base, None)
    assert outcome.update_q.tobytes() == again.update_q.tobytes()


def test_at_a_factory_a_clock_says_it():
    outcome = run_round(JOB, table(), None, first_model(JOB, 1), None, clock=ticking(1.0))
    # Begun at the first look; over at the third one after it.
    assert 2 * ASKED_EVERY <= outcome.metrics.steps <= 3 * ASKED_EVERY
    assert outcome.weight == 100 * outcome.metrics.steps // 40


@pytest.mark.parametrize("pace", [0.5, 4.0])
def test_who_got_too_little_done_sends_nothing_and_says_why(pace):
    with pytest.raises(LeftOut, match=r"6 of 40 steps in 3 s, want 8|no step within 3 s, a step takes 4 s"):
        run_round(replace(JOB, pace_s=pace), table(), None, first_model(JOB, 1), None)


def test_a_weight_is_never_more_than_the_records_and_never_nothing():
    rule = strategy("t-sfl", {"seconds": "1"})
    vector = np.zeros(1, np.float32)
    weights = [rule.weight(10, Trained(vector, steps, 40, ())) for steps in (1, 20, 40, 44)]
    assert weights == [1, 5, 10, 10]


def test_the_time_is_told_by_the_request_or_by_its_deadline():
    base = first_model(JOB, 1)
    untold = replace(JOB, strategy_settings={}, pace_s=0.1)
    with pytest.raises(StrategyError, match="the round has no deadline"):
        run_round(untold, table(), None, base, None)
    # Four fifths of four seconds: 32 steps.
    assert run_round(replace(untold, deadline_s=4.0), table(), None, base, None).metrics.steps == 32
    with pytest.raises(StrategyError, match="neither clock nor pace"):
        run_round(JOB, table(), None, base, None)


def test_with_a_guarantee_no_training_ends_by_time():
    base = first_model(JOB, 1)
    terms = {"epsilon": "4", "delta": "1e-5"}
    sound = replace(JOB, privacy="sound", privacy_settings=terms, noise=1.0, pace_s=0.1)
    with pytest.raises(PrivacyRefused, match="t-sfl"):
        run_round(sound, table(), None, base, None)
    paper = replace(JOB, privacy="paper", allow_no_guarantee=True, privacy_settings={}, pace_s=0.1)
    with pytest.raises(PrivacyRefused, match="ends training by time"):
        run_round(paper, table(), None, base, None)


TERMS = Terms("mlp", 6, 4, 10, 0.02, 0.5, {"layers": "8,12,4"}, pace_spread=16.0, pace_s=0.02)


def course_of(count=8, seed=3, **changes):
    tables = [Table(*table(at), ("a", "b", "c", "d")) for at in range(count + 1)]
    clients = [Split(each, tables[-1]) for each in tables[:-1]]
    with Federation(replace(TERMS, **changes), clients, tables[-1], seed) as federation:
        return federation.run()


def test_nobody_waits_for_the_slowest():
    """Eight clients, the slowest up to sixteen times as slow as the fastest: half the time, and as much learned."""
    waiting = course_of(strategy="fedavg", strategy_settings={"serve": "global"})
    timed = course_of(strategy="t-sfl", strategy_settings={"seconds": "0.8", "serve": "global"})
    slowest = waiting.rounds[0].train_s
    assert slowest == pytest.approx(40 * max(pace_of(3, at, 0.02, 16.0) for at in range(8)))
    assert timed.rounds[0].train_s <= 0.8 < slowest / 2
    assert timed.mean_accuracy() > waiting.mean_accuracy() - 0.05
    steps = {each.client: each.steps for each in timed.rounds[0].clients}
    assert len(set(steps.values())) > 3
    assert all(each.weight == 100 * each.steps // 40 for each in timed.rounds[0].clients if each.rejected is None)


def test_clients_below_the_threshold_are_named_and_do_not_count():
    course = course_of(strategy="t-sfl", strategy_settings={"seconds": "0.5", "least": "0.4", "serve": "global"})
    first = course.rounds[0]
    left = {each.client for each in first.clients if each.rejected is not None}
    assert 0 < len(left) < 8
    assert all("want 16" in reason for reason in first.rejected.values())
    assert all((each.bytes_up, each.weight, each.quality) == (0, 0, 0) for each in first.clients if each.client in left)
    assert first.bytes_up == sum(each.bytes_up for each in first.clients)


def test_a_round_without_anybody_is_void_and_the_next_begins_where_it_did():
    course = course_of(rounds=2, strategy="t-sfl", strategy_settings={"seconds": "0.01", "serve": "global"})
    assert all(len(each.rejected) == 8 for each in course.rounds)
    assert course.rounds[0].digest == course.rounds[1].digest


def test_paces_lie_around_the_middle_and_differ():
    paces = np.array([pace_of(1, at, 0.1, 9.0) for at in range(300)])
    assert 0.1 / 3 <= paces.min() < 0.04 < 0.25 < paces.max() <= 0.3
    assert np.median(np.log(paces)) == pytest.approx(np.log(0.1), abs=0.15)
    assert pace_of(2, 7, 0.1, 1.0) == 0.1


@pytest.mark.parametrize("changes", [{"pace_s": 0.0}, {"pace_s": -1.0}, {"pace_spread": 0.5}])
def test_a_pace_that_no_client_can_have_is_refused(changes):
    with pytest.raises(SimulationError, match="want above 0 to 86400 and 1 to 1000000"):
        replace(TERMS, **changes)
