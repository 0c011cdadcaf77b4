"""Federations in one process: the league's own pieces, one seed one course, attackers that do what they say."""

from dataclasses import replace

import numpy as np
import pytest

from fl.aggregate import aggregate_blobs
from fl.data.errors import DataError
from fl.data.tables import Split, Table
from fl.draws import order_of
from fl.fixed_point import limit_in_steps, pack, unpack
from fl.round import RoundJob, initial_model, run_round
from fl.simulate.attacks import ATTACKS, AttackError, Seen, attack
from fl.simulate.comparing import compare_rules
from fl.simulate.federation import Federation, Terms
from fl.simulate.scenarios import SCENARIOS, clients_of, scenario, with_terms
from fl.threads import one_thread

TERMS = Terms("mlp", rounds=3, epochs=2, batch=16, lr=0.1, momentum=0.5, arguments={"layers": "6,12,3"})
LIMIT_Q = limit_in_steps(512.0, 20)


def blobs_of_classes(seed, records):
    """Three clouds of points: learned in a few rounds, and not by guessing."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(3, 6))
    labels = rng.integers(0, 3, records)
    features = (centres[labels] + 0.7 * rng.normal(size=(records, 6))).astype(np.float32)
    return Table(features, labels.astype(np.int64), ("a", "b", "c"))


def factories(count, records=80):
    test = blobs_of_classes(99, 300)
    return [Split(blobs_of_classes(at, records), test) for at in range(count)], test


def federation(count=6, seed=1, cheating=(), how=None, **terms):
    clients, test = factories(count)
    return Federation(replace(TERMS, **terms), clients, test, seed, how, cheating)


def test_a_round_is_what_a_league_would_make_of_it():
    """Bit for bit the mean of the updates that each client's own `run_round` gives."""
    ours = federation(count=3)
    course = ours.run()
    base, states = initial_model("mlp", TERMS.arguments, 1), [None] * 3
    with one_thread():
        for number in range(TERMS.rounds):
            outcomes = []
            for client in range(3):
                table = ours._cohort.tables[client]
                job = RoundJob("mlp", 2, 16, 0.1, 0.5, number, order_of(1, client), arguments=TERMS.arguments)
                outcomes.append(run_round(job, table, None, base, states[client]))
                states[client] = outcomes[-1].state
            updates = [(pack(each.update_q), 80) for each in outcomes]
            blob = aggregate_blobs("mean", {}, pack(base), updates, len(base), 20, LIMIT_Q).blob
            base = unpack(blob, len(base), 20, LIMIT_Q)
    assert course.model.tobytes() == base.tobytes()
    assert course.rounds[-1].accuracy > 0.8


def test_one_seed_is_one_course_and_another_another():
    first, again, other = (federation(seed=seed, rounds=2).run() for seed in (1, 1, 2))
    assert first.model.tobytes() == again.model.tobytes()
    assert first.rounds == again.rounds
    assert first.model.tobytes() != other.model.tobytes()


def test_sound_mode_trains_with_the_noise_that_its_promise_costs():
    sound = {"privacy": "sound", "privacy_settings": {"epsilon": "8"}, "rounds": 2}
    first, again = federation(count=2, **sound), federation(count=2, **sound)
    assert first._cohort.sigma(0) > 0.3
    model = first.run().model.tobytes()
    assert again.run().model.tobytes() == model
    assert federation(count=2, rounds=2).run().model.tobytes() != model


def seen_of(clients=5, attackers=(3, 4), previous=True):
    rng = np.random.default_rng(3)
    base = rng.integers(-1000, 1000, 500).astype(np.int32)
    trained = {client: base + rng.integers(1, 900, 500).astype(np.int32) for client in range(clients)}
    before = base - 10 if previous else None
    return Seen(base, before, trained, attackers, LIMIT_Q, np.random.default_rng(4))


def test_attackers_send_what_they_say_they_do():
    seen = seen_of()
    base = seen.base.astype(np.int64)
    assert attack("label-flip").uploads(seen)[3] is seen.trained[3]
    flipped = attack("sign-flip", "2").uploads(seen)[4]
    assert (flipped - base).tolist() == (-2 * (seen.trained[4].astype(np.int64) - base)).tolist()
    honest = np.stack([seen.trained[client] for client in (0, 1, 2)]).astype(float)
    little = attack("little-is-enough", "1.5").uploads(seen)
    wanted = honest.mean(0) - 1.5 * honest.std(0)
    assert [np.linalg.norm(each - wanted) / np.linalg.norm(wanted - base) for each in little.values()] == pytest.approx(
        [0.05, 0.05], rel=0.1
    )
    assert little[3].tolist() != little[4].tolist()
    rider = attack("free-rider", "0.0001").uploads(seen)[3]
    assert np.abs(rider - base - 10).max() <= 1
    idle = attack("free-rider").uploads(seen_of(previous=False))[3]
    assert idle.tolist() == base.tolist()
    copied = attack("copier", "0.001").uploads(seen)
    assert np.abs(copied[3] - seen.trained[0]).max() < 10 < np.abs(copied[3] - seen.trained[1]).max()
    lengths = [np.linalg.norm(seen.trained[client] - base) for client in (0, 1, 2)]
    assert np.linalg.norm(attack("noise").uploads(seen)[3] - base) == pytest.approx(np.median(lengths), rel=0.01)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leaves_what_the_encoding_allows(name):
    seen = seen_of()
    seen.trained[3][:] = LIMIT_Q
    wild = Seen(seen.base, seen.base - LIMIT_Q, seen.trained, (3, 4), LIMIT_Q, np.random.default_rng(1))
    for sent in attack(name, "1000").uploads(wild).values():
        assert sent.dtype == np.int32
        assert int(np.abs(sent.astype(np.int64)).max()) <= LIMIT_Q


def test_labels_are_flipped_for_attackers_only():
    how = attack("label-flip")
    ours = federation(count=3, cheating=(2,), how=how)
    clients, _ = factories(3)
    assert ours._cohort.tables[0][1].tolist() == clients[0].train.labels.tolist()
    assert ours._cohort.tables[2][1].tolist() == (2 - clients[2].train.labels).tolist()


@pytest.mark.parametrize("rule", ["trimmed-mean", "median", "multi-krum"])
def test_two_of_seven_that_flip_signs_ruin_the_mean_and_not_the_rule(rule):
    clients, test = factories(7)
    terms = replace(TERMS, rule=rule)
    runs = {run.title: run for run in compare_rules(terms, clients, test, 1, attack("sign-flip", "5"), (5, 6))}
    calm, hit = runs["mean"].course, runs["mean, sign-flip"].course
    held = runs[f"{rule}, inspected, sign-flip"].course
    assert calm.accuracy > 0.8
    assert hit.accuracy < 0.6
    assert held.accuracy > calm.accuracy - 0.07
    assert runs[f"{rule}, inspected"].course.accuracy > calm.accuracy - 0.05


@pytest.mark.parametrize(("name", "reason"), [("free-rider", "repeats"), ("copier", "copy"), ("noise", "noise")])
def test_who_does_not_train_is_rejected_and_who_does_is_not(name, reason):
    # Wide enough that a cosine which noise never has is one that honest steps have.
    wide = {"arguments": {"layers": "6,64,64,3"}, "batch": 32, "rounds": 3, "inspected": True}
    results = federation(count=6, cheating=(5,), how=attack(name), **wide).run().rounds
    assert all(5 in result.rejected for result in results)
    assert reason in results[-1].rejected[5]
    # Whom a copier copied is rejected with it: its update cannot have got out but through its owner.
    others = {0} if name == "copier" else set()
    assert all(result.rejected.keys() == {5, *others} for result in results)


def test_a_round_of_nothing_but_free_riders_is_void():
    course = federation(count=3, rounds=1, cheating=(0, 1, 2), how=attack("free-rider"), inspected=True).run()
    assert set(course.rounds[0].rejected) == {0, 1, 2}
    assert course.model.tobytes() == initial_model("mlp", TERMS.arguments, 1).tobytes()


def test_what_cannot_be_simulated_is_said():
    with pytest.raises(AttackError, match="unknown attack 'magic', want one of label-flip"):
        attack("magic")
    with pytest.raises(AttackError, match="strength is 'much'"):
        attack("noise", "much")
    with pytest.raises(AttackError, match="of 3 clients"):
        federation(count=3, cheating=(3,), how=attack("noise"))
    with pytest.raises(AttackError, match="of 3 clients"):
        federation(count=3, cheating=(2,))
    with pytest.raises(AttackError, match="want two to deviate from"):
        attack("little-is-enough").uploads(seen_of(3, (1, 2)))
    with pytest.raises(DataError, match="want one of cwru, mnist, bearings"):
        scenario("magic")
    with pytest.raises(DataError, match="0 clients"):
        clients_of(SCENARIOS["bearings"], None, 0, None, 1)


def test_clients_differ_by_site_or_share_what_all_have():
    chosen = replace(SCENARIOS["bearings"], settings={"train_records": "40", "test_records": "20"})
    sites, test = clients_of(chosen, None, 3, None, 1)
    assert [len(site.train) for site in sites] == [40] * 3
    assert len(test) == 60
    divided, same = clients_of(chosen, None, 3, "class(2)", 1)
    assert {int((split.train.class_counts() > 0).sum()) for split in divided} == {2}
    assert same.labels.tolist() == test.labels.tolist()


def test_terms_are_the_scenarios_where_nothing_else_is_said():
    assert with_terms(SCENARIOS["mnist"], rounds=3, rule=None) == replace(SCENARIOS["mnist"].terms, rounds=3)
