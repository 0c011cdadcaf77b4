"""Sealed updates of protected requests: a copy under another name is malformed, and nothing can be copied in time.

An update that is neither masked nor of a plain request ends in the 32 bytes of its provider's identity, under the same
digest as the rest; its provider keeps it to itself until announcements are closed. What of the committee fetches it
then, and what becomes of copies all the same, is in `attesting.py` and `fl/inspection.py`.
"""

from collections.abc import Callable

from fl.fixed_point import Bytes, InvalidVector
from ledger.entries import Fate, Stage
from ledger.protection_entries import protection_key
from ledger.transactions import Protection
from ledger.types import Hash32, OrgId
from node.network.blob_store import BlobStore, MissingBlob
from node.ports import ChainView
from node.rounds import participant, rounds_in_work

SEAL_BYTES = 32


def seal(update: bytes, org: OrgId | bytes) -> bytes:
    """The blob that a provider announces: its update and its name."""
    return update + org


def unsealed(data: Bytes, org: OrgId | bytes) -> Bytes:
    """The update inside a blob sealed by `org`, a view of the same bytes. Raises InvalidVector ("seal")."""
    view = memoryview(data)
    name = bytes(view[-SEAL_BYTES:])
    if name != org:
        raise InvalidVector("seal", f"the update is sealed by {name.hex()[:16]}, want {org.hex()[:16]}")
    return view[:-SEAL_BYTES]


def is_sealed(chain: ChainView, request: bytes) -> bool:
    """Whether updates of a request are sealed: those of a protected one are, unless they are masked."""
    protection = chain.read(Protection, protection_key(request))
    return protection is not None and not protection.masked


class Withheld:
    """Which of this node's blobs it gives to nobody yet: its own sealed updates while a round takes announcements, and
    until the round is over one that was not announced in time: in the next attempt it may be the answer again.

    Told from the ledger and from the blob itself, so that a node that has just started knows it as well: its
    announcement may be on everybody's lips since before it went down.
    """

    def __init__(self, chain: Callable[[], ChainView], me: Callable[[], OrgId], store: BlobStore) -> None:
        self._chain = chain
        self._me = me
        self._store = store

    def __call__(self, digest: Hash32) -> bool:
        chain, me = self._chain(), self._me()
        for work in rounds_in_work(chain):
            part = participant(work.round, me)
            if part is None or not is_sealed(chain, work.id.request):
                continue
            if part.blob == digest and (work.request.stage is Stage.TRAINING or part.fate is Fate.LATE):
                return True
            # Until a block says which one it is, it may be any that bears our name.
            if part.fate is Fate.MISSING and self._is_ours(digest, me):
                return True
        return False

    def _is_ours(self, digest: Hash32, me: OrgId) -> bool:
        try:
            size = self._store.size(digest)
            return size >= SEAL_BYTES and self._store.read_range(digest, size - SEAL_BYTES, SEAL_BYTES) == me
        except MissingBlob:
            return False
