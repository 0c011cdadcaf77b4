"""Who is in the league, what they hold, how they are thought of, and who leads."""

from ledger.entries import (
    CANDIDATES,
    ELECTION,
    LEAGUE,
    MEMBERS,
    Account,
    Candidate,
    Election,
    League,
    Member,
    Standing,
    account_key,
    member_key,
    standing_key,
)
from ledger.league_entries import FORMERS, Former, former_key
from ledger.roles import role_names
from ledger.types import NodeKey
from node.network.addresses import peer_id
from node.rpc.errors import RpcError
from node.rpc.method import BOOLEAN, HEX, INTEGER, OBJECT, STRING, ledger_answer, listing, method
from node.rpc.node import Node
from node.rpc.parameters import Count, Height, Org, Page
from node.rpc.views import Json, schema_of, to_json

_NO_STANDING = Standing(0, 0, 0, 0, 0, 0, 0)


async def committee(node: Node, *, height: Height | None = None) -> Json:
    """Who votes on a height (on the next when none is named), its quorum, and in which order they lead it."""
    after = node.chain.height + 1
    at = after if height is None else height
    found = node.chain.committee() if at == after else node.chain.committee_at(at)
    if found is None:
        raise RpcError("not_found", f"no committee is known for height {at}", height=node.chain.height)
    seats = [node.signer(key) for key in found.members]
    answer = {"head": node.head(), "height": at, "committee": seats, "quorum": found.quorum, "faults": found.faults}
    answer["hash"] = found.hash.hex()
    # The order of an older height went with its state.
    answer["leaders"] = [node.signer(key)["org"] for key in node.chain.leaders()] if at == after else None
    return answer


async def ranking(node: Node, *, limit: Page = 100, offset: Count = 0) -> Json:
    """Members by reputation, highest first, with their seats and what the election knows of them."""
    election = node.chain.read(Election, ELECTION)
    assert election is not None, "every state has an election"
    seats = {seat.org: seat for seat in election.seats}
    rows = []
    for org, member in node.chain.scan(Member, MEMBERS):
        standing = node.chain.read(Standing, standing_key(org)) or _NO_STANDING
        seat = seats.get(org)
        rows.append(
            {
                "org": org.hex(),
                "name": member.name,
                **to_json(standing),
                "seat": seat is not None,
                "led_this_epoch": seat is not None and seat.led,
                "skipped": org in election.skipped,
            }
        )
    # The order of the election (ledger/election.py), so that who stands first here sits first there.
    rows.sort(key=lambda row: (-row["reputation"], row["last_led"], row["org"]))
    ranked = [{"rank": at + 1, **row} for at, row in enumerate(rows)][offset : offset + limit]
    return {"head": node.head(), "epoch": election.epoch, "members": len(rows), "ranking": ranked}


async def members(node: Node, *, limit: Page = 100, offset: Count = 0) -> Json:
    """All members, the candidates with who approved them, and who was a member once."""
    found = list(node.chain.scan(Member, MEMBERS))
    candidates = [_candidate_view(org, candidate) for org, candidate in node.chain.scan(Candidate, CANDIDATES)]
    former = [_former_view(org, each) for org, each in node.chain.scan(Former, FORMERS)]
    shown = [_member_view(node, org, each) for org, each in found[offset : offset + limit]]
    return {"head": node.head(), "count": len(found), "members": shown, "candidates": candidates, "former": former}


async def member(node: Node, *, org: Org) -> Json:
    """A member, candidate or former member: name, key, roles, addresses, when it joined, balance and standing."""
    found = node.chain.read(Member, member_key(org))
    if found is not None:
        return {"head": node.head(), "status": "member", "member": _member_view(node, org, found)}
    candidate = node.chain.read(Candidate, CANDIDATES + org)
    if candidate is not None:
        return {"head": node.head(), "status": "candidate", "member": _candidate_view(org, candidate)}
    former = node.chain.read(Former, former_key(org))
    if former is None:
        text = f"{org.hex()} is neither member nor candidate, and never was a member"
        raise RpcError("not_found", text, height=node.chain.height)
    return {"head": node.head(), "status": "former", "member": {**_former_view(org, former), **_record(node, org)}}


async def account(node: Node, *, org: Org | None = None) -> Json:
    """Balance and nonces of an organisation (ours when none is named).

    `nonce` counts its final transactions; `next_nonce` its pending ones as well and is what the next must carry.
    """
    of = org or node.org
    found = node.chain.read(Account, account_key(of)) or Account(0, 0)
    named = {"org": of.hex(), "peer_id": peer_id(node.key_of(of)), "name": node.name_of(of)}
    nonces = {"nonce": found.nonce, "next_nonce": node.services.next_nonce(node.key_of(of))}
    return {"head": node.head(), **named, "balance": to_json(found.balance), **nonces}


async def reputation(node: Node, *, org: Org | None = None) -> Json:
    """A member's reputation in millionths and what made it (ours when none is named)."""
    of = org or node.org
    standing = node.chain.read(Standing, standing_key(of))
    if standing is None:
        raise RpcError("not_found", f"{of.hex()} has no standing: it is no member", height=node.chain.height)
    return {"head": node.head(), "org": of.hex(), "name": node.name_of(of), **to_json(standing)}


async def league(node: Node) -> Json:
    """Totals of the league: name, members, candidates, token supply, epoch."""
    totals, election = node.chain.read(League, LEAGUE), node.chain.read(Election, ELECTION)
    assert totals is not None, "genesis founds it"
    assert election is not None, "every state has an election"
    epochs = {"epoch": election.epoch, "epoch_start": election.epoch_start}
    return {"head": node.head(), "chain_id": node.chain.chain_id.hex(), **to_json(totals), **epochs}


def _member_view(node: Node, org: bytes, member: Member) -> dict[str, Json]:
    return {
        "org": org.hex(),
        "peer_id": peer_id(NodeKey(member.key)),
        **to_json(member),
        "roles": list(role_names(member.roles)),
        "seated": org in node.chain.seated(),
        **_record(node, org),
    }


def _candidate_view(org: bytes, candidate: Candidate) -> dict[str, Json]:
    named = {"org": org.hex(), "peer_id": peer_id(NodeKey(candidate.key))}
    return {**named, **to_json(candidate), "roles": list(role_names(candidate.roles))}


def _former_view(org: bytes, former: Former) -> dict[str, Json]:
    return {"org": org.hex(), **to_json(former)}


def _record(node: Node, org: bytes) -> dict[str, Json]:
    """What an organisation keeps when it leaves. `jailed`: whether it may not be seated now."""
    balance = node.chain.read(Account, account_key(org)) or Account(0, 0)
    standing = node.chain.read(Standing, standing_key(org)) or _NO_STANDING
    election = node.chain.read(Election, ELECTION)
    jailed = election is not None and standing.jailed_until_epoch > election.epoch
    return {
        "balance": to_json(balance.balance),
        "reputation": standing.reputation,
        "jailed": jailed,
        "jailed_until_epoch": standing.jailed_until_epoch,
    }


_MEMBER: dict[str, Json] = {
    "type": "object",
    "properties": {
        "org": HEX,
        "peer_id": STRING,
        **schema_of(Member)["properties"],
        "roles": listing(STRING),
        "seated": BOOLEAN,
        "balance": INTEGER,
        "reputation": INTEGER,
        "jailed": BOOLEAN,
    },
}
_STANDING = schema_of(Standing)["properties"]
_NAME = {"type": ["string", "null"]}
_COMMITTEE = {"committee": listing(OBJECT), "quorum": INTEGER, "faults": INTEGER, "hash": HEX}

METHODS = (
    method("league", league, ledger_answer(chain_id=HEX, **schema_of(League)["properties"], epoch=INTEGER)),
    method(
        "committee",
        committee,
        ledger_answer(height=INTEGER, **_COMMITTEE, leaders={"type": ["array", "null"], "items": HEX}),
        ("not_found",),
    ),
    method("ranking", ranking, ledger_answer(epoch=INTEGER, members=INTEGER, ranking=listing(OBJECT))),
    method(
        "members",
        members,
        ledger_answer(count=INTEGER, members=listing(_MEMBER), candidates=listing(OBJECT), former=listing(OBJECT)),
    ),
    method("member", member, ledger_answer(status=STRING, member=_MEMBER), ("not_found",)),
    method(
        "account",
        account,
        ledger_answer(org=HEX, peer_id=STRING, name=_NAME, balance=INTEGER, nonce=INTEGER, next_nonce=INTEGER),
    ),
    method("reputation", reputation, ledger_answer(org=HEX, name=_NAME, **_STANDING), ("not_found",)),
)
