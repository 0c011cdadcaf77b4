"""Frames: what is written is read back, however it is cut; what is out of bounds is refused on its header."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.network.wire import HEADER_BYTES, FrameKind, FrameReader, InvalidFrame, frame

BOUNDS = {FrameKind.DATA: 50, FrameKind.PING: 8}
frames = st.lists(
    st.one_of(
        st.tuples(st.just(FrameKind.DATA), st.binary(max_size=50)),
        st.tuples(st.just(FrameKind.PING), st.binary(max_size=8)),
    ),
    max_size=10,
)


def read_all(reader):
    found = []
    while (item := reader.next()) is not None:
        found.append(item)
    return found


@given(frames, st.data())
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(sent, data):
    wire = b"".join(frame(kind, body) for kind, body in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    reader = FrameReader(BOUNDS)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        reader.feed(wire[begin:end])
        found += read_all(reader)
    assert found == sent
    assert reader.between_frames


@given(frames)
def test_it_always_knows_how_many_bytes_are_missing(sent):
    reader = FrameReader(BOUNDS)
    for kind, body in sent:
        wire = frame(kind, body)
        while wire:
            assert reader.next() is None
            wanted = reader.wants()
            assert 0 < wanted <= len(wire)
            reader.feed(wire[:wanted])
            wire = wire[wanted:]
        assert reader.next() == (kind, body)


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_within_bounds_or_a_clear_refusal(junk):
    reader = FrameReader(BOUNDS)
    reader.feed(junk)
    with suppress(InvalidFrame):
        for kind, body in read_all(reader):
            assert len(body) <= BOUNDS[kind]


def test_a_length_out_of_bounds_is_refused_before_its_body_comes():
    reader = FrameReader(BOUNDS)
    reader.feed(frame(FrameKind.DATA, bytes(51))[:HEADER_BYTES])
    with pytest.raises(InvalidFrame, match="DATA of 51 bytes, want at most 50"):
        reader.next()
    reader = FrameReader(BOUNDS)
    reader.feed(bytes([FrameKind.DATA]) + b"\xff" * 7)
    with pytest.raises(InvalidFrame, match="want at most 50"):
        reader.wants()


def test_a_kind_that_is_not_due_is_refused_by_name():
    reader = FrameReader(BOUNDS)
    reader.feed(frame(FrameKind.HELLO, b""))
    with pytest.raises(InvalidFrame, match="kind 16, want DATA, PING"):
        reader.next()
