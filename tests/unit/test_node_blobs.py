"""The node's own view of its blobs: what a peer can make us store must never end the daemon."""

from pathlib import Path

import pytest

from fl.fixed_point import InvalidVector, unpack
from ledger.transactions import Verdict
from node.attesting import judge
from node.blobs import NodeBlobs
from node.network.blob_exchange import BlobExchange, BlobUnavailable
from node.network.blob_store import BlobStore
from tests.support.leagues import league
from tests.support.open_requests import TERMS


@pytest.mark.trio
async def test_a_blob_of_no_bytes_is_fetched_and_judged_like_any_other(tmp_path: Path) -> None:
    """Its digest can be announced by any provider; a map of an empty file is an error."""
    async with league("memory", "mallory", "carol") as (mallory, carol):
        theirs, ours = BlobStore(tmp_path / "mallory"), BlobStore(tmp_path / "carol")
        BlobExchange(mallory, theirs)
        blobs = NodeBlobs(ours, BlobExchange(carol, ours))
        nothing = theirs.put(b"")
        await blobs.fetch(nothing, 100, [mallory.me])
        assert blobs.has(nothing)
        assert bytes(blobs.view(nothing)) == b""
        assert judge(blobs.view(nothing), TERMS) is Verdict.MALFORMED
        with pytest.raises(InvalidVector):
            unpack(blobs.view(nothing), TERMS.parameters, TERMS.scale_bits, TERMS.limit)


def test_a_blob_whose_file_was_taken_away_is_unavailable(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    name = store.put(b"some bytes")
    store._path(name).unlink()
    with pytest.raises(BlobUnavailable):
        NodeBlobs(store, None).view(name)  # type: ignore[arg-type]
