"""Peer ids and multiaddrs as text, without libp2p: what configurations, genesis files and address records hold.

A peer id is the libp2p one of an Ed25519 key: base58 of 00 24 08 01 12 20 and the 32 bytes of the public key
(libp2p peer-ids specification: an identity multihash of the protobuf of the key): the NodeKey, spelt otherwise.
"""

import ipaddress
import re
from dataclasses import dataclass

from ledger.types import NodeKey
from node.network.transport import InvalidAddress

PEER_ID_PREFIX = bytes.fromhex("002408011220")
ADDRESS_CHARS_MAX = 320
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


@dataclass(frozen=True, slots=True)
class Address:
    """A place to dial. `family` is ip4, ip6, dns, dns4 or dns6; `org` who is said to answer there, if it is said."""

    family: str
    host: str
    port: int
    org: NodeKey | None = None

    def __str__(self) -> str:
        end = "" if self.org is None else f"/p2p/{peer_id(self.org)}"
        return f"/{self.family}/{self.host}/tcp/{self.port}{end}"

    @property
    def place(self) -> "Address":
        """The same without the identity."""
        return Address(self.family, self.host, self.port)


def peer_id(key: NodeKey) -> str:
    """`12D3KooW…`, the libp2p name of a node's key."""
    raw = PEER_ID_PREFIX + key
    number = int.from_bytes(raw, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    # Every leading zero byte is a leading 1.
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + digits


def key_of_peer_id(text: str) -> NodeKey:
    """The key a peer id names; raises InvalidAddress for anything but an Ed25519 peer id."""
    number = 0
    for letter in text[:64]:
        at = _BASE58.find(letter)
        if at < 0:
            raise InvalidAddress(f"peer id {text[:64]!r}: {letter!r} is no base58 letter")
        number = number * 58 + at
    raw = b"\0" * (len(text) - len(text.lstrip("1"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) != 38 or not raw.startswith(PEER_ID_PREFIX):
        raise InvalidAddress(f"peer id {text[:64]!r}: want that of an Ed25519 key, it starts with 12D3KooW")
    return NodeKey(raw[len(PEER_ID_PREFIX) :])


def parse_address(text: str) -> Address:
    """Parse `/ip4|ip6|dns|dns4|dns6/<host>/tcp/<port>[/p2p/<peer id>]`; raises InvalidAddress."""
    if len(text) > ADDRESS_CHARS_MAX:
        raise InvalidAddress(f"an address of {len(text)} characters, want at most {ADDRESS_CHARS_MAX}")
    parts = text.split("/")
    if len(parts) not in (5, 7) or parts[0] != "" or parts[3] != "tcp":
        raise InvalidAddress(f"{text!r}: want /ip4/1.2.3.4/tcp/4001, also ip6 and dns4, with or without /p2p/<peer id>")
    family, host, port_text = parts[1], parts[2], parts[4]
    _check_host(text, family, host)
    if not port_text.isascii() or not port_text.isdigit() or len(port_text) > 5 or int(port_text) > 65535:
        raise InvalidAddress(f"{text!r}: port {port_text!r}, want 0 to 65535")
    org = None
    if len(parts) == 7:
        if parts[5] != "p2p":
            raise InvalidAddress(f"{text!r}: {parts[5]!r} where p2p was due")
        org = key_of_peer_id(parts[6])
    return Address(family, host, int(port_text), org)


def _check_host(text: str, family: str, host: str) -> None:
    try:
        if family == "ip4":
            ipaddress.IPv4Address(host)
        elif family == "ip6":
            ipaddress.IPv6Address(host)
        elif family in ("dns", "dns4", "dns6"):
            if len(host) > 253 or not _HOST_NAME.fullmatch(host):
                raise ValueError(f"{host!r} is no host name")
        else:
            raise InvalidAddress(f"{text!r}: {family!r}, want ip4, ip6, dns, dns4 or dns6")
    except ValueError as error:
        raise InvalidAddress(f"{text!r}: {error}") from None
