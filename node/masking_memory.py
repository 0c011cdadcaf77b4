"""What a provider must not forget of a masked round, and must forget when it is over: its keys, seed and shares.

One file a request, mode 0600, in a folder of its own; there whole or not at all, and on the disk before anything is
said that rests on it. When what is said here, and to whom, is `masking_steps.py`'s business.

Of what was revealed a note is kept as well. The ledger refuses to reveal both secrets of one provider; this is the
second lock, for a node that is shown another ledger than before.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import structlog

from ledger.codec import Size, decode, encode
from ledger.errors import InvalidBytes
from ledger.fields import Count, Digest, Org
from ledger.types import MEMBERS_MAX
from node.files import Files, OsFiles
from node.rounds import RoundId

log = structlog.get_logger(__name__)

MAGIC = b"HQK1"
SUFFIX = ".masking"
_DIGEST_BYTES = 32
# A share is a number below 2^256 + 297, its salt as long as what hides it.
Share = Annotated[bytes, Size(33, 33)]
Salt = Annotated[bytes, Size(32, 32)]
Secret = Annotated[bytes, Size(0, 32)]


class BothSecrets(Exception):
    """Somebody asks for the second secret of a provider whose first one this node has revealed."""


class Kind(IntEnum):
    """Which of a provider's two secrets a share is of: the seed of its own mask, or the key of the pairwise ones."""

    SEED = 0
    KEY = 1


@dataclass(frozen=True, slots=True)
class DealtShare:
    """What we dealt to one holder, in the clear, and as it went to the ledger."""

    holder: Org
    seed_share: Share
    seed_salt: Salt
    key_share: Share
    key_salt: Salt
    sealed: Annotated[bytes, Size(1, 1024)]


@dataclass(frozen=True, slots=True)
class HeldShare:
    """What another dealt to us, opened and found to be what it committed to."""

    dealer: Org
    seed_share: Share
    seed_salt: Salt
    key_share: Share
    key_salt: Salt


@dataclass(frozen=True, slots=True)
class Revealed:
    """Which share of a dealer's we have said aloud."""

    dealer: Org
    kind: Kind


@dataclass(frozen=True, slots=True)
class MaskSecrets:
    """Of one attempt at one round. `mask_key`, `exchange_key`: private X25519 keys; `seed`: of our own mask. The three
    are empty, and so is `dealt`, once our update is masked: from then on only the others' shares can tell them.

    `checked`: whether what was dealt to us has been looked at; `held` is what was good of it.
    """

    request: Digest
    round: Count
    attempt: Count
    mask_key: Secret
    exchange_key: Secret
    seed: Secret
    seed_salt: Secret
    dealt: Annotated[tuple[DealtShare, ...], Size(0, MEMBERS_MAX)] = ()
    checked: bool = False
    held: Annotated[tuple[HeldShare, ...], Size(0, MEMBERS_MAX)] = ()
    revealed: Annotated[tuple[Revealed, ...], Size(0, MEMBERS_MAX)] = ()

    @property
    def id(self) -> RoundId:
        return RoundId(self.request, self.round, self.attempt)

    @property
    def is_spent(self) -> bool:
        """Whether our own secrets are gone: our update is masked, once and for all."""
        return not self.mask_key

    def spent(self) -> "MaskSecrets":
        return replace(self, mask_key=b"", exchange_key=b"", seed=b"", seed_salt=b"", dealt=())

    def with_revealed(self, wanted: dict[bytes, Kind]) -> "MaskSecrets":
        """The note of what is about to be said. Raises BothSecrets."""
        said = {each.dealer: each.kind for each in self.revealed}
        both = sorted(dealer for dealer, kind in wanted.items() if said.get(dealer, kind) is not kind)
        if both:
            raise BothSecrets(f"the other secret of {both[0].hex()[:16]} was revealed in this round already")
        merged = {**said, **wanted}
        return replace(self, revealed=tuple(Revealed(dealer, merged[dealer]) for dealer in sorted(merged)))


class MaskingMemory:
    """The folder with those files. Every call may block on the disk."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.folder = folder
        self._files = files or OsFiles()
        if files is None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What a crash left half written holds secrets too.
            for torn in folder.glob(".*.tmp"):
                torn.unlink(missing_ok=True)

    def requests(self) -> list[bytes]:
        """Requests of which secrets are kept."""
        return [bytes.fromhex(path.stem) for path in self.folder.glob(f"*{SUFFIX}") if len(path.stem) == 64]

    def load(self, round_id: RoundId) -> MaskSecrets | None:
        """None when nothing is kept of this very attempt. A damaged file counts as lost, with a warning: its node
        sits the round out, and the others recover from their shares what it can no longer say."""
        path = self._path(round_id.request)
        if not self._files.exists(path):
            return None
        try:
            secrets = _parse(self._files.read(path), round_id.request)
        except InvalidBytes as error:
            log.warning("masking_secrets_damaged", file=str(path), reason=str(error))
            self._files.remove(path)
            return None
        return secrets if secrets.id == round_id else None

    def save(self, secrets: MaskSecrets) -> None:
        """On the disk when this returns; what an older attempt left is gone. Raises OSError: what was there stays."""
        body = encode(secrets)
        content = MAGIC + hashlib.sha256(body).digest() + body
        self._files.publish(self._path(secrets.request), content, mode=0o600)

    def forget(self, request: bytes) -> None:
        """Gone for good when this returns, as far as a file system can say so."""
        self._files.remove(self._path(request))
        self._files.sync_folder(self.folder)

    def _path(self, request: bytes) -> Path:
        return self.folder / f"{request.hex()}{SUFFIX}"


def _parse(data: bytes, request: bytes) -> MaskSecrets:
    head = len(MAGIC) + _DIGEST_BYTES
    body = data[head:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != data[len(MAGIC) : head]:
        raise InvalidBytes(f"{len(data)} bytes that are not what was written")
    secrets = decode(MaskSecrets, body)
    if secrets.request != request:
        raise InvalidBytes(f"they are of request {secrets.request.hex()[:16]}")
    return secrets
