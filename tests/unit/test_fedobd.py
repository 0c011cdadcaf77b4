"""FedOBD: which blocks are sent, how they are rounded, and that what arrives is what its sender counts with."""

from dataclasses import replace
from math import floor, log, prod, sqrt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fl.data.tables import Split, Table
from fl.delta_blob import read_delta, unpack_update
from fl.fixed_point import decode, limit_in_steps, pack
from fl.models.shapes import parameter_shapes
from fl.privacy.secure_random import SecureRandom
from fl.round import RoundJob, first_model, run_round
from fl.rounding import levels, levels_of_bits, rounded_block
from fl.semantic_blocks import most_changed, semantic_blocks
from fl.simulate.federation import Federation, Terms
from fl.strategies.base import Layout, StrategyError
from fl.strategies.own_model import own_model
from fl.strategies.registry import strategy
from tests.support.strategies import view

LIMIT_Q = limit_in_steps(512.0, 20)
MLP = parameter_shapes("mlp", {"layers": "8,150,150,4"})
LSTM = (
    ("embedding.weight", (30, 8)),
    ("lstm.weight_ih_l0", (64, 8)),
    ("lstm.weight_hh_l0", (64, 16)),
    ("lstm.bias_ih_l0", (64,)),
    ("lstm.weight_ih_l1", (64, 16)),
    ("head.weight", (30, 16)),
    ("head.bias", (30,)),
    ("scale", ()),
)


@pytest.mark.parametrize("shapes", [MLP, LSTM])
@pytest.mark.parametrize("largest", [1.0, 0.3, 0.1, 0.01])
def test_blocks_are_all_of_the_model_and_none_overlap(shapes, largest):
    count = sum(prod(shape) for _, shape in shapes)
    blocks = semantic_blocks(shapes, largest)
    assert sorted(at for block in blocks for start, stop in block.runs for at in range(start, stop)) == [*range(count)]
    rows = max(prod(shape[1:]) for _, shape in shapes if shape)
    # A group of units is as near to the wanted size as whole units of each of its tensors go.
    assert all(block.count <= largest * count + 4 * rows for block in blocks)


def test_a_layer_is_a_block_and_a_large_one_is_cut_by_its_units():
    assert [block.name for block in semantic_blocks(MLP, 1.0)] == ["layers.0", "layers.1", "layers.2"]
    assert [block.name for block in semantic_blocks(LSTM, 1.0)] == ["embedding", "lstm.l0", "lstm.l1", "head", "scale"]
    cut = [block for block in semantic_blocks(MLP, 0.2) if block.name.startswith("layers.1")]
    first = 8 * 150 + 150
    # Weights and biases of the same thirty units.
    assert cut[1].runs == ((first + 30 * 150, first + 60 * 150), (first + 150 * 150 + 30, first + 150 * 150 + 60))
    assert len(cut) == 5


def plain_choice(blocks, base, update, drop):
    """Algorithm 2 of the paper, with numbers of Python."""
    changed = [
        sqrt(sum((int(update[at]) - int(base[at])) ** 2 for start, stop in block.runs for at in range(start, stop)))
        / block.count
        for block in blocks
    ]
    budget, used, chosen = (1 - drop) * sum(block.count for block in blocks), 0, []
    for at in sorted(range(len(blocks)), key=lambda at: -changed[at]):
        if used + blocks[at].count <= budget or not chosen:
            used, chosen = used + blocks[at].count, [*chosen, at]
    return [blocks[at].name for at in sorted(chosen)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.6, 0.95]), st.sampled_from([1.0, 0.2]))
@example(23824790, 0.0, 0.2)
def test_the_most_changed_blocks_that_fit_are_sent(seed, drop, largest):
    rng = np.random.default_rng(seed)
    count = sum(prod(shape) for _, shape in LSTM)
    base = rng.integers(-1000, 1000, count).astype(np.int32)
    blocks = semantic_blocks(LSTM, largest)
    update = base.copy()
    for block in blocks:
        for start, stop in block.runs:
            update[start:stop] += rng.integers(-int(rng.integers(1, 900)), 900, stop - start).astype(np.int32)
    chosen = most_changed(blocks, base, update, drop)
    assert [block.name for block in chosen] == plain_choice(blocks, base, update, drop)
    if drop == 0.0:
        # A block that did not change at all too: the one coordinate of "scale" may get back the number it had.
        assert list(chosen) == list(blocks)


def test_levels_are_those_of_the_paper():
    for largest in (1e-6, 0.001, 0.02, 0.5, 3.0):
        for weight in (1e-4, 0.001, 0.1):
            assert levels(largest, weight) == floor(max(sqrt(log(4) * 32 / weight * largest), 1))
    assert [levels_of_bits(bits) for bits in (2, 4, 8)] == [1, 7, 127]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([50, 5000, 2**29]))
def test_rounding_is_to_the_nearest_level_and_never_leaves_the_limit(seed, most, reach):
    rng = np.random.default_rng(seed)
    base = rng.integers(-LIMIT_Q, LIMIT_Q + 1, 40)
    update = np.clip(base + rng.integers(-reach, reach + 1, 40), -LIMIT_Q, LIMIT_Q).astype(np.int32)
    base = base.astype(np.int32)
    block = rounded_block(3, base, update, most, LIMIT_Q)
    change = update.astype(np.int64) - base
    largest = int(np.abs(change).max())
    assert block.step == (1 if largest <= most else -(-largest // most))
    led_to = base + block.values.astype(np.int64) * block.step
    assert np.abs(led_to).max() <= LIMIT_Q
    off = np.abs(led_to - update)
    inside = np.abs(update) < LIMIT_Q - block.step
    assert (2 * off[inside] <= block.step).all()
    assert (off <= block.step).all()
    assert np.abs(block.values).max() <= most


def table(seed=1, records=300):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, records)
    features = rng.normal(size=(records, 8)).astype(np.float32)
    features[np.arange(records), labels] += 3
    return features, labels.astype(np.int64)


JOB = RoundJob("mlp", 3, 16, 0.05, 0.8, 0, 5, strategy="fedobd", arguments={"layers": "8,150,150,4"})


def test_what_arrives_is_what_its_sender_goes_on_with():
    base = first_model(JOB, 1)
    outcome = run_round(JOB, table(), None, base, None)
    blob = outcome.blob(20)
    assert (unpack_update(blob, base, 20, LIMIT_Q) == outcome.update_q).all()
    assert own_model(outcome.state, len(base)).vector.tobytes() == decode(outcome.update_q).tobytes()
    dense = run_round(replace(JOB, strategy="fedavg"), table(), None, base, None)
    assert len(dense.blob(20)) == len(pack(base))
    # Three tenths stay at home, the rest takes some 6 bits in place of 32.
    assert len(blob) < 0.2 * len(dense.blob(20))
    sent = np.zeros(len(base), bool)
    for block in read_delta(blob, len(base), 20):
        sent[block.start : block.start + len(block.values)] = True
        step = np.abs(outcome.update_q[sent].astype(np.int64) - dense.update_q[sent])
        assert step.max() <= max(each.step for each in read_delta(blob, len(base), 20)) / 2 + 1
    assert 0.6 < sent.mean() <= 0.7
    assert (outcome.update_q[~sent] == base[~sent]).all()


def test_in_the_second_stage_an_epoch_is_trained_and_nothing_is_left_out():
    base = first_model(JOB, 1)
    job = replace(JOB, strategy_settings={"second_stage": "2"})
    first, second = (run_round(replace(job, round_number=number), table(), None, base, None) for number in (0, 1))
    assert (first.metrics.steps, second.metrics.steps) == (3 * 19, 19)
    assert sum(len(block.values) for block in second.changes) == len(base)
    assert sum(len(block.values) for block in first.changes) <= 0.7 * len(base)


def test_with_a_guarantee_blocks_are_chosen_of_what_noise_has_covered():
    """The same noise, sent whole and in blocks: the blocks are a function of the whole, and of no record beside it."""
    terms = {"epsilon": "4", "delta": "1e-5"}
    job = replace(JOB, privacy="sound", privacy_settings=terms, noise=1.5, epochs=1)
    base = first_model(job, 1)
    sent = run_round(job, table(), None, base, None, random=SecureRandom(3))
    whole = run_round(replace(job, strategy="fedavg"), table(), None, base, None, random=SecureRandom(3))
    rule = strategy("fedobd", {})
    seen = view(decode(base), None, 0, layout=Layout(MLP))
    again = rule.changes(seen, base, whole.update_q, 20, LIMIT_Q)
    assert [(each.start, each.values.tolist()) for each in again] == [
        (each.start, each.values.tolist()) for each in sent.changes
    ]


def test_a_federation_that_sends_less_learns_as_much():
    """Five clients, eight rounds: a sixth of the bytes, the accuracy of all of them."""
    tables = [Table(*table(seed), ("a", "b", "c", "d")) for seed in range(6)]
    clients = [Split(each, tables[5]) for each in tables[:5]]
    found = {}
    for name in ("fedavg", "fedobd"):
        terms = Terms("mlp", 8, 2, 32, 0.02, 0.5, {"layers": "8,60,60,4"}, strategy=name)
        with Federation(terms, clients, tables[5], 1) as federation:
            course = federation.run()
        found[name] = course.mean_accuracy(), sum(each.bytes_up for each in course.rounds)
    assert found["fedobd"][1] < found["fedavg"][1] / 6
    assert found["fedobd"][0] > found["fedavg"][0] - 0.02 > 0.85


def test_bits_without_a_sign_are_refused():
    with pytest.raises(StrategyError, match="bits is '1'"):
        strategy("fedobd", {"bits": "1"})
    with pytest.raises(StrategyError, match="drop is '1'"):
        strategy("fedobd", {"drop": "1"})
