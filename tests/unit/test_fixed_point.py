"""Vectors as integers: rounding, refusals of the sender's own numbers, and every damage a blob can take."""

import mmap
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.fixed_point import InvalidVector, NotEncodable, decode, encode, limit_in_steps, pack, unpack

LIMIT_Q = limit_in_steps(512.0, 20)


@given(st.lists(st.floats(-512, 512, width=32), max_size=20), st.integers(0, 21))
def test_encoding_rounds_half_to_even_as_exact_fractions_do(values, scale_bits):
    vector = np.array(values, np.float32)
    want = [round(Fraction(float(value)) * 2**scale_bits) for value in vector]
    assert encode(vector, scale_bits, 512.0).tolist() == want


@given(st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=20))
def test_what_float32_can_hold_comes_back_as_it_went(steps):
    q = np.array(steps, np.int32)
    assert encode(decode(q, 20), 20, 512.0).tolist() == steps


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20), st.integers(0, 30))
def test_decoding_gives_the_nearest_float32(steps, scale_bits):
    got = decode(np.array(steps, np.int32), scale_bits)
    assert got.tolist() == [float(np.float32(step * 2.0**-scale_bits)) for step in steps]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 512.0001, -600.0, 1e30])
@pytest.mark.parametrize("at", [0, 1, 299_999])
def test_a_coordinate_that_does_not_fit_is_refused_wherever_it_stands(bad, at):
    vector = np.zeros(300_000)
    vector[at] = bad
    with pytest.raises(NotEncodable):
        encode(vector)


def test_the_refusal_says_how_many_and_how_large():
    vector = np.array([np.nan, 700.0, -800.0, 1.0], np.float32)
    with pytest.raises(NotEncodable, match=r"1 of 4 .* not finite and 2 lie beyond 512; .* 800"):
        encode(vector)


def test_the_limit_itself_still_fits():
    assert encode(np.array([512.0, -512.0])).tolist() == [LIMIT_Q, -LIMIT_Q]


@pytest.mark.parametrize(("limit", "scale_bits"), [(2048.0, 20), (1.0, 31), (0.0, 20), (float("nan"), 20), (0.1, 0)])
def test_a_limit_that_no_int32_can_hold_is_refused(limit, scale_bits):
    with pytest.raises(ValueError, match="want"):
        limit_in_steps(limit, scale_bits)


def test_a_blob_is_read_back_without_a_copy(tmp_path: Path):
    q = np.arange(-5, 1000, dtype=np.int32)
    blob = pack(q, 20)
    assert np.array_equal(unpack(blob, len(q), 20, LIMIT_Q), q)
    assert np.shares_memory(unpack(blob, len(q), 20, LIMIT_Q), np.frombuffer(blob, np.uint8))

    (tmp_path / "blob").write_bytes(blob)
    with (tmp_path / "blob").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert np.array_equal(unpack(mapped, len(q), 20, LIMIT_Q), q)


def test_the_layout_of_a_blob_is_fixed():
    assert pack(np.array([1, -2], np.int32), 20).hex() == "48515601140000000200000000000000" + "01000000feffffff"


DAMAGES = {
    "magic": lambda blob: b"PNG" + blob[3:],
    "version": lambda blob: blob[:3] + b"\x02" + blob[4:],
    "scale": lambda blob: blob[:4] + b"\x13" + blob[5:],
    "count": lambda blob: blob[:8] + struct.pack("<Q", 4) + blob[16:],
    "length": lambda blob: blob[:-1],
    "limit": lambda blob: blob[:-4] + struct.pack("<i", LIMIT_Q + 1),
}


@pytest.mark.parametrize("code", DAMAGES)
def test_a_damaged_blob_is_refused_by_name(code):
    blob = pack(np.array([1, 2, 3], np.int32), 20)
    with pytest.raises(InvalidVector) as refusal:
        unpack(DAMAGES[code](blob), 3, 20, LIMIT_Q)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("code", "blob"),
    [
        ("length", b""),
        ("length", pack(np.zeros(3, np.int32), 20) + b"\x00"),
        ("length", pack(np.zeros(3, np.int32), 20)[:15]),
        ("limit", pack(np.array([0, -(2**31), 0], np.int32), 20)),
        ("count", pack(np.zeros(2, np.int32), 20)),
        ("version", b"HQV\x01\x14\x00\x01\x00" + struct.pack("<Q3i", 3, 0, 0, 0)),
    ],
)
def test_other_bytes_are_refused_too(code, blob):
    with pytest.raises(InvalidVector) as refusal:
        unpack(blob, 3, 20, LIMIT_Q)
    assert refusal.value.code == code


@given(st.binary(max_size=64))
def test_garbage_never_gets_further_than_a_refusal(data):
    with pytest.raises(InvalidVector):
        unpack(data, 5, 20, LIMIT_Q)
