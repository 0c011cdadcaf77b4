"""Clustering as a committee does it: the same groups for everybody, hierarchical means exact, no vote but one."""

from dataclasses import replace
from fractions import Fraction
from math import floor, isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.aggregate import AggregateError, aggregate_blobs
from fl.clustering import ClusteredSettings, clustered, groups_of, work_place
from fl.data import registry
from fl.data.tables import Split
from fl.delta_blob import exact_block, pack_delta
from fl.exact_sums import step_products
from fl.fixed_point import decode, limit_in_steps, pack, unpack
from fl.robust import FACTOR_BITS, Updates
from fl.round import RoundJob, first_model, run_round, served_model
from fl.simulate.federation import Federation, Terms

LIMIT_Q = limit_in_steps(512.0, 20)
N = 60


def wide(*slots):
    return np.concatenate(slots).astype(np.int32)


def changed(base, slot, model):
    update = base.copy()
    update[slot * N : (slot + 1) * N] = model
    return update


def directions(seed, groups, each, noise=0.3, common=0.0, length=4000):
    """Steps of some groups: a direction of the group's, one of all, and noise of the step's own; by group."""
    rng = np.random.default_rng(seed)
    unit = lambda: rng.normal(size=N) / np.sqrt(N)  # noqa: E731
    shared = unit()
    steps = []
    for _ in range(groups):
        own = unit()
        steps.append([np.rint(length * (own + common * shared + noise * unit())) for _ in range(each)])
    return steps


def plain_rule(settings, base, updates, weights):
    """The slow twin of a round in which everybody belongs somewhere: fractions, a coordinate at a time."""
    slots = [work_place(base, update, settings.clusters + 1).start // N for update in updates]
    sent = [update.tolist()[slot * N : (slot + 1) * N] for update, slot in zip(updates, slots, strict=True)]

    def mean(chosen):
        total = sum(weights[at] for at in chosen)
        columns = [sum(weights[at] * sent[at][c] for at in chosen) for c in range(N)]
        return [floor(Fraction(2 * column + total, 2 * total)) for column in columns]

    everybody = mean(range(len(updates)))
    after = [everybody]
    for slot in range(1, settings.clusters + 1):
        members = [at for at, where in enumerate(slots) if where == slot]
        if not members:
            after.append(base.tolist()[slot * N : (slot + 1) * N])
            continue
        others = sum(weights) - sum(weights[at] for at in members)
        factor = (round(settings.mix * 10**6) * others << FACTOR_BITS) // (10**6 * sum(weights))
        drawn = []
        for own, all_ in zip(mean(members), everybody, strict=True):
            size = abs(all_ - own) * factor // 2**FACTOR_BITS
            drawn.append(own + (size if all_ > own else -size))
        after.append(drawn)
    return [q for vector in after for q in vector]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([10, 2**20, LIMIT_Q]))
def test_each_cluster_is_the_mean_of_its_own_drawn_to_the_mean_of_all(seed, mix, most):
    rng = np.random.default_rng(seed)
    rule = ClusteredSettings(clusters=3, mix=mix)
    base = rng.integers(-most, most + 1, 4 * N).astype(np.int32)
    slots = [1, 1, 2, 2, int(rng.integers(0, 4))]
    updates = [changed(base, slot, rng.integers(-most, most + 1, N)) for slot in slots]
    weights = rng.integers(1, 1000, len(slots)).tolist()
    made = clustered(rule, Updates(base, updates, weights, 20, LIMIT_Q))
    assert made.tolist() == plain_rule(rule, base, updates, weights)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 5), st.sampled_from([0.0, 1.0, 3.0]))
def test_groups_are_found_in_whatever_order_the_updates_come(seed, groups, each, common):
    """Also behind a step that all have in common and that is three times as long as what tells them apart."""
    steps = directions(seed, groups, each, 0.3, common)
    base = wide(*[np.zeros(N)] * 5)
    updates = [changed(base, 0, step) for group in steps for step in group]
    weights = [5 + at for at in range(len(updates))]
    rule = ClusteredSettings(clusters=4, gap=0.02, mix=0.0)
    made = clustered(rule, Updates(base, updates, weights, 20, LIMIT_Q))
    order = np.random.default_rng(seed).permutation(len(updates)).tolist()
    again = clustered(rule, Updates(base, [updates[at] for at in order], [weights[at] for at in order], 20, LIMIT_Q))
    assert made.tobytes() == again.tobytes()
    # The heaviest group is the first cluster, and each is the mean of its own.
    for slot in range(1, groups + 1):
        group = steps[groups - slot]
        start = (groups - slot) * each
        total = sum(weights[start : start + each])
        mean = sum(w * step for w, step in zip(weights[start : start + each], group, strict=True)) / total
        assert np.abs(made[slot * N : (slot + 1) * N] - mean).max() <= 0.5
    for slot in range(groups + 1, 5):
        assert made[slot * N : (slot + 1) * N].tobytes() == made[:N].tobytes()


def test_who_all_learn_the_same_are_one_group():
    """Steps that differ by noise alone: no grouping of them is any truer than another."""
    for seed in range(5):
        ((*steps,),) = directions(seed, 1, 8)
        base = np.zeros(N, np.int32)
        products = step_products([(base, step.astype(np.int32)) for step in steps])
        assert groups_of(products, 3, 0.1) == [list(range(8))]


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_are_one_group(count):
    products = [[100 if a == b else -90 for b in range(count)] for a in range(count)]
    assert groups_of(products, 3, 0.0) == [list(range(count))]


def test_steps_of_nothing_are_grouped_with_somebody_and_nothing_is_divided_by_zero():
    assert sorted(at for group in groups_of([[0] * 4] * 4, 2, 0.0) for at in group) == [0, 1, 2, 3]


def plain_groups(products, most):
    """The slow twin of joining: fractions of whole millionths, every pair looked at anew."""
    count = len(products)
    whole = sum(map(sum, products))

    def cosine(a, b):
        def centred(x, y):
            return count**2 * products[x][y] - count * (sum(products[x]) + sum(products[y])) + whole

        dot, lengths = centred(a, b), centred(a, a) * centred(b, b)
        size = isqrt(10**12 * dot * dot // lengths) if lengths else 0
        return size if dot > 0 else -size

    groups, best, last = [[at] for at in range(count)], None, 10**9
    while len(groups) > 1:
        pairs = {}
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                total = sum(cosine(x, y) for x in groups[a] for y in groups[b])
                pairs[a, b] = floor(Fraction(1000 * total, len(groups[a]) * len(groups[b])))
        (a, b), alike = max(pairs.items(), key=lambda item: (item[1], -item[0][0], -item[0][1]))
        if len(groups) <= most and len(groups) < count and (best is None or last - alike >= best[0]):
            best = last - alike, [list(group) for group in groups]
        last = min(last, alike)
        groups[a] = sorted(groups[a] + groups.pop(b))
    return best[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 8), st.integers(2, 4))
def test_joining_equals_the_slow_twin(seed, count, most):
    rng = np.random.default_rng(seed)
    base = np.zeros(6, np.int32)
    steps = [rng.integers(-50, 51, 6).astype(np.int32) for _ in range(count)]
    products = step_products([(base, step) for step in steps])
    assert groups_of(products, most, -3.0 if count else 0.0) == plain_groups(products, most)


def test_a_quarter_of_liars_does_not_keep_the_others_from_being_sorted():
    steps = directions(3, 2, 4)
    base = wide(*[np.zeros(N)] * 3)
    honest = [changed(base, 0, step) for group in steps for step in group]
    liars = [changed(base, 1, np.full(N, 900)) for _ in range(2)]
    rule = ClusteredSettings(clusters=2, mix=0.0)
    sorted_out = clustered(rule, Updates(base, [*honest, *liars], [1] * 10, 20, LIMIT_Q))
    alone = clustered(rule, Updates(base, honest, [1] * 8, 20, LIMIT_Q))
    assert sorted_out[N:].tobytes() == alone[N:].tobytes()


def test_an_update_of_two_clusters_counts_for_one():
    base = wide(*[np.zeros(N)] * 4)
    both = changed(changed(base, 1, np.full(N, 8)), 3, np.full(N, 40))
    rule = ClusteredSettings(clusters=3, mix=0.0)
    others = [changed(base, 1, np.full(N, 4)), changed(base, 2, np.full(N, 6))]
    made = clustered(rule, Updates(base, [both, *others], [1, 1, 1], 20, LIMIT_Q))
    assert [made[slot * N] for slot in range(4)] == [round((40 + 4 + 6) / 3), 4, 6, 40]


def test_quality_and_inspection_look_where_the_work_is():
    """Members of two clusters whose models are far apart: nobody is idle, nobody's noise, a copy is a copy."""
    rng = np.random.default_rng(2)
    base = wide(np.zeros(N), np.full(N, 10**6), np.full(N, -(10**6)))
    common = rng.normal(size=N) * 900

    def near(slot):
        return changed(base, slot, base[slot * N : (slot + 1) * N] + np.rint(common + rng.normal(size=N) * 300))

    updates = [near(1), near(1), near(2), near(2), near(2)]
    idle = base.copy()
    copy = updates[3].copy()
    blobs = [(pack_delta([exact_block(0, base, update)], 3 * N, 20), 7) for update in (*updates, idle, copy)]
    made = aggregate_blobs("clustered", {"clusters": "2"}, pack(base), blobs, 3 * N, 20, LIMIT_Q, inspected=True)
    assert dict(made.rejected) == {
        5: "idle: next to no step",
        3: "copy of another update",
        6: "copy of another update",
    }
    assert all(quality > 500_000 for at, quality in enumerate(made.qualities) if at not in (3, 5, 6))
    # Without the rejected ones it is the round that it would have been without them.
    kept = [blobs[at] for at in (0, 1, 2, 4)]
    assert made.blob == aggregate_blobs("clustered", {"clusters": "2"}, pack(base), kept, 3 * N, 20, LIMIT_Q).blob


def test_a_vector_of_another_number_of_clusters_is_refused():
    blob = pack(np.zeros(3 * N + 1, np.int32))
    with pytest.raises(AggregateError, match="want 3 vectors of one length"):
        aggregate_blobs("clustered", {"clusters": "2"}, blob, [(blob, 1)], 3 * N + 1, 20, LIMIT_Q)


# --- as a strategy

PERMUTED = (np.array([0, 1, 2, 3]), np.array([0, 2, 3, 1]), np.array([0, 3, 1, 2]))


def fleets(groups=3, each=3, records=32):
    """Machines of some kinds, `each` factories a kind with few records; every kind has its own names for faults."""
    clients = []
    for kind in range(groups):
        terms = {"factory": str(kind), "factories": str(groups), "mix": "even", "test_records": "100"}
        whole = registry.load("bearing-simulator", {**terms, "train_records": str(records * each)}, None)
        test = replace(whole.test, labels=PERMUTED[kind][whole.test.labels])
        order = np.random.default_rng(kind).permutation(len(whole.train))
        for at in range(each):
            rows = whole.train.take(order[at * records : (at + 1) * records])
            clients.append(Split(replace(rows, labels=PERMUTED[kind][rows.labels]), test))
    return clients


TERMS = Terms("mlp", 12, 20, 32, 0.05, 0.8, {"layers": "8,50,50,4"})


def course_of(clients, **changes):
    with Federation(replace(TERMS, **changes), clients, clients[0].test, 1) as federation:
        return federation.run()


def test_where_one_model_for_all_fails_each_kind_of_machine_gets_its_own():
    """Three kinds of machines, three factories each with 32 records: one model cannot please all, one record set is
    too little for a model, and a kind's records together are enough."""
    clients = fleets()
    of_all = course_of(clients, strategy="fedavg", strategy_settings={"serve": "global"})
    alone = course_of(clients, strategy="local-only")
    by_kind = course_of(clients, strategy="clustered", strategy_settings={"serve": "cluster"})
    assert of_all.mean_own_accuracy() < 0.75
    assert by_kind.mean_own_accuracy() > alone.mean_own_accuracy() + 0.02
    assert by_kind.mean_own_accuracy() > of_all.mean_own_accuracy() + 0.15
    # A factory sends one of the four models, as changes.
    up, down = by_kind.rounds[-1].bytes_up, by_kind.rounds[-1].bytes_down
    assert up < down / 6


def test_where_all_machines_are_of_one_kind_it_is_federated_averaging_to_the_bit():
    clients = fleets(groups=1, each=4)
    plain = course_of(clients, rounds=5)
    grouped = course_of(clients, rounds=5, strategy="clustered")
    assert grouped.model[: len(plain.model)].tobytes() == plain.model.tobytes()


def job(number, **settings):
    terms = {"clusters": "2", "warmup": "1"} | settings
    return RoundJob(
        "mlp", 1, 16, 0.05, 0.5, number, 3, "clustered", arguments={"layers": "8,6,4"}, strategy_settings=terms
    )


def table(seed, records=64):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(records, 8)).astype(np.float32), rng.integers(0, 4, records).astype(np.int64)


def test_a_factory_goes_on_with_the_cluster_that_lies_nearest_to_its_last_upload():
    base = first_model(job(0), 1)
    count = len(base) // 3
    assert (base[:count] == base[count : 2 * count]).all()
    first = run_round(job(0), table(1), None, base, None)
    assert (first.update_q[count:] == base[count:]).all()
    far = np.clip(base[:count].astype(np.int64) + 300_000, -LIMIT_Q, LIMIT_Q)
    after = wide(base[:count], far, first.update_q[:count] + 5)
    second = run_round(job(1), table(1), None, after, first.state)
    assert (second.update_q[: 2 * count] == after[: 2 * count]).all()
    assert (second.update_q[2 * count :] != after[2 * count :]).any()
    blob = second.blob(20)
    assert len(blob) < len(pack(after)) / 3
    served = served_model(job(1, serve="cluster"), after, first.state)
    assert served.vector.tobytes() == decode(after[2 * count :]).tobytes()
    # Who has nothing of its own yet, or lost it, is served the model of all and trains from it.
    assert served_model(job(1), after, None).vector.tobytes() == decode(after[:count]).tobytes()
    stranger = run_round(job(1), table(2), None, after, b"damaged")
    assert (stranger.update_q[count:] == after[count:]).all()
    assert stranger.diagnostics.warnings


def test_the_blob_of_a_round_is_again_a_global_vector():
    base = first_model(job(0), 1)
    blobs = [(run_round(job(0), table(at), None, base, None).blob(20), 64) for at in range(3)]
    settings_of = {"clusters": "2", "mix": "0.2", "gap": "0.1"}
    made = aggregate_blobs("clustered", settings_of, pack(base), blobs, len(base), 20, LIMIT_Q, inspected=True)
    assert made.rejected == ()
    assert len(unpack(made.blob, len(base), 20, LIMIT_Q)) == len(base)
