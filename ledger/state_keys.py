"""How the state's keys read: from their bytes to words, and to the kind of entry that lies under each.

`entries.py` makes keys of what they are about; this is the way back, for auditors and for who shows them.
"""

from dataclasses import dataclass
from typing import Any

from ledger.entries import (
    ELECTION,
    LEAGUE,
    OPEN_REQUESTS,
    Account,
    Anchor,
    AnchorTotals,
    Candidate,
    Election,
    League,
    Member,
    OpenRequests,
    Receipt,
    Request,
    Round,
    Standing,
)
from ledger.league_entries import (
    PARAMETERS,
    PROTOCOL,
    SCHEDULE,
    Ballot,
    Decision,
    Former,
    KeyOwner,
    Protocol,
    Schedule,
    Usage,
)
from ledger.parameters import LeagueParameters
from ledger.protection_entries import Dealing, Exclusion, MaskedInputs, MaskRound, Revealed, Spent
from ledger.transactions import Protection

ID_BYTES = 32


@dataclass(frozen=True, slots=True)
class KeyForm:
    """A key is `name`, a slash, and parts of these widths in bytes: an id of 32 bytes, or a big-endian number."""

    kind: type[Any]
    widths: tuple[int, ...]


WHOLE_KEYS: dict[bytes, type[Any]] = {
    LEAGUE: League,
    ELECTION: Election,
    OPEN_REQUESTS: OpenRequests,
    PARAMETERS: LeagueParameters,
    SCHEDULE: Schedule,
    PROTOCOL: Protocol,
}
KEY_FORMS: dict[str, KeyForm] = {
    "account": KeyForm(Account, (ID_BYTES,)),
    "member": KeyForm(Member, (ID_BYTES,)),
    "candidate": KeyForm(Candidate, (ID_BYTES,)),
    "standing": KeyForm(Standing, (ID_BYTES,)),
    "anchor": KeyForm(Anchor, (ID_BYTES, 8)),
    "anchors": KeyForm(AnchorTotals, (ID_BYTES,)),
    "request": KeyForm(Request, (ID_BYTES,)),
    "round": KeyForm(Round, (ID_BYTES,)),
    "receipt": KeyForm(Receipt, (ID_BYTES, 4, 2)),
    "key": KeyForm(KeyOwner, (ID_BYTES,)),
    "former": KeyForm(Former, (ID_BYTES,)),
    "ballot": KeyForm(Ballot, (ID_BYTES,)),
    "decision": KeyForm(Decision, (ID_BYTES,)),
    "usage": KeyForm(Usage, (ID_BYTES,)),
    "protection": KeyForm(Protection, (ID_BYTES,)),
    "charge": KeyForm(Spent, (ID_BYTES, ID_BYTES)),
    "excluded": KeyForm(Exclusion, (ID_BYTES, ID_BYTES)),
    "masking": KeyForm(MaskRound, (ID_BYTES,)),
    "dealing": KeyForm(Dealing, (ID_BYTES, ID_BYTES)),
    "revealed": KeyForm(Revealed, (ID_BYTES, ID_BYTES)),
    "unmasking": KeyForm(MaskedInputs, (ID_BYTES, 4, 2)),
}


@dataclass(frozen=True, slots=True)
class ReadKey:
    """`parts`: ids as bytes, numbers as int. `kind`: of the entry; None for a key that this version does not know."""

    name: str
    parts: tuple[bytes | int, ...]
    kind: type[Any] | None


def read_key(key: bytes) -> ReadKey:
    """What a key is about. A key of no known form has its hex for a name."""
    if key in WHOLE_KEYS:
        return ReadKey(key.decode(), (), WHOLE_KEYS[key])
    prefix, slash, rest = key.partition(b"/")
    form = KEY_FORMS.get(prefix.decode("ascii", "replace")) if slash else None
    if form is None or len(rest) != sum(form.widths):
        return ReadKey(key.hex(), (), None)
    parts: list[bytes | int] = []
    for width in form.widths:
        part, rest = rest[:width], rest[width:]
        parts.append(part if width == ID_BYTES else int.from_bytes(part, "big"))
    return ReadKey(prefix.decode(), tuple(parts), form.kind)


def key_name(key: bytes) -> str:
    """A key in words: `anchor/<organisation>/<period>`, ids by their first 16 digits."""
    read = read_key(key)
    return "/".join([read.name, *(part.hex()[:16] if isinstance(part, bytes) else str(part) for part in read.parts)])
