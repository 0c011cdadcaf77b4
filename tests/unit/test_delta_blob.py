"""Updates as changes to the round's base: exact, bounded, and one reading for everybody."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.aggregate import RULES, aggregate_blobs
from fl.delta_blob import (
    BLOCKS_MAX,
    HEAD,
    LINE,
    PIECE,
    Block,
    apply_delta,
    bits_for,
    delta_bytes,
    exact_block,
    is_delta,
    pack_delta,
    read_delta,
    unpack_update,
)
from fl.fixed_point import InvalidVector, pack

LIMIT_Q = 2**29


def plain_bits(values, bits):
    """The slow twin: one big number, the first value in its lowest bits."""
    number = sum((int(value) % 2**bits) << (bits * at) for at, value in enumerate(values))
    return number.to_bytes(-(-len(values) * bits // 8), "little")


def block(start, values, step=1, bits=None):
    values = np.array(values, np.int32)
    return Block(start, values, step, bits if bits is not None else bits_for(values))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_width_is_written_as_the_plain_twin_writes_it_and_read_back(data):
    bits = data.draw(st.integers(2, 32))
    values = data.draw(st.lists(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), min_size=1, max_size=40))
    blob = pack_delta([block(3, values, 7, bits)], 50, 20)
    assert blob[HEAD.size + LINE.size :] == plain_bits(values, bits)
    assert len(blob) == delta_bytes([block(3, values, 7, bits)])
    (read,) = read_delta(blob, 50, 20)
    assert (read.start, read.step, read.bits, read.values.tolist()) == (3, 7, bits, values)


def test_a_block_of_many_pieces_is_read_as_it_was_written():
    values = np.random.default_rng(1).integers(-16, 16, 2 * PIECE + 5).astype(np.int32)
    blob = pack_delta([Block(0, values, 1, 5)], len(values), 20)
    assert (read_delta(blob, len(values), 20)[0].values == values).all()
    assert blob[HEAD.size + LINE.size :][: 5 * PIECE // 8] == plain_bits(values[:PIECE], 5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_an_exact_delta_is_the_update_whatever_the_cuts(seed, count):
    rng = np.random.default_rng(seed)
    base, update = (rng.integers(-LIMIT_Q, LIMIT_Q + 1, count).astype(np.int32) for _ in range(2))
    cuts = sorted({0, count, *rng.integers(0, count, 3).tolist()})
    places = [slice(a, b) for a, b in pairwise(cuts)]
    blob = pack_delta([exact_block(each.start, base[each], update[each]) for each in places], count, 20)
    assert is_delta(blob)
    assert (unpack_update(blob, base, 20, LIMIT_Q) == update).all()


def test_coordinates_outside_all_blocks_stay_and_steps_multiply():
    base = np.arange(10, dtype=np.int32)
    update = unpack_update(pack_delta([block(2, [1, -1], 100), block(7, [3])], 10, 20), base, 20, LIMIT_Q)
    assert update.tolist() == [0, 1, 102, -97, 4, 5, 6, 10, 8, 9]
    assert not update.flags.writeable
    assert base.tolist() == list(range(10))


def test_a_whole_vector_is_read_as_before():
    base = np.zeros(3, np.int32)
    update = np.array([1, -2, 3], np.int32)
    assert (unpack_update(pack(update, 20), base, 20, LIMIT_Q) == update).all()
    assert not is_delta(pack(update, 20))


def test_no_block_at_all_is_the_base():
    base = np.arange(4, dtype=np.int32)
    assert (unpack_update(pack_delta([], 4, 20), base, 20, LIMIT_Q) == base).all()


@pytest.mark.parametrize("value", [1, -1])
def test_a_coordinate_beyond_the_limit_is_refused_and_nothing_wraps(value):
    base = np.full(3, value * LIMIT_Q, np.int32)
    for step in (1, 2**31 - 1):
        with pytest.raises(InvalidVector, match="want -") as refused:
            apply_delta(base, [block(1, [value * 2**30 if step > 1 else value], step, 32)], LIMIT_Q)
        assert refused.value.code == "limit"


def altered(blob, place, new):
    return blob[:place] + new + blob[place + len(new) :]


GOOD = pack_delta([block(1, [3, -4], 5), block(4, [1])], 6, 20)
LINE_1 = HEAD.size + LINE.size


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (GOOD[:10], "length"),
        (GOOD[:-1], "length"),
        (GOOD + b"\0", "length"),
        (altered(GOOD, 0, b"HQV"), "magic"),
        (altered(GOOD, 3, b"\2"), "version"),
        (altered(GOOD, 6, b"\1"), "version"),
        (altered(GOOD, 4, b"\x13"), "scale"),
        (altered(GOOD, 8, b"\7"), "count"),
        (altered(GOOD, 16, (BLOCKS_MAX + 1).to_bytes(4, "little")), "block"),
        (altered(GOOD, 16, b"\xff"), "length"),
        (altered(GOOD, 22, b"\1"), "version"),
        (altered(GOOD, LINE_1, b"\2"), "block"),
        (altered(GOOD, LINE_1 + 8, b"\0"), "block"),
        (altered(GOOD, LINE_1 + 8, (2**63).to_bytes(8, "little")), "block"),
        (altered(GOOD, LINE_1, (2**63).to_bytes(8, "little")), "block"),
        (altered(GOOD, LINE_1 + 16, bytes(4)), "block"),
        (altered(GOOD, LINE_1 + 16, b"\xff" * 4), "block"),
        (altered(GOOD, LINE_1 + 20, b"\1"), "block"),
        (altered(GOOD, LINE_1 + 20, b"\x21"), "block"),
        (altered(GOOD, LINE_1 + 21, b"\1"), "version"),
        (altered(GOOD, len(GOOD) - 1, b"\x81"), "version"),
    ],
)
def test_whatever_is_not_the_form_is_refused_by_its_name(blob, code):
    with pytest.raises(InvalidVector) as refused:
        read_delta(blob, 6, 20)
    assert refused.value.code == code


def test_a_sender_is_told_of_blocks_that_nobody_would_read():
    with pytest.raises(InvalidVector, match="block 1"):
        pack_delta([block(0, [1, 2]), block(1, [1])], 6, 20)
    with pytest.raises(ValueError, match="in 2 bits"):
        pack_delta([block(0, [9], bits=2)], 6, 20)
    with pytest.raises(ValueError, match="a change of"):
        exact_block(0, np.array([-(2**31)], np.int32), np.array([2**31 - 1], np.int32))


def test_a_few_bytes_of_blob_make_no_more_memory_than_the_model_has():
    """What is stated is held against the bytes that came before anything is made."""
    bomb = HEAD.pack(b"HQD", 1, 20, 2**40, 1) + LINE.pack(0, 2**40, 1, 2)
    with pytest.raises(InvalidVector) as refused:
        read_delta(bomb, 2**40, 20)
    assert refused.value.code == "length"


@pytest.mark.parametrize("rule", ["mean", "norm-bound", "trimmed-mean", "median", "multi-krum"])
def test_every_rule_makes_the_same_model_of_changes_and_of_whole_vectors(rule):
    assert rule in RULES
    rng = np.random.default_rng(4)
    base = rng.integers(-(2**20), 2**20, 300).astype(np.int32)
    updates = [base + rng.integers(-500, 501, 300).astype(np.int32) for _ in range(5)]
    whole = [(pack(update, 20), 10 + at) for at, update in enumerate(updates)]
    changes = [
        (pack_delta([exact_block(0, base, update)], 300, 20), 10 + at) if at % 2 else whole[at]
        for at, update in enumerate(updates)
    ]
    assert all(len(small) < len(large) * 0.4 for (small, _), (large, _) in zip(changes[1::2], whole[1::2], strict=True))
    made = [aggregate_blobs(rule, {}, pack(base), each, 300, 20, LIMIT_Q, inspected=True) for each in (whole, changes)]
    assert made[0] == made[1]


def test_a_copy_in_another_form_is_a_copy():
    """Other bytes, the same vector: what is compared is where the update leads."""
    rng = np.random.default_rng(5)
    base = np.zeros(300, np.int32)
    update, other = (rng.integers(-500, 501, 300).astype(np.int32) for _ in range(2))
    blobs = [pack(update, 20), pack_delta([exact_block(0, base, update)], 300, 20), pack(other, 20)]
    made = aggregate_blobs("mean", {}, pack(base), [(blob, 1) for blob in blobs], 300, 20, LIMIT_Q, inspected=True)
    assert [at for at, _ in made.rejected] == [0, 1]
