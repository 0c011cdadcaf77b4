"""What all kinds of proofs are made of: a path of headers, entries of the state shown under its end, one file form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from ledger.blocks import FinalHeader, Header
from ledger.codec import Size, decode
from ledger.errors import InvalidBytes, InvalidProof
from ledger.json_form import from_json, to_json
from ledger.light_path import PATH_MAX
from ledger.state_keys import key_name
from ledger.state_tree import StateProof, verify_absent, verify_present

T = TypeVar("T")

FORMAT = "hanse-proof-1"
# A path of a thousand headers of the largest committee, in hex; most proofs are some kilobytes.
FILE_BYTES_MAX = 64 * 1024 * 1024
# Names and two ids with numbers: the longest key of the state has some eighty bytes.
KEY_BYTES_MAX = 256
# A request or a round with 256 members in it; a transaction of 32 KiB bounds what one provider adds to it.
VALUE_BYTES_MAX = 8 * 1024 * 1024
# Anchors of one reward: a round of 31 providers with all their 256 periods. Past that, one provider at a time.
ENTRIES_MAX = 8192

Path = Annotated[tuple[FinalHeader, ...], Size(1, PATH_MAX)]


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """A key of the state, its value's canonical bytes (None: there is none), and the proof under a state root."""

    key: Annotated[bytes, Size(1, KEY_BYTES_MAX)]
    value: Annotated[bytes, Size(0, VALUE_BYTES_MAX)] | None
    proof: StateProof


def check_entry(header: Header, entry: ProvenEntry) -> None:
    """That the state after this block holds the entry. Raises InvalidProof."""
    named = key_name(entry.key)
    if entry.value is None:
        if not verify_absent(header.state_root, entry.key, entry.proof):
            raise InvalidProof(f"the absence of {named} is not shown under the state of height {header.height}")
    elif not verify_present(header.state_root, entry.key, entry.value, entry.proof):
        raise InvalidProof(f"{named} with this value is not in the state of height {header.height}")


def read_entry(header: Header, entry: ProvenEntry, kind: type[T], key: bytes) -> T:
    """The `kind` that lies under `key` after this block, shown by `entry`. Raises InvalidProof."""
    if entry.key != key:
        raise InvalidProof(f"an entry of {key_name(entry.key)}, want {key_name(key)}")
    check_entry(header, entry)
    if entry.value is None:
        raise InvalidProof(f"there is no {key_name(key)} at height {header.height}")
    try:
        return decode(kind, entry.value)
    except InvalidBytes as error:
        raise InvalidProof(f"{key_name(key)}: {error}") from None


def to_file(kind: str, proof: object) -> str:
    """The file form of a proof. Raises InvalidBytes when it would be too large to be read again."""
    text = json.dumps({"format": FORMAT, "kind": kind, **to_json(proof)}, indent=1) + "\n"
    if len(text) > FILE_BYTES_MAX:
        raise InvalidBytes(f"a proof of {len(text)} characters, want at most {FILE_BYTES_MAX}")
    return text


def from_file(text: str, kinds: Mapping[str, type[Any]]) -> Any:
    """The proof of one of these kinds that a file holds. Raises InvalidBytes naming what is wrong in it."""
    if len(text) > FILE_BYTES_MAX:
        raise InvalidBytes(f"a proof of {len(text)} characters, want at most {FILE_BYTES_MAX}")
    try:
        plain = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise InvalidBytes(f"not JSON: {error}"[:200]) from None
    if type(plain) is not dict or plain.pop("format", None) != FORMAT:
        raise InvalidBytes(f"not a {FORMAT} file")
    name = plain.pop("kind", None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidBytes(f"kind {str(name)[:40]!r}, want one of {', '.join(kinds)}")
    return from_json(kind, plain)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers might take different ones of two values under one name."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a name stands twice in an object of {len(pairs)}")
    return found
