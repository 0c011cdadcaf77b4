"""The organisation's key on disk: made, read, given another passphrase. And how organisations are written down.

A key file is PKCS#8 PEM (RFC 5958, RFC 7468), readable by any tool, with mode 0600. Before the PEM stands one line
naming the peer id, which is public: a damaged file is found out, and the peer id is told without the passphrase.
What a key signs is `ledger/keys.py`'s business.
"""

import os
import secrets
import stat
from pathlib import Path

from ledger.keys import KeyPair
from ledger.types import NodeKey
from node.disk import publish_file
from node.network.addresses import key_of_peer_id, peer_id
from node.network.transport import InvalidAddress
from node.pkcs8 import InvalidKeyBytes, WrongPassphrase, key_pem, seed_from_pem

__all__ = [
    "KeyFileError",
    "WrongPassphrase",
    "change_passphrase",
    "create_key",
    "key_from_text",
    "load_key",
    "peer_id",
    "read_passphrase_file",
    "short_name",
    "stored_key",
]

# A key file is some 300 bytes; anything longer is another file given by mistake.
KEY_FILE_BYTES_MAX = 16 * 1024
PASSPHRASE_BYTES_MAX = 1024
_NAME_LINE = "Hanse key of "


class KeyFileError(Exception):
    """A key or passphrase file that cannot be used. The operator's fault; the text says what to do."""


def create_key(path: Path, passphrase: str | None = None) -> KeyPair:
    """Draw a new key and write it to `path`, mode 0600, on disk when this returns.

    Never writes over a file: raises KeyFileError when there is one, or when the folder cannot be written.
    """
    _check_passphrase(passphrase)
    key = KeyPair.from_seed(secrets.token_bytes(32))
    try:
        publish_file(path, _file_bytes(key, passphrase), mode=0o600, replace=False)
    except FileExistsError:
        raise KeyFileError(f"{path}: there is a key already; keep it, or name another file") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot write the key: {error.strerror}") from None
    return key


def load_key(path: Path, passphrase: str | None = None) -> KeyPair:
    """The key in `path`.

    Raises WrongPassphrase (a passphrase is needed, or it is another one) and KeyFileError (no such file, readable by
    others, damaged, no Ed25519 key).
    """
    text = _read_private(path, KEY_FILE_BYTES_MAX, "key")
    try:
        key = KeyPair.from_seed(seed_from_pem(text, passphrase))
    except WrongPassphrase as error:
        raise WrongPassphrase(f"{path}: {error}") from None
    except InvalidKeyBytes as error:
        raise KeyFileError(f"{path}: {error}") from None
    named = _named_key(path, text)
    if named is not None and named != key.public:
        raise KeyFileError(
            f"{path}: holds the key of {peer_id(key.public)} but says {peer_id(named)}: the file is damaged"
        )
    return key


def stored_key(path: Path) -> NodeKey | None:
    """Which key `path` says it holds, read without the passphrase; None when a plain PEM file says nothing."""
    return _named_key(path, _read_private(path, KEY_FILE_BYTES_MAX, "key"))


def change_passphrase(path: Path, old: str | None, new: str | None) -> KeyPair:
    """Encrypt the key in `path` anew (`new` None: not at all). At any moment the file is the old one or the new one.

    Raises what `load_key` raises.
    """
    _check_passphrase(new)
    key = load_key(path, old)
    try:
        publish_file(path, _file_bytes(key, new), mode=0o600, replace=True)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot write the key: {error.strerror}; the old file stands") from None
    return key


def read_passphrase_file(path: Path) -> str:
    """The first line of a file that only its owner can read. Raises KeyFileError."""
    text = _read_private(path, PASSPHRASE_BYTES_MAX, "passphrase")
    try:
        passphrase = text.decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: the passphrase is not UTF-8 text") from None
    if not passphrase:
        raise KeyFileError(f"{path}: the first line is empty, want the passphrase there")
    return passphrase


def key_from_text(text: str) -> NodeKey:
    """The public key that a peer id (12D3KooW…) or 64 hex digits name; raises ValueError, saying what is wanted."""
    if len(text) == 64:
        try:
            return NodeKey(bytes.fromhex(text))
        except ValueError:
            pass
    try:
        return key_of_peer_id(text)
    except InvalidAddress:
        raise ValueError(f"{text[:80]!r} names no key: want a peer id (12D3KooW…) or 64 hex digits") from None


def short_name(key: NodeKey) -> str:
    """Eight characters for tables: the end of the peer id, since the beginning is the same for everybody."""
    return peer_id(key)[-8:]


def _check_passphrase(passphrase: str | None) -> None:
    if passphrase is None:
        return
    if not passphrase or "\n" in passphrase or len(passphrase.encode()) > PASSPHRASE_BYTES_MAX - 2:
        raise KeyFileError(f"a passphrase is one line of 1 to {PASSPHRASE_BYTES_MAX - 2} bytes")


def _file_bytes(key: KeyPair, passphrase: str | None) -> bytes:
    return f"{_NAME_LINE}{peer_id(key.public)}\n".encode() + key_pem(key.seed, passphrase)


def _named_key(path: Path, text: bytes) -> NodeKey | None:
    line = text.split(b"\n", 1)[0].decode(errors="replace").strip()
    if not line.startswith(_NAME_LINE):
        return None
    try:
        return key_of_peer_id(line.removeprefix(_NAME_LINE))
    except InvalidAddress:
        raise KeyFileError(f"{path}: its first line names no peer id: the file is damaged") from None


def _read_private(path: Path, bytes_max: int, what: str) -> bytes:
    """A file's bytes, refused when somebody else could read or change it: checked on what was opened, not on a name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: there is no {what} file") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot read the {what} file: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path}: is no plain file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise KeyFileError(f"{path}: others may read or change it (mode {mode:04o}): run chmod 600 {path}")
        content = os.read(descriptor, bytes_max + 1)
    finally:
        os.close(descriptor)
    if len(content) > bytes_max:
        raise KeyFileError(f"{path}: over {bytes_max} bytes, this is no {what} file")
    return content
