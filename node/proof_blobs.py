"""Computing a round's aggregate again from blobs in files, to check a proof. numpy only; nothing is fetched.

The files are those of `hanse ledger prove aggregate --blobs`, or any others: what counts is the digest of their bytes.
"""

import mmap
from collections.abc import Iterable
from pathlib import Path

from fl.aggregate import AggregateError
from fl.fixed_point import Bytes, InvalidVector
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.errors import InvalidProof
from ledger.types import BLOB_BYTES_MAX, Hash32
from node.aggregation import recomputed, result_of
from node.network.blob_store import blob_digest, blob_hasher
from node.unmasking import unmasked

_READ_BYTES = 2**20
# The blobs of a round are one a provider and the model before: more files than members are no blobs of one round.
FILES_MAX = 4096
# For proofs of rounds that are not masked.
NO_LEAGUE = bytes(32)


class BlobFiles:
    """Files by the digest of their bytes."""

    def __init__(self, paths: Iterable[Path], league: bytes = NO_LEAGUE) -> None:
        """`paths`: files, and folders whose files are meant. `league`: the chain id, which masks are bound to.

        Raises OSError, InvalidProof for more than FILES_MAX.
        """
        self._league = league
        self._paths: dict[Hash32, Path] = {}
        for path in paths:
            for each in sorted(path.iterdir()) if path.is_dir() else [path]:
                if each.is_file() and 0 < each.stat().st_size <= BLOB_BYTES_MAX:
                    self._paths[_digest_of(each)] = each
                if len(self._paths) > FILES_MAX:
                    raise InvalidProof(f"more than {FILES_MAX} blobs; name the folder of one round")

    def recompute(self, task: AggregationTask) -> AggregationResult:
        """The aggregate of a task. Raises InvalidProof when a blob is missing or cannot be aggregated."""
        before = () if task.previous_model is None else (task.previous_model,)
        wanted = [task.base_model, *before, *(each.blob for each in task.contributions)]
        missing = [digest for digest in dict.fromkeys(wanted) if digest not in self._paths]
        if missing:
            names = ", ".join(digest.hex() for digest in missing[:3])
            raise InvalidProof(f"{len(missing)} of {len(set(wanted))} blobs are not among the files: {names}")
        blobs: dict[bytes, Bytes] = {digest: self._mapped(digest) for digest in wanted}
        if task.masking is not None:
            result, _, reason = unmasked(task, self._league, lambda digest: blobs[digest])
            if reason:
                raise InvalidProof(f"the sum of the masked blobs cannot be unmasked: {reason}")
            return result
        updates = [(blobs[each.blob], each.weight) for each in task.contributions]
        previous = None if task.previous_model is None else blobs[task.previous_model]
        try:
            aggregated = recomputed(task, blobs[task.base_model], updates, previous)
        except (InvalidVector, AggregateError) as error:
            raise InvalidProof(f"the blobs cannot be aggregated: {error}") from None
        return result_of(task, aggregated)

    def _mapped(self, digest: Hash32) -> mmap.mmap:
        # Mapped, for a round of large models is gigabytes; hashed again, for the first look may be a while ago.
        with self._paths[digest].open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if blob_digest(memoryview(data)) != digest:
            raise InvalidProof(f"{self._paths[digest]} was changed while it was read")
        return data


def _digest_of(path: Path) -> Hash32:
    hasher = blob_hasher()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            hasher.update(piece)
    return Hash32(hasher.digest())
