"""What a simulated federation tells, and that it can be stopped and taken up again."""

import math
import struct
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from fl.aggregate import aggregate_blobs
from fl.batches import as_records
from fl.data.tables import Split, join
from fl.draws import order_of
from fl.evaluate import evaluate, own_accuracy
from fl.fixed_point import decode, limit_in_steps, pack, unpack
from fl.models.registry import build
from fl.round import RoundJob, initial_model, run_round, served_model
from fl.simulate.attacks import AttackError, attack
from fl.simulate.checkpoint import Checkpoint, CheckpointError
from fl.simulate.engines.inline import Inline
from fl.simulate.federation import Federation
from fl.simulate.participation import participants
from fl.simulate.terms import SimulationError
from fl.threads import one_thread
from node.network.blob_store import blob_digest
from tests.support.federations import TERMS, clouds, factories, federation

LIMIT_Q = limit_in_steps(512.0, 20)


def by_hand(seed, count, chosen_of, rounds, strategy):
    """The same federation written out: clients one after the other, the committee's sum, the served models."""
    clients, test = factories(count, mixed=False)
    model = build("mlp", TERMS.arguments, 0)
    tests = as_records(test.features, test.labels)
    base, states = initial_model("mlp", TERMS.arguments, seed), [None] * count
    seen = []
    with one_thread():
        for number in range(rounds):
            updates = []
            for client in chosen_of(number):
                table = clients[client].train
                jobs = RoundJob(
                    "mlp", 2, 16, 0.1, 0.5, number, order_of(seed, client), strategy, arguments=TERMS.arguments
                )
                outcome = run_round(jobs, (table.features, table.labels), None, base, states[client])
                states[client] = outcome.state
                updates.append((pack(outcome.update_q), outcome.weight))
            blob = aggregate_blobs("mean", {}, pack(base), updates, len(base), 20, LIMIT_Q).blob
            base = unpack(blob, len(base), 20, LIMIT_Q)
            evaluation = evaluate(model, tests, decode(base))
            own, own_global = [], []
            for client in range(count):
                counts = clients[client].train.class_counts()
                table = clients[client].train
                vector = served_model(jobs, base, states[client], (table.features, table.labels)).vector
                own.append(own_accuracy(evaluate(model, tests, vector), counts))
                own_global.append(own_accuracy(evaluation, counts))
            seen.append((blob, evaluation.accuracy, own, own_global))
    return seen


@pytest.mark.parametrize(("strategy", "per_round"), [("fedavg", 0), ("dlmu", 3)])
def test_a_simulated_round_is_what_nodes_would_make_of_it(strategy, per_round):
    def chosen(number):
        return participants(4, number, 5, per_round)

    ours = federation(5, 4, mixed=False, strategy=strategy, per_round=per_round)
    results = ours.run().rounds
    for result, (blob, accuracy, own, own_global) in zip(results, by_hand(4, 5, chosen, 3, strategy), strict=True):
        assert result.digest == blob_digest(blob).hex()
        assert result.accuracy == accuracy
        assert result.own == pytest.approx(own, abs=1e-12)
        assert result.own_global == pytest.approx(own_global, abs=1e-12)
        assert [each.client for each in result.clients] == list(chosen(result.number - 1))
        assert result.bytes_up == sum(each.bytes_up for each in result.clients) == len(blob) * len(result.clients)
        assert result.bytes_down == result.bytes_up
    assert results[-1].own_accuracy > results[-1].own_global_accuracy


def test_who_takes_part_follows_from_the_seed_and_the_round_alone():
    rounds = [participants(1, number, 100, 10) for number in range(200)]
    assert rounds[17] == participants(1, 17, 100, 10)
    assert rounds[17] != participants(2, 17, 100, 10)
    assert all(len(set(each)) == 10 and list(each) == sorted(each) for each in rounds)
    times = np.bincount(np.concatenate(rounds), minlength=100)
    # 20 expected, deviation 4.2: ten of them would be a client that is forgotten or preferred.
    assert times.min() > 4
    assert times.max() < 40
    assert participants(1, 0, 3, 0) == participants(1, 0, 3, 3) == (0, 1, 2)


def test_an_order_that_a_request_names_is_that_of_the_clients():
    own, told = federation(3, 5, rounds=1).run(), federation(3, 5, rounds=1, order_seed=5).run()
    assert own.rounds == told.rounds
    seeds = [order_of(8, at) for at in range(3)]
    other = federation(3, 5, rounds=1, order_seed=8).run()
    assert other.rounds == federation(3, 5, rounds=1, more={"batch_seeds": seeds}).run().rounds
    assert other.rounds != own.rounds


def test_testing_more_seldom_changes_no_model_and_the_last_round_is_always_tested():
    every, third = federation(rounds=4).run(), federation(rounds=4, evaluate_every=3).run()
    assert [each.digest for each in every.rounds] == [each.digest for each in third.rounds]
    assert [each.accuracy is None for each in third.rounds] == [True, True, False, False]
    assert third.rounds[0].own == ()
    assert third.rounds[2] == every.rounds[2]
    assert [each.number for each in third.tested] == [3, 4]
    assert third.accuracy == (every.rounds[2].accuracy + every.rounds[3].accuracy) / 2


def test_clients_with_test_records_of_their_own_are_tested_on_those():
    tests = [clouds(200 + at, 50) for at in range(3)]
    clients = [Split(clouds(at, 80), tests[at]) for at in range(3)]
    ours = Federation(replace(TERMS, rounds=1), clients, clouds(99, 300), 1)
    result = ours.run().rounds[0]
    model = build("mlp", TERMS.arguments, 0)
    wanted = [evaluate(model, as_records(each.features, each.labels), decode(ours.base)).accuracy for each in tests]
    assert list(result.own_global) == wanted


def test_what_noise_costs_is_counted_for_those_who_took_part():
    told = {"privacy": "sound", "privacy_settings": {"epsilon": "8"}, "batch": 32, "epochs": 1}
    ours = federation(3, per_round=1, rounds=4, **told)
    results = ours.run().rounds
    times = [0, 0, 0]
    for result in results:
        times[result.clients[0].client] += 1
        costs = [ours._cohort.costs[at].epsilon(times[at]) for at in range(3) if times[at]]
        assert result.epsilon == max(costs)
    assert max(times) >= 2
    # Noise is chosen for all rounds; who took part in some has spent less.
    assert results[-1].epsilon < 8.0
    assert federation(2, rounds=1).run().rounds[0].epsilon is None


def test_a_course_goes_on_from_a_checkpoint_to_the_same_bits():
    told = {"strategy": "dlmu", "per_round": 4, "rounds": 5, "mixed": False}
    whole = federation(6, 3, **told).run()
    first = federation(6, 3, **told)
    early = [first.round(0), first.round(1)]
    data = first.checkpoint().to_bytes()
    clients, test = factories(6, mixed=False)
    terms = replace(TERMS, strategy="dlmu", per_round=4, rounds=5)
    second = Federation(terms, clients, test, 3, checkpoint=Checkpoint.from_bytes(data))
    assert second.rounds_done == 2
    assert second.checkpoint().to_bytes() == data
    late = second.run()
    assert (*early, *late.rounds) == whole.rounds
    assert late.model.tobytes() == whole.model.tobytes()


def test_a_checkpoint_of_something_else_is_refused_with_what_differs():
    ours = federation(3, 1)
    ours.round(0)
    checkpoint = Checkpoint.from_bytes(ours.checkpoint().to_bytes())
    clients, test = factories(3)

    def restored(seed=1, table=clients, **terms):
        return Federation(replace(TERMS, **terms), table, test, seed, checkpoint=checkpoint)

    assert restored(evaluate_every=2, rounds=7).rounds_done == 1
    with pytest.raises(CheckpointError, match=r"with epochs 2 \(want 3\), lr 0.1 \(want 0.2\)$"):
        restored(epochs=3, lr=0.2)
    with pytest.raises(CheckpointError, match=r"seed 1 \(want 2\)"):
        restored(seed=2)
    with pytest.raises(CheckpointError, match="other records"):
        restored(table=factories(3, records=70)[0])
    with pytest.raises(CheckpointError, match="other records"):
        restored(table=factories(4)[0][1:])
    two = Checkpoint.from_bytes(federation(2, 1).checkpoint().to_bytes())
    with pytest.raises(CheckpointError, match=r"with clients 2 \(want 3\)$"):
        Federation(TERMS, clients, test, 1, checkpoint=two)
    told = Checkpoint.from_bytes(federation(3, 1, more={"batch_seeds": [1, 2, 3]}).checkpoint().to_bytes())
    with pytest.raises(CheckpointError, match=r"batch_seeds '\w{16}' \(want None"):
        Federation(TERMS, clients, test, 1, checkpoint=told)


def test_a_refused_checkpoint_leaves_no_engine_at_work():
    class Watched(Inline):
        closed = False

        def close(self):
            self.closed = True

    clients, test = factories(3)
    two, engine = federation(2, 1).checkpoint(), Watched()
    with pytest.raises(CheckpointError):
        Federation(TERMS, clients, test, 1, engine=engine, checkpoint=two)
    assert engine.closed


def test_every_damaged_checkpoint_is_refused():
    ours = federation(3, 1, strategy="dlmu")
    ours.round(0)
    data = ours.checkpoint().to_bytes()
    rng = np.random.default_rng(1)
    for place in [0, 3, 4, 7, 8, 60, len(data) - 1, *rng.integers(0, len(data), 60).tolist()]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(CheckpointError):
            Checkpoint.from_bytes(bytes(damaged))
    for length in (0, 3, 8, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(CheckpointError, match=r"ends within|damaged"):
            Checkpoint.from_bytes(data[:length])
    with pytest.raises(CheckpointError, match="follows"):
        Checkpoint.from_bytes(data + b"\0")


@pytest.mark.parametrize("size", [2**38, 2**62, 2**64 - 1])
def test_a_checkpoint_cannot_ask_for_more_memory_than_it_has_bytes(tmp_path, size):
    head = msgpack.packb(["{}", "", 1, [0], size, 0, []])
    (tmp_path / "checkpoint").write_bytes(b"HQC1" + struct.pack("<I", len(head)) + head + b"few")
    with (
        (tmp_path / "checkpoint").open("rb") as source,
        pytest.raises(CheckpointError, match=f"ends within the global model: 3 bytes, want {size}"),
    ):
        Checkpoint.read(source)


def test_an_attacked_federation_is_restored_with_its_attackers():
    def ours():
        return federation(5, 2, attack("sign-flip"), (4,), per_round=4)

    whole, first = ours().run(), ours()
    first.round(0)
    clients, test = factories(5)
    terms = replace(TERMS, per_round=4)
    kept = Checkpoint.from_bytes(first.checkpoint().to_bytes())
    second = Federation(terms, clients, test, 2, attack("sign-flip"), (4,), checkpoint=kept)
    assert second.run().rounds == whole.rounds[1:]
    with pytest.raises(CheckpointError, match="attack"):
        Federation(terms, clients, test, 2, checkpoint=kept)


def test_what_no_federation_can_have_is_refused():
    with pytest.raises(SimulationError, match="7 clients a round of 6"):
        federation(6, per_round=7)
    with pytest.raises(SimulationError, match="0 rounds"):
        replace(TERMS, rounds=0)
    with pytest.raises(SimulationError, match="2 batch seeds for 3 clients"):
        federation(3, more={"batch_seeds": [1, 2]})
    ours = federation(3)
    with pytest.raises(SimulationError, match=r"round 1 \(from 0\) of a federation that has done 0"):
        ours.round(1)
    ours.run()
    assert ours.run().rounds == ()
    assert math.isnan(ours.run().accuracy)


def test_pooled_records_are_trained_on_in_one_place_and_each_client_is_tested_on_its_own():
    clients, test = factories(4, mixed=False)
    ours = federation(4, 2, mixed=False, strategy="centralised", rounds=2)
    results = ours.run().rounds
    pooled = [Split(join([each.train for each in clients]), test)]
    alone = Federation(replace(TERMS, rounds=2), pooled, test, 2).run()
    assert ours.base.tobytes() == alone.model.tobytes()
    assert [each.accuracy for each in results] == [each.accuracy for each in alone.rounds]
    assert [(len(each.clients), each.clients[0].records) for each in results] == [(1, len(pooled[0].train))] * 2
    assert len(results[0].own) == 4
    assert results[0].own == results[0].own_global
    assert results[0].bytes_up == results[0].bytes_down == 0
    assert ours.served(3).is_global
    with pytest.raises(SimulationError, match="2 clients a round, but strategy centralised pools all records"):
        federation(4, strategy="centralised", per_round=2)
    with pytest.raises(AttackError, match="in which nobody sends an update"):
        federation(4, attack=attack("sign-flip"), attackers=(3,), strategy="centralised")


def test_who_trains_alone_serves_its_own_model_and_sends_nothing():
    ours = federation(3, 2, mixed=False, strategy="local-only", inspected=True)
    first, results = ours.base.copy(), ours.run().rounds
    assert ours.base.tobytes() == first.tobytes()
    assert results[-1].bytes_up == results[-1].bytes_down == 0
    assert results[-1].rejected == {}
    assert results[-1].own_accuracy > results[-1].own_global_accuracy + 0.2
    assert results[-1].own_accuracy > results[0].own_accuracy


def test_wide_vectors_are_judged_by_the_model_in_them():
    ours = federation(3, 2, strategy="scaffold")
    results = ours.run().rounds
    assert len(ours.base) == 2 * len(ours.model)
    assert results[-1].accuracy > 0.8
    assert results[-1].clients[0].bytes_up == 16 + 4 * len(ours.base)
