"""The first block of a league: its founders, their tokens and the league's parameters; its hash is the chain id."""

import json
from dataclasses import dataclass
from typing import Annotated

from ledger.certificates import Committee
from ledger.codec import Range, Size, digest, encode
from ledger.election import committee_of, first_election
from ledger.entries import (
    ELECTION,
    LEAGUE,
    OPEN_REQUESTS,
    Account,
    League,
    Member,
    OpenRequests,
    Standing,
    account_key,
    member_key,
    standing_key,
)
from ledger.errors import InvalidBytes, InvalidGenesis
from ledger.state import State
from ledger.transactions import Address, Amount, Millionths, Name, Org
from ledger.types import AMOUNT_MAX, MEMBERS_MAX, TIME_MAX, Hash32, OrgId

# Founders begin in the middle: there is room to earn and to lose.
FOUNDER_REPUTATION = 500_000


@dataclass(frozen=True, slots=True)
class LeagueParameters:
    """What the members agreed to when they founded the league."""

    registration_expiry_heights: Annotated[int, Range(1, 10**9)] = 10_000
    founder_reputation: Millionths = FOUNDER_REPUTATION


@dataclass(frozen=True, slots=True)
class GenesisMember:
    """A founder. `balance`: the tokens it begins with; all tokens there will ever be are these."""

    org: Org
    name: Name
    addresses: Annotated[tuple[Address, ...], Size(0, 8)]
    balance: Amount


@dataclass(frozen=True, slots=True)
class Genesis:
    """`time`: milliseconds since 1970; the first block's time must be above it."""

    name: Name
    time: Amount
    members: Annotated[tuple[GenesisMember, ...], Size(1, MEMBERS_MAX)]
    parameters: LeagueParameters

    @property
    def chain_id(self) -> Hash32:
        return digest("hanse/genesis", encode(self))

    @property
    def committee(self) -> Committee:
        """Who votes on height 1."""
        founders = [OrgId(member.org) for member in self.members]
        return committee_of(first_election(founders, self.parameters.founder_reputation))


def found(genesis: Genesis, state: State) -> None:
    """Write the first state. Raises InvalidGenesis."""
    check_genesis(genesis)
    founders = [OrgId(member.org) for member in genesis.members]
    for member in genesis.members:
        state.put(member_key(member.org), Member(member.name, member.addresses, 0, 0))
        state.put(account_key(member.org), Account(member.balance, 0))
        state.put(standing_key(member.org), Standing(genesis.parameters.founder_reputation, 0, 0, 0, 0, 0, 0))
    supply = sum(member.balance for member in genesis.members)
    state.put(LEAGUE, League(genesis.name, supply, len(founders), 0))
    state.put(ELECTION, first_election(founders, genesis.parameters.founder_reputation))
    state.put(OPEN_REQUESTS, OpenRequests(()))


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
    supply = sum(member.balance for member in genesis.members)
    if supply > AMOUNT_MAX:
        raise InvalidGenesis(f"{supply} tokens in all, at most {AMOUNT_MAX} can be counted")
    if genesis.time >= TIME_MAX:
        raise InvalidGenesis(f"time {genesis.time}, want milliseconds since 1970 below {TIME_MAX}")


def genesis_to_json(genesis: Genesis) -> str:
    """The file form, for people: keys in hex."""
    members = [
        {"org": m.org.hex(), "name": m.name, "addresses": list(m.addresses), "balance": m.balance}
        for m in genesis.members
    ]
    parameters = {
        "registration_expiry_heights": genesis.parameters.registration_expiry_heights,
        "founder_reputation": genesis.parameters.founder_reputation,
    }
    content = {"name": genesis.name, "time": genesis.time, "parameters": parameters, "members": members}
    return json.dumps({**content, "chain_id": genesis.chain_id.hex()}, indent=2) + "\n"


def genesis_from_json(text: str) -> Genesis:
    """Parse a genesis file; the chain id in it, when given, must be the right one. Raises InvalidGenesis."""
    try:
        content = json.loads(text)
        stated = content.pop("chain_id", None)
        parameters = LeagueParameters(**content.pop("parameters", {}))
        members = tuple(_member_from_json(**member) for member in content.pop("members"))
        genesis = Genesis(content.pop("name"), content.pop("time"), members, parameters)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidGenesis(f"not a genesis file: {error!r}") from None
    if content:
        raise InvalidGenesis(f"unknown: {', '.join(sorted(content))}")
    check_genesis(genesis)
    if stated is not None and stated != genesis.chain_id.hex():
        raise InvalidGenesis(f"the file says chain id {stated}, its content gives {genesis.chain_id.hex()}")
    return genesis


def _member_from_json(org: str, name: str, addresses: list[str], balance: int) -> GenesisMember:
    if type(addresses) is not list:
        raise ValueError(f"addresses of {name!r} are {addresses!r}, want a list")
    return GenesisMember(bytes.fromhex(org), name, tuple(addresses), balance)
