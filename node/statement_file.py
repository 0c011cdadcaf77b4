"""A statement on its way to the machine that holds the identity, and back signed: one JSON file, for people to read.

What is signed is the transaction made of what the file shows, and nothing the file could hide: the signer rebuilds it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.transactions import Body, Transaction, sign_transaction
from ledger.types import Hash32, OrgId
from node.disk import publish_file
from node.rpc.views import InvalidView, body_from_json, integer, to_json, unhex

# The longest body is a registration with eight addresses.
FILE_BYTES_MAX = 64 * 1024


class StatementFileError(Exception):
    """A statement file that cannot be used. The text says what came and what is wanted."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What an organisation says with its identity. `signature` is empty until it is signed."""

    league: str
    chain_id: Hash32
    signer: OrgId
    nonce: int
    body: Body
    signature: bytes = b""

    def sign(self, identity: KeyPair) -> "Statement":
        """Raises StatementFileError when it is to be signed by another."""
        if bytes(identity.public) != self.signer:
            raise StatementFileError(f"signed by {identity.public.hex()}, want the identity {self.signer.hex()}")
        signed = sign_transaction(identity, self.chain_id, self.nonce, self.body)
        return replace(self, signature=signed.signature)

    def transaction(self) -> Transaction:
        """What is handed in. Raises StatementFileError when it is not signed, or not by its signer."""
        if not self.signature:
            raise StatementFileError("it is not signed; `hanse keys sign` does that where the identity is")
        transaction = Transaction(self.signer, self.nonce, self.body, self.signature)
        try:
            transaction.check_signature(self.chain_id)
        except InvalidTransaction as error:
            raise StatementFileError(str(error)) from None
        return transaction


def write_statement(path: Path, statement: Statement) -> None:
    """Never over a file that is there: raises StatementFileError, OSError."""
    shown = {
        "league": statement.league,
        "chain_id": statement.chain_id.hex(),
        "signer": statement.signer.hex(),
        "nonce": statement.nonce,
        "body": to_json(statement.body),
        "signature": statement.signature.hex(),
    }
    try:
        publish_file(path, (json.dumps(shown, indent=2, ensure_ascii=False) + "\n").encode(), replace=False)
    except FileExistsError:
        raise StatementFileError(f"{path}: there is a file already; it is left as it is") from None


def read_statement(path: Path) -> Statement:
    """Raises StatementFileError, naming the file and what is wrong in it."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise StatementFileError(f"{path}: {error.strerror}") from None
    if len(text) > FILE_BYTES_MAX:
        raise StatementFileError(f"{path}: over {FILE_BYTES_MAX} bytes, this is no statement")
    try:
        return _parse(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise StatementFileError(f"{path}: no statement that hanse wrote: {error}") from None


def _parse(plain: Any) -> Statement:
    """Raises ValueError (InvalidView)."""
    names = {"league", "chain_id", "signer", "nonce", "body", "signature"}
    if not isinstance(plain, dict) or plain.keys() != names:
        raise InvalidView(f"want an object with {', '.join(sorted(names))}")
    words = {name: plain[name] for name in ("league", "chain_id", "signer", "signature")}
    if not all(isinstance(word, str) for word in words.values()):
        raise InvalidView(f"want text as {', '.join(words)}")
    return Statement(
        words["league"],
        Hash32(_whole(words["chain_id"], "chain_id")),
        OrgId(_whole(words["signer"], "signer")),
        integer(plain["nonce"], "nonce"),
        body_from_json(plain["body"], lambda text: _whole(text, "an organisation")),
        unhex(words["signature"]),
    )


def _whole(text: str, what: str) -> bytes:
    found = unhex(text)
    if len(found) != 32:
        raise InvalidView(f"{what}: got {len(found)} bytes, want 32")
    return found
