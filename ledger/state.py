"""A block's working copy of the state: reads fall through to what is committed, writes stay here until the block is.

`fork` and `absorb` make one transaction all or nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ledger.certificates import Committee
from ledger.codec import decode, encode
from ledger.errors import CorruptStore, InvalidBytes
from ledger.parameters import LeagueParameters
from ledger.protocols import ProtocolRules
from ledger.types import Hash32, NodeKey, OrgId

T = TypeVar("T")

_MISSING = object()


class State:
    """Entries by key, as frozen dataclasses. `read` and `scan_rows` give the committed bytes."""

    def __init__(
        self,
        read: Callable[[bytes], bytes | None],
        scan_rows: Callable[[bytes], Iterator[tuple[bytes, bytes]]],
    ) -> None:
        self._read = read
        self._scan_rows = scan_rows
        self._parent: State | None = None
        self._written: dict[bytes, Any] = {}
        self._known: dict[bytes, Any] = {}
        self._sealed: dict[bytes, bytes | None] = {}

    def get(self, kind: type[T], key: bytes) -> T | None:
        """The entry under `key`, None when there is none. Raises CorruptStore when it is not a `kind`."""
        view: State | None = self
        while view is not None:
            found = view._written.get(key, _MISSING)
            if found is not _MISSING:
                return found  # type: ignore[no-any-return]
            if view._parent is None:
                break
            view = view._parent
        assert view is not None
        if key not in view._known:
            raw = self._read(key)
            view._known[key] = None if raw is None else _stored(kind, key, raw)
        return view._known[key]  # type: ignore[no-any-return]

    def need(self, kind: type[T], key: bytes) -> T:
        """An entry that the rules say is there."""
        entry = self.get(kind, key)
        if entry is None:
            raise CorruptStore(f"the state has no {kind.__name__} under {key!r}")
        return entry

    def put(self, key: bytes, entry: object) -> None:
        self._written[key] = entry
        self._sealed.pop(key, None)

    def delete(self, key: bytes) -> None:
        self.put(key, None)

    def scan(self, kind: type[T], prefix: bytes) -> list[tuple[bytes, T]]:
        """All entries under a prefix with the rest of their keys, by key ascending."""
        keys = {key for key, _ in self._scan_rows(prefix)}
        view: State | None = self
        while view is not None:
            keys.update(key for key in view._written if key.startswith(prefix))
            view = view._parent
        found = ((key, self.get(kind, key)) for key in sorted(keys))
        return [(key[len(prefix) :], entry) for key, entry in found if entry is not None]

    def fork(self) -> "State":
        """A copy to try something on: `absorb` it when it went well, drop it when not."""
        child = State(self._read, self._scan_rows)
        child._parent = self
        return child

    def absorb(self, child: "State") -> None:
        assert child._parent is self
        for key, entry in child._written.items():
            self.put(key, entry)
        self._sealed.update(child._sealed)

    def seal(self) -> None:
        """Make the bytes of what was written here. Raises InvalidBytes when an entry breaks its own bounds."""
        self._sealed = {key: _bytes_of(entry) for key, entry in self._written.items()}

    def changes(self) -> dict[bytes, bytes | None]:
        """What was written, as bytes; None for what was deleted. Rows that end as they began are left out."""
        assert self._parent is None
        changed: dict[bytes, bytes | None] = {}
        for key in sorted(self._written):
            value = self._sealed[key] if key in self._sealed else _bytes_of(self._written[key])
            if value != self._read(key):
                changed[key] = value
        return changed


def _bytes_of(entry: object) -> bytes | None:
    return None if entry is None else encode(entry)


def _stored(kind: type[T], key: bytes, raw: bytes) -> T:
    try:
        return decode(kind, raw)
    except InvalidBytes as error:
        raise CorruptStore(f"the state's entry {key!r} is damaged: {error}") from None


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What the rules may know of the block they run in.

    `author`: the key that leads the view the block was born in, `author_org` whose it is. `committee`: who votes on the
    block, by key; `seated`: the same organisations, ascending.
    """

    chain_id: Hash32
    height: int
    time: int
    author: NodeKey
    author_org: OrgId
    committee: Committee
    seated: tuple[OrgId, ...]
    parameters: LeagueParameters
    rules: ProtocolRules
