"""The first block of a league: its founders, their tokens and the league's parameters; its hash is the chain id."""

import json
from dataclasses import dataclass, fields
from typing import Annotated

from ledger.certificates import Committee
from ledger.codec import Size, digest, encode
from ledger.election import Candidacy, committee_of, first_election
from ledger.entries import (
    ELECTION,
    LEAGUE,
    OPEN_REQUESTS,
    Account,
    Election,
    League,
    Member,
    OpenRequests,
    Standing,
    account_key,
    member_key,
    standing_key,
)
from ledger.errors import InvalidBytes, InvalidGenesis
from ledger.fields import Addresses, Amount, Name, Org, OwnKey, Roles, Version
from ledger.json_form import read_json
from ledger.keyring import take_key
from ledger.league_entries import PARAMETERS, PROTOCOL, SCHEDULE, Protocol, Schedule
from ledger.parameters import LeagueParameters, contradiction
from ledger.protocols import NEWEST
from ledger.roles import EVERY_ROLE, role_names, roles_of
from ledger.state import State
from ledger.types import AMOUNT_MAX, MEMBERS_MAX, TIME_MAX, Hash32, NodeKey, OrgId


@dataclass(frozen=True, slots=True)
class GenesisMember:
    """A founder. `balance`: the tokens it begins with; all tokens there will ever be are these.

    `key`: what its node signs with; empty when that is its identity `org` itself. `roles`: a sum of `roles.Role`.
    """

    org: Org
    name: Name
    addresses: Addresses
    balance: Amount
    key: OwnKey = b""
    roles: Roles = EVERY_ROLE

    @property
    def node_key(self) -> NodeKey:
        return NodeKey(self.key or self.org)


@dataclass(frozen=True, slots=True)
class Genesis:
    """`time`: milliseconds since 1970; the first block's time must be above it. `protocol`: of the first height."""

    name: Name
    time: Amount
    members: Annotated[tuple[GenesisMember, ...], Size(1, MEMBERS_MAX)]
    parameters: LeagueParameters
    protocol: Version = NEWEST

    @property
    def chain_id(self) -> Hash32:
        return digest("hanse/genesis", encode(self))

    @property
    def committee(self) -> Committee:
        """Who votes on height 1."""
        return committee_of(self._election)

    @property
    def _election(self) -> Election:
        reputation = self.parameters.founder_reputation
        voters = [Candidacy(OrgId(each.org), each.node_key, reputation, 0) for each in self.members if each.roles != 0]
        return first_election(voters, self.parameters.seats_max)


def found(genesis: Genesis, state: State) -> None:
    """Write the first state. Raises InvalidGenesis."""
    check_genesis(genesis)
    for each in genesis.members:
        member = Member(each.name, each.addresses, 0, 0, each.node_key, each.roles, 0)
        state.put(member_key(each.org), member)
        take_key(state, OrgId(each.org), each.node_key, 0)
        state.put(account_key(each.org), Account(each.balance, 0))
        state.put(standing_key(each.org), Standing(genesis.parameters.founder_reputation, 0, 0, 0, 0, 0, 0))
    supply = sum(each.balance for each in genesis.members)
    voters = sum(each.roles != 0 for each in genesis.members)
    state.put(LEAGUE, League(genesis.name, supply, len(genesis.members), voters, 0, 0, 0))
    state.put(ELECTION, genesis._election)
    state.put(OPEN_REQUESTS, OpenRequests(()))
    state.put(PARAMETERS, genesis.parameters)
    state.put(SCHEDULE, Schedule(()))
    state.put(PROTOCOL, Protocol(genesis.protocol, 1, None))


def check_genesis(genesis: Genesis) -> None:
    """Raises InvalidGenesis naming what is wrong."""
    try:
        encode(genesis)  # every field is of its type and in its bounds: what follows may rely on it
    except InvalidBytes as error:
        raise InvalidGenesis(str(error)) from None
    orgs = [member.org for member in genesis.members]
    names = [member.name for member in genesis.members]
    if len(set(orgs)) != len(orgs):
        raise InvalidGenesis("a founder is named twice")
    if len(set(names)) != len(names):
        raise InvalidGenesis("two founders share a name")
    if orgs != sorted(orgs):
        raise InvalidGenesis("founders are not ascending by key")
    _check_keys(genesis)
    if all(member.roles == 0 for member in genesis.members):
        raise InvalidGenesis("all founders are observers: nobody would vote")
    wrong = contradiction(genesis.parameters)
    if wrong is not None:
        raise InvalidGenesis(f"parameters: {wrong}")
    supply = sum(member.balance for member in genesis.members)
    if supply > AMOUNT_MAX:
        raise InvalidGenesis(f"{supply} tokens in all, at most {AMOUNT_MAX} can be counted")
    if genesis.time >= TIME_MAX:
        raise InvalidGenesis(f"time {genesis.time}, want milliseconds since 1970 below {TIME_MAX}")


def _check_keys(genesis: Genesis) -> None:
    """Every key is one organisation's only, as an identity or as what its node signs with."""
    taken = {member.org for member in genesis.members}
    for member in genesis.members:
        if not member.key:
            continue
        if len(member.key) != 32:
            raise InvalidGenesis(f"the key of {member.name!r} has {len(member.key)} bytes, want 32")
        if member.key == member.org:
            raise InvalidGenesis(f"the key of {member.name!r} is its identity: leave it out")
        if member.key in taken:
            raise InvalidGenesis(f"the key of {member.name!r} is another founder's")
        taken.add(member.key)


def genesis_to_json(genesis: Genesis) -> str:
    """The file form, for people: keys in hex."""
    parameters = {field.name: getattr(genesis.parameters, field.name) for field in fields(LeagueParameters)}
    content = {
        "name": genesis.name,
        "time": genesis.time,
        "protocol": genesis.protocol,
        "parameters": parameters,
        "members": [_member_to_json(member) for member in genesis.members],
    }
    return json.dumps({**content, "chain_id": genesis.chain_id.hex()}, indent=2) + "\n"


def _member_to_json(member: GenesisMember) -> dict[str, object]:
    """Only what is not the rule is written: a key apart from the identity, and roles other than both."""
    content: dict[str, object] = {"org": member.org.hex(), "name": member.name, "addresses": list(member.addresses)}
    if member.key:
        content["key"] = member.key.hex()
    if member.roles != EVERY_ROLE:
        content["roles"] = list(role_names(member.roles))
    return {**content, "balance": member.balance}


def genesis_from_json(text: str) -> Genesis:
    """Parse a genesis file; the chain id in it, when given, must be the right one. Raises InvalidGenesis."""
    try:
        content = read_json(text)
        stated = content.pop("chain_id", None)
        parameters = LeagueParameters(**content.pop("parameters", {}))
        members = tuple(_member_from_json(**member) for member in content.pop("members"))
        protocol = content.pop("protocol", NEWEST)
        genesis = Genesis(content.pop("name"), content.pop("time"), members, parameters, protocol)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidGenesis(f"not a genesis file: {error!r}") from None
    if content:
        raise InvalidGenesis(f"unknown: {', '.join(sorted(content))}")
    check_genesis(genesis)
    if stated is not None and stated != genesis.chain_id.hex():
        raise InvalidGenesis(f"the file says chain id {stated}, its content gives {genesis.chain_id.hex()}")
    return genesis


def _member_from_json(
    org: str, name: str, addresses: list[str], balance: int, key: str = "", roles: list[str] | None = None
) -> GenesisMember:
    if type(addresses) is not list:
        raise ValueError(f"addresses of {name!r} are {addresses!r}, want a list")
    if roles is not None and type(roles) is not list:
        raise ValueError(f"roles of {name!r} are {roles!r}, want a list")
    taken = EVERY_ROLE if roles is None else roles_of(roles)
    return GenesisMember(bytes.fromhex(org), name, tuple(addresses), balance, bytes.fromhex(key), taken)
