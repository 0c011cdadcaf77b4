"""Which organisation a node belongs to, when its identity is a key of its own that is kept off the node's machine.

Beside the node lies the public part only, `identity.pub`, one line. Without it the node's key is the identity.
What the identity signs travels between the machines as `statement_file.py` says.
"""

from contextlib import suppress
from pathlib import Path

from ledger.types import NodeKey, OrgId
from node.disk import publish_file
from node.identity import KeyFileError, key_from_text, stored_key

IDENTITY_FILE = "identity.pem"
PUBLIC_LINE = "Hanse identity "
# One line of 80 characters; a longer file is another one.
PUBLIC_BYTES_MAX = 1024


def write_public(path: Path, org: OrgId) -> None:
    """Write the public part of an identity. Raises OSError."""
    publish_file(path, f"{PUBLIC_LINE}{org.hex()}\n".encode())


def read_public(path: Path) -> OrgId:
    """The organisation in `path`: the public part of an identity, or a key file that hanse made.

    Raises KeyFileError when there is no such file, or it names no identity.
    """
    try:
        with path.open("rb") as file:
            text = file.read(PUBLIC_BYTES_MAX)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot read the identity: {error.strerror}") from None
    line = text.split(b"\n", 1)[0].decode(errors="replace").strip()
    try:
        if line.startswith(PUBLIC_LINE):
            return OrgId(key_from_text(line.removeprefix(PUBLIC_LINE)))
        named = stored_key(path) if b"PRIVATE KEY" in text else None
    except ValueError:
        raise KeyFileError(f"{path}: its first line names no public key: the file is damaged") from None
    if named is None:
        raise KeyFileError(f"{path}: is no identity, want the file that `hanse init` or `hanse keys new` wrote")
    return OrgId(named)


def keep_identity(key_file: Path, public_file: Path, org: OrgId) -> None:
    """Before the only key of an organisation is replaced as its node's: keep it as what it stays, the identity.

    `identity.pem` beside the node's key is the same file, under the same passphrase; the operator moves it away.
    Does nothing where the identity is a key apart already. Raises OSError.
    """
    if public_file.exists():
        return
    with suppress(FileExistsError):
        publish_file(key_file.with_name(IDENTITY_FILE), key_file.read_bytes(), mode=0o600, replace=False)
    write_public(public_file, org)


def own_org(public_file: Path, key: NodeKey) -> OrgId:
    """The organisation whose node signs with `key`; its identity lies beside it, if it has one. Raises KeyFileError."""
    return read_public(public_file) if public_file.exists() else OrgId(key)
