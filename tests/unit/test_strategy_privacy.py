"""Strategies under a guarantee: rounds start from released values, corrections come after the noise, and what stays at
home touches nothing that leaves. And the ones that no mode with a guarantee takes."""

from dataclasses import replace

import numpy as np
import pytest

from fl.batches import as_records
from fl.fixed_point import decode
from fl.models.registry import build
from fl.privacy.modes import MODES, PrivacyRefused
from fl.privacy.sampling import sampling
from fl.privacy.secure_random import SecureRandom
from fl.privacy.sound import SoundPlan, sound_train
from fl.privacy.strategies import check_strategy_privacy
from fl.privacy.terms import SoundSettings
from fl.round import RoundJob, first_model, run_round
from fl.strategies.base import Layout, Trained
from fl.strategies.fedavg import FedAvg
from fl.strategies.fedper import head_start
from fl.strategies.kept_vector import kept
from fl.strategies.registry import BUILT_IN, strategy
from fl.train import Bent
from fl.vectors import parameter_vector
from tests.support.learning import separable
from tests.support.strategies import layout, view

SMALL = {"layers": "8,6,4"}
COUNT = 8 * 6 + 6 + 6 * 4 + 4
SOUND = RoundJob("mlp", 1, 32, 0.5, 0.0, 0, 1, privacy="sound", noise=1.0, arguments=SMALL)
# (strategy, settings): all that a league may ask for with a guarantee, whose next start is made of the updates alone.
FROM_RELEASED = [
    ("fedavg", {}),
    ("fedprox", {}),
    ("fedavgm", {}),
    ("fedadam", {}),
    ("scaffold", {}),
    ("scaffold", {"participation": "0.5"}),
    ("gradient-tracking", {}),
    ("gradient-tracking", {"strength": "1", "guarded": "false"}),
    ("dlmu", {}),
    ("dlmu", {"form": "drift"}),
    ("dlmu", {"strict": "true"}),
    ("ditto", {}),
    ("fedper", {"head": "averaged"}),
    ("fedobd", {"second_stage": "2"}),
    ("clustered", {"warmup": "1"}),
]


@pytest.mark.parametrize(("name", "settings"), FROM_RELEASED)
def test_a_round_starts_from_what_was_released_whatever_the_records_were(name, settings):
    """Two factories with other records, whose updates by chance were the same bytes, go on from the same place, by the
    same corrections and as many steps: a start tells nothing that the updates did not."""
    rule = strategy(name, settings)
    rng = np.random.default_rng(1)
    shapes = Layout((("body.weight", (2, 3)), ("head.weight", (3, 2)), ("head.bias", (2,))))
    n = shapes.count
    states, others = [None, None], [rng.normal(size=(3, n)).astype(np.float32) for _ in range(2)]
    for number in range(3):
        released = rng.normal(size=rule.vectors * n).astype(np.float32)
        base = rng.normal(size=rule.vectors * n).astype(np.float32)
        starts = []
        for factory in range(2):
            seen = view(base, states[factory], number, layout=shapes)
            start = rule.begin(seen)
            bend = None if start.correction is None else start.correction.tobytes()
            starts.append((start.vector.tobytes(), bend, start.steps_max, start.epochs_max, start.beta))
            personal = others[factory][number] if rule.personal(seen) is not None else None
            states[factory] = rule.finish(seen, start, released, Trained(start.vector, 3, 3, ()), personal)
        assert starts[0] == starts[1]
        assert (states[0] == states[1]) is (name != "ditto")


def test_what_is_trained_at_home_touches_nothing_that_leaves():
    job, train = replace(SOUND, strategy="ditto"), separable(1)
    base = first_model(job, 1)
    first = run_round(job, train, separable(2), base, None, random=SecureRandom(1))
    _, personal, _ = kept(first.state, COUNT, "")
    assert np.abs(personal - decode(first.update_q)).max() > 0.01
    again = replace(job, round_number=1)
    rounds = [
        run_round(again, train, separable(2), first.update_q, state, random=SecureRandom(2))
        for state in (first.state, None, b"damaged")
    ]
    assert len({outcome.update_q.tobytes() for outcome in rounds}) == 1
    # What may be told of the test records is of the model that the round began with, not of the one at home.
    assert len({outcome.metrics.start.accuracy for outcome in rounds}) == 1
    assert rounds[0].metrics.served.accuracy > rounds[0].metrics.start.accuracy
    # As an update of plain averaging, to the bit.
    plain = run_round(replace(again, strategy="fedavg"), train, None, first.update_q, None, random=SecureRandom(2))
    assert plain.update_q.tobytes() == rounds[0].update_q.tobytes()
    assert plain.privacy.epsilon == rounds[0].privacy.epsilon


def test_a_personal_training_that_diverges_costs_the_owner_a_warning_and_the_league_nothing():
    train = separable(1)
    wild = replace(SOUND, strategy="ditto", strategy_settings={"mu": "1000"})
    base = first_model(wild, 1)
    outcome = run_round(replace(wild, epochs=3), train, None, base, None, random=SecureRandom(1))
    assert any("own model diverged" in told for told in outcome.diagnostics.warnings)
    calm = run_round(replace(wild, epochs=3, strategy="fedavg", strategy_settings={}), train, None, base, None,
                     random=SecureRandom(1))  # fmt: skip
    assert calm.update_q.tobytes() == outcome.update_q.tobytes()
    _, personal, _ = kept(outcome.state, COUNT, "")
    assert personal.tolist() == decode(base).tolist()


def test_a_correction_is_added_after_the_noise():
    """One step of the same draws: all that the correction changes is lr times itself, however strong noise and clip."""
    train, vector = as_records(*separable(1, records=20)), parameter_vector(build("mlp", SMALL, 1))
    correction = np.random.default_rng(3).normal(size=COUNT).astype(np.float32)
    plan = SoundPlan(SoundSettings(), 2.0, sampling(20, 20, 1), 1, 0.25)

    def trained(bent):
        return sound_train(build("mlp", SMALL, 1), vector, train, plan, SecureRandom(5), bent=bent).vector

    moved = trained(Bent(correction=correction)) - trained(Bent())
    assert np.abs(moved + 0.25 * correction).max() < 1e-6


def test_a_limit_of_steps_is_kept_and_charged_as_if_there_were_none():
    train, vector = as_records(*separable(1)), parameter_vector(build("mlp", SMALL, 1))
    whole = SoundPlan(SoundSettings(), 1.0, sampling(200, 32, 2), 2, 0.1)
    for most, taken in ((0, whole.sampling.steps), (3, 3), (9, 9), (10**6, whole.sampling.steps)):
        plan = replace(whole, steps_max=most)
        result = sound_train(build("mlp", SMALL, 1), vector, train, plan, SecureRandom(5))
        assert result.steps == taken
        assert plan.sampling == whole.sampling
        assert len(result.losses) == -(-taken // (whole.sampling.steps // 2))


def test_the_strategy_is_shown_no_losses_where_a_guarantee_holds():
    shown = []

    class Curious(FedAvg):
        def upload(self, view, start, trained):
            shown.append(trained)
            return trained.vector

    base = first_model(SOUND, 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(BUILT_IN, "curious", (Curious, BUILT_IN["fedavg"][1]))
        for privacy in ("sound", "none"):
            run_round(replace(SOUND, strategy="curious", privacy=privacy), separable(1), None, base, None)
    assert [len(each.losses) for each in shown] == [0, 1]
    assert [each.steps_planned for each in shown] == [7, 7]


def test_a_head_at_home_is_made_by_noised_steps_and_is_in_no_update():
    job = replace(SOUND, strategy="fedper")
    base = first_model(job, 1)
    body = head_start(Layout((("layers.0.weight", (6, 8)), ("layers.0.bias", (6,)), ("layers.1.weight", (4, 6)))), 1)
    assert body == 8 * 6 + 6
    state, uploads = None, []
    for number in range(2):
        outcome = run_round(replace(job, round_number=number), separable(1), None, base, state, random=SecureRandom(7))
        uploads.append(outcome.update_q)
        state = outcome.state
    assert all((upload[body:] == base[body:]).all() for upload in uploads)
    # The head that is kept is where the charged, noised steps ended: drawn otherwise, it is another one.
    other = run_round(job, separable(1), None, base, None, random=SecureRandom(8))
    first = run_round(job, separable(1), None, base, None, random=SecureRandom(7))
    heads = [kept(each.state, COUNT - body, "")[1] for each in (first, other)]
    assert np.abs(heads[0] - heads[1]).max() > 0.01


@pytest.mark.parametrize("mode", ["sound", "distributed"])
def test_who_chooses_by_the_records_gets_no_guarantee(mode):
    class Choosing(FedAvg):
        name = "choosing"
        chooses_by_records = True

    rule = Choosing.from_settings({})
    with pytest.raises(PrivacyRefused, match=f"privacy mode {mode} with strategy choosing: .* want mode none or paper"):
        check_strategy_privacy(rule, MODES[mode], 3)
    for plain in ("none", "paper"):
        check_strategy_privacy(rule, MODES[plain], 3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(BUILT_IN, "choosing", (Choosing, BUILT_IN["fedavg"][1]))
        with pytest.raises(PrivacyRefused, match="choosing"):
            run_round(replace(SOUND, strategy="choosing"), separable(1), None, first_model(SOUND, 1), None)


def test_every_strategy_of_a_league_is_told_apart_here():
    """A new one is put into the list above, or says that it takes no guarantee, or is explained here."""
    explained = {"fedper", "ditto"}
    listed = {name for name, _ in FROM_RELEASED} | explained
    for name, (kind, _) in BUILT_IN.items():
        assert name in listed or kind.chooses_by_records or not kind.in_league, name
    assert layout(3).count == 3
