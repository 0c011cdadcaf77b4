"""A league begins from one file that everybody has; what is wrong with a file is said by name."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ledger.entries import ELECTION, LEAGUE, Account, Election, League, Member, account_key, member_key
from ledger.errors import InvalidGenesis
from ledger.genesis import Genesis, check_genesis, genesis_from_json, genesis_to_json
from ledger.roles import Role
from ledger.types import AMOUNT_MAX
from tests.support.league import League as TinyLeague
from tests.support.league import founders, genesis_of, key_of

GENESIS = genesis_of(founders(4), registration_expiry_heights=50)


def test_the_file_brings_back_the_same_league():
    assert genesis_from_json(genesis_to_json(GENESIS)) == GENESIS
    assert genesis_from_json(genesis_to_json(GENESIS)).chain_id == GENESIS.chain_id


def test_whatever_is_changed_founds_another_league():
    changes: list[Genesis] = [
        replace(GENESIS, name="other"),
        replace(GENESIS, time=GENESIS.time + 1),
        replace(GENESIS, members=GENESIS.members[:3]),
        replace(GENESIS, members=(replace(GENESIS.members[0], balance=1), *GENESIS.members[1:])),
        replace(GENESIS, parameters=replace(GENESIS.parameters, founder_reputation=1)),
        replace(GENESIS, members=(replace(GENESIS.members[0], key=key_of("node").public), *GENESIS.members[1:])),
        replace(GENESIS, members=(replace(GENESIS.members[0], roles=0), *GENESIS.members[1:])),
        replace(GENESIS, protocol=1),
    ]
    assert len({GENESIS.chain_id, *(each.chain_id for each in changes)}) == len(changes) + 1


def test_a_founder_may_keep_its_identity_apart_and_take_one_role_only():
    node = key_of("node of the first").public
    members = (replace(GENESIS.members[0], key=node, roles=int(Role.PROVIDER)), *GENESIS.members[1:])
    genesis = replace(GENESIS, members=members, protocol=1)
    assert genesis_from_json(genesis_to_json(genesis)) == genesis
    assert node in genesis.committee.members
    assert members[0].org not in genesis.committee.members
    plain = json.loads(genesis_to_json(GENESIS))["members"][0]
    assert plain.keys() == {"org", "name", "addresses", "balance"}, "what is as usual is not written"


def test_founders_tokens_and_seats_are_in_the_first_state():
    league = TinyLeague(7, balance=11)
    chain = league.chain
    assert chain.height == 0
    assert chain.head is None
    assert chain.read(League, LEAGUE) == League("test league", 77, 7, 7, 0, 0, 0)
    for key in league.keys:
        assert chain.read(Account, account_key(key.org)) == Account(11, 0)
        assert chain.read(Member, member_key(key.org)) is not None
    assert chain.committee() == league.genesis.committee == chain.committee_at(1)
    election = chain.read(Election, ELECTION)
    assert election is not None
    assert (election.epoch, election.epoch_start) == (0, 1)


@pytest.mark.parametrize(("members", "seats"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 4), (7, 7), (31, 31), (40, 31)])
def test_founders_fill_three_k_and_one_seats(members: int, seats: int):
    assert len(genesis_of(founders(members)).committee.members) == seats


def edited(**changes: Any) -> str:
    content = json.loads(genesis_to_json(GENESIS))
    del content["chain_id"]
    return json.dumps({**content, **changes})


def member(**changes: Any) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = json.loads(genesis_to_json(GENESIS))["members"]
    return [{**members[0], **changes}, *members[1:]]


MEMBERS = member()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not a genesis"),
        ("[]", "not a genesis"),
        ("7", "not a genesis"),
        ("{}", "not a genesis"),
        (edited(colour="red"), "colour"),
        (edited(chain_id="00"), "chain id"),
        (edited(name=""), "name"),
        (edited(name=["a"]), "name"),
        (edited(time="now"), "time"),
        (edited(time=1.5), "time"),
        (edited(time=AMOUNT_MAX), "time"),
        (edited(members=[]), "members"),
        (edited(members=[7]), "not a genesis"),
        (edited(members=MEMBERS[::-1]), "ascending"),
        (edited(members=[MEMBERS[0], *MEMBERS]), "twice"),
        (edited(members=member(name=MEMBERS[1]["name"])), "share a name"),
        (edited(members=member(name=[])), "name"),
        (edited(members=member(org="zz")), "not a genesis"),
        (edited(members=member(org="aa")), "org"),
        (edited(members=member(balance="many")), "balance"),
        (edited(members=member(balance=-1)), "balance"),
        (edited(members=member(balance=True)), "balance"),
        (edited(members=member(balance=AMOUNT_MAX)), "tokens"),
        (edited(members=member(addresses="/ip4/1.2.3.4")), "addresses"),
        (edited(members=member(addresses=[7])), "addresses"),
        (edited(members=member(colour="red")), "colour"),
        (edited(parameters={"colour": 1}), "colour"),
        (edited(parameters={"founder_reputation": 1_000_001}), "founder_reputation"),
        (edited(parameters=[]), "not a genesis"),
        (edited(parameters={"requests_open_max": 1}), "requests_per_member_max"),
        (edited(protocol=0), "protocol"),
        (edited(protocol="new"), "protocol"),
        (edited(members=member(key=MEMBERS[0]["org"])), "leave it out"),
        (edited(members=member(key=MEMBERS[1]["org"])), "another founder"),
        (edited(members=member(key="aa")), "1 bytes"),
        (edited(members=member(key=7)), "not a genesis"),
        (edited(members=member(roles=["king"])), "king"),
        (edited(members=member(roles="provider")), "roles"),
        (edited(members=member(roles=[])), "none"),
        (edited(members=[{**each, "roles": ["observer"]} for each in MEMBERS]), "nobody would vote"),
    ],
)
def test_a_file_that_founds_nothing_says_why(text: str, named: str):
    with pytest.raises(InvalidGenesis, match=named):
        genesis_from_json(text)


def test_a_league_too_large_is_refused():
    with pytest.raises(InvalidGenesis, match="members"):
        check_genesis(genesis_of(founders(257)))
