"""Pieces of blobs: what is sent is what arrives, models get shorter, and no frame makes more bytes than are due."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.network.blob_pieces import pack_piece, unpack_piece
from node.network.blob_store import InvalidBlob


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush()


@given(
    st.binary(max_size=2000)
    | st.builds(lambda byte, count: byte * count, st.binary(max_size=3), st.integers(0, 90_000))
)
def test_what_is_packed_comes_out_again(piece: bytes) -> None:
    frame = pack_piece(piece)
    assert len(frame) <= len(piece)
    assert unpack_piece(frame, len(piece)) == piece


def test_a_model_travels_shorter_and_noise_as_it_is() -> None:
    rng = np.random.default_rng(1)
    model = np.round(rng.normal(scale=0.1, size=25_000) * 2**20).astype("<i4").tobytes()
    assert len(pack_piece(model)) < 0.8 * len(model)
    noise = rng.bytes(100_000)
    assert pack_piece(noise) is noise


def test_a_frame_that_would_grow_beyond_the_piece_is_refused() -> None:
    with pytest.raises(InvalidBlob, match="want 1000"):
        unpack_piece(raw_deflate(bytes(10_000_000)), 1000)


def test_a_frame_of_too_few_bytes_or_too_many_is_refused() -> None:
    short, right = raw_deflate(bytes(999)), raw_deflate(bytes(1000))
    for frame in (short, right[:-1], right + b"x", b"", b"no deflate", bytes(1001)):
        with pytest.raises(InvalidBlob):
            unpack_piece(frame, 1000)
