"""Pieces of blobs as they travel: whole, or deflated when that makes them shorter. Pure.

Both ends know how long a piece is that is due. A frame of just that length is the piece itself; a shorter one is its
raw deflate stream (RFC 1951). So there is no flag to lie with, and no frame can grow beyond the piece that is due.
"""

import zlib

from node.network.blob_store import InvalidBlob

_RAW_DEFLATE = -15
# Parameters in fixed point have idle high bits and no repeats: counting bytes finds a quarter, at twice the speed of a
# search for repeats, which finds nothing more.
_STRATEGY = zlib.Z_HUFFMAN_ONLY
# What tells whether a piece is worth it: bytes that are noise cost half a millisecond, not eight.
_SAMPLE_BYTES = 64 * 1024
# Below a tenth gained the receiver's work is not worth it.
_WORTH_PERCENT = 90


def pack_piece(piece: bytes) -> bytes:
    """What to send for a piece. Takes milliseconds for a large one: call it in a thread."""
    sample = _deflated(piece[:_SAMPLE_BYTES])
    if len(sample) * 100 > min(len(piece), _SAMPLE_BYTES) * _WORTH_PERCENT:
        return piece
    packed = sample if len(piece) <= _SAMPLE_BYTES else _deflated(piece)
    return packed if len(packed) * 100 <= len(piece) * _WORTH_PERCENT else piece


def unpack_piece(frame: bytes, due: int) -> bytes:
    """The piece of `due` bytes that a frame holds. Raises InvalidBlob when it is none. Call it in a thread."""
    if len(frame) == due:
        return frame
    if len(frame) > due:
        raise InvalidBlob(f"a piece of {len(frame)} bytes, want {due}")
    inflate = zlib.decompressobj(_RAW_DEFLATE)
    try:
        # One byte more than is due tells a stream that is too long, and lets the end of a right one be seen.
        piece = inflate.decompress(frame, due + 1)
    except zlib.error as error:
        raise InvalidBlob(f"a piece of {len(frame)} bytes that does not inflate: {error}") from None
    if len(piece) != due or not inflate.eof or inflate.unused_data:
        raise InvalidBlob(f"a piece that inflates to {len(piece)} bytes or more, want {due}")
    return piece


def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE, 8, _STRATEGY)
    return deflate.compress(data) + deflate.flush()
