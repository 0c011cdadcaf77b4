"""Computing a round's aggregate again from blobs in files, to check a proof. numpy only; nothing is fetched.

The files are those of `hanse ledger prove aggregate --blobs`, or any others: what counts is the digest of their bytes.
"""

import mmap
from collections.abc import Iterable
from pathlib import Path

from fl.aggregate import AggregateError, aggregate_blobs
from fl.fixed_point import InvalidVector, limit_in_steps
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.errors import InvalidProof
from ledger.types import BLOB_BYTES_MAX, Hash32
from node.network.blob_store import blob_digest, blob_hasher

_READ_BYTES = 2**20
# The blobs of a round are one a provider and the model before: more files than members are no blobs of one round.
FILES_MAX = 4096


class BlobFiles:
    """Files by the digest of their bytes."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """`paths`: files, and folders whose files are meant. Raises OSError, InvalidProof for more than FILES_MAX."""
        self._paths: dict[Hash32, Path] = {}
        for path in paths:
            for each in sorted(path.iterdir()) if path.is_dir() else [path]:
                if each.is_file() and 0 < each.stat().st_size <= BLOB_BYTES_MAX:
                    self._paths[_digest_of(each)] = each
                if len(self._paths) > FILES_MAX:
                    raise InvalidProof(f"more than {FILES_MAX} blobs; name the folder of one round")

    def recompute(self, task: AggregationTask) -> AggregationResult:
        """The aggregate of a task. Raises InvalidProof when a blob is missing or cannot be aggregated."""
        wanted = [task.base_model, *(each.blob for each in task.contributions)]
        missing = [digest for digest in dict.fromkeys(wanted) if digest not in self._paths]
        if missing:
            names = ", ".join(digest.hex() for digest in missing[:3])
            raise InvalidProof(f"{len(missing)} of {len(set(wanted))} blobs are not among the files: {names}")
        blobs = {digest: self._mapped(digest) for digest in wanted}
        updates = [(blobs[each.blob], each.weight) for each in task.contributions]
        try:
            limit_q = limit_in_steps(task.limit, task.scale_bits)
            result = aggregate_blobs(
                task.aggregation, {}, blobs[task.base_model], updates, task.parameters, task.scale_bits, limit_q
            )
        except (InvalidVector, AggregateError, ValueError) as error:
            raise InvalidProof(f"the blobs cannot be aggregated: {error}") from None
        orgs = [each.org for each in task.contributions]
        scores = tuple(zip(orgs, result.qualities, strict=True))
        return AggregationResult(blob_digest(result.blob), len(result.blob), scores)

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
