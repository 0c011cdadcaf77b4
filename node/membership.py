"""How an organisation, and the node that speaks for it, stands by the ledger of this node: read off, nothing decided.

What the league thinks of a node whose ledger is not that far is asked in `admission.py`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ledger.entries import (
    ELECTION,
    LEAGUE,
    Candidate,
    Election,
    League,
    Member,
    Standing,
    candidate_key,
    member_key,
    standing_key,
)
from ledger.league_entries import PROTOCOL, Cause, Former, KeyOwner, former_key, key_owner_key
from ledger.league_entries import Protocol as LeagueProtocol
from ledger.protocols import NEWEST
from ledger.roles import Role, role_names
from ledger.types import NodeKey, OrgId

T = TypeVar("T")


class Readable(Protocol):
    """The part of a chain that is read here."""

    def read(self, kind: type[T], key: bytes) -> T | None: ...


@dataclass(frozen=True, slots=True)
class Membership:
    """`status`: member, candidate, left, expelled, or stranger. `key_ok`: whether this node's key is the current one.

    `why`: a sentence for the operator when the node has no part in the league; empty for a member that is well.
    """

    status: str
    name: str | None
    roles: tuple[str, ...]
    seated: bool
    jailed_until_epoch: int
    key_ok: bool
    why: str

    @property
    def member(self) -> bool:
        return self.status == "member"


def membership_of(chain: Readable, org: bytes, key: bytes) -> Membership:
    """How `org` stands, whose node signs with `key`."""
    member = chain.read(Member, member_key(org))
    standing = chain.read(Standing, standing_key(org))
    election = chain.read(Election, ELECTION)
    seated = election is not None and any(seat.org == org for seat in election.seats)
    jailed = (
        standing.jailed_until_epoch if standing and election and standing.jailed_until_epoch > election.epoch else 0
    )
    if member is not None:
        why = "" if member.key == key else _retired(chain, key, NodeKey(member.key))
        return Membership("member", member.name, role_names(member.roles), seated, jailed, not why, why)
    former = chain.read(Former, former_key(org))
    if former is not None:
        status = "left" if former.cause is Cause.LEFT else "expelled"
        done = "left the league" if status == "left" else "was expelled from the league"
        why = f"this organisation {done} at height {former.left_height}; `hanse join league` asks to be let in again"
        return Membership(status, former.name, (), False, jailed, True, why)
    candidate = chain.read(Candidate, candidate_key(org))
    if candidate is not None:
        why = "the members have not approved this organisation yet"
        return Membership("candidate", candidate.name, role_names(candidate.roles), False, 0, True, why)
    return Membership("stranger", None, (), False, 0, True, "this organisation is no member by the ledger of this node")


def is_provider(chain: Readable, org: bytes) -> bool:
    """Whether this organisation may offer data: a member that has the role."""
    member = chain.read(Member, member_key(org))
    return member is not None and bool(member.roles & Role.PROVIDER)


def _retired(chain: Readable, key: bytes, current: NodeKey) -> str:
    owner = chain.read(KeyOwner, key_owner_key(key))
    gone = f" was rotated away at height {owner.until_height}" if owner is not None else " is not the ledger's"
    return f"the key {key.hex()[:16]} of this node{gone}: the league knows this organisation by {current.hex()[:16]}"


class Keys(Protocol):
    """Whose key is whose, at the head."""

    def org_of(self, key: bytes) -> OrgId | None: ...

    def key_of(self, org: bytes) -> NodeKey | None: ...

    def members(self) -> list[tuple[OrgId, Member]]: ...


def member_nodes(
    chain: Keys, bootstrap: Iterable[tuple[NodeKey, str]] = ()
) -> Iterator[tuple[NodeKey, tuple[str, ...]]]:
    """The node key of every member and where it may be dialled: what the ledger has of it, then `bootstrap`.

    `bootstrap`: keys and places of the configuration. A member that has rotated its key since is still dialled there,
    under its new key.
    """
    places: dict[OrgId | None, list[str]] = {}
    for key, place in bootstrap:
        places.setdefault(chain.org_of(key), []).append(place)
    for org, member in chain.members():
        yield NodeKey(member.key), tuple(dict.fromkeys((*member.addresses, *places.get(org, ()))))


def league_warnings(chain: Readable) -> tuple[str, ...]:
    """What the operator of a node should know of its league before it happens, a sentence each."""
    league, protocol = chain.read(League, LEAGUE), chain.read(LeagueProtocol, PROTOCOL)
    warnings = [without_tolerance(league.voters)] if league is not None else []
    following = protocol.scheduled if protocol is not None else None
    if following is not None and following.version > NEWEST:
        warnings.append(
            f"from height {following.from_height} on the league runs protocol {following.version}, and this program"
            f" knows up to {NEWEST}: install a newer one before, or the node stops there"
        )
    return tuple(warning for warning in warnings if warning)


def without_tolerance(members: int) -> str | None:
    """What a league this small should be told plainly; None when it goes on with a member away (n > 3f, f >= 1)."""
    if members >= 4:
        return None
    what = "its only member" if members == 1 else "any of them"
    count = f"{members} member{'s' if members > 1 else ''}"
    return f"this league of {count} tolerates no fault: it stands still while {what} is away; from four on one may be"
