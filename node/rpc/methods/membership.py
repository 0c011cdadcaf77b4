"""Who decides what in the league: ballots and decisions, parameters and protocol, and what our identity is to sign."""

from ledger.ballots import voices, voices_needed
from ledger.league_entries import (
    BALLOTS,
    DECISIONS,
    PROTOCOL,
    SCHEDULE,
    Ballot,
    Decision,
    Protocol,
    Schedule,
    ballot_key,
    decision_key,
)
from ledger.motions import Motion
from ledger.parameters import LeagueParameters
from ledger.protocols import NEWEST
from node.admission import NotAdmitted
from node.identity import KeyFileError
from node.network.addresses import peer_id
from node.rpc.errors import RpcError
from node.rpc.method import BOOLEAN, HEX, INTEGER, OBJECT, STRING, ledger_answer, listing, method
from node.rpc.node import Node
from node.rpc.parameters import Count, Flag, Hash, Page
from node.rpc.views import Json, schema_of, to_json


async def ballots(node: Node, *, limit: Page = 100, offset: Count = 0) -> Json:
    """Ballots that are open, oldest first: the motion, who supports it, how many must, and whether we may still."""
    found = sorted(node.chain.scan(Ballot, BALLOTS), key=lambda each: (each[1].opened_height, each[0]))
    shown = [_ballot_view(node, ballot_id, each) for ballot_id, each in found[offset : offset + limit]]
    return {"head": node.head(), "count": len(found), "ballots": shown}


async def ballot(node: Node, *, ballot: Hash) -> Json:
    """One ballot: `open`, or `passed` with its decision. One that expired is forgotten."""
    found = node.chain.read(Ballot, ballot_key(ballot))
    if found is not None:
        return {"head": node.head(), "status": "open", "ballot": _ballot_view(node, ballot, found), "decision": None}
    decided = node.chain.read(Decision, decision_key(ballot))
    if decided is None:
        text = f"no ballot {ballot.hex()}, neither open nor passed; one that too few supported in time is forgotten"
        raise RpcError("not_found", text, height=node.chain.height)
    shown = _decision_view(node, ballot, decided)
    return {"head": node.head(), "status": "passed", "ballot": None, "decision": shown}


async def decisions(node: Node, *, limit: Page = 100, offset: Count = 0) -> Json:
    """What ballots have decided, newest first. `moot` says why nothing came of it, empty when it was carried out."""
    found = sorted(node.chain.scan(Decision, DECISIONS), key=lambda each: (-each[1].decided_height, each[0]))
    shown = [_decision_view(node, ballot_id, each) for ballot_id, each in found[offset : offset + limit]]
    return {"head": node.head(), "count": len(found), "decisions": shown}


async def parameters(node: Node) -> Json:
    """What the league has set for itself, for the next height, and what changes when: parameters and protocol."""
    schedule = node.chain.read(Schedule, SCHEDULE)
    protocol = node.chain.read(Protocol, PROTOCOL)
    assert schedule is not None, "every state has a schedule"
    assert protocol is not None, "every state has a protocol"
    return {
        "head": node.head(),
        "parameters": to_json(node.chain.parameters()),
        "scheduled": [to_json(each) for each in schedule.changes],
        "protocol": to_json(protocol),
        "known": NEWEST,
    }


async def prepare(node: Node, *, draw: Flag = False) -> Json:
    """What a statement of our identity needs of this node: its nonce, and the node's key with the proof that it agrees.

    With `draw` the key is the one that is to follow the present one, drawn and on disk when this is answered.
    """
    try:
        unsigned = await node.services.statement(draw)
    except (KeyFileError, OSError) as error:
        raise RpcError("storage", f"the key that is to follow could not be written: {error}") from None
    return {
        "head": node.head(),
        "chain_id": node.chain.chain_id.hex(),
        "league": node.chain.genesis.name,
        "org": unsigned.org.hex(),
        "nonce": unsigned.nonce,
        "key": unsigned.key.hex(),
        "peer_id": peer_id(unsigned.key),
        "proof": unsigned.proof.hex(),
    }


async def standing(node: Node) -> Json:
    """How the league sees our organisation, asked of a member: for a node whose own ledger stands still."""
    try:
        found = await node.services.standing()
    except NotAdmitted as error:
        raise RpcError("unavailable", f"no member answers: {error}", part="network") from None
    return {"head": node.head(), **to_json(found)}


def waiting_for(node: Node) -> list[dict[str, Json]]:
    """The open ballots that our voice is still missing in."""
    views = [_ballot_view(node, ballot_id, each) for ballot_id, each in node.chain.scan(Ballot, BALLOTS)]
    return [view for view in views if view["ours_to_support"]]


def motion_text(node: Node, motion: Motion) -> str:
    """A motion in words."""
    shown = to_json(motion)
    fields = {name: value for name, value in shown.items() if name != "kind"}
    if "org" in fields:
        fields["org"] = node.name_of(motion.org) or fields["org"]  # type: ignore[union-attr]
    if isinstance(fields.get("parameters"), dict):
        now = to_json(node.chain.parameters())
        changed = {name: value for name, value in fields.pop("parameters").items() if value != now[name]}
        fields = {**changed, **fields}
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
    return f"{shown['kind'].replace('_', ' ')}: {said}"


def _ballot_view(node: Node, ballot_id: bytes, found: Ballot) -> dict[str, Json]:
    state = node.chain.state()
    carried = voices(state, found)
    mine = node.org in found.supporters
    accused = getattr(found.motion, "org", None) if type(found.motion).__name__ == "Expel" else None
    return {
        "id": ballot_id.hex(),
        **to_json(found),
        "opener_name": node.name_of(found.opener),
        "text": motion_text(node, found.motion),
        "voices": len(carried),
        "needed": voices_needed(state, found.motion),
        "supported_by_us": mine,
        "ours_to_support": node.is_voter and not mine and accused != node.org,
    }


def _decision_view(node: Node, ballot_id: bytes, found: Decision) -> dict[str, Json]:
    names = {"opener_name": node.name_of(found.opener), "text": motion_text(node, found.motion)}
    return {"id": ballot_id.hex(), **to_json(found), **names}


_BALLOT = {"type": "object", "properties": {"id": HEX, **schema_of(Ballot)["properties"], "needed": INTEGER}}
_DECISION = {"type": "object", "properties": {"id": HEX, **schema_of(Decision)["properties"]}}
_PARAMETERS, _PROTOCOL = schema_of(LeagueParameters), schema_of(Protocol)
_STANDING = {"height": INTEGER, "member": BOOLEAN, "candidate": BOOLEAN, "nonce": INTEGER, "key": HEX}

METHODS = (
    method("ballots", ballots, ledger_answer(count=INTEGER, ballots=listing(_BALLOT))),
    method("ballot", ballot, ledger_answer(status=STRING, ballot=OBJECT, decision=OBJECT), ("not_found",)),
    method("decisions", decisions, ledger_answer(count=INTEGER, decisions=listing(_DECISION))),
    method(
        "parameters",
        parameters,
        ledger_answer(parameters=_PARAMETERS, scheduled=listing(OBJECT), protocol=_PROTOCOL, known=INTEGER),
    ),
    method(
        "identity.prepare",
        prepare,
        ledger_answer(chain_id=HEX, league=STRING, org=HEX, nonce=INTEGER, key=HEX, peer_id=STRING, proof=HEX),
        ("refused", "storage"),
    ),
    method("standing", standing, ledger_answer(**_STANDING), ("unavailable",)),
)
