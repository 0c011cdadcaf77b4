"""A statement on its way to the machine that holds the identity, and back signed: one JSON file, for people to read.

What is signed is the transaction made of what the file shows, and nothing the file could hide: the signer rebuilds it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ledger.errors import InvalidTransaction
from ledger.json_form import read_json
from ledger.keys import KeyPair
from ledger.statements import RegisterMember, RotateKey
from ledger.transactions import Body, Transaction, sign_transaction
from ledger.types import Hash32, OrgId
from node.disk import publish_file
from node.rpc.views import InvalidView, body_from_json, integer, to_json, unhex

# The longest body is a registration with eight addresses; each signature takes 130 letters.
FILE_BYTES_MAX = 64 * 1024
# The node goes on speaking while the file travels, under the same count of nonces: hourly anchors of a week and more.
# Only one of them can take effect: a key is taken once, and who is registered is refused.
NONCES_AHEAD = 256
SIGNED_AHEAD = (RotateKey, RegisterMember)


class StatementFileError(Exception):
    """A statement file that cannot be used. The text says what came and what is wanted."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What an organisation says with its identity. `signatures`: under `nonce` and those after it, none at first."""

    league: str
    chain_id: Hash32
    signer: OrgId
    nonce: int
    body: Body
    signatures: tuple[bytes, ...] = ()

    def sign(self, identity: KeyPair) -> "Statement":
        """Raises StatementFileError when it is to be signed by another."""
        if bytes(identity.public) != self.signer:
            raise StatementFileError(f"signed by {identity.public.hex()}, want the identity {self.signer.hex()}")
        count = NONCES_AHEAD if isinstance(self.body, SIGNED_AHEAD) else 1
        nonces = range(self.nonce, self.nonce + count)
        signed = (sign_transaction(identity, self.chain_id, nonce, self.body) for nonce in nonces)
        return replace(self, signatures=tuple(each.signature for each in signed))

    def transaction(self, nonce: int) -> Transaction:
        """What is handed in under this nonce. Raises StatementFileError when it is not signed for it, or wrongly."""
        if not self.signatures:
            raise StatementFileError("it is not signed; `hanse keys sign` does that where the identity is")
        at = nonce - self.nonce
        if not 0 <= at < len(self.signatures):
            last = self.nonce + len(self.signatures) - 1
            raise StatementFileError(
                f"signed for the nonces {self.nonce} to {last}, and {nonce} is next: this organisation has said much"
                " since; write it anew"
            )
        transaction = Transaction(self.signer, nonce, self.body, self.signatures[at])
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
        "signatures": [each.hex() for each in statement.signatures],
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
        return _parse(read_json(text))
    except ValueError as error:
        raise StatementFileError(f"{path}: no statement that hanse wrote: {error}") from None


def _parse(plain: Any) -> Statement:
    """Raises ValueError (InvalidView)."""
    names = {"league", "chain_id", "signer", "nonce", "body", "signatures"}
    if not isinstance(plain, dict) or plain.keys() != names:
        raise InvalidView(f"want an object with {', '.join(sorted(names))}")
    words = {name: plain[name] for name in ("league", "chain_id", "signer")}
    if not all(isinstance(word, str) for word in words.values()):
        raise InvalidView(f"want text as {', '.join(words)}")
    signatures = plain["signatures"]
    if not isinstance(signatures, list) or not all(isinstance(each, str) for each in signatures):
        raise InvalidView("want a list of signatures")
    return Statement(
        words["league"],
        Hash32(_whole(words["chain_id"], "chain_id")),
        OrgId(_whole(words["signer"], "signer")),
        integer(plain["nonce"], "nonce"),
        body_from_json(plain["body"], lambda text: _whole(text, "an organisation")),
        tuple(unhex(each) for each in signatures),
    )


def _whole(text: str, what: str) -> bytes:
    found = unhex(text)
    if len(found) != 32:
        raise InvalidView(f"{what}: got {len(found)} bytes, want 32")
    return found
