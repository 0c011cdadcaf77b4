"""What a provider must not forget of a masked round, and must forget when it is over: its keys, seed and shares.

One file a request, mode 0600, in a folder of its own; there whole or not at all, and on the disk before anything is
said that rests on it. When what is said here, and to whom, is `masking_steps.py`'s business.

Of what was revealed a note is kept as well. The ledger refuses to reveal both secrets of one provider; this is the
second lock, for a node that is shown another ledger than before.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Annotated

import structlog

from ledger.codec import Size, decode, encode
from ledger.errors import InvalidBytes
from ledger.fields import Count, Digest, Org
from ledger.protection import MASKED_PROVIDERS_MAX, SEALED_BYTES_MAX, Salt, SecretKind, Share
from node.files import Files, OsFiles
from node.rounds import RoundId

log = structlog.get_logger(__name__)

MAGIC = b"HQK1"
SUFFIX = ".masking"
_DIGEST_BYTES = 32
Secret = Annotated[bytes, Size(0, 32)]


class BothSecrets(Exception):
    """Somebody asks for the second secret of a provider whose first one this node has revealed."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """What we dealt to one holder, in the clear, and as it goes to the ledger."""

    holder: Org
    seed_share: Share
    seed_salt: Salt
    key_share: Share
    key_salt: Salt
    sealed: Annotated[bytes, Size(1, SEALED_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class Held:
    """What another dealt to us, opened and found to be what it committed to."""

    dealer: Org
    seed_share: Share
    seed_salt: Salt
    key_share: Share
    key_salt: Salt


@dataclass(frozen=True, slots=True)
class Told:
    """Which share of a dealer's we have said aloud."""

    dealer: Org
    kind: SecretKind


@dataclass(frozen=True, slots=True)
class RoundSecrets:
    """Of one attempt at one round. `mask_key`, `exchange_key`: private X25519 keys; `seed`: of our own mask. The three
    are empty, and so is `dealt`, once our update is masked: from then on only the others' shares can tell them.

    `checked`: whether what was dealt to us has been looked at; `held` is what was good of it, ascending by dealer.
    `told`: of whom we have revealed which secret's share.
    """

    request: Digest
    round: Count
    attempt: Count
    mask_key: Secret
    exchange_key: Secret
    seed: Secret
    dealt: Annotated[tuple[Dealt, ...], Size(0, MASKED_PROVIDERS_MAX)] = ()
    checked: bool = False
    held: Annotated[tuple[Held, ...], Size(0, MASKED_PROVIDERS_MAX)] = ()
    told: Annotated[tuple[Told, ...], Size(0, MASKED_PROVIDERS_MAX)] = ()

    @property
    def id(self) -> RoundId:
        return RoundId(self.request, self.round, self.attempt)

    @property
    def is_spent(self) -> bool:
        """Whether our own secrets are gone: our update is masked, once and for all."""
        return not self.mask_key

    def spent(self) -> "RoundSecrets":
        return replace(self, mask_key=b"", exchange_key=b"", seed=b"", dealt=())

    def with_told(self, wanted: Mapping[bytes, SecretKind]) -> "RoundSecrets":
        """With a note of what is about to be said. Raises BothSecrets."""
        said = {each.dealer: each.kind for each in self.told}
        both = sorted(dealer for dealer, kind in wanted.items() if said.get(dealer, kind) is not kind)
        if both:
            raise BothSecrets(f"the other secret of {both[0].hex()[:16]} was revealed in this round already")
        said.update(wanted)
        return replace(self, told=tuple(Told(dealer, said[dealer]) for dealer in sorted(said)))


class MaskingMemory:
    """The folder with those files. Every call but `rounds` may block on the disk; made for threads."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.folder = folder
        self._files = files or OsFiles()
        self._kept: dict[bytes, RoundId] = {}
        # A round's secrets are saved in one thread while those of the one before are forgotten in another.
        self._turn = Lock()
        if files is None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What a crash left half written holds secrets too.
            for torn in folder.glob(".*.tmp"):
                torn.unlink(missing_ok=True)
            for path in folder.glob(f"*{SUFFIX}"):
                if len(path.stem) == 64:
                    self._read(bytes.fromhex(path.stem))

    def rounds(self) -> list[RoundId]:
        """Of which rounds secrets are kept."""
        return list(self._kept.values())

    def load(self, round_id: RoundId) -> RoundSecrets | None:
        """None when nothing is kept of this very attempt. A damaged file counts as lost, with a warning: its node
        sits the round out, and the others recover from their shares what it can no longer say."""
        with self._turn:
            secrets = self._read(round_id.request)
        return secrets if secrets is not None and secrets.id == round_id else None

    def save(self, secrets: RoundSecrets) -> None:
        """On the disk when this returns; what an older attempt left is gone. Raises OSError: what was there stays."""
        body = encode(secrets)
        content = MAGIC + hashlib.sha256(body).digest() + body
        with self._turn:
            self._files.publish(self._path(secrets.request), content, mode=0o600)
            self._kept[secrets.request] = secrets.id

    def forget(self, round_id: RoundId) -> None:
        """Gone for good when this returns, as far as a file system can say so; what is of another attempt stays."""
        with self._turn:
            if self._kept.get(round_id.request) == round_id:
                self._files.remove(self._path(round_id.request))
                self._files.sync_folder(self.folder)
                del self._kept[round_id.request]

    def _read(self, request: bytes) -> RoundSecrets | None:
        path = self._path(request)
        if not self._files.exists(path):
            return None
        try:
            secrets = _parse(self._files.read(path), request)
        except InvalidBytes as error:
            log.warning("masking_secrets_damaged", file=str(path), reason=str(error))
            self._files.remove(path)
            return None
        self._kept[request] = secrets.id
        return secrets

    def _path(self, request: bytes) -> Path:
        return self.folder / f"{request.hex()}{SUFFIX}"


def _parse(data: bytes, request: bytes) -> RoundSecrets:
    head = len(MAGIC) + _DIGEST_BYTES
    body = data[head:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != data[len(MAGIC) : head]:
        raise InvalidBytes(f"{len(data)} bytes that are not what was written")
    secrets = decode(RoundSecrets, body)
    if secrets.request != request:
        raise InvalidBytes(f"they are of request {secrets.request.hex()[:16]}")
    return secrets
