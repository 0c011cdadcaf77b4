"""Where members say they can be dialled: signed records, the newest of each member, kept in one file.

Nobody can speak for another and an old record never replaces a newer one, so records may be taken from anybody.
Members only: the book never holds more than the league. How records travel is `address_exchange.py`'s business.
"""

import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ledger.codec import Range, Size, decode, encode
from ledger.errors import InvalidBytes
from ledger.keys import KeyPair, verify
from ledger.types import MEMBERS_MAX, Hash32, NodeKey, Signature
from node.network.addresses import ADDRESS_CHARS_MAX, Address, parse_address
from node.network.durable_file import replace_file

log = logging.getLogger(__name__)

SIGNED_KIND = "address"
# A site has a line or two, in IPv4, IPv6 and by name.
ADDRESSES_PER_RECORD_MAX = 8

AddressText = Annotated[str, Size(1, ADDRESS_CHARS_MAX)]


@dataclass(frozen=True, slots=True)
class AddressClaim:
    """What a member signs. Of two claims the one with the higher sequence holds; time in ms makes a good one."""

    org: Annotated[NodeKey, Size(32, 32)]
    sequence: Annotated[int, Range(0, 2**62)]
    addresses: Annotated[tuple[AddressText, ...], Size(0, ADDRESSES_PER_RECORD_MAX)]


@dataclass(frozen=True, slots=True)
class AddressRecord:
    claim: AddressClaim
    signature: Annotated[Signature, Size(64, 64)]


@dataclass(frozen=True, slots=True)
class AddressRecords:
    """What travels and what lies in the file."""

    records: Annotated[tuple[AddressRecord, ...], Size(0, MEMBERS_MAX)]


@dataclass(frozen=True, slots=True)
class Taken:
    """`changed`: whose addresses are others now; `forged`: under whose name a record was that it never signed."""

    changed: frozenset[NodeKey]
    forged: NodeKey | None


class AddressBook:
    """The newest record of every member, in `path`."""

    def __init__(self, path: Path, chain_id: Hash32, members: Iterable[NodeKey]) -> None:
        self.path = path
        self._chain_id = chain_id
        self._members = frozenset(members)
        self._records: dict[NodeKey, AddressRecord] = {}
        if path.exists():
            try:
                self.take(path.read_bytes())
            except InvalidBytes as error:
                # Only what others told us and will tell again: no reason to stop a factory.
                log.warning("%s is damaged (%s) and starts empty", path, error)

    def set_members(self, members: Iterable[NodeKey]) -> None:
        """Keep the records of these only."""
        self._members = frozenset(members)
        gone = self._records.keys() - self._members
        for org in gone:
            del self._records[org]
        if gone:
            self.save()

    @property
    def members(self) -> frozenset[NodeKey]:
        return self._members

    def addresses(self, org: NodeKey) -> tuple[str, ...]:
        record = self._records.get(org)
        return () if record is None else record.claim.addresses

    def sequence(self, org: NodeKey) -> int:
        """The sequence of the record of `org`, -1 without one. Our own next one must be higher."""
        record = self._records.get(org)
        return -1 if record is None else record.claim.sequence

    def announce(self, key: KeyPair, addresses: tuple[str, ...], sequence: int) -> None:
        """Sign and keep our own record. Raises InvalidAddress, and ValueError when `sequence` is not higher."""
        for text in addresses:
            parse_address(text)
        if sequence <= self.sequence(key.public):
            raise ValueError(f"sequence {sequence}, want more than {self.sequence(key.public)}")
        claim = AddressClaim(key.public, sequence, addresses)
        self._records[key.public] = AddressRecord(claim, key.sign(self._chain_id, SIGNED_KIND, encode(claim)))
        self.save()

    def records(self) -> bytes:
        """All records, for others."""
        return encode(AddressRecords(tuple(self._records[org] for org in sorted(self._records))))

    def take(self, data: bytes, may_renew: Callable[[NodeKey], bool] = lambda _: True) -> "Taken":
        """Take what somebody tells. Raises InvalidBytes.

        Records of others than members, older ones and those `may_renew` is against are left out. At the first that is
        wrongly signed the reading ends: each costs a check of a signature, and no honest node has one to tell.
        """
        changed = set()
        forged = None
        for record in decode(AddressRecords, data).records:
            claim = record.claim
            if claim.org not in self._members or claim.sequence <= self.sequence(claim.org):
                continue
            if not verify(claim.org, record.signature, self._chain_id, SIGNED_KIND, encode(claim)):
                forged = claim.org
                break
            if not may_renew(claim.org):
                continue
            if claim.addresses != self.addresses(claim.org):
                changed.add(claim.org)
            self._records[claim.org] = record
        return Taken(frozenset(changed), forged)

    def save(self) -> None:
        """Write the book. Raises OSError; the file then holds what it held."""
        replace_file(self.path, self.records())


def addresses_to_announce(announce: tuple[str, ...], listening: tuple[str, ...]) -> tuple[str, ...]:
    """What others should dial: what the owner says, else where we listen, "everywhere" replaced by our own address."""
    if announce:
        return tuple(str(parse_address(text).place) for text in announce)
    found = []
    for text in listening:
        place = parse_address(text).place
        if place.host in ("0.0.0.0", "::"):
            host = _own_host(place.family)
            if host is None:
                continue
            place = Address(place.family, host, place.port)
        found.append(str(place))
    return tuple(found)[:ADDRESSES_PER_RECORD_MAX]


def _own_host(family: str) -> str | None:
    """The address this machine sends from; connecting a datagram socket asks the routing table and sends nothing."""
    kind, far_away = (socket.AF_INET, "192.0.2.1") if family == "ip4" else (socket.AF_INET6, "2001:db8::1")
    try:
        with closing(socket.socket(kind, socket.SOCK_DGRAM)) as probe:
            probe.connect((far_away, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
