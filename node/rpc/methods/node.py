"""The node itself: is it well, what is it doing, whom does it see, which program is it, please stop."""

import os
import platform
from dataclasses import asdict

import trio

from ledger.entries import (
    LEAGUE,
    OPEN_REQUESTS,
    Account,
    AnchorTotals,
    League,
    OpenRequests,
    Standing,
    account_key,
    anchor_totals_key,
    standing_key,
)
from ledger.league_entries import PROTOCOL, Protocol
from node.events import TOPICS
from node.membership import league_warnings
from node.network.addresses import peer_id
from node.network.transport import PeerStatus
from node.rpc.errors import RpcError
from node.rpc.method import BOOLEAN, INTEGER, OBJECT, STRING, answer, ledger_answer, listing, method
from node.rpc.methods.membership import waiting_for
from node.rpc.node import AfterAnswer, Node
from node.rpc.parameters import Text, Topics
from node.rpc.readiness import readiness
from node.rpc.views import Json, to_json


async def health(node: Node) -> Json:
    """Whether the node can do its work, and if not, why. As /readyz."""
    state = readiness(node)
    return {
        "head": node.head(),
        "ready": state.ready,
        "checks": state.checks,
        "reasons": list(state.reasons),
        "records": _records(node),
    }


async def version(node: Node) -> Json:
    """Program, Python and process."""
    return {"version": node.version, "python": platform.python_version(), "pid": os.getpid()}


async def status(node: Node) -> Json:
    """This node in one view: who it is, where its ledger stands, consensus, peers, money, work."""
    services, chain = node.services, node.chain
    account = chain.read(Account, account_key(node.org))
    standing = chain.read(Standing, standing_key(node.org))
    requests = chain.read(OpenRequests, OPEN_REQUESTS)
    state, peers = readiness(node), _peers(node)
    return {
        "head": node.head(),
        "node": {
            "org": node.org.hex(),
            "key": services.key.public.hex(),
            "peer_id": peer_id(services.key.public),
            **_place(node),
            "version": node.version,
            "pid": os.getpid(),
            "data_dir": str(node.settings.data_dir),
            "uptime_s": round(trio.current_time() - node.started, 3),
        },
        "league": _league(node),
        "head_time": chain.head_time,
        "state_root": chain.state_root.hex(),
        "ready": state.ready,
        "reasons": list(state.reasons),
        "consensus": _consensus(node),
        "peers": {"connected": sum(each.connected for each in peers), "known": len(peers)},
        "ballots": waiting_for(node),
        "pending": sum(1 for _ in services.pending),
        "balance": to_json(account.balance if account else 0),
        "reputation": standing.reputation if standing else 0,
        "requests_open": len(requests.ids) if requests else 0,
        "records": _records(node),
    }


def _place(node: Node) -> dict[str, Json]:
    """Our place in the league. `in_league`: whether the members know this node; the ledger here may not show it yet."""
    place = node.membership
    return {
        "name": place.name,
        "member": place.member,
        "standing": place.status,
        "roles": list(place.roles),
        "seated": place.seated,
        "jailed_until_epoch": place.jailed_until_epoch or None,
        "in_league": node.services.inside,
        "rotation_begun": node.services.rotation_begun,
        "why": place.why or None,
    }


def _league(node: Node) -> dict[str, Json]:
    """`warnings`: what an operator should know before it happens."""
    chain = node.chain
    totals = chain.read(League, LEAGUE)
    protocol = chain.read(Protocol, PROTOCOL)
    assert totals is not None, "every state has a league"
    assert protocol is not None, "every state has a protocol"
    return {
        "name": chain.genesis.name,
        "chain_id": chain.chain_id.hex(),
        "members": totals.members,
        "voters": totals.voters,
        "protocol": protocol.version,
        "upgrade": to_json(protocol.scheduled),
        "warnings": list(league_warnings(chain)),
    }


async def peers(node: Node) -> Json:
    """Every member the node knows how to reach, and how that goes. Times in seconds."""
    return {"head": node.head(), "peers": [_peer_view(node, each) for each in _peers(node)]}


async def consensus(node: Node) -> Json:
    """Where the agreement on the next height stands as this node sees it."""
    return {"head": node.head(), "consensus": _consensus(node)}


async def methods(node: Node) -> Json:
    """The OpenRPC description of all methods. As /openrpc.json."""
    return node.openrpc


async def help_(node: Node, *, method: Text | None = None) -> Json:
    """The names of all methods with a line each, or all about one."""
    described = {each["name"]: each for each in node.openrpc["methods"]}
    if method is None:
        return {"methods": {name: each["summary"] for name, each in described.items()}}
    if method not in described:
        raise RpcError("not_found", f"no method {method[:64]!r}")
    return described[method]


async def stop(node: Node) -> Json:
    """End the node once this is answered: what is final is on disk, nothing is lost."""
    return AfterAnswer({"stopping": True, "pid": os.getpid()}, node.services.stop)


async def subscribe(node: Node, *, topics: Topics = ()) -> Json:
    """Only on the WebSocket /ws; see also GET /events."""
    raise RpcError("needs_stream", f"subscribe on /ws, or GET /events?topics={','.join(sorted(TOPICS))}")


def _peers(node: Node) -> list[PeerStatus]:
    return node.services.transport.peers() if node.services.transport else []


def _peer_view(node: Node, peer: PeerStatus) -> dict[str, Json]:
    shown = asdict(peer)
    shown["direction"] = peer.direction.value if peer.direction else None
    return {**shown, **node.signer(peer.org), "peer_id": peer_id(peer.org)}


def _records(node: Node) -> dict[str, Json] | None:
    """How this node's own records stand; None at one that has none, or is not that far yet."""
    collecting = node.services.collecting
    if collecting is None:
        return None
    standing, totals = collecting.standing, node.chain.read(AnchorTotals, anchor_totals_key(node.org))
    return {
        "collected": standing.collected,
        "open": standing.open,
        "tested": standing.tested,
        "anchored": totals.records if totals else 0,
        "periods": totals.periods if totals else 0,
        "last_period": totals.last_period if totals else 0,
        "follows": collecting.follows,
        "problem": standing.problem,
    }


def _consensus(node: Node) -> dict[str, Json]:
    state = node.services.consensus_status()
    leader = node.signer(state.leader) if state.leader else None
    return {
        "height": state.height,
        "view": state.view,
        "leader": leader["org"] if leader else None,
        "leader_name": leader["name"] if leader else None,
        "active": state.active,
        "seconds_in_height": state.seconds_in_height,
        "synced": state.synced,
        "syncing_to": state.syncing_to,
        "votes": state.votes,
    }


_READY = {"ready": BOOLEAN, "reasons": listing(STRING)}

METHODS = (
    method("health", health, ledger_answer(**_READY, checks=OBJECT)),
    method("version", version, answer(version=STRING, python=STRING, pid=INTEGER)),
    method("status", status, ledger_answer(**_READY, node=OBJECT, league=OBJECT, consensus=OBJECT, peers=OBJECT)),
    method("peers", peers, ledger_answer(peers=listing(OBJECT))),
    method("consensus", consensus, ledger_answer(consensus=OBJECT)),
    method("rpc.discover", methods, OBJECT),
    method("help", help_, answer(methods=OBJECT), ("not_found",)),
    method("stop", stop, answer(stopping=BOOLEAN, pid=INTEGER)),
    method("subscribe", subscribe, OBJECT, ("needs_stream",)),
    method("unsubscribe", subscribe, OBJECT, ("needs_stream",)),
)
