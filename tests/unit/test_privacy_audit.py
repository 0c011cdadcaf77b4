"""The auditor: `paper` is refuted at a claimed epsilon of 2, `sound` is not, a `sound` that adds too little noise is.

Seeds are fixed, so that a verdict is the same in every run; `hanse dp audit` draws from the operating system.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from fl.batches import UnusableTable
from fl.privacy.audit import SCORES, AuditPlan, audit, judge
from fl.privacy.canaries import CANARIES, plant, public_table
from fl.privacy.claims import AUDITED, claim
from fl.privacy.modes import PrivacyRefused
from fl.round import RoundJob
from fl.threads import one_thread

INPUTS, CLASSES, RECORDS = 20, 4, 100
JOB = RoundJob("mlp", 40, 32, 0.1, 0.0, 0, 7, arguments={"layers": f"{INPUTS + 1},{CLASSES}"}, allow_no_guarantee=True)
DELTA = 1e-5


def table():
    return public_table(5, RECORDS, INPUTS, CLASSES)


def audited(job, canary, trials, rounds=1, noise_over=1.0, epsilon=2.0):
    """The report on `job` at that claimed epsilon. `noise_over`: how much too little noise is added."""
    claimed = claim(job, epsilon, DELTA, RECORDS, rounds, trials)
    plan = claimed.plan
    if noise_over != 1.0:
        plan = replace(plan, job=replace(plan.job, noise=claimed.sigma / noise_over))
    with one_thread():
        return audit(plan, plant(canary, table(), CLASSES), itertools.count(1))


def test_paper_is_refuted_at_a_claimed_epsilon_of_2():
    """Its un-noised epochs carry an ordinary record with a wrong label into what leaves."""
    report = audited(replace(JOB, privacy="paper", epochs=60, batch=50), "flipped", 100)
    assert report.refuted, report
    assert report.auc > 0.98


@pytest.mark.parametrize("canary", sorted(CANARIES))
def test_sound_is_not_refuted_at_a_claimed_epsilon_of_2(canary):
    report = audited(replace(JOB, privacy="sound", epochs=3), canary, 100)
    assert not report.refuted, report
    assert report.decisive, "so few trials could not have refuted it"


def test_sound_over_rounds_that_mix_in_the_own_model_is_not_refuted():
    """What DLMU brings into the next round is what was released: if it were not, rounds would add up to more."""
    job = replace(JOB, privacy="sound", epochs=1, strategy="dlmu")
    report = audited(job, "alone", 70, rounds=3)
    assert not report.refuted, report
    assert report.decisive


def test_sound_over_rounds_that_correct_gradients_is_not_refuted():
    """SCAFFOLD's control variates are made of releases: all that leaves, them too, is what the auditor looks at."""
    job = replace(JOB, privacy="sound", epochs=1, strategy="scaffold")
    report = audited(job, "alone", 70, rounds=2)
    assert not report.refuted, report
    assert report.decisive
    # And they would tell: without noise the same attack on the same rounds finds the record.
    bare = AuditPlan(replace(job, privacy="none"), 2, 2.0, DELTA, 20)
    with one_thread():
        assert audit(bare, plant("alone", table(), CLASSES), itertools.count(1)).auc > 0.98


def test_too_little_noise_is_found():
    """A fault in the noise, the clipping or the accounting of a factor of eight would not go unnoticed."""
    job = replace(JOB, privacy="sound", epochs=4, batch=RECORDS)
    honest = audited(job, "alone", 80)
    assert not honest.refuted, honest
    assert honest.decisive
    assert audited(job, "alone", 80, noise_over=8.0).refuted


def test_without_any_noise_a_record_is_found():
    report = audited(replace(JOB, privacy="none", epochs=20, batch=RECORDS), "outlier", 40)
    assert report.measured == report.measurable
    assert report.auc == 1.0


def test_scores_that_know_nothing_refute_nothing():
    """The threshold is chosen on other trainings than those counted: luck in choosing shows nothing."""
    rng = np.random.default_rng(2)
    plan = AuditPlan(JOB, 1, 0.0, 0.0, 60)
    wrong = sum(
        judge(plan, rng.normal(size=(60, len(SCORES))), rng.normal(size=(60, len(SCORES)))).refuted for _ in range(100)
    )
    # One audit in twenty may be wrong; of a hundred, twelve or more would be with probability 0.001.
    assert wrong < 12


def test_scores_that_know_all_measure_as_much_as_can_be():
    rng = np.random.default_rng(3)
    present, absent = rng.normal(size=(50, len(SCORES))), rng.normal(size=(50, len(SCORES)))
    present[:, 1] += 50.0
    report = judge(AuditPlan(JOB, 1, 2.0, DELTA, 50), present, absent)
    assert (report.score, report.measured) == (SCORES[1], report.measurable)
    # The other way round it is the same knowledge.
    present[:, 1] -= 100.0
    assert judge(AuditPlan(JOB, 1, 2.0, DELTA, 50), present, absent).measured == report.measurable


def test_planted_tables_differ_in_the_canary_alone():
    for kind in CANARIES:
        planted = plant(kind, table(), CLASSES)
        assert np.array_equal(planted.present[0][:-1], planted.absent[0])
        assert np.array_equal(planted.present[1][:-1], planted.absent[1])
        assert np.array_equal(planted.present[0][-1:], planted.canary[0])
        assert len(planted.present[1]) == RECORDS
    features, labels = table()
    assert plant("flipped", (features, labels), CLASSES).canary[1][0] != labels[-1]
    alone = plant("alone", (features, labels), CLASSES).canary[0][0]
    assert not (features[:, alone != 0]).any()
    with pytest.raises(UnusableTable, match="no column"):
        plant("alone", (features[:, :INPUTS], labels), CLASSES)
    with pytest.raises(UnusableTable, match="needs float32"):
        plant("outlier", (features.astype(np.uint8), labels), CLASSES)


def test_a_claim_is_what_production_would_add_noise_for():
    """The noise of `sound` is the node's own, over all rounds; for `paper` it is what its reader would take."""
    one = claim(replace(JOB, privacy="sound"), 2.0, DELTA, RECORDS, 1, 8)
    ten = claim(replace(JOB, privacy="sound"), 2.0, DELTA, RECORDS, 10, 8)
    assert one.promised
    assert one.plan.job.noise == one.sigma < ten.sigma
    assert 1.99 < ten.plan.epsilon <= 2.0
    paper = claim(replace(JOB, privacy="paper"), 2.0, DELTA, RECORDS, 1, 8)
    assert not paper.promised
    assert 0.5 < paper.sigma < one.sigma
    with pytest.raises(PrivacyRefused, match=f"takes {', '.join(AUDITED)}"):
        claim(replace(JOB, privacy="distributed"), 2.0, DELTA, RECORDS, 1, 8)
