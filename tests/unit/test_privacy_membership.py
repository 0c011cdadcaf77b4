"""Guessing who was in, from what rounds release and from models in files: who promises nothing gives much away."""

from dataclasses import replace

import numpy as np
import pytest

from fl.batches import UnusableTable, as_records
from fl.fixed_point import decode
from fl.models.registry import build
from fl.privacy.audit import AuditPlan
from fl.privacy.canaries import public_table
from fl.privacy.claims import claim
from fl.privacy.confidence import advantage_allowed
from fl.privacy.exposure import exposure
from fl.privacy.membership import infer_membership, record_losses
from fl.round import RoundJob, initial_model, run_round
from fl.threads import one_thread
from fl.vectors import parameter_vector

RECORDS, ROUNDS, DELTA = 400, 3, 1e-5
JOB = RoundJob("mlp", 20, 16, 0.1, 0.0, 0, 7, arguments={"layers": "21,64,4"}, allow_no_guarantee=True)


def guessed(mode, seed=3):
    claimed = claim(replace(JOB, privacy=mode), 2.0, DELTA, RECORDS, ROUNDS, 8)
    with one_thread():
        return infer_membership(claimed.plan, public_table(5, RECORDS), claimed.promised, seed)


@pytest.mark.parametrize("mode", ["none", "paper"])
def test_releases_without_a_guarantee_tell_who_was_in(mode: str):
    report = guessed(mode)
    assert report.allowed is None
    assert report.low > 0.1, report


def test_releases_of_sound_tell_no_more_than_its_epsilon_allows():
    report = guessed("sound")
    assert report.allowed == pytest.approx(advantage_allowed(2.0, DELTA), abs=1e-3)
    assert not report.refuted, report
    # And far less than the others gave away, on the same records with the same attack.
    assert report.high < guessed("none").advantage


def test_releases_of_several_vectors_are_guessed_from_by_their_model():
    """FedAdam's two vectors behind the model change nothing here: one client's rounds are plain ones."""
    plan = claim(replace(JOB, privacy="none", epochs=2), 2.0, DELTA, RECORDS, 2, 8).plan
    wide = replace(plan, job=replace(plan.job, strategy="fedadam"))
    with one_thread():
        found = [infer_membership(each, public_table(5, RECORDS), False, 3) for each in (plan, wide)]
    assert found[0] == found[1]


def test_the_same_seed_guesses_the_same():
    assert guessed("none", 4) == guessed("none", 4)


def test_a_promise_that_is_not_kept_is_refuted():
    """The attack itself can refute: plain training under the claim of an epsilon of a tenth."""
    plan = AuditPlan(JOB, ROUNDS, 0.1, 1e-6, 8)
    with one_thread():
        report = infer_membership(plan, public_table(5, RECORDS), claimed=True, seed=3)
    assert report.allowed == pytest.approx(advantage_allowed(0.1, 1e-6))
    assert report.refuted, report


def test_too_few_records_are_refused():
    with pytest.raises(UnusableTable, match="want at least 32"):
        infer_membership(AuditPlan(JOB, 1, 2.0, DELTA, 8), public_table(5, 20), claimed=False)


def test_a_records_loss_is_the_one_of_its_own_forward_pass():
    features, labels = public_table(5, 700)
    model = build("mlp", JOB.arguments, 1)
    losses = record_losses(model, as_records(features, labels), parameter_vector(model))
    assert losses.shape == (700,)
    logits = model(as_records(features, labels).features).detach().numpy().astype(np.float64)
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(700), labels]
    assert np.abs(losses - expected).max() < 1e-5


def test_models_in_files_expose_what_they_learnt_by_heart_and_no_more():
    features, labels = public_table(6, 300)
    train, rest = (features[:150], labels[:150]), (features[150:], labels[150:])
    base = initial_model("mlp", JOB.arguments, 7)
    model = build("mlp", JOB.arguments, 0)
    members, others = as_records(*train), as_records(*rest)
    with one_thread():
        update = run_round(replace(JOB, epochs=60), train, None, base, None).update_q
        start, learnt = decode(base), decode(update)
        told = exposure(model, [start, learnt], members, others)
        untold = exposure(model, [start], members, others)
    assert told.low > 0.1, told
    assert told.auc > 0.55
    assert untold.low < 0.0 < untold.high
    assert abs(untold.auc - 0.5) < 0.15
    with pytest.raises(UnusableTable, match="0 models"):
        exposure(model, [], members, others)
